"""Findings of the lint: what a leaderboard would refuse or score wrongly, and where."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kitbox.errors import one_line

# Names of a header that are told; of a longer one the first three and the last.
_MOST_NAMES = 6


@dataclass(frozen=True)
class LintFinding:
    """A reason why a leaderboard would refuse a file or score it wrongly, with its fix.

    A "warning" is about what its scorer takes, but scores lower than need be or by chance.
    """

    line: int
    column: int
    what: str
    level: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", one_line(self.what))

    def __str__(self) -> str:
        level = "warning: " if self.level == "warning" else ""
        return f"line {self.line}, column {self.column}: {level}{self.what}"


def errors(findings: Iterable[LintFinding]) -> list[LintFinding]:
    """Return the findings for which a leaderboard would refuse a file."""
    return [finding for finding in findings if finding.level == "error"]


def wrong_header(names: tuple[str, ...], header: tuple[str, ...]) -> str:
    """Return the text of the finding about a header; one of many columns is cut short."""

    def short(columns: tuple[str, ...]) -> str:
        if len(columns) <= _MOST_NAMES:
            return ",".join(columns) or "missing"
        return f"{','.join(columns[:3])},…,{columns[-1]}"

    counts = ""
    if len(header) > 3 and 0 < len(names) != len(header):
        noun = "column" if len(names) == 1 else "columns"
        counts = f" ({len(names)} {noun} of {len(header)})"
    return f"the header is {short(names)}, not {short(header)}{counts}; write it on line 1"


def wrong_columns(count: int, wanted: int) -> str:
    """Return the text of a finding about the number of columns."""
    noun = "column" if count == 1 else "columns"
    advice = (
        "put quotes around a name that has a comma" if count > wanted else "add what is missing"
    )
    return f"{count} {noun}, not {wanted}; {advice}"
