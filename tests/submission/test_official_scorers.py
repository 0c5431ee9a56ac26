"""Random submissions, scored by `mark` and by a slow scorer written as the organisers' is.

Sources of the slow scorers: the mean average precision of Kaggle's MAP@K, which counts a repeated
answer once; `metrics.py` of the `delf` package for Google's landmarks; `score_submission.py` of
drivendataorg/boem-belugas-runtime for Where's Whale-do; the scorer of AnimalCLEF 2025, published
by its participants; and the definitions of mean F1 and of the adjusted Rand index.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, average_precision_score

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.records import ImageSet, Search, strings
from kitbox.submission.mark import SubmissionScores, score_submission
from tests.circle import competition, image_set
from tests.submission.collected import collection

SEEDS = range(12)
UNKNOWN = "new_whale"
LABELS = [f"w{number}" for number in range(6)]
SETS = ("lynx", "newt", "turtle")
TRAIN = {f"train{number}": LABELS[number % 6] for number in range(12)}
QUERIES = [f"q{number:02}" for number in range(24)]
EXACT = pytest.approx


def mark(
    folder: Path,
    toy: Competition,
    images: Collection,
    rows: Sequence[str],
    truth: Sequence[str],
    *,
    lenient: bool = False,
) -> SubmissionScores:
    """Return the scores of a CSV of these rows by a key whose first row is its header."""
    header = ",".join(toy.submission.header)
    (folder / "submission.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "truth.csv").write_text("\n".join(truth) + "\n")
    return score_submission(
        folder / "submission.csv", folder / "truth.csv", toy, images, lenient=lenient
    )


def key(label_of: Mapping[str, str], individual_of: Mapping[str, str] | None = None) -> list[str]:
    """Return a key; individuals are the labels where they are not given."""
    individual_of = individual_of or label_of
    rows = [f"{image},{label},{individual_of[image]}" for image, label in label_of.items()]
    return ["image,label,individual", *rows]


def queries(group_of: Mapping[str, str] | None = None) -> ImageSet:
    return image_set(dict.fromkeys(QUERIES, ""), group_of).without_labels()


def kaggle_map(true: Sequence[str], answers: Sequence[str], k: int) -> float:
    """Return the average precision at k as Kaggle has it: repeated answers are right once."""
    hits = total = 0.0
    for place, answer in enumerate(answers[:k]):
        if answer in true and answer not in answers[:place]:
            hits += 1
            total += hits / (place + 1)
    return total / min(len(true), k)


@pytest.mark.parametrize("seed", SEEDS)
def test_map_over_labels_is_that_of_kaggle(seed: int, tmp_path: Path) -> None:
    draw, toy = Random(seed), competition(k=5)
    images = collection(toy, TRAIN, queries())
    several = seed % 3 == 0
    true = {
        query: draw.sample([*LABELS, UNKNOWN], draw.randint(1, 3) if several else 1)
        for query in QUERIES
    }
    answers = {
        query: draw.choices([*LABELS, UNKNOWN, "invented"], k=draw.randint(1, 5))
        for query in draw.sample(QUERIES, 24)
    }
    usage = {query: draw.choice(["Public", "Private"]) for query in QUERIES}
    rows = [f"{query},{' '.join(row)}" for query, row in answers.items()]
    solution = [f"{query},{' '.join(labels)},{usage[query]}" for query, labels in true.items()]
    found = mark(tmp_path, toy, images, rows, ["Image,Id,Usage", *solution], lenient=True)
    wanted = {query: kaggle_map(true[query], answers[query], 5) for query in QUERIES}
    assert found.scores.main.value == EXACT(np.mean(list(wanted.values())), abs=1e-12)
    for half in ("Public", "Private"):
        own = [wanted[query] for query in QUERIES if usage[query] == half]
        assert found.halves[half].main.value == EXACT(np.mean(own), abs=1e-12)
    # the same key with a row for each label, in kitbox's columns
    listed = [f"{q},{label},{names[0]},{usage[q]}" for q, names in true.items() for label in names]
    again = mark(
        tmp_path, toy, images, rows, ["image,label,individual,usage", *listed], lenient=True
    )
    assert again.scores.main.value == found.scores.main.value


def delf_gap(
    predictions: Mapping[str, tuple[str, float]], solution: Mapping[str, Sequence[str]]
) -> float:
    """Return GAP as Google's hosts do: by score, then by key, then by class."""
    listed = sorted((-score, key, label) for key, (label, score) in predictions.items())
    correct, gap = 0, 0.0
    for place, (_, key, label) in enumerate(listed, 1):
        if label in solution[key]:
            correct += 1
            gap += correct / place
    return gap / sum(bool(labels) for labels in solution.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_gap_is_that_of_the_landmark_hosts(seed: int, tmp_path: Path) -> None:
    draw = Random(seed)
    toy = competition(
        answers="label",
        k=1,
        unknown_label=None,
        task={"metric": "gap"},
        form={"header": ("id", "landmarks"), "layout": "scored"},
    )
    names = draw.sample(QUERIES, len(QUERIES))  # the list of queries is not in order of their ids
    test = image_set(dict.fromkeys(names, "")).without_labels()
    solution = {query: draw.sample(LABELS, draw.choice([0, 1, 1, 2])) for query in QUERIES}
    # many ties, and confidences that are equal in float32 alone
    scores = [0.5, 0.5 + 1e-9, 0.5 - 1e-9, 1.0, -3.25, 1e6, 1e6 + 1e-4]
    answers = {
        query: (draw.choice([*LABELS, *solution[query]]), draw.choice(scores))
        for query in QUERIES
        if draw.random() < 0.9
    }
    usage = {query: draw.choice(["Public", "Private", "Ignored"]) for query in QUERIES}
    rows = [
        f"{query},{answers[query][0]} {answers[query][1]!r}" if query in answers else f"{query},"
        for query in draw.sample(QUERIES, len(QUERIES))
    ]
    truth = [f"{query},{' '.join(labels)},{usage[query]}" for query, labels in solution.items()]
    found = mark(tmp_path, toy, collection(toy, TRAIN, test), rows, ["id,landmarks,Usage", *truth])
    for half in ("Public", "Private"):
        own = {query: labels for query, labels in solution.items() if usage[query] == half}
        given = {query: answer for query, answer in answers.items() if query in own}
        assert found.halves[half].main.value == EXACT(delf_gap(given, own), abs=1e-12)
    scored = {query: labels for query, labels in solution.items() if usage[query] != "Ignored"}
    given = {query: answer for query, answer in answers.items() if query in scored}
    assert found.scores.main.value == EXACT(delf_gap(given, scored), abs=1e-12)


WHALE_DO = competition(
    answers="images",
    k=20,
    gallery="test",
    unknown_label=None,
    task={"least": 1},
    form={"layout": "long", "header": ("query_id", "database_image_id", "score")},
)


def drivendata_map(
    rows: Sequence[tuple[str, str, float]], positives: Mapping[str, set[str]]
) -> float:
    """Return the mean average precision of Where's Whale-do; a query without a row is left out."""
    found = []
    for query, matches in positives.items():
        own = [(image in matches, score) for name, image, score in rows if name == query]
        if not own or not matches:
            continue
        hits, scores = zip(*own, strict=True)
        precision = average_precision_score(hits, scores) if any(hits) else 0.0
        found.append(precision * sum(hits) / min(len(matches), 20))
    return float(np.mean(found))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lenient", [False, True])
def test_whale_do_scores_groups_of_equal_scores(seed: int, lenient: bool, tmp_path: Path) -> None:
    draw = Random(seed)
    whales = {query: draw.choice(LABELS) for query in QUERIES}
    test = queries()
    first, second = QUERIES[:16], QUERIES[8:]
    searches = tuple(
        Search(name, strings([f"{name}-{q}" for q in gallery[:6]]), strings(gallery[:6]),
               strings(gallery))
        for name, gallery in (("s1", first), ("s2", second))
    )  # fmt: skip
    positives = {
        query: {other for other in search.gallery_images.tolist()
                if whales[other] == whales[image] and other != image}
        for search in searches
        for query, image in zip(
            search.query_ids.tolist(), search.query_images.tolist(), strict=True
        )
    }  # fmt: skip
    rows = []
    for number, (query, image) in enumerate(
        (q, i)
        for s in searches
        for q, i in zip(s.query_ids.tolist(), s.query_images.tolist(), strict=True)
    ):
        others = [other for other in [*QUERIES, "invented"] if other != image]
        if lenient and number % 5 == 4:
            continue
        chosen = (
            draw.choices(others, k=draw.randint(1, 20))
            if lenient
            else draw.sample(others, draw.randint(1, 20))
        )
        scores = [draw.choice([0.1, 0.4, 0.4 + 1e-9, 0.7, draw.random()]) for _ in chosen]
        rows += list(zip([query] * len(chosen), chosen, scores, strict=True))
    draw.shuffle(rows)
    found = mark(
        tmp_path,
        WHALE_DO,
        collection(WHALE_DO, TRAIN, test, searches=searches),
        [f"{query},{image},{score!r}" for query, image, score in rows],
        key(whales),
        lenient=lenient,
    )
    # a match outside of the query's own gallery is none
    assert found.scores.main.value == EXACT(drivendata_map(rows, positives), abs=1e-12)
    again = mark(
        tmp_path,
        WHALE_DO,
        collection(WHALE_DO, TRAIN, test, searches=searches),
        [f"{query},{image},{score!r}" for query, image, score in rows],
        ["query_id,database_image_id", *(f"{q},{i}" for q, own in positives.items() for i in own)],
        lenient=lenient,
    )
    assert again.scores.main.value == EXACT(found.scores.main.value, abs=1e-12)
    silent = len(positives) - len({query for query, _, _ in rows})
    assert len(found.notes) == (1 if silent else 0)


def test_a_query_of_equal_scores_has_the_precision_of_the_whole_group(tmp_path: Path) -> None:
    whales = {"q00": "a", "q01": "a", "q02": "b", "q03": "b"}
    test = image_set(dict.fromkeys(whales, "")).without_labels()
    rows = [
        *("q00,q01,0.5", "q00,q02,0.5", "q01,q00,0.9", "q01,q02,0.5"),
        *("q02,q03,0.5", "q02,q00,0.5", "q03,q02,0.5", "q03,q00,0.4"),
    ]
    found = mark(tmp_path, WHALE_DO, collection(WHALE_DO, TRAIN, test), rows, key(whales))
    assert found.scores.main.value == EXACT((1 / 2 + 1 + 1 / 2 + 1) / 4)


SHOPEE = competition(
    answers="matches",
    k=50,
    gallery="test",
    unknown_label=None,
    task={"with_itself": True, "least": 2},
    form={"header": ("posting_id", "matches")},
)


@pytest.mark.parametrize("seed", SEEDS)
def test_row_f1_is_that_of_the_sets(seed: int, tmp_path: Path) -> None:
    draw = Random(seed)
    product = {query: draw.choice(LABELS) for query in QUERIES}
    answers = {
        query: draw.choices([*QUERIES, *(f"invented{n}" for n in range(9))], k=draw.randint(1, 12))
        for query in QUERIES
    }
    found = mark(
        tmp_path,
        SHOPEE,
        collection(SHOPEE, TRAIN, queries()),
        [f"{query},{' '.join(row)}" for query, row in answers.items()],
        key(product),
        lenient=True,
    )
    wanted = []
    for query, row in answers.items():
        named = set(row)
        right = {other for other in QUERIES if product[other] == product[query]}
        wanted.append(2 * len(named & right) / (len(named) + len(right)))
    assert found.scores.main.value == EXACT(np.mean(wanted), abs=1e-12)
    again = mark(
        tmp_path,
        SHOPEE,
        collection(SHOPEE, TRAIN, queries()),
        [f"{query},{' '.join(row)}" for query, row in answers.items()],
        ["posting_id,matches", *(
            f"{query},{' '.join(other for other in QUERIES if product[other] == product[query])}"
            for query in QUERIES
        )],
        lenient=True,
    )  # fmt: skip
    assert again.scores.main.value == found.scores.main.value


def test_inventions_count_in_the_size_of_a_set(tmp_path: Path) -> None:
    product = {query: query[1] for query in QUERIES}  # ten, ten and four of one product
    rows = [f"{query},{query} x{query} y{query} z{query}" for query in QUERIES]
    found = mark(tmp_path, SHOPEE, collection(SHOPEE, TRAIN, queries()), rows, key(product))
    wanted = (20 * 2 / (4 + 10) + 4 * 2 / (4 + 4)) / 24
    assert found.scores.main.value == EXACT(wanted)


CLEF = competition(
    answers="label",
    k=1,
    unknown_label="new_individual",
    task={"within_group": True},
    form={"header": ("image_id", "identity")},
)


def clef_2025(
    answers: Mapping[str, str], who: Mapping[str, str], known: set[str], group: Mapping[str, str]
) -> float:
    """Return the mean over data sets of √(BAKS · BAUS); a factor without queries is 0."""
    by_set = []
    for name in sorted(set(group.values())):
        halves = []
        for wanted in (True, False):
            own = [q for q in who if group[q] == name and (who[q] in known) == wanted]
            shares = [
                np.mean([answers[q] == (who[q] if wanted else "new_individual")
                         for q in own if who[q] == one])
                for one in sorted({who[q] for q in own})
            ]  # fmt: skip
            halves.append(float(np.mean(shares)) if shares else 0.0)
        by_set.append(math.sqrt(halves[0] * halves[1]))
    return float(np.mean(by_set))


@pytest.mark.parametrize("seed", SEEDS)
def test_balanced_accuracies_are_those_of_animalclef(seed: int, tmp_path: Path) -> None:
    draw = Random(seed)
    group = {query: SETS[number % 3] for number, query in enumerate(QUERIES)}
    # by the seed, newts have known individuals only, and turtles unknown ones only
    pool = {
        "lynx": ["lynx0", "lynx1", "lynx8", "lynx9"],
        "newt": ["newt0", "newt1", *(["newt8"] if seed % 2 else [])],
        "turtle": ["turtle8", "turtle9", *(["turtle0"] if seed % 3 else [])],
    }
    train = {f"{name}-{number}": f"{name}{number}" for name in SETS for number in (0, 1)}
    labelled = image_set(train, {image: image.partition("-")[0] for image in train})
    known = set(train.values())
    who = {query: draw.choice(pool[group[query]]) for query in QUERIES}
    answers = {
        query: draw.choice([who[query], "new_individual", f"{group[query]}0"]) for query in QUERIES
    }
    found = mark(
        tmp_path,
        CLEF,
        collection(CLEF, labelled, queries(group)),
        [f"{query},{answer}" for query, answer in answers.items()],
        key({q: one if one in known else "new_individual" for q, one in who.items()}, who),
    )
    assert found.scores.main.value == EXACT(clef_2025(answers, who, known, group), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_clusters_have_the_mean_rand_index_of_the_data_sets(seed: int, tmp_path: Path) -> None:
    draw = Random(seed)
    toy = competition(
        answers="clusters", k=1, gallery="test", unknown_label=None, task={"within_group": True}
    )
    group = {query: SETS[number % 3] for number, query in enumerate(QUERIES)}
    who = {query: f"{group[query]}{draw.randrange(4)}" for query in QUERIES}
    usage = {query: draw.choice(["Public", "Private"]) for query in QUERIES}
    cluster = {query: f"cluster_{group[query]}_{draw.randrange(4)}" for query in QUERIES}
    truth = [f"{query},{one},{one},{usage[query]}" for query, one in who.items()]
    found = mark(
        tmp_path,
        toy,
        collection(toy, TRAIN, queries(group)),
        [f"{query},{name}" for query, name in cluster.items()],
        ["image,label,individual,Usage", *truth],
    )

    def wanted(chosen: Sequence[str]) -> float:
        return float(
            np.mean(
                [
                    adjusted_rand_score([who[q] for q in own], [cluster[q] for q in own])
                    for name in SETS
                    if (own := [q for q in chosen if group[q] == name])
                ]
            )
        )

    assert found.scores.main.value == EXACT(wanted(QUERIES), abs=1e-12)
    for half in ("Public", "Private"):
        own = [query for query in QUERIES if usage[query] == half]
        assert found.halves[half].main.value == EXACT(wanted(own), abs=1e-12)


def delf_map(answers: Mapping[str, Sequence[str]], solution: Mapping[str, set[str]]) -> float:
    """Return mAP@100 as Google's hosts do: a repeated answer takes its rank and is right once."""
    total = 0.0
    for query, right in solution.items():
        hits, seen = 0, set[str]()
        for place, answer in enumerate(answers.get(query, [])[:100], 1):
            if answer in right and answer not in seen:
                hits += 1
                total += hits / place / min(len(right), 100)
            seen.add(answer)
    return total / len(solution)


@pytest.mark.parametrize("seed", SEEDS)
def test_map_over_an_index_is_that_of_the_landmark_hosts(seed: int, tmp_path: Path) -> None:
    draw = Random(seed)
    toy = competition(
        answers="images", k=100, gallery="index", unknown_label=None, images={"index_folder": "i"},
        task={"least": 1}, form={"header": ("id", "images")},
    )  # fmt: skip
    shown = {image: draw.choice(LABELS) for image in (*QUERIES, *(f"i{n}" for n in range(130)))}
    index = image_set({image: "" for image in shown if image not in QUERIES}).without_labels()
    gallery = index.image_ids.tolist()
    answers = {
        query: draw.choices(gallery, k=draw.choice([1, 7, 100]))
        for query in QUERIES
        if draw.random() < 0.9
    }
    found = mark(
        tmp_path,
        toy,
        collection(toy, TRAIN, queries(), index),
        [f"{query},{' '.join(row)}" for query, row in answers.items()],
        key(shown),
        lenient=True,
    )
    solution = {
        query: {image for image in gallery if shown[image] == shown[query]} for query in QUERIES
    }
    assert found.scores.main.value == EXACT(delf_map(answers, solution), abs=1e-12)
    # the hosts' own solution: lists of images, halves, and queries that are not scored
    usage = {query: draw.choice(["Public", "Private", "Ignored"]) for query in QUERIES}
    truth = [
        f"{query},{'None' if usage[query] == 'Ignored' else ' '.join(images)},{usage[query]}"
        for query, images in solution.items()
    ]
    again = mark(
        tmp_path,
        toy,
        collection(toy, TRAIN, queries(), index),
        [f"{query},{' '.join(row)}" for query, row in answers.items()],
        ["id,images,Usage", *truth],
        lenient=True,
    )
    for half in ("Public", "Private"):
        own = {query: images for query, images in solution.items() if usage[query] == half}
        assert again.halves[half].main.value == EXACT(delf_map(answers, own), abs=1e-12)


def balanced_map(
    scores: Mapping[tuple[str, str], float],
    who: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
) -> float:
    """Return the identity-balanced mAP of some pairs; queries without a match do not count."""
    by_individual: dict[str, list[float]] = {}
    for query in sorted({query for query, _ in pairs}):
        own = [pair for pair in pairs if pair[0] == query]
        hits = [who[query] == who[image] for _, image in own]
        if any(hits):
            precision = average_precision_score(hits, [scores[pair] for pair in own])
            by_individual.setdefault(who[query], []).append(precision)
    return float(np.mean([np.mean(values) for values in by_individual.values()]))


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs_have_the_mean_average_precision_of_individuals(seed: int, tmp_path: Path) -> None:
    draw = Random(seed)
    who = {query: draw.choice(LABELS) for query in QUERIES}
    every = [(query, image) for query in QUERIES for image in QUERIES if query != image]
    pairs = draw.sample(every, 400)
    numbers = {pair: str(draw.randrange(10**6)) + f"-{at}" for at, pair in enumerate(pairs)}
    listed = [f"{numbers[pair]},{pair[0]},{pair[1]}" for pair in pairs]
    (tmp_path / "pairs.csv").write_text("\n".join(["row_id,query_image,gallery_image", *listed]))
    toy = competition(
        answers="pairs", gallery="test", unknown_label=None, root=tmp_path,
        task={"pairs": "pairs.csv"},
    )  # fmt: skip
    images = collection(toy, TRAIN, queries())
    scores = {pair: draw.choice([0.25, 0.5, round(draw.random(), 6)]) for pair in pairs}
    rows = [f"{numbers[pair]},{scores[pair]!r}" for pair in draw.sample(pairs, 400)]
    usage = {pair: draw.choice(["Public", "Private", "Ignored"]) for pair in pairs}
    solution = [
        f"{numbers[pair]},{int(who[pair[0]] == who[pair[1]])},{usage[pair]}"
        for pair in draw.sample(pairs, 400)
    ]
    by_key = mark(tmp_path, toy, images, rows, key(who))
    assert by_key.scores.main.value == EXACT(balanced_map(scores, who, pairs), abs=1e-12)
    found = mark(tmp_path, toy, images, rows, ["row_id,similarity,Usage", *solution])
    for half in ("Public", "Private"):
        own = [pair for pair in pairs if usage[pair] == half]
        assert found.halves[half].main.value == EXACT(balanced_map(scores, who, own), abs=1e-12)
    counted = [pair for pair in pairs if usage[pair] != "Ignored"]
    assert found.scores.main.value == EXACT(balanced_map(scores, who, counted), abs=1e-12)


def test_all_pairs_are_named_by_both_images(tmp_path: Path) -> None:
    toy = competition(answers="pairs", gallery="test", unknown_label=None)
    who = {"q00": "a", "q01": "a", "q02": "b", "q03": "b", "q04": "b"}
    images = collection(toy, TRAIN, image_set(dict.fromkeys(who, "")).without_labels())
    pairs = [(query, image) for query in who for image in who if query != image]
    scores = {pair: number / 20 for number, pair in enumerate(pairs)}
    rows = [f"{query},{image},{scores[query, image]}" for query, image in pairs]
    found = mark(tmp_path, toy, images, rows, key(who))
    assert found.scores.main.value == EXACT(balanced_map(scores, who, pairs), abs=1e-12)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["q00,q01,0.5"], "pair 'q01,q00' has no row"),
        (["q00,q01,0.5", "q01,q00,0.5", "q00,q01,0.5"], "pair 'q00,q01' has two rows; remove one"),
        (["q00,q01,0.5", "q01,q00,0.5", "q00,q09,0.5"], "'q00,q09' is no pair"),
        (["q00,q01,0.5", "q01,q00,high"], "'high' is not a similarity; write a number"),
        (["q00,q01", "q01,q00"], "the submission has no rows of 3 columns below its header"),
    ],
)
def test_a_faulty_file_of_pairs_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    toy = competition(answers="pairs", gallery="test", unknown_label=None)
    images = collection(toy, TRAIN, image_set({"q00": "", "q01": ""}).without_labels())
    with pytest.raises(KitboxError, match=rf"submission.csv: {message}.*lists all findings"):
        mark(tmp_path, toy, images, rows, key({"q00": "a", "q01": "a"}))


def test_a_solution_of_pairs_has_zeros_and_ones(tmp_path: Path) -> None:
    toy = competition(answers="pairs", gallery="test", unknown_label=None)
    images = collection(toy, TRAIN, image_set({"q00": "", "q01": ""}).without_labels())
    rows = ["q00,q01,0.5", "q01,q00,0.5"]
    head = "query,image,similarity"
    with pytest.raises(KitboxError, match=r"truth.csv line 3: '0.5' is neither 0 nor 1"):
        mark(tmp_path, toy, images, rows, [head, "q00,q01,1", "q01,q00,0.5"])
    with pytest.raises(KitboxError, match=r"truth.csv: the solution has not one row for each pair"):
        mark(tmp_path, toy, images, rows, [head, "q00,q01,1"])
