"""Metrics on 100,000 queries, intervals and comparisons on fewer: seconds and peak memory.

    python benchmarks/metrics.py [--queries 100000] [--resampled 900 28000] [--json]

The queries are random. Each line has the median, the minimum and the maximum of five runs; memory
is the peak of what is allocated in addition to the input, from one more run.
"""

import argparse
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from machine import machine

from kitbox.records import Ranking, strings
from kitbox.scoring import metrics
from kitbox.scoring.bootstrap import score
from kitbox.scoring.comparison import compare
from kitbox.scoring.outcomes import (
    BalancedAccuracy,
    ClusterAgreement,
    GlobalAveragePrecision,
    Mean,
    Outcome,
)

# Answers per query in the landmark challenges, in Shopee, and in the humpback challenges.
IMAGES, MATCHES, LABELS = 100, 50, 5


def names(numbers: np.ndarray) -> np.ndarray:
    return np.char.mod("i%06d", numbers)


def tables(n: int, rng: np.random.Generator) -> dict[str, Callable[[], object]]:
    """Return a function for each metric that runs it on n random queries."""
    relevant = rng.random((n, IMAGES)) < 0.1
    total = relevant.sum(axis=1) + 1
    answers = names(np.arange(MATCHES))[None].repeat(n, axis=0)
    answers[rng.random(answers.shape) < 0.5] = ""
    # steps of a third of the number of labels, so that no two labels of a row are equal
    labels = names((rng.integers(3000, size=(n, 1)) + 1000 * np.arange(LABELS)) % 9000)
    truth = names(rng.integers(9000, size=n))
    falling = np.linspace(1, 0, LABELS, dtype=np.float32)[None].repeat(n, axis=0)
    ranking = Ranking(names(np.arange(n)), labels, falling)
    known, confidence, correct = rng.random(n) < 0.7, rng.random(n), rng.random(n) < 0.5
    return {
        "recall_at_k": lambda: metrics.recall_at_k(relevant, IMAGES),
        "average_precision_at_k": lambda: metrics.average_precision_at_k(relevant, total, IMAGES),
        "label_average_precision_at_k": lambda: metrics.label_average_precision_at_k(
            ranking, truth, LABELS
        ),
        "r_precision": lambda: metrics.r_precision(relevant, total),
        "row_f1": lambda: metrics.row_f1(answers, relevant[:, :MATCHES], total),
        "gap": lambda: metrics.global_average_precision(confidence, correct, known),
    }


def outcomes(n: int, rng: np.random.Generator) -> dict[str, tuple[Outcome, Outcome]]:
    """Return the outcomes of two systems on n random queries, for each kind of metric."""
    ids = names(np.arange(n))
    identity, known = names(rng.integers(n // 4, size=n)), rng.random(n) < 0.7
    group = strings(["Lynx", "Salamander", "Turtle"])[rng.integers(3, size=n)]

    def one(share: float) -> list[Outcome]:
        right = rng.random(n) < share
        cluster = np.where(right, identity, "other")
        return [
            Mean(ids, right.astype(np.float64)),
            GlobalAveragePrecision(ids, rng.random(n) + right, right, known),
            BalancedAccuracy(
                query_ids=ids, identity=identity, known=known, correct=right, group=group
            ),
            ClusterAgreement(
                query_ids=ids, cluster=cluster, identity=identity, group=group, which="ari"
            ),
            ClusterAgreement(
                query_ids=ids, cluster=cluster, identity=identity, group=group, which="nmi"
            ),
        ]

    kinds = ["mean", "gap", "balanced", "ari", "nmi"]
    return dict(zip(kinds, zip(one(0.5), one(0.55), strict=True), strict=True))


def measure(name: str, queries: int, run: Callable[[], object], rounds: int) -> dict[str, object]:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "name": name,
        "queries": queries,
        "seconds": round(statistics.median(taken), 4),
        "least": round(min(taken), 4),
        "most": round(max(taken), 4),
        "megabytes": round(peak / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--resampled", type=int, nargs="*", default=[900, 28_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    runs = [(name, given.queries, run) for name, run in tables(given.queries, rng).items()]
    for n in given.resampled:
        for kind, (a, b) in outcomes(n, rng).items():
            runs.append((f"interval of {kind}", n, lambda a=a: score(a, {})))
            runs.append((f"comparison by {kind}", n, lambda a=a, b=b: compare(a, b, {})))
    line = f"{machine('numpy')}, Python {platform.python_version()}"
    if not given.json:
        print(f"{line}")
        print(f"{'':32}{'queries':>8}{'seconds':>9}{'min':>9}{'max':>9}{'MB':>6}")
    rows = []
    for run in runs:
        row = measure(*run, given.rounds)
        rows.append(row)
        if not given.json:
            name, n, seconds, least, most, size = row.values()
            print(f"{name:32}{n:8}{seconds:9.3f}{least:9.3f}{most:9.3f}{size:6}", flush=True)
    if given.json:
        print(json.dumps({"machine": line, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
