"""The environment of the peers: a virtual environment with the versions of requirements.txt.

    python benchmarks/peers/environment.py FOLDER

Prints the Python to hand to the other scripts as `--peers`. Where pip is set up to take torch from
local files, it does so here too.
"""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    python = given.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(given.folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
    print(python)


if __name__ == "__main__":
    main()
