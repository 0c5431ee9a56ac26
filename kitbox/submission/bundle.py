"""Packs a submission's ensemble for a kernel without internet, which answers hidden test images.

A bundle is a folder: `run.py`, `bundle.json` (the ensemble's command), `requirements.txt` (the
pinned packages), `code/` (kitbox itself), `workspace/` (settings, plugins, decisions, boxes, the
receipt) and `checkpoints/`; where they are wanted or needed `wheels/`, `weights/`, `detectors/`,
`embeddings/` and `data/` (labelled images).
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import kitbox
from kitbox.competition import lists
from kitbox.competition.settings import Competition
from kitbox.decisions import decision_file
from kitbox.errors import KitboxError, cannot_write, more
from kitbox.files import digest_of_file, read_json, write_bytes, write_json, write_text
from kitbox.keypoints.match_settings import LearnedSettings, MatchSettings
from kitbox.plugin import derivation, discovery
from kitbox.plugin.discovery import NamedPlugin
from kitbox.records import LabelledImages, Progress
from kitbox.submission import bundle_script, receipt
from kitbox.submission.receipt import SubmissionFolder
from kitbox.training.runs import Run
from kitbox.value import Recorded, check
from kitbox.weights import weight_source
from kitbox.workspace import Workspace

# Kernels have a torch of their own, built for their GPU.
OF_THE_KERNEL = ("torch", "torchvision", "triton")
_NVIDIA = "nvidia"
_COMMAND = "bundle.json"
_README = """# {competition}: a bundle for a kernel without internet

`run.py` answers the test images of a folder with the packed ensemble and writes the CSV:

    python run.py --data DATA --out submission.csv

It runs `{command}` on a copy of `workspace/`, with kitbox from `code/` and the networks from
`checkpoints/`. DATA has the competition's files as the workspace had them when the networks were
trained: the labelled images have to be the same. What follows a `--` goes to `kitbox ensemble`, as
in `-- --device cuda`.

## Packages

`requirements.txt` lists every package as it was installed. `run.py` uses what the kernel has, tells
which versions differ, and installs what is missing from `wheels/`. `kitbox bundle --wheels` builds
these for the system that it runs on; for another one, on a machine with internet:

    pip download --no-deps --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_x86_64 -r requirements.txt -d wheels

Leave out torch, torchvision and nvidia-*, which a kernel has for its own GPU.

## On Kaggle

Upload this folder as a data set, add it to a notebook of the competition, turn the internet off,
and run

    !python /kaggle/input/THE-BUNDLE/run.py --data /kaggle/input/{slug} --out submission.csv

## Where code is executed (DrivenData)

Put the bundle beside a `main.py` that runs

    subprocess.run([sys.executable, "bundle/run.py", "--data", "data", "--out",
                    "submission/submission.csv", "--work", tempfile.mkdtemp()], check=True)

No training images are there: pack them with `kitbox bundle --images`. `run.py` then links them and
the hidden ones into one folder, with the hidden list under the name of the workspace's test list.

## Boxes

Hidden images have no row in `boxes.csv`. Where members crop, run `kitbox data boxes detect` on the
workspace that `run.py` makes, or draw boxes in the data; `detectors/` has the trained detector.
"""


class _Manifest(Recorded):
    """What the embedding cache records of a set."""

    causes: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A packed bundle: its folder, what `ensemble` is called with, and sentences about it."""

    folder: Path
    arguments: tuple[str, ...]
    megabytes: float
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BundleOptions:
    """What else is packed: `wheels` of all packages, cached `embeddings`, labelled `images`."""

    wheels: bool = False
    embeddings: bool = False
    images: bool = False


def pack(
    submission: SubmissionFolder,
    workspace: Workspace,
    competition: Competition,
    folder: Path,
    options: BundleOptions = BundleOptions(),
) -> Generator[Progress, None, Bundle]:
    """Pack the ensemble of a submission into a new folder; yields Progress.

    Raises KitboxError for a folder that is not empty, a receipt whose plugins or checkpoints are
    not in the workspace any more, and packages that kitbox does not know.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitboxError(f"{folder} is not empty", fix="name a new folder with --out")
    recorded = receipt.load(submission.receipt)
    plugins = [_plugin(entry, workspace) for entry in recorded["plugins"]]
    checkpoints = [
        file
        for entry, named in zip(recorded["plugins"], plugins, strict=True)
        for file in _checkpoint_files(entry, named, workspace)
    ]
    matchers = [MatchSettings.parse(text) for text in recorded["way"].get("match", ())]
    requirements = pinned_requirements(plugins, matchers)
    arguments = ensemble_arguments(recorded)
    try:
        _copy_code(folder / "code")
        for done, file in enumerate(checkpoints):
            _copy(file, folder / "checkpoints" / file.relative_to(workspace.runs))
            yield Progress("pack checkpoints", done + 1, len(checkpoints), unit="files")
        _copy_workspace(workspace, submission, folder / "workspace")
        for named in plugins:
            for code in named.plugin.source_code.files.values():
                write_bytes(folder / "workspace" / code.name, code.content)
        notes = _copy_weights(plugins, workspace, folder)
        if options.embeddings:
            notes += _copy_embeddings(checkpoints, workspace, folder / "embeddings")
        if options.images:
            yield from _copy_images(workspace, competition, folder / "data")
        write_text(folder / "requirements.txt", "".join(f"{line}\n" for line in requirements))
        document = {
            "kitbox": kitbox.__version__,
            "competition": competition.name,
            "submission": submission.folder.name,
            "csv": recorded["csv"],
            "versions": recorded["versions"],
            "ensemble": arguments,
            "train_list": competition.images.train_list if options.images else None,
            "test_list": competition.images.test_list,
        }
        write_json(folder / _COMMAND, document)
        _copy(Path(bundle_script.__file__), folder / "run.py")
        write_text(folder / "README.md", _readme(competition, arguments))
    except OSError as error:
        raise cannot_write(folder, error) from error
    if options.wheels:
        yield Progress("build wheels", 0, 1, unit="runs of pip")
        build_wheels(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Bundle(
        folder=folder,
        arguments=tuple(arguments),
        megabytes=size / 1e6,
        notes=(*notes, *_notes(plugins, competition, options)),
    )


def ensemble_arguments(recorded: Mapping[str, Any]) -> list[str]:
    """Return the arguments with which `kitbox ensemble` makes the submission of a receipt."""
    plugins, way = recorded["plugins"], recorded["way"]
    arguments = [
        derivation.name_with_views(entry["name"], entry.get("views", ())) for entry in plugins
    ]
    if len({entry["weight"] for entry in plugins}) > 1:
        arguments += ["--weights", ",".join(map(_exact, (entry["weight"] for entry in plugins)))]
    if recorded["whiten"] is not None:
        arguments += ["--whiten", str(recorded["whiten"])]
    elif any("whiten" in entry for entry in plugins):
        dims = [str(entry.get("whiten", "none")) for entry in plugins]
        arguments += ["--whiten", ",".join(dims)]
    if way["combine"] != "embeddings":
        arguments += ["--combine", way["combine"]]
    if way["dims"] is not None:
        arguments += ["--dims", str(way["dims"])]
    if way["new_label"] != "threshold":
        arguments += ["--new-label", way["new_label"]]
    for name in ("rerank", "match"):
        arguments += [text for given in way.get(name, ()) for text in (f"--{name}", given)]
    for name in ("fusion", "balance"):
        arguments += [f"--{name}", way[name]] if name in way else []
    if recorded["top_k"] != recorded["competition"]["task"]["k"]:
        arguments += ["--top-k", str(recorded["top_k"])]
    if any("best" in (entry.get("which"), entry.get("scored_which")) for entry in plugins):
        arguments += ["--checkpoint", "best"]
    rule = recorded["competition"]["threshold"]
    if rule["rule"] in ("fixed", "share") or recorded["thresholds"]:
        arguments += ["--threshold", receipt.threshold_text(rule)]
    return [*arguments, "--submit"]


def _exact(number: float) -> str:
    """Return a number as text that reads back as the same number."""
    return repr(number).removesuffix(".0")


def pinned_requirements(
    plugins: Sequence[NamedPlugin], matchers: Sequence[MatchSettings] = ()
) -> list[str]:
    """Return `name==version` of every package that kitbox, plugins and matchers need, as installed.

    Packages that carry the weights of a matcher are needed without what they require. Raises
    KitboxError where kitbox is not installed by pip, or a package of it is missing.
    """
    waiting = ["kitbox", *(p.source for p in plugins if p.source not in ("kitbox", "workspace"))]
    weights = [str(named.plugin.weights) for named in plugins]
    waiting += [w.removeprefix("package:") for w in weights if w.startswith("package:")]
    waiting += [name for named in plugins for name in named.plugin.source_code.packages]
    carriers: set[str] = set()
    for settings in matchers:
        if isinstance(settings, LearnedSettings):
            from kitbox.keypoints import learned_matchers  # torch

            waiting.append("kornia")
            carriers |= {_canonical(name) for name in learned_matchers.weight_packages(settings)}
    waiting += carriers
    found: dict[str, str] = {}
    while waiting:
        name = _canonical(waiting.pop())
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise KitboxError(
                f"the package {name} is not installed, so that its version cannot be pinned",
                fix="install kitbox with pip, in the environment that trained the networks",
            ) from error
        # a local version, as 2.6+cpu, is of one build
        found[name] = distribution.version.partition("+")[0]
        needs = () if name in carriers else distribution.requires or ()
        waiting += [need for need in map(_needed, needs) if need]
    return sorted(f"{name}=={version}" for name, version in found.items() if name != "kitbox")


def build_wheels(folder: Path) -> None:
    """Build or download the wheels of a bundle's requirements, but for those of the kernel's torch.

    Raises KitboxError where pip fails.
    """
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if not _is_of_the_kernel(line.partition("==")[0])]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder / "wheels"), *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise KitboxError(
            f"pip could not get the wheels: {last}",
            fix="'kitbox bundle' without --wheels packs the rest; README.md has pip's command",
        )


def _plugin(entry: Mapping[str, Any], workspace: Workspace) -> NamedPlugin:
    """Return the plugin of a receipt's entry; raise KitboxError where it has other settings now."""
    if "imported" in entry:
        raise KitboxError(
            f"{entry['name']} is imported embeddings, which have no network for the images of a "
            "kernel",
            fix="pack a submission of plugins alone",
        )
    named = discovery.load(entry["name"], workspace)
    if named.plugin.fingerprint != entry["fingerprint"]:
        raise KitboxError(
            f"{named.name} has other settings than in the receipt; pack a submission of what it is "
            f"now: 'kitbox ensemble {named.name} --submit'"
        )
    return named


def _checkpoint_files(
    entry: dict[str, Any], named: NamedPlugin, workspace: Workspace
) -> list[Path]:
    """Return the files of the runs of a member: its networks, their keys and journals.

    Raises KitboxError for a checkpoint that is in no run.
    """
    sides = [entry]
    if entry.get("scored_checkpoint") is not None:
        sides.append(receipt.entry_of_side(entry, "holdout"))
    found: list[Path] = []
    for digest, which in dict.fromkeys((side["checkpoint"], side.get("which")) for side in sides):
        files = sorted(
            (workspace.runs / named.name).glob("*/*.safetensors"),
            key=lambda path: path.stem != which,  # a last checkpoint may be the best one, too
        )
        file = next((path for path in files if digest_of_file(path) == digest), None)
        if file is None:
            raise KitboxError(
                f"the checkpoint {digest[:12]} of {named.name} is not in "
                f"{workspace.runs / named.name}; copy it there, or train and package it again"
            )
        run = Run(file.parent)
        found += [file, *(path for path in (run.key_file, run.journal) if path.is_file())]
    return list(dict.fromkeys(found))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _copy_code(folder: Path) -> None:
    """Copy the package kitbox with its shipped plugins."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    package = Path(str(kitbox.__file__)).parent
    shutil.copytree(package, folder / "kitbox", ignore=ignored)
    shutil.copytree(
        discovery.shipped_folder(), folder / "kitbox" / "shipped", ignore=ignored,
        dirs_exist_ok=True,
    )  # fmt: skip


def _copy_workspace(workspace: Workspace, submission: SubmissionFolder, folder: Path) -> None:
    """Copy settings, decisions, boxes, plugins, and the submission with its receipt."""
    for path in (workspace.settings, workspace.decisions, workspace.boxes):
        if path.is_file():
            _copy(path, folder / path.name)
    for path in sorted(workspace.plugins.rglob("*.py")):
        _copy(path, folder / path.relative_to(workspace.root))
    for path in (submission.receipt, submission.csv):
        if path.is_file():
            _copy(path, folder / "receipt" / path.name)


def _copy_weights(plugins: Sequence[NamedPlugin], workspace: Workspace, folder: Path) -> list[str]:
    """Copy the backbone weights of plugins that are never trained; return sentences.

    A checkpoint has all weights of a trained network.
    """
    for named in plugins:
        if named.plugin.epochs:
            continue
        try:
            file = weight_source.find_in_folder(workspace.weights, named.plugin.backbone)
        except KitboxError:
            continue  # its checkpoint has them
        _copy(file, folder / "weights" / file.name)
    if workspace.boxes.is_file() and any(named.plugin.crop for named in plugins):
        if workspace.detectors.is_dir():
            shutil.copytree(workspace.detectors, folder / "detectors")
        return [
            "plugins crop to boxes.csv, which has none of hidden images: they are taken whole, "
            "unless 'kitbox data boxes detect' runs there first (README.md)"
        ]
    return []


def _copy_embeddings(checkpoints: Iterable[Path], workspace: Workspace, folder: Path) -> list[str]:
    """Copy the cached embeddings of some checkpoints; return sentences."""
    networks = [path for path in checkpoints if path.suffix == ".safetensors"]
    digests = {digest_of_file(path) for path in networks}
    count = 0
    for manifest in sorted(workspace.embeddings.glob("[!.]*/manifest.json")):
        causes = check(_Manifest, read_json(manifest), where=str(manifest)).causes
        if causes.get("checkpoint") in digests:
            shutil.copytree(manifest.parent, folder / manifest.parent.name)
            count += 1
    return [f"{count} cached sets of embeddings are packed; they serve at an equal precision only"]


def _copy_images(
    workspace: Workspace, competition: Competition, folder: Path
) -> Generator[Progress, None, None]:
    """Copy the labelled images and their list."""
    images, root = competition.images, competition.images.root
    labelled: LabelledImages = lists.read(
        competition, workspace.boxes, decision_file.load(workspace.decisions)
    ).labelled
    for name in (images.train_list, images.boxes):
        if name is not None:
            inside = (root / name).resolve()
            if not inside.is_relative_to(root):
                raise KitboxError(
                    f"{name} is not in the data folder {root}, so --images cannot pack it"
                )
            _copy(inside, folder / inside.relative_to(root))
    for done, path in enumerate(labelled.paths, 1):
        try:
            inside = path.relative_to(root)
        except ValueError as error:
            raise KitboxError(
                f"{path} is not in the data folder {root}, so --images cannot pack it"
            ) from error
        _copy(path, folder / inside)
        if done % 100 == 0 or done == len(labelled.paths):
            yield Progress("pack images", done, len(labelled.paths))


def _notes(
    plugins: Sequence[NamedPlugin], competition: Competition, options: BundleOptions
) -> list[str]:
    notes = []
    if not options.wheels:
        notes.append("wheels are not packed; --wheels gets them, or pip's command in README.md")
    if competition.submission.sent_as == "code" and not options.images:
        notes.append(
            "code that runs at the organisers' sees no training images; --images packs them"
        )
    if options.images and competition.images.test_list is None:
        notes.append(
            "kitbox.toml names no images.test_list, under which the kernel's list of hidden images "
            "would be read; name one and pack again if it has one"
        )
    packages = [named.source for named in plugins if named.source not in ("kitbox", "workspace")]
    if packages:
        notes.append(
            f"plugins of the package {packages[0]}{more(len(packages) - 1)} need its wheel"
        )
    return notes


def _readme(competition: Competition, arguments: Sequence[str]) -> str:
    return _README.format(
        competition=competition.name,
        slug=competition.submission.kaggle or competition.name,
        command=f"kitbox ensemble {' '.join(arguments)}",
    )


def _canonical(name: str) -> str:
    """Return a package's name as the index has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(requirement: str) -> str | None:
    """Return the name of a required package, or None where this system does not need it."""
    from packaging.requirements import Requirement

    parsed = Requirement(requirement)
    if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
        return None
    return parsed.name


def _is_of_the_kernel(name: str) -> bool:
    return name in OF_THE_KERNEL or name.startswith(_NVIDIA)
