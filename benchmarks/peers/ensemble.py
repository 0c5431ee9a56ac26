"""A cached ensemble with its submission: kitbox against loading, `faiss.knn` and writing alone.

    python benchmarks/peers/ensemble.py [--gallery 25000] [--queries 8000] [--folder DIR]

Draws a competition of tiny images, five of an individual, and the embeddings of two networks, which
it imports into a workspace; a folder that was given is kept and used again. Then it compares whole
processes that find five individuals for each query: `kitbox ensemble a b --submit`; the bare work,
which loads the vectors, joins them, searches with `faiss.knn` and writes the CSV; and the bare work
with the search of the holdout, whose score `--submit` puts into the receipt. How many times each
takes what the bare work takes is printed last.
"""

import argparse
import csv
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import rounds

A_LABEL = 5  # images of an individual
K = 5  # individuals in an answer
NEIGHBOURS = 100  # photographs that the bare work looks at to find them
MEMBERS = ("a", "b")


def png(number: int) -> bytes:
    """Return a grey image of 8x8 pixels that differs from that of any other number."""
    import numpy as np

    pixels = np.random.default_rng([1, number]).integers(0, 256, (8, 8), dtype=np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def draw(folder: Path, given: argparse.Namespace) -> None:
    """Write the images, the lists, the vectors of both networks, and the workspace."""
    import numpy as np

    data, counts = folder / "data", (given.gallery, given.queries)
    names: list[list[str]] = []
    for side, count in zip(("train", "test"), counts, strict=True):
        (data / side).mkdir(parents=True)
        first = sum(map(len, names))
        names.append([f"{number:08x}.png" for number in range(first, first + count)])
        for number, name in enumerate(names[-1], first):
            (data / side / name).write_bytes(png(number))
    generator = np.random.default_rng(0)
    of_label = np.concatenate(
        [
            np.arange(given.gallery) // A_LABEL,
            generator.integers(0, given.gallery // A_LABEL, given.queries),
        ]
    )
    with (data / "train.csv").open("w", newline="") as file:
        labels = [f"w_{number:07x}" for number in of_label[: given.gallery]]
        csv.writer(file).writerows([("Image", "Id"), *zip(names[0], labels, strict=True)])
    with (data / "sample_submission.csv").open("w", newline="") as file:
        answer = " ".join(labels[: K * A_LABEL : A_LABEL])
        csv.writer(file).writerows([("Image", "Id"), *((name, answer) for name in names[1])])
    for member in MEMBERS:
        centers = generator.standard_normal((given.gallery // A_LABEL + 1, given.dim))
        noise = generator.standard_normal((sum(counts), given.dim))
        np.savez(
            folder / f"{member}.npz",
            ids=np.array([*names[0], *names[1]]),
            vectors=(centers[of_label] + 1.5 * noise).astype(np.float32),
        )
    kitbox = [sys.executable, "-m", "kitbox"]
    run = {"check": True, "stdout": subprocess.DEVNULL}
    root = str(folder / "w")
    subprocess.run([*kitbox, "init", root, "--preset", "humpback", "--data", str(data)], **run)
    for member in MEMBERS:
        file = str(folder / f"{member}.npz")
        subprocess.run(
            [*kitbox, *("embeddings", "import", file, "--name", member, "--workspace", root),
             *("--learned-from", "nothing")], **run,
        )  # fmt: skip


def bare(folder: Path, holdout: bool) -> None:
    """Load, join, search and write, without kitbox."""
    import json

    import faiss
    import numpy as np

    blocks = [np.load(folder / f"w/embeddings/{member}/vectors.npy") for member in MEMBERS]
    joined = np.concatenate(blocks, axis=1) * np.float32(len(MEMBERS) ** -0.5)
    ids = json.loads((folder / f"w/embeddings/{MEMBERS[0]}/image_ids.json").read_text())
    with (folder / "data/train.csv").open() as file:
        label_of = dict(list(csv.reader(file))[1:])
    gallery = np.array([image in label_of for image in ids])
    labels = [label_of[image] for image, is_in in zip(ids, gallery, strict=True) if is_in]
    queries = [image for image, is_in in zip(ids, gallery, strict=True) if not is_in]
    train, inner = joined[gallery], faiss.METRIC_INNER_PRODUCT
    if holdout:  # a fifth of the labelled images in the others
        chosen = np.arange(len(train)) % 5 == 0
        faiss.knn(train[chosen], train[~chosen], NEIGHBOURS, metric=inner)
    _, rows = faiss.knn(joined[~gallery], train, NEIGHBOURS, metric=inner)
    with (folder / "bare.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("Image", "Id"))
        for query, places in zip(queries, rows.tolist(), strict=True):
            best = [*dict.fromkeys(labels[place] for place in places)][:K]
            writer.writerow((query, " ".join(best)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gallery", type=int, default=25_000)
    parser.add_argument("--queries", type=int, default=8_000)
    parser.add_argument("--dim", type=int, default=256, help="dimensions of each of two networks")
    parser.add_argument("--folder", type=Path, help="keep what is drawn; default: a temporary one")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    rounds.add_options(parser)
    given = parser.parse_args()
    if given.only:
        bare(given.folder, given.only == "holdout")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary) / "drawn").absolute()
        if not (folder / "w/embeddings" / MEMBERS[-1]).is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            draw(folder, given)
        compare(folder, given)


def compare(folder: Path, given: argparse.Namespace) -> None:
    line = rounds.machine(packages=("numpy", "faiss-cpu"))
    own = [__file__, "--folder", str(folder), "--only"]
    command = ["-m", "kitbox", "ensemble", *MEMBERS, "--submit"]
    kitbox = rounds.kitbox_side("kitbox", command, folder=folder / "w")
    sides = [
        kitbox,
        rounds.kitbox_side("load, knn, write", [*own, "test"]),
        rounds.kitbox_side("and the holdout", [*own, "holdout"]),
    ]
    rounds.run(kitbox)  # the first run reads every image
    taken = rounds.alternate(sides, given.rounds)
    notes = {
        f"kitbox takes, {how}, of '{side.name}'": str(
            rounds.against(taken, side.name, ["kitbox"], measure)
        )
        for side in sides[1:]
        for how, measure in (
            ("by the clock", rounds.seconds),
            ("by processor time", rounds.processor_seconds),
        )
    }
    rounds.show(given, line, taken, notes=notes)


if __name__ == "__main__":
    main()
