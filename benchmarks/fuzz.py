"""Files of another form: each is read, or refused in one sentence, and nothing else happens.

    python benchmarks/fuzz.py --seed 7 --inputs 5000 [receipt ledger run journal ...]

Takes a file that kitbox wrote, changes it at random (bytes, lines, JSON values, TOML values), and
calls what reads it. Prints, for each kind of file, how many inputs were read and refused, the
longest time of one, and the first of each kind of exception that is no KitboxError: a fault. Input
n of a seed is the same on every machine; `--first N` begins at another one.
"""

import argparse
import json
import random
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from kitbox.boxes import box_json
from kitbox.competition import settings
from kitbox.embedding import imported_embeddings
from kitbox.ensemble.recipe import Recipe
from kitbox.errors import KitboxError
from kitbox.network.checkpoint import read_origin
from kitbox.submission import bundle, leaderboard, ledger, receipt
from kitbox.training import runs
from kitbox.training.runs import Run, RunKey
from kitbox.workspace import Workspace

SETTINGS = """
name = "whales"
[images]
root = "."
train_list = "train.csv"
train_folder = "train"
test_folder = "test"
image_column = "Image"
label_column = "Id"
unknown_label = "new_whale"
broken = "drop"
[task]
answers = "labels"
gallery = "train"
k = 5
metric = "label_map"
[submission]
layout = "joined"
header = ["Image", "Id"]
kaggle = "whales"
[holdout]
share = 0.2
unknown_share = 0.27
folds = 2
[threshold]
rule = "share"
share = 0.165
"""
RECEIPT = Path(__file__).resolve().parents[1] / "tests" / "submission" / "receipt.json"
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 0.5, -0.5, 1e308, 10**18, 10**400, 2**63),
    *("", "x", "../../x", "/etc/passwd", "..", "a/b", "a\\b", "C:x", "\0", "\n", "\ud800", "é"),
    *("NaN", "1e400", "hf-hub:timm/x", "hub", "x" * 300, "=1+1", "2026-01-31", "f" * 64),
    *([], {}, [[]], [None], {"": None}, {"a": {"a": {}}}, [0] * 40),
)
TEXTS = (
    *(b"", b"\0", b"\0" * 64, b"{", b"}", b"[", b"]", b'"', b",", b"\n", b"\r\n", b"null", b"NaN"),
    *(b"1e400", b"-Infinity", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe", b"\xef\xbb\xbf", b"'"),
    *(b"9" * 5000, b"\\ud800", b"=", b"[[", b'"""', b"\x1b[31m", "é".encode(), b"1979-05-27"),
)


@dataclass(frozen=True)
class Target:
    """A kind of file: a good one, and what reads it from its path."""

    path: str
    good: bytes
    read: Callable[[Workspace, Path], Any]


def targets() -> dict[str, Target]:
    """Return the kinds of files by their names."""
    key = RunKey(
        plugin="a_64", fingerprint="0" * 64, data="1" * 64, weights="hub", on="holdout", seed=0,
        precision="32",
    )  # fmt: skip
    recorded = json.loads(RECEIPT.read_text("utf-8"))
    run = ".kitbox/runs/a_64/0123456789ab"
    plugin = recorded["plugins"][0]["settings"]
    lines = [
        {"event": "score", "epoch": 0, "best": False, "scores": recorded["scores"]},
        {"event": "epoch", "epoch": 1, "loss": 1.5, "losses": {"arcface": 1.5}, "seconds": 2.0,
         "learning_rate": 0.1, "images_per_second": 9.5, "figures": {"spread": 0.5}},
        {"event": "warning", "epoch": 1, "text": "it has collapsed"},
        {"event": "finished", "epoch": 1},
    ]  # fmt: skip
    manifest = {"imported": True, "digest": "2" * 64, "images": 2, "dim": 3, "shape": [2, 3],
                "learned_from": "nothing", "files": {"a.npy": "3" * 64}}  # fmt: skip
    origin = {"plugin": "a_64", "settings": plugin, "fingerprint": "0" * 64, "labels": ["a", "b"],
              "epoch": 1, "on": "holdout", "data": "1" * 64, "weights": "hub", "seed": 0,
              "precision": "32"}  # fmt: skip
    head = {"at": "2026-01-31T12:00:00+00:00", "submission": "2026-01-31_a_11111111"}
    events = [
        {"what": "made", **ledger.receipt_fields(recorded)},
        {"what": "sending", "sha256": "1" * 64, "competition": "x", "description": "a"},
        {"what": "sent", "ref": 7},
        {"what": "scored", "public": 0.5, "private": None, "source": "kaggle", "ref": 7},
        {"what": "refused", "why": "x", "ref": 7},
        {"what": "failed", "why": "x"},
    ]
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}],
        "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4], "category_id": 1}],
        "categories": [{"id": 1, "name": "whale"}],
    }
    return {
        "receipt": Target("submissions/a/receipt.json", _json(recorded), _read_receipt),
        "ledger": Target(
            "submissions/ledger.jsonl", _lines([event | head for event in events]), _read_ledger
        ),
        "run": Target(f"{run}/run.json", _json(asdict(key) | {"settings": plugin}), _read_run),
        "journal": Target(f"{run}/journal.jsonl", _lines(lines), _read_journal),
        "manifest": Target("embeddings/a/manifest.json", _json(manifest), _read_manifest),
        "checkpoint": Target("origin.json", _json(origin), _read_checkpoint),
        "recipe": Target("recipe.toml", recorded["recipe"].encode(), _read_recipe),
        "settings": Target("kitbox.toml", SETTINGS.encode(), _read_settings),
        "boxes": Target("boxes.json", _json(coco), lambda _, path: box_json.read(path)),
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _lines(values: list[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _read_receipt(workspace: Workspace, path: Path) -> None:
    """Read a receipt as the leaderboard, the lint, bundles, pages and reproductions do."""
    leaderboard.load(workspace)
    leaderboard.sent_digests(workspace)
    found = receipt.load(path)
    receipt.recipe_of(found)
    bundle.ensemble_arguments(found)
    for entry in found["plugins"]:
        for side in ("holdout", "all"):
            receipt.entry_of_side(entry, side)
        if "imported" not in entry:
            receipt.recorded_plugin(entry)


def _read_ledger(workspace: Workspace, path: Path) -> None:
    found = leaderboard.load(workspace)
    for status in found.values():
        json.dumps(status.as_json(), allow_nan=False)
        assert (workspace.submissions / status.submission).parent == workspace.submissions
    leaderboard.measure_agreement(leaderboard.score_pairs(found.values(), "map_at_20"))
    if not found or ledger.load(workspace).damaged:
        raise KitboxError(f"{path} has damaged lines")


def _read_run(_workspace: Workspace, path: Path) -> None:
    run = Run(path.parent)
    runs.load_key(run)
    assert run.init_from is None or isinstance(run.init_from, Path)


def _read_journal(_workspace: Workspace, path: Path) -> None:
    from kitbox.training.sweep import pace

    pace(Run(path.parent))
    assert Run(path.parent).finished in (True, False)


def _read_manifest(workspace: Workspace, _path: Path) -> None:
    imported_embeddings.load("a", workspace).as_json()


def _read_checkpoint(_workspace: Workspace, path: Path) -> None:
    """Read a checkpoint with the JSON of a file as its metadata."""
    file = path.with_suffix(".safetensors")
    try:
        text = path.read_bytes().decode("utf-8")
        save_file({"a": np.zeros(1, np.float32)}, file, metadata={"kitbox": text})
    except (UnicodeDecodeError, ValueError) as error:
        raise KitboxError("no metadata of safetensors") from error
    assert read_origin(file).learned_labels is not None


def _read_recipe(_workspace: Workspace, path: Path) -> None:
    Recipe.read(path)


def _read_settings(workspace: Workspace, _path: Path) -> None:
    settings.load(workspace)


def inputs(target: Target, seed: int, first: int, count: int) -> Iterator[bytes]:
    """Yield changed files; a number gives the same one, whatever comes before it."""
    for number in range(first, first + count):
        chance = random.Random(f"{seed} {number}")
        data = target.good
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            data = chance.choice(CHANGES)(data, chance)
        yield data


def _changed_bytes(data: bytes, chance: random.Random) -> bytes:
    start, size = chance.randint(0, len(data)), chance.choice((0, 0, 1, 1, 2, 20, len(data)))
    return data[:start] + chance.choice(TEXTS) + data[start + size :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _changed_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[place] = chance.choice((b"", lines[other], lines[place] + lines[other], b"\0\0"))
    return b"\n".join(lines)


def _changed_value(data: bytes, chance: random.Random) -> bytes:
    """Change a value of JSON, of a line of JSON, or of a line of TOML."""
    lines = data.split(b"\n")
    for text, put in (
        (data, lambda new: new),
        (lines[(place := chance.randrange(len(lines)))], lambda new: _with(lines, place, new)),
    ):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        try:
            return put(json.dumps(_mutated(value, chance)).encode())
        except RecursionError:
            return data
    name, equals, _ = lines[place].partition(b"=")
    if equals:
        odd = json.dumps(chance.choice(ODD)).encode()
        odd = chance.choice(
            (odd, b"1e400", b"nan", b"inf", b"[" * 3000, b"1979-05-27", b"0x1", b"")
        )
        return _with(lines, place, name + b"= " + odd)
    return data


def _with(lines: list[bytes], place: int, line: bytes) -> bytes:
    return b"\n".join([*lines[:place], line, *lines[place + 1 :]])


def _mutated(value: Any, chance: random.Random) -> Any:
    """Return a JSON value that is another at one place."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if (
        isinstance(value, list)
    ) else []  # fmt: skip
    if not inside or chance.random() < 0.1:
        return chance.choice(ODD)
    key, inner = chance.choice(inside)
    changed = dict(inside) if isinstance(value, dict) else list(value)
    match chance.randrange(8):
        case 0:
            del changed[key]
        case 1:
            changed[key] = chance.choice(ODD)
        case 2 if isinstance(changed, dict):
            changed[str(chance.choice(ODD))] = changed.pop(key)
        case 3 if isinstance(changed, list):
            changed += [inner] * chance.choice((1, 50))
        case _:
            changed[key] = _mutated(inner, chance)
    return changed


CHANGES = (_changed_bytes, _cut, _flipped, _changed_lines, *([_changed_value] * 4))


def run(target: Target, data: bytes, folder: Path) -> str:
    """Read one input; return "read", "refused", or the name and place of a fault."""
    path = folder / target.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    before = set(folder.rglob("*"))
    try:
        target.read(Workspace(folder), path)
        answer = "read"
    except KitboxError as error:
        sentence = str(error)
        sentence.encode("utf-8")
        answer = "refused" if "\n" not in sentence.strip() else "a sentence of several lines"
    except Exception as error:  # every other one is a fault, whatever it is
        frame = traceback.extract_tb(error.__traceback__)[-1]
        answer = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: {error}"
    own = {path.with_suffix(".safetensors"), folder / ".kitbox", folder / ".kitbox" / "ledger.lock"}
    beside = set(folder.rglob("*")) - before - own
    return f"it wrote {sorted(beside)[0]}" if beside else answer


def fuzz(name: str, seed: int, first: int, count: int, folder: Path) -> dict[str, int]:
    """Print what happened to the inputs of a kind of file; return the faults."""
    target, found, longest = targets()[name], Counter[str](), 0.0
    if (good := run(target, target.good, folder)) != "read":
        raise SystemExit(f"{name}: the good file is not read: {good}")
    faults: dict[str, int] = {}
    for number, data in enumerate(inputs(target, seed, first, count), first):
        began = time.perf_counter()
        answer = run(target, data, folder)
        longest = max(longest, time.perf_counter() - began)
        kind = answer if answer in ("read", "refused") else answer.partition(": ")[0]
        found[kind] += 1
        if kind not in ("read", "refused") and kind not in faults:
            faults[kind] = number
            print(f"  {name}, input {number}: {answer[:200]}")
    shown = ", ".join(f"{many} {kind}" for kind, many in found.most_common())
    print(f"{name}: {shown}; {longest:.3f} s at most")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(targets()))
    given = parser.parse_args()
    kinds = [name for name in targets() if not given.kinds or name in given.kinds]
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(kinds):
            own = Path(folder) / str(number)
            faults += len(fuzz(name, given.seed, given.first, given.inputs, own))
    if faults:
        raise SystemExit(f"{faults} faults")


if __name__ == "__main__":
    main()
