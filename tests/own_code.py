"""Modules of a user's own code in a folder."""

from pathlib import Path

from kitbox.plugin import source_code
from kitbox.plugin.source_code import SourceCode


def code_of(root: Path, reference: str, text: str) -> SourceCode:
    """Write the module of a reference into a folder, and return its code."""
    module = reference.partition(":")[0]
    (root / f"{module}.py").write_text(text, encoding="utf-8")
    return SourceCode.of([reference], source_code.read([reference], root))
