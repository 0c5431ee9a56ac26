"""Ranking and writing a submission at the size of a large competition: seconds, peak memory.

    python benchmarks/ranking.py [--queries 28000] [--gallery 50000] [--dim 512] [answers ...]

Random unit vectors of 15,000 individuals. Each kind of answer runs in a process of its own, from
the embeddings to a CSV on disk and its lint.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

INDIVIDUALS = 15_000
KINDS = {
    "images": {"answers": "images", "k": 100, "gallery": "index"},
    "labels": {"answers": "labels", "k": 5, "gallery": "train"},
    "labels, mean of 3": {
        "answers": "labels", "k": 5, "gallery": "train", "label_similarity": "mean",
    },
    "labels, centre": {
        "answers": "labels", "k": 5, "gallery": "train", "label_similarity": "centre",
    },
    "label": {"answers": "label", "gallery": "train"},
    "matches": {"answers": "matches", "k": 50, "gallery": "index"},
}  # fmt: skip


def run(kind: str, queries: int, gallery: int, dim: int) -> str:
    from kitbox.competition import protocol
    from kitbox.competition.settings import Competition
    from kitbox.formats import csv_format, lint
    from kitbox.records import Embeddings, ImageSet, strings
    from kitbox.retrieval.neighbour_graph import neighbour_graphs
    from kitbox.retrieval.ranking import apply_thresholds, rank

    generator = np.random.default_rng(0)

    def unit(prefix: str, count: int) -> Embeddings:
        vectors = generator.standard_normal((count, dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embeddings(strings([f"{prefix}{i:08x}.jpg" for i in range(count)]), vectors)

    def images(embeddings: Embeddings, labels: list[str] | None = None) -> ImageSet:
        paths = tuple(Path(name) for name in embeddings.image_ids.tolist())
        return ImageSet(embeddings.image_ids, paths, None if labels is None else strings(labels))

    query, searched = unit("q", queries), unit("g", gallery)
    labels = [f"w_{i:07x}" for i in generator.integers(INDIVIDUALS, size=gallery)]
    competition = Competition.model_validate(
        {
            "name": "drawn",
            "images": {
                "root": ".", "train_folder": "train", "test_folder": "test",
                "index_folder": "index", "unknown_label": "new",
            },
            "task": KINDS[kind],
            "submission": {"header": ("Image", "Id"), "layout": "joined"},
            "holdout": {},
        }
    )  # fmt: skip
    test, known = images(query), images(searched, labels)
    embeddings = Embeddings(
        np.concatenate([query.image_ids, searched.image_ids]),
        np.concatenate([query.vectors, searched.vectors]),
    )
    searches = protocol.searches(test, known, competition)
    del query, searched
    began = time.perf_counter()
    ranking = rank(neighbour_graphs(embeddings, searches), known, competition)
    ranked = time.perf_counter()
    if competition.uses_threshold:
        ranking = apply_thresholds(ranking, np.full(queries, 0.1), competition)
    text = csv_format.write(ranking, competition)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "submission.csv").write_text(text)
    written = time.perf_counter()
    findings = lint.lint(text.encode(), competition, known, test, searches)
    assert not findings, findings[0]
    linted = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        f"| {kind} | {ranked - began:.1f} s | {written - ranked:.1f} s | "
        f"{linted - written:.1f} s | {peak:.2f} GB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=28_000)
    parser.add_argument("--gallery", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("kinds", nargs="*")
    given = parser.parse_args()
    sizes = [f"--{name}={getattr(given, name)}" for name in ("queries", "gallery", "dim")]
    if given.alone:
        print(run(given.kinds[0], given.queries, given.gallery, given.dim))
        return
    print("| answers | rank | threshold and write | lint | peak memory |")
    print("|---|---|---|---|---|", flush=True)
    for kind in given.kinds or KINDS:
        subprocess.run([sys.executable, __file__, *sizes, "--alone", kind], check=True)


if __name__ == "__main__":
    main()
