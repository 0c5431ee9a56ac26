"""'kitbox look' in a process of its own, reached at the address that it prints."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ServerProcess:
    """The process of a server and the address to open."""

    process: subprocess.Popen[str]
    address: str

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; return the exit status and the rest of stderr."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        return self.process.wait(timeout=30), rest


@contextmanager
def running_server(
    workspace: Path, *arguments: str, browser: Path | None = None
) -> Iterator[ServerProcess]:
    """Start 'kitbox look' in a workspace, wait for its address, and end it."""
    screen = {} if browser is None else {"DISPLAY": ":0", "BROWSER": str(browser)}
    shown = () if browser else ("--no-browser",)
    process = subprocess.Popen(
        [sys.executable, "-m", "kitbox", "look", *shown, *arguments],
        cwd=workspace,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | screen,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://\S+", line):
                break
        else:
            raise AssertionError("".join(lines))
        yield ServerProcess(process, found.group())
    finally:
        process.kill()
        process.wait(timeout=30)
        if process.stderr is not None:
            process.stderr.close()
