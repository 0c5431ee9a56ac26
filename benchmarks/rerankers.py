"""Re-ranking at the size of a large competition: seconds and peak memory of each step.

    python benchmarks/rerankers.py [--queries 8000] [--gallery 25000] [--dim 1024] [STEP ...]
    python benchmarks/rerankers.py --dense --queries 1000 --gallery 3000

Drawn unit vectors around a centre for each individual; the number of photographs has a long tail.
Each step runs in a process of its own: "step" is the step alone, "rank" the 100 nearest images of
each query after it. `--dense` runs each step again over whole matrices of images, as published
code does, and prints the largest difference of a similarity.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from machine import machine

STEPS = [
    "none",
    "query_expansion:k=2,alpha=3",
    "dba:k=3,alpha=3",
    "subtraction:beta=0.35,k=10,rounds=1",
    "k_reciprocal:k1=8,k2=2,lambda=0.5",
    "k_reciprocal:k1=20,k2=6,lambda=0.3",
    "diffusion:k=10,alpha=0.9,gamma=3,size=500,weight=0.5",
    "diffusion:k=50,alpha=0.99,gamma=3,size=1000,weight=0.5",
    "local_scaling:k=10",
    "score_normalisation:beta=1,k=3",
]
OTHERS = 2_000


def draw(queries: int, gallery: int, dim: int, *, same: bool):
    from kitbox.records import Embeddings, Search, strings
    from kitbox.retrieval.neighbour_graph import NeighbourGraph

    generator = np.random.default_rng(0)
    images = queries + gallery + OTHERS
    individuals = max(images // 4, 1)
    frequency = 1 / np.arange(1, individuals + 1) ** 0.7
    of_image = generator.choice(individuals, images, p=frequency / frequency.sum())
    vectors = generator.standard_normal((images, dim), dtype=np.float32)
    centres = generator.standard_normal((individuals, dim), dtype=np.float32)
    for start in range(0, images, 1000):
        rows = slice(start, start + 1000)
        vectors[rows] += centres[of_image[rows]]
        vectors[rows] /= np.linalg.norm(vectors[rows], axis=1, keepdims=True)
    ids = strings([f"{i:08x}.jpg" for i in range(images)])
    query, searched = ids[:queries], ids[queries:-OTHERS]
    if same:
        query = searched = ids[:-OTHERS]
    return NeighbourGraph(Search("", query, query, searched), Embeddings(ids, vectors)), ids[
        -OTHERS:
    ]


def run(text: str, queries: int, gallery: int, dim: int, *, same: bool, dense: bool) -> str:
    from dataclasses import replace

    from kitbox.retrieval.rerankers import parse_steps, rerank

    graph, others = draw(queries, gallery, dim, same=same)
    graph = replace(graph, others=others)
    peak_before = peak()
    began, busy = time.perf_counter(), time.process_time()
    reranked = rerank(graph, parse_steps([] if text == "none" else [text]))
    stepped, busy = time.perf_counter(), time.process_time() - busy
    stepped_peak = peak()
    pairs = width = 0
    if reranked.reranked is not None:
        width = reranked.reranked.rows.shape[1]
        pairs = int((reranked.reranked.rows >= 0).sum()) // len(reranked.reranked.rows)
    reranked.shortlist(100)
    ranked = time.perf_counter()
    row = (
        f"| {text} | {stepped - began:.1f} s | {busy:.1f} s | {stepped_peak:.2f} GB | "
        f"{ranked - stepped:.1f} s | {peak():.2f} GB | {peak_before:.2f} GB | {pairs} ({width}) |"
    )
    if not dense or text == "none":
        return row
    own = graph.search.query_images[:, None] == graph.search.gallery_images
    blocks = np.concatenate([block for _, block in reranked.blocks(graph.search.gallery_images)])
    query, searched = graph.query.vectors, graph.gallery.vectors
    known = graph.embeddings.of(others).vectors
    base = peak()
    began = time.perf_counter()
    found = whole_matrices(text, query, searched, known)
    seconds = time.perf_counter() - began
    difference = np.abs(np.where(own, 0, found - np.where(own, 0, blocks))).max()
    return f"{row} {seconds:.1f} s | {max(peak() - base, 0):.2f} GB | {difference:.1e} |"


def peak() -> float:
    """Return the most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def whole_matrices(text: str, query: np.ndarray, gallery: np.ndarray, others: np.ndarray):
    """Return the similarities after a step by matrices of all pairs; no query is in the gallery."""
    from kitbox.retrieval.rerankers import parse_step

    step = parse_step(text)
    given = step.model_dump()
    methods: dict[str, Callable[[], np.ndarray]] = {
        "query_expansion": lambda: expanded(query, query @ gallery.T, gallery, given) @ gallery.T,
        "dba": lambda: (
            expanded(query, query @ gallery.T, gallery, given)
            @ expanded(gallery, without_own(gallery @ gallery.T), gallery, given).T
        ),
        "subtraction": lambda: away(query, others, given) @ away(gallery, others, given).T,
        "k_reciprocal": lambda: published_k_reciprocal(query, gallery, given),
        "diffusion": lambda: inverted(query, gallery, given),
        "local_scaling": lambda: (
            query @ gallery.T
            - (
                best(query @ gallery.T, given["k"]).mean(axis=1)[:, None]
                + best(without_own(gallery @ gallery.T), given["k"]).mean(axis=1)
            )
            / 2
        ),
        "score_normalisation": lambda: (
            query @ gallery.T
            - given["beta"] * best(query @ others.T, given["k"]).mean(axis=1, keepdims=True)
        ),
    }
    return methods[step.kind]()


def without_own(similarity: np.ndarray) -> np.ndarray:
    np.fill_diagonal(similarity, -np.inf)
    return similarity


def best(similarity: np.ndarray, k: int) -> np.ndarray:
    return -np.sort(-similarity, axis=1)[:, :k]


def expanded(
    images: np.ndarray, similarity: np.ndarray, gallery: np.ndarray, given: dict[str, float]
) -> np.ndarray:
    order = np.argsort(-similarity, axis=1)[:, : int(given["k"])]
    weights = np.maximum(np.take_along_axis(similarity, order, 1), 0) ** given["alpha"]
    moved = images + np.einsum("qk,qkd->qd", weights, gallery[order])
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def away(images: np.ndarray, others: np.ndarray, given: dict[str, float]) -> np.ndarray:
    for _ in range(int(given["rounds"])):
        order = np.argsort(-(images @ others.T), axis=1)[:, : int(given["k"])]
        images = images - given["beta"] * others[order].mean(axis=1)
        images = images / np.linalg.norm(images, axis=1, keepdims=True)
    return images


def published_k_reciprocal(
    query: np.ndarray, gallery: np.ndarray, given: dict[str, float]
) -> np.ndarray:
    """The loops of the authors' re_ranking.py, with cosines in place of scaled distances."""
    k1, k2, share = int(given["k1"]), int(given["k2"]), given["lambda"]
    nodes = np.concatenate([query, gallery])
    cosine = nodes @ nodes.T
    np.fill_diagonal(cosine, 2)  # itself first
    rank = np.argsort(-cosine, axis=1)
    np.fill_diagonal(cosine, 1)
    encoded = np.zeros_like(cosine)

    def reciprocal(i: int, k: int) -> np.ndarray:
        forward = rank[i, : k + 1]
        return forward[(rank[forward, : k + 1] == i).any(axis=1)]

    for i in range(len(nodes)):
        own = reciprocal(i, k1)
        members = [own]
        for j in own:
            half = reciprocal(j, round(k1 / 2))
            if 3 * len(np.intersect1d(half, own)) >= 2 * len(half):
                members.append(half)
        chosen = np.unique(np.concatenate(members))
        weight = np.exp(cosine[i, chosen] - 1)
        encoded[i, chosen] = weight / weight.sum()
    if k2 > 1:
        encoded = np.stack([encoded[rank[i, :k2]].mean(axis=0) for i in range(len(nodes))])
    jaccard = np.zeros((len(query), len(gallery)), dtype=np.float32)
    for i in range(len(query)):
        least = np.zeros(len(gallery), dtype=np.float32)
        for j in np.flatnonzero(encoded[i]):
            images = np.flatnonzero(encoded[len(query) :, j])
            least[images] += np.minimum(encoded[i, j], encoded[len(query) + images, j])
        jaccard[i] = least / (2 - least)
    return share * (query @ gallery.T) + (1 - share) * jaccard


def inverted(query: np.ndarray, gallery: np.ndarray, given: dict[str, float]) -> np.ndarray:
    k, alpha, weight = int(given["k"]), given["alpha"], given["weight"]
    cosine = without_own((gallery @ gallery.T).astype(np.float64))
    near = cosine >= np.sort(cosine, axis=1)[:, -k][:, None]
    adjacent = np.where(near & near.T, np.maximum(cosine, 0) ** given["gamma"], 0)
    degree = adjacent.sum(axis=1)
    scale = np.where(degree > 0, degree, 1) ** -0.5
    similarity = query @ gallery.T
    least = np.sort(similarity, axis=1)[:, -k][:, None]
    y = np.where(similarity >= least, np.maximum(similarity, 0) ** given["gamma"], 0)
    system = np.eye(len(gallery)) - alpha * scale[:, None] * adjacent * scale
    order = np.argsort(-similarity, axis=1)[:, : int(given["size"])]
    spread = np.zeros_like(similarity)
    for row, own in enumerate(order):
        spread[row, own] = (1 - alpha) * np.linalg.solve(system[np.ix_(own, own)], y[row, own])
    return (1 - weight) * similarity + weight * spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=8_000)
    parser.add_argument("--gallery", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--same", action="store_true", help="all images are queries and gallery")
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("steps", nargs="*")
    given = parser.parse_args()
    flags = [f"--{name}={getattr(given, name)}" for name in ("queries", "gallery", "dim")]
    flags += [f"--{name}" for name in ("same", "dense") if getattr(given, name)]
    if given.alone:
        print(
            run(
                given.steps[0], given.queries, given.gallery, given.dim,
                same=given.same, dense=given.dense,
            )
        )  # fmt: skip
        return

    print(machine("faiss-cpu", "scipy", "kitbox"))
    print(f"{given.queries} queries, {given.gallery} gallery images, {given.dim} dimensions\n")
    dense = " dense | more memory | difference |" if given.dense else ""
    print(
        f"| step | step | processor | peak | rank | peak | before | pairs a query (width) |{dense}"
    )
    print("|---" * (11 if given.dense else 8) + "|", flush=True)
    for text in given.steps or STEPS:
        subprocess.run([sys.executable, __file__, *flags, "--alone", text], check=True)


if __name__ == "__main__":
    main()
