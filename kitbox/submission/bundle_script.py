"""Answers the test images in a folder with the packed ensemble, without internet.

This file is `run.py` of a bundle; see `kitbox bundle`. It needs Python's own library alone.
"""

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Install what is missing, set up a workspace, run the ensemble and copy its CSV."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--data", type=Path, required=True, help="the competition's folder of images and lists"
    )
    parser.add_argument("--out", type=Path, default=Path("submission.csv"), help="the CSV to write")
    parser.add_argument(
        "--work", type=Path, default=Path("kitbox-work"), help="a folder for what is computed"
    )
    parser.add_argument("more", nargs="*", help="further options of 'kitbox ensemble', after a --")
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.exit(f"error: there is no folder {given.data}; name the competition's with --data")
    install_missing()
    document: dict[str, Any] = json.loads((HERE / "bundle.json").read_text("utf-8"))
    workspace = set_up(given.work.resolve())
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE / "code"), environment.get("PYTHONPATH")])
    )
    environment["KITBOX_DATA"] = str(
        merged_data(given.data.resolve(), document, given.work.resolve())
    )
    environment["HF_HUB_OFFLINE"] = "1"
    if (HERE / "weights").is_dir():
        environment["KITBOX_WEIGHTS"] = str(HERE / "weights")
    settle = (
        "import sys; from pathlib import Path; from kitbox.competition.lists import settle; "
        "from kitbox.workspace import Workspace; print(settle(Workspace(Path(sys.argv[1]))))"
    )
    run([sys.executable, "-c", settle, str(workspace)], environment, "decisions left out: {}")
    command = [sys.executable, "-m", "kitbox", "--workspace", str(workspace), "ensemble"]
    printed = run([*command, *document["ensemble"], *given.more, "--json"], environment)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(json.loads(printed)["csv"], given.out)
    print(f"wrote {given.out}")


def run(command: list[str], environment: dict[str, str], message: str = "") -> str:
    """Run a command, and return what it printed; stop where it fails."""
    done = subprocess.run(  # noqa: S603
        command, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    if message and done.stdout.strip() != "0":
        print(message.format(done.stdout.strip()))
    return done.stdout


def install_missing() -> None:
    """Install packages that are not here from the packed wheels; stop where there are none."""
    missing = []
    for line in (HERE / "requirements.txt").read_text("utf-8").split():
        name, _, wanted = line.partition("==")
        try:
            found = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            missing.append(line)
            continue
        if found != wanted:
            print(f"{name} {found} is used, not {wanted}; scores may move in the last digits")
    if not missing:
        return
    wheels = HERE / "wheels"
    if not wheels.is_dir():
        sys.exit(f"error: missing packages: {' '.join(missing)}; pack them with --wheels")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(  # noqa: S603
        [*pip, "--find-links", str(wheels), *missing], check=False
    )
    if done.returncode:
        sys.exit(f"error: pip could not install {' '.join(missing)} from {wheels}")


def set_up(work: Path) -> Path:
    """Copy the packed workspace to a folder that may be written to, and return it."""
    workspace = work / "workspace"
    shutil.copytree(HERE / "workspace", workspace, dirs_exist_ok=True)
    cache = workspace / ".kitbox"
    parts = {"checkpoints": "runs", "embeddings": "embeddings", "detectors": "detectors"}
    for name, inside in parts.items():
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, cache / inside, dirs_exist_ok=True)
    for path in (workspace, *workspace.rglob("*")):  # packed files may be read-only
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    return workspace


def merged_data(data: Path, document: dict[str, Any], work: Path) -> Path:
    """Return the data folder, or where labelled images are packed, one of links to both.

    Where the kernel's list of hidden images has the name of the packed list of labelled ones, it
    is linked as the list of test images.
    """
    packed = HERE / "data"
    if not packed.is_dir():
        return data
    merged = work / "data"
    shutil.rmtree(merged, ignore_errors=True)
    links = {path.relative_to(packed): path for path in packed.rglob("*") if path.is_file()}
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data)
        if str(name) == document["train_list"] and document["test_list"]:
            name = Path(document["test_list"])
        if path.is_file():
            links[name] = path
    for name, path in links.items():
        (merged / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            (merged / name).symlink_to(path)
        except OSError:  # no links on this system
            shutil.copyfile(path, merged / name)
    return merged


if __name__ == "__main__":
    main()
