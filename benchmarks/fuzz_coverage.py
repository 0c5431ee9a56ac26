"""Changed files of one kind, kept where they reach new code: `fuzz.py --guided` starts it.

    python benchmarks/fuzz_coverage.py KIND --memory 3 --faults DIR [--seconds 60] [--folder DIR]

atheris (libFuzzer) runs the readers of kitbox, counts which branches of its code and of Python's
own parsers each input takes, and changes further what took a new one, by its own changes of bytes
and by those of `fuzz.py`; every third input is a good file that `fuzz.py` changed. The checks are
those of `fuzz.py`; an input that fails one is written to the folder of faults. Code in C, as that
of pydantic and torch, is not counted.
"""

import argparse
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parent))
COUNTED = ["kitbox", "tomllib", "json", "csv", "zipfile", "openpyxl", "safetensors"]
# Bytes of an input; the longest good file has some thousand.
LONGEST = 65_536


class Guided:
    """What the inputs of a kind of file did, until the time is over."""

    def __init__(self, fuzz: Any, given: argparse.Namespace, folder: Path) -> None:
        self.fuzz, self.given, self.folder = fuzz, given, folder
        self.target = fuzz.targets()[given.kind]
        self.found, self.longest = Counter[str](), 0.0
        self.faults: dict[str, str] = {}
        self.end = time.monotonic() + given.seconds

    def read(self, data: bytes) -> None:
        """Read one input as fuzz.py does."""
        printed = os.fstat(2).st_size
        began = time.process_time()
        answer = self.fuzz.run(self.target, data, self.folder)
        self.longest = max(self.longest, time.process_time() - began)
        if os.fstat(2).st_size > printed:
            with open("/proc/self/fd/2", "rb") as said:
                said.seek(printed)
                lines = said.read().splitlines()
            answer = f"it printed: {lines[:3]!r}"
        kind = answer if answer in ("read", "refused") else answer.partition(": ")[0]
        self.found[kind] += 1
        if kind not in ("read", "refused") and kind not in self.faults:
            self.faults[kind] = answer
            name = re.sub(r"\W+", "-", kind)[:80]
            (Path(self.given.faults) / f"{self.given.kind}-{name}").write_bytes(data)
        if time.monotonic() > self.end:
            self._finish()

    def change(self, data: bytes, longest: int, seed: int) -> bytes:
        """Return a changed input, by bytes or as fuzz.py changes files, or a changed good file."""
        chance = random.Random(seed)
        way = chance.randrange(3)
        if way == 0:
            return bytes(atheris.Mutate(data, longest))
        try:
            before = data if way == 1 else None
            return bytes(self.fuzz.changed(self.target, chance, before)[:longest])
        except Exception:  # a damaged archive has no members to change
            return bytes(atheris.Mutate(data, longest))

    def _finish(self) -> None:
        covered = re.findall(rb"cov: (\d+)", Path("/proc/self/fd/2").read_bytes())
        result = {
            "found": self.found,
            "faults": self.faults,
            "longest": self.longest,
            "covered": [int(covered[0]), int(covered[-1])] if covered else [],
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        }
        print(json.dumps(result), flush=True)
        os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=float, required=True)
    parser.add_argument("--folder")
    parser.add_argument("--faults", required=True)
    given = parser.parse_args()
    with atheris.instrument_imports(include=COUNTED, enable_loader_override=False):
        import fuzz
    with tempfile.TemporaryDirectory(dir=given.folder) as top:
        corpus, folder = Path(top) / "corpus", Path(top) / "files"
        corpus.mkdir()
        folder.mkdir()
        guided = Guided(fuzz, given, folder)
        for number, good in enumerate(guided.target.goods):
            (corpus / str(number)).write_bytes(good)
        fuzz.limit_memory(given.memory)
        options = {
            "seed": given.seed + 1,  # 0 is one by the clock
            "max_len": LONGEST,
            "timeout": fuzz.HANGS,
            "rss_limit_mb": 0,
            "artifact_prefix": f"{given.faults}/{given.kind}-",
        }
        arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in options.items())]
        atheris.Setup([*arguments, str(corpus)], guided.read, custom_mutator=guided.change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
