"""Kinds of files for fuzz.py: good ones, and what reads each as the commands do."""

import contextlib
import functools
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save as to_safetensors
from safetensors.numpy import save_file

from kitbox.boxes import box_import, box_lists
from kitbox.catalogue import catalogue_source, confirmations
from kitbox.competition import boxes, lists, protocol, pseudo_labels, settings
from kitbox.competition.settings import Competition
from kitbox.decisions import decision_file
from kitbox.embedding import cache, imported_embeddings, vector_files
from kitbox.ensemble.recipe import Recipe
from kitbox.errors import KitboxError
from kitbox.formats import lint, lint_findings
from kitbox.images import image_stats, preprocessing
from kitbox.network.checkpoint import read_origin
from kitbox.records import Embeddings, ImageSet, LabelledImages, Search, strings
from kitbox.submission import bundle, leaderboard, ledger, receipt
from kitbox.training import runs
from kitbox.training.runs import Run, RunKey
from kitbox.weights import weight_file
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
PHOTOGRAPHS = ("a.png", "b.png", "c.png", "d.png")
TESTED = ("x.png", "y.png", "z.png")


@dataclass(frozen=True)
class Target:
    """A kind of file: good ones, what lies beside them, and what reads one from its path."""

    path: str
    goods: tuple[bytes, ...]
    read: Callable[[Workspace, Path], Any]
    beside: dict[str, bytes] = field(default_factory=dict)
    # of an archive, whose members are changed too
    zipped: bool = False
    # files that reading makes
    makes: tuple[str, ...] = ()


@functools.cache
def targets() -> dict[str, Target]:
    """Return the kinds of files by their names."""
    return _records() | _tables() | _archives_and_images()


def _records() -> dict[str, Target]:
    """Return what kitbox and people write as JSON and TOML."""
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
    vectors = io.BytesIO()
    np.save(vectors, np.eye(2, 3, dtype=np.float32))
    names, causes = b'["a.png", "b.png"]', {"plugin": "0" * 64, "images": "1" * 64}
    cached = {
        "recipe": cache.RECIPE_VERSION, "causes": causes, "shape": [2, 3],
        "vectors_sha256": _sha256(vectors.getvalue()),
        "lists_sha256": {"image_ids.json": _sha256(names)},
    }  # fmt: skip
    folder = f".kitbox/embeddings/{cache.key(causes)}"
    return {
        "receipt": Target("submissions/a/receipt.json", (_json(recorded),), _read_receipt),
        "ledger": Target(
            "submissions/ledger.jsonl", (_lines([event | head for event in events]),), _read_ledger,
            makes=(".kitbox",),
        ),
        "run": Target(f"{run}/run.json", (_json(asdict(key) | {"settings": plugin}),), _read_run),
        "journal": Target(f"{run}/journal.jsonl", (_lines(lines),), _read_journal),
        "manifest": Target("embeddings/a/manifest.json", (_json(manifest),), _read_manifest),
        "cached": Target(
            f"{folder}/manifest.json", (_json(cached),), _read_cached,
            {f"{folder}/vectors.npy": vectors.getvalue(), f"{folder}/image_ids.json": names},
        ),
        "checkpoint": Target(
            "origin.json", (_json(origin),), _read_checkpoint, makes=("origin.safetensors",)
        ),
        "recipe": Target("recipe.toml", (recorded["recipe"].encode(),), _read_recipe),
        "settings": Target("kitbox.toml", (SETTINGS.encode(),), _read_settings),
    }  # fmt: skip


def _tables() -> dict[str, Target]:
    """Return lists and boxes: CSV, and the JSON and XML of other programs."""
    rows = [("a.png", "Ahab", "g", "2024-05-01"), ("b.png", "Boo, Jr", "h", "2024-05-01 12:30"),
            ("c.png", "Ahab", "g", "01.06.2024"), ("d.png", "new_whale", "h", "")]  # fmt: skip
    columns = ("Image", "Id", "pod", "time")
    images = {f"train/{name}": _image(7 * n) for n, name in enumerate(PHOTOGRAPHS)}
    images |= {f"test/{name}": _image(50 + n) for n, name in enumerate(TESTED)}
    photographs = {name.removeprefix("train/"): data for name, data in images.items()}
    identified = [("image", "verdict", "individual", "confirmed", "date"),
                  ("x.png", "", "Ahab", "yes", "2024-05-01"), ("y.png", "new", "", "new 1", ""),
                  ("z.png", "", "Boo", "Boo", "2024-02-01")]  # fmt: skip
    decided = [("decision", "subject", "value", "note", "by", "time"),
               ("label", "a.png", "Boo, Jr", "", "", ""), ("merge", "Ahab", "Boo, Jr", "", "", ""),
               ("box", "b.png", "1 2 30 20", "", "", ""), ("drop", "c.png", "", "x", "", ""),
               ("same", "x.png", "y.png", "", "jo", "2026-11-30T12:00:00Z"),
               ("new", "z.png", "", "", "jo", "2026-11-30T12:00:00Z")]  # fmt: skip
    boxed = [
        ("image", "x0", "y0", "x1", "y1", "confidence", "source"),
        ("a.png", 1, 2, 30, 20, 0.5, "detector"),
        ("b.png", 0, 0, 9.5, 9, "", "jo"),
    ]
    pseudo = [
        ("image", "label", "confidence", "gap", "round", "from", "on", "holdout"),
        ("x.png", "Ahab", 0.9, 0.5, 1, "a+b", "holdout", "0" * 12),
    ]
    embedded = [("image", "f0", "f1", "f2"), *((n, 0.5, -0.25, 1) for n in PHOTOGRAPHS)]
    printed = [("image", "embedding"), *((n, "[0.5, -0.25, 1.0]") for n in PHOTOGRAPHS)]
    pairs = [
        ("row_id", "query_image", "gallery_image"),
        (1, "x.png", "y.png"),
        (2, "y.png", "z.png"),
    ]
    return {
        "list": Target(
            "train.csv",
            (_csv([columns, *rows]), _csv([columns, *rows], "\t"),
             b"\xef\xbb\xbf" + _csv([columns, *rows], ";").replace(b"\n", b"\r\n")),
            _read_list, images,
        ),
        "pairs": Target("pairs.csv", (_csv(pairs),), _read_pairs),
        "catalogue": Target("list.csv", (_csv([("photo", "individual", "side", "date"), *rows]),),
                            _read_catalogue, photographs),
        "identified": Target("identified.csv", (_csv(identified),), _read_identified),
        "decisions": Target("decisions.csv", (_csv(decided),), _read_decisions),
        "pseudo": Target("pseudo.csv", (_csv(pseudo),), _read_pseudo),
        "boxes": Target("boxes.csv", (_csv(boxed),), _read_boxes),
        "box_lists": Target("boxes_of_others", _box_lists(), _read_box_list, photographs),
        "submission": Target("submission.csv", tuple(_SUBMISSIONS), _read_submission),
        "vector_tables": Target("vectors.csv", (_csv(embedded), _csv(printed)), _read_vectors,
                                makes=_IMPORTED),
    }  # fmt: skip


def _archives_and_images() -> dict[str, Target]:
    """Return files of bytes: workbooks, arrays, weights and photographs."""
    import openpyxl
    import pillow_heif
    import pyarrow
    import torch
    from pyarrow import parquet

    pillow_heif.register_heif_opener()
    book, workbook = openpyxl.Workbook(), io.BytesIO()
    for row in [("Image", "Id"), ("a.png", 7), ("b.png", "Ahab"), ("c.png", 1.5), ("d.png", True)]:
        book.active.append(row)
    book.save(workbook)
    arrays = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    npy, turned, npz, packed = (io.BytesIO() for _ in range(4))
    np.save(npy, arrays)
    np.save(turned, np.asfortranarray(arrays.astype(np.float64)))
    np.savez(npz, ids=np.array(PHOTOGRAPHS), embeddings=arrays)
    np.savez_compressed(packed, names=np.array(PHOTOGRAPHS), vectors=arrays, labels=np.arange(4))
    table, columns = io.BytesIO(), io.BytesIO()
    lists_of = pyarrow.table({"image": list(PHOTOGRAPHS), "embedding": arrays.tolist()})
    parquet.write_table(lists_of, table)
    flat = {"image": list(PHOTOGRAPHS)} | {f"f{n}": arrays[:, n] for n in range(3)}
    parquet.write_table(pyarrow.table(flat), columns, compression="gzip")
    state = {"conv.weight": torch.ones(2, 3), "conv.bias": torch.zeros(2)}
    saved, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state, "epoch": 1}, saved)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    named = {"vectors_ids.txt": "\n".join(PHOTOGRAPHS).encode()}
    train = {f"train/{name}": b"" for name in PHOTOGRAPHS} | {"test/x.png": b""}
    tensors = to_safetensors({name: value.numpy() for name, value in state.items()})
    photographs = tuple(
        _image(5, kind, **options)
        for kind, options in (
            ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}), ("WEBP", {"lossless": True}),
            ("GIF", {}), ("HEIF", {}), ("BMP", {}),
        )
    )  # fmt: skip
    return {
        "workbook": Target("train.xlsx", (workbook.getvalue(),), _read_workbook, train, True),
        "npy": Target("vectors.npy", (npy.getvalue(), turned.getvalue()), _read_vectors, named,
                      makes=_IMPORTED),
        "npz": Target("vectors.npz", (npz.getvalue(), packed.getvalue()), _read_vectors, {}, True,
                      _IMPORTED),
        "parquet": Target("vectors.parquet", (table.getvalue(), columns.getvalue()), _read_vectors,
                          makes=_IMPORTED),
        "safetensors": Target("weights.safetensors", (tensors,), _read_weights),
        "torch": Target("weights.pth", (saved.getvalue(), old.getvalue()), _read_weights, {}, True),
        "photograph": Target("photograph.jpg", photographs, _read_photograph),
    }  # fmt: skip


_IMPORTED = ("embeddings/", ".kitbox/")
_SUBMISSIONS = (
    b"Image,Id\nx.png,Ahab Boo new_whale\ny.png,Boo new_whale Ahab\nz.png,Ahab Boo new_whale\n",
    b"query,image,score\nx.png,a.png,0.9\nx.png,b.png,0.8\ny.png,b.png,1\ny.png,c.png,0\n"
    b"z.png,d.png,0.4\nz.png,a.png,0.3\n",
    b"Image,Id\nx.png,Ahab 0.5\ny.png,\nz.png,Boo -1e-3\n",
    b"x.png,a.png,y.png\ny.png,x.png,b.png\nz.png,a.png,b.png\n",
)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def _lines(values: list[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _csv(rows: list[tuple[Any, ...]], separator: str = ",") -> bytes:
    import csv

    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _sha256(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _image(seed: int, kind: str = "PNG", **options: Any) -> bytes:
    """Return a photograph of 48 × 32 pixels, with EXIF where its format has it."""
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((48, 32), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x0132] = 6, "2024:05:01 12:30:00"
    if kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        options["exif"] = exif
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def _box_lists() -> tuple[bytes, ...]:
    """Return boxes as other programs write them."""
    names = list(PHOTOGRAPHS)
    coco = {
        "images": [
            {"id": n, "file_name": name, "width": 48, "height": 32} for n, name in enumerate(names)
        ],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 30, 20], "category_id": 1}],
        "categories": [{"id": 1, "name": "whale"}],
    }
    detector = {
        "info": {"format_version": "1.3", "detector": "md_v5a"},
        "detection_categories": {"1": "animal", "2": "person"},
        "images": [
            {"file": names[0], "max_detection_conf": 0.9,
             "detections": [{"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.5, 0.6]}]},
            {"file": names[1], "failure": "Failure image access", "detections": None},
        ],
    }  # fmt: skip
    shape = {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 20}
    via = {
        f"{names[0]}9": {
            "filename": names[0],
            "size": 9,
            "regions": [{"shape_attributes": shape, "region_attributes": {}}],
        }
    }
    voc = (
        "<annotation><filename>a.png</filename><size><width>48</width><height>32</height></size>"
        "<object><name>whale</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>"
        "<ymax>20</ymax></bndbox></object></annotation>"
    )
    return (
        *(_json(coco), _json(detector), _json(via), voc.encode()),
        _json([{"image_id": "b.png", "bbox": [1, 2, 30, 20], "score": 0.5}]),
        _csv([("image", "xmin", "ymin", "xmax", "ymax", "label"), (names[0], 1.5, 2, 30, 20, "s")]),
        _csv([("file_name", "x", "y", "width", "height"), (names[0], 1, 2, 30, 20)]),
        _csv([("path", "identity", "bbox"), (names[0], "I1", "[20.0, 10.0, 20.0, 15.0]")]),
        _csv([("filename", "region_count", "region_shape_attributes"),
              (names[0], 1, json.dumps(shape))]),
        _csv([(names[0], 1, 2, 30, 20, "seal"), (names[1], "", "", "", "", "")]),
    )  # fmt: skip


@functools.cache
def _listed() -> lists.ListedImages:
    """Return four labelled images and three test images, whose files need not be there."""
    labels = strings(["Ahab", "Boo", "Ahab", "new_whale"])
    labelled = LabelledImages(strings(list(PHOTOGRAPHS)), tuple(map(Path, PHOTOGRAPHS)), labels)
    test = ImageSet(strings(list(TESTED)), tuple(map(Path, TESTED)))
    return lists.ListedImages(labelled=labelled, test=test)


def _competition(root: Path = Path(), **changed: dict[str, Any]) -> Competition:
    given: dict[str, Any] = {
        "name": "whales",
        "images": {"root": root, "train_folder": "train", "test_folder": "test",
                   "unknown_label": "new_whale"},
        "task": {"answers": "labels", "gallery": "train", "k": 5},
        "submission": {"header": ("Image", "Id"), "layout": "joined"},
        "holdout": {}, "threshold": {},
    }  # fmt: skip
    for name, values in changed.items():
        given[name] = values if name == "submission" or name == "task" else given[name] | values
    return Competition.model_validate(given)


@functools.cache
def _layouts() -> tuple[Competition, ...]:
    """Return a competition for each of the submissions."""
    return (
        _competition(),
        _competition(
            task={"answers": "images", "gallery": "train+test", "k": 2},
            submission={"header": ("query", "image", "score"), "layout": "long", "scores": "unit"},
        ),
        _competition(
            images={"unknown_label": None},
            task={"answers": "label", "gallery": "train", "k": 1, "metric": "gap"},
            submission={"header": ("Image", "Id"), "layout": "scored"},
        ),
        _competition(
            task={"answers": "images", "gallery": "train+test", "k": 2},
            submission={"header": (), "layout": "columns"},
        ),
    )


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
    imported_embeddings.load_record("a", workspace).as_json()


def _read_cached(workspace: Workspace, path: Path) -> None:
    found = cache.load(workspace, path.parent.name)
    assert found is not None
    assert found.vectors.tolist() == np.eye(2, 3).tolist()
    list(cache.causes_like(workspace, {"plugin": "0" * 64}))
    cache.add_known_rows(workspace, {"plugin": "0" * 64}, ["a"], {})


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


def _read_list(_workspace: Workspace, path: Path, name: str = "train.csv") -> None:
    times = {} if name != "train.csv" else {"group_column": "pod", "time_column": "time"}
    competition = _competition(path.parent, images={"train_list": name, "root": path.parent})
    for finding in lists.survey(competition).findings:
        _one_line(str(finding))
    lists.read(competition)
    if times:
        lists.survey(_competition(path.parent, images={"train_list": name, **times}))


def _read_workbook(workspace: Workspace, path: Path) -> None:
    _read_list(workspace, path, "train.xlsx")


def _read_pairs(_workspace: Workspace, path: Path) -> None:
    competition = _competition(
        path.parent,
        task={"answers": "pairs", "gallery": "test", "pairs": "pairs.csv"},
        submission={"header": ("row_id", "similarity"), "layout": "pairs"},
        images={"unknown_label": None},
    )
    names = strings(list(TESTED))
    protocol.submitted_pairs((Search("", names, names, names),), competition)


def _read_catalogue(_workspace: Workspace, path: Path) -> None:
    for finding in catalogue_source.read(path).findings:
        _one_line(str(finding))
    catalogue_source.read_photographs(path)


def _read_identified(_workspace: Workspace, path: Path) -> None:
    confirmations.read(path, ["Ahab", "Boo"])
    confirmations.read(path, ["Ahab", "Boo"], new_names=True)


def _read_decisions(_workspace: Workspace, path: Path) -> None:
    lists.apply_decisions(_listed(), decision_file.load(path))


def _read_pseudo(_workspace: Workspace, path: Path) -> None:
    pseudo_labels.load(path)


def _read_boxes(_workspace: Workspace, path: Path) -> None:
    found = boxes.read_with_animals(_competition().images, path)
    assert all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in found.values())


def _read_box_list(_workspace: Workspace, path: Path) -> None:
    """Import boxes as 'kitbox data boxes import' does."""
    known = _listed()
    files = tuple(path.parent / name for name in PHOTOGRAPHS)
    labelled = LabelledImages(known.labelled.image_ids, files, known.labelled.labels)
    if path.read_bytes().startswith(b"<"):  # the suffix tells XML
        box_lists._read_voc(path.parent, [path])
        return
    steps = box_import.import_boxes(path, lists.ListedImages(labelled=labelled), source="others",
                                    broken="drop")  # fmt: skip
    while True:
        try:
            next(steps)
        except StopIteration as done:
            for note in done.value.findings:
                _one_line(str(note))
            return


def _read_submission(_workspace: Workspace, path: Path) -> None:
    """Lint a file by every layout; its findings are sentences."""
    listed, found = _listed(), []
    for competition in _layouts():
        findings = lint.lint_file(path, competition, listed)
        for finding in findings:
            _one_line(str(finding))
        found.append(lint_findings.errors(findings))
    if all(found):
        raise KitboxError("it has errors in every layout")


def _read_vectors(workspace: Workspace, path: Path) -> None:
    """Import vectors as 'kitbox embeddings import' does."""
    known = imported_embeddings.NamedImages((_listed().labelled,), Path())
    found = vector_files.read(path)
    steps = imported_embeddings.save(
        "a", [found], known, {"labelled": strings(list(PHOTOGRAPHS))}, "nothing", frozenset(),
        workspace,
    )  # fmt: skip
    for _ in steps:
        pass
    embeddings: Embeddings = imported_embeddings.load("a", workspace).of(_listed().labelled)
    assert np.allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-3)


def _read_weights(_workspace: Workspace, path: Path) -> None:
    assert weight_file.networks_in(path)
    if path.suffix == ".safetensors":
        with contextlib.suppress(KitboxError):  # they are no checkpoint of kitbox
            read_origin(path)


def _read_photograph(_workspace: Workspace, path: Path) -> None:
    """Decode a photograph for the check, for a training and for a page."""
    faults = []
    for read in (
        image_stats.summarise,
        partial(preprocessing.read, height_width=(16, 24)),
        partial(preprocessing.read, height_width=(32, 32), box=(1.0, 1.0, 9.0, 9.0)),
        preprocessing.upright_size,
    ):
        try:
            read(path)
        except KitboxError as error:
            _one_line(str(error))
            faults.append(error)
    if faults:
        raise faults[0]


def _one_line(sentence: str) -> None:
    assert "\n" not in sentence.strip(), f"several lines: {sentence[:80]!r}"
    assert len(sentence) < 2000, f"{len(sentence)} characters: {sentence[:80]!r}"
