"""Starting up: kitbox's quick commands against importing what they cannot do without.

    python benchmarks/peers/startup.py --workspace DIR

`kitbox --help` is compared with importing typer, on which the command line is built; `kitbox
plugins` in a workspace with importing numpy and pydantic besides. Each is a whole process.
"""

import argparse
from pathlib import Path

import rounds

KITBOX = ("-m", "kitbox")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    rounds.add_options(parser, rounds=7)
    given = parser.parse_args()
    line = rounds.machine(packages=("typer", "numpy", "pydantic", "torch"))
    typer, rest = ["-c", "import typer"], ["-c", "import typer, numpy, pydantic"]
    compared = [
        rounds.kitbox_side("kitbox --help", [*KITBOX, "--help"], folder=given.workspace),
        rounds.kitbox_side("import typer", typer, folder=given.workspace),
        rounds.kitbox_side("kitbox plugins", [*KITBOX, "plugins"], folder=given.workspace),
        rounds.kitbox_side("import the rest", rest, folder=given.workspace),
    ]
    rounds.run(compared[2])  # the cost of each plugin is kept from its first run on
    taken = rounds.alternate(compared, given.rounds)
    notes = {
        "--help against importing typer": str(
            rounds.against(taken, "import typer", ["kitbox --help"])
        ),
        "plugins against importing typer, numpy and pydantic": str(
            rounds.against(taken, "import the rest", ["kitbox plugins"])
        ),
    }
    rounds.show(given, line, taken, "kitbox --help", peers=["import typer"], notes=notes)


if __name__ == "__main__":
    main()
