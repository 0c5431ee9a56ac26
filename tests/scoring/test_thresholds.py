import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from kitbox.clusters import cluster_tree
from kitbox.clusters.cluster_tree import ClusterTree, link
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Ranking, Search, strings
from kitbox.retrieval import ranking
from kitbox.retrieval.neighbour_graph import neighbour_graphs
from kitbox.retrieval.ranking import prepend_itself
from kitbox.scoring import cluster_cuts, thresholds
from kitbox.scoring.ground_truth import GroundTruth, metric_outcome
from tests.circle import at_angles, competition, placed, ranking_of

UNKNOWN = "new_whale"
KNOWN = ["A", "B", "C"]

# A query: its individual, its group, and answers with similarities in 64ths, exact in float32.
QUERY = st.tuples(
    st.sampled_from([*KNOWN, "X", "Y", ""]),
    st.sampled_from(["Lynx", "Turtle"]),
    st.permutations(["A", "B", "C", "D"]),
    st.lists(st.integers(-64, 64), max_size=3),
)
QUERIES = st.lists(QUERY, min_size=1, max_size=20)
Row = tuple[str, str, Sequence[str], Sequence[int]]


def answered(rows: Sequence[Row]) -> Ranking:
    """Return the answers, three places wide."""
    found = {
        f"q{i}": list(zip(names, [n / 64 for n in sorted(numbers, reverse=True)], strict=False))
        for i, (_, _, names, numbers) in enumerate(rows)
    }
    wide = ranking_of(found | {"": [("A", 1.0), ("B", 1.0), ("C", 1.0)]})
    every = np.arange(len(rows))
    return Ranking(wide.query_ids[every], wide.answers[every], wide.similarity[every])


def truth_of(rows: Sequence[Row], label_of: dict[str, str] | None = None) -> GroundTruth:
    ids = strings([f"q{i}" for i in range(len(rows))])
    identity = [individual for individual, *_ in rows]
    expected = [individual if individual in KNOWN else UNKNOWN for individual in identity]
    gallery = list((label_of or {}).values())
    relevant = [
        1 + gallery.count(individual) if individual else 1 for individual in identity
    ]  # itself counts
    return GroundTruth(
        query_ids=ids,
        images=ids,
        expected=strings(expected),
        identity=strings(identity),
        groups=strings([group for _, group, *_ in rows]),
        relevant=np.array(relevant, dtype=np.int64),
        label_of=label_of or {},
    )


def reached(found: Ranking, known: GroundTruth, toy: Competition, limit: float) -> float:
    decided = ranking.apply_thresholds(found, np.full(len(known.query_ids), limit), toy)
    return metric_outcome(decided, known, toy).value


def brute_force(found: Ranking, known: GroundTruth, toy: Competition) -> float:
    """Return the best score that any threshold reaches: at each similarity, or above all."""
    finite = found.similarity[np.isfinite(found.similarity)].tolist()
    return max(reached(found, known, toy, limit) for limit in [*finite, 2.0])


LABEL_OF = {"A": "A", "B": "B", "C": "A", "D": "X"}  # of matches, which are images
KINDS = [
    competition(k=3),
    competition(answers="label", k=3),
    competition(answers="matches", k=3, task={"least": 0, "with_itself": True}),
    competition(answers="matches", k=3, task={"least": 2, "with_itself": True}),
]
KIND_NAMES = ["labels", "label", "matches", "two-matches"]


def given_rows(rows: Sequence[Row], toy: Competition) -> tuple[Ranking, GroundTruth]:
    if toy.task.answers != "matches":
        return answered(rows), truth_of(rows)
    known = truth_of(rows, LABEL_OF)
    return prepend_itself(answered(rows), known.images), known


@pytest.mark.parametrize("toy", KINDS, ids=KIND_NAMES)
@settings(max_examples=60)
@given(rows=QUERIES)
def test_the_best_threshold_scores_as_well_as_any(toy: Competition, rows: list[Row]) -> None:
    found, known = given_rows(rows, toy)
    limits = thresholds.fit_best(found, known, toy)
    assert list(limits) == [""]
    wanted = brute_force(found, known, toy)
    assert reached(found, known, toy, limits[""]) == pytest.approx(wanted)


@pytest.mark.parametrize("toy", KINDS, ids=KIND_NAMES)
@settings(max_examples=30)
@given(rows=QUERIES)
def test_the_threshold_of_a_group_is_the_best_for_its_queries(
    toy: Competition, rows: list[Row]
) -> None:
    toy = toy.model_copy(update={"threshold": toy.threshold.model_copy(update={"by_group": True})})
    found, known = given_rows(rows, toy)
    limits = thresholds.fit_best(found, known, toy)
    assert set(limits) == set(known.groups.tolist())
    for group, limit in limits.items():
        own = np.flatnonzero(known.groups == group)
        part = Ranking(found.query_ids[own], found.answers[own], found.similarity[own])
        wanted = brute_force(part, known.take(own), toy)
        assert reached(part, known.take(own), toy, limit) == pytest.approx(wanted)


def test_thresholds_between_any_two_similarities_are_tried() -> None:
    # 5000 rising similarities; those from the 4990th on are right
    rows: list[Row] = [
        ("A" if i >= 4990 else "X", "Lynx", ["A", "B", "C", "D"], []) for i in range(5000)
    ]
    found = Ranking(
        strings([f"q{i}" for i in range(5000)]),
        np.full((5000, 1), "A"),
        np.linspace(0, 1, 5000, dtype=np.float32)[:, None],
    )
    limit = thresholds.fit_best(found, truth_of(rows), competition(k=1))[""]
    assert limit == pytest.approx(4989.5 / 4999, abs=1e-6)


def test_every_query_of_an_unknown_individual_falls_below_the_threshold() -> None:
    found = ranking_of({"q0": [("A", 0.9), ("B", 0.5)], "q1": [("A", 0.7), ("B", 0.2)]})
    known = truth_of([("X", "", [], []), ("X", "", [], [])])
    limit = thresholds.fit_best(found, known, competition(k=2))[""]
    assert limit > 0.9
    assert reached(found, known, competition(k=2), limit) == 1.0


def test_no_query_of_a_known_individual_falls_below_the_threshold() -> None:
    found = ranking_of({"q0": [("A", 0.75), ("B", 0.5)], "q1": [("A", 0.75), ("B", 0.25)]})
    known = truth_of([("A", "", [], []), ("B", "", [], [])])
    limit = thresholds.fit_best(found, known, competition(k=2))[""]
    assert limit < 0.25
    assert reached(found, known, competition(k=2), limit) == 0.75


def test_of_equally_good_thresholds_the_middle_one_is_taken() -> None:
    # known at 0.8, unknown at 0.2: whatever lies between is right
    found = ranking_of({"q0": [("A", 0.8)], "q1": [("A", 0.2)]})
    known = truth_of([("A", "", [], []), ("X", "", [], [])])
    limit = thresholds.fit_best(found, known, competition(k=1))[""]
    assert limit == pytest.approx(0.5)


def test_queries_without_any_answer_leave_the_threshold_at_zero() -> None:
    nothing = Ranking(strings(["q0"]), np.array([[""]]), np.full((1, 1), -np.inf, np.float32))
    for toy in (competition(k=1), competition(answers="label", k=1)):
        known = truth_of([("X", "", [], [])])
        assert thresholds.fit_best(nothing, known, toy) == {"": 0.0}
        assert thresholds.fit_share(nothing, known.groups, 0.5, toy) == {"": 0.0}


@settings(max_examples=40)
@given(QUERIES, st.sampled_from([*KNOWN, "X"]), st.booleans())
def test_the_threshold_of_a_query_does_not_depend_on_its_individual(
    rows: list[Row], individual: str, by_group: bool
) -> None:
    toy = competition(k=3, threshold={"by_group": by_group})
    others = [("B" if individual == "A" else "A", group, ["A", "B", "C", "D"], [32, n])
              for group in ("Lynx", "Turtle") for n in (0, 16)]  # fmt: skip
    rows = [*rows, *others]
    changed = [
        (name, group, ["D", "C", "B", "A"], [64, 63, 62])
        if name == individual
        else (name, group, *rest)
        for name, group, *rest in rows
    ]
    before = thresholds.cross_fit(answered(rows), truth_of(rows), toy)
    after = thresholds.cross_fit(answered(changed), truth_of(changed), toy)
    own = truth_of(rows).identity == individual
    assert before[own].tolist() == after[own].tolist()


def test_each_query_has_a_threshold_fitted_on_the_others() -> None:
    # Each individual alone would be best with a threshold just below its own similarity.
    rows: list[Row] = [(f"X{i}", "Lynx", ["A", "B", "C", "D"], [i]) for i in range(30)]
    rows += [("A", "Lynx", ["A", "B", "C", "D"], [64])] * 10
    found, known, toy = answered(rows), truth_of(rows), competition(k=1)
    limits = thresholds.cross_fit(found, known, toy)
    assert limits.shape == (40,)
    assert np.isfinite(limits).all()
    assert len({float(limit) for limit in limits[30:]}) == 1  # one individual, one part


def test_queries_of_one_individual_have_a_threshold_fitted_on_themselves() -> None:
    rows: list[Row] = [("A", "Lynx", ["A", "B", "C", "D"], [32, n]) for n in range(5)]
    found, known, toy = answered(rows), truth_of(rows), competition(k=3)
    limits = thresholds.cross_fit(found, known, toy)
    assert limits.tolist() == [thresholds.fit_best(found, known, toy)[""]] * 5


SIMILARITIES = st.lists(st.integers(-64, 64), min_size=1, max_size=30)


@settings(max_examples=60)
@given(SIMILARITIES, st.floats(0, 1))
def test_a_share_is_met_as_closely_as_equal_similarities_allow(
    numbers: list[int], share: float
) -> None:
    rows: list[Row] = [("A", "Lynx", ["A", "B", "C", "D"], [n]) for n in numbers]
    found, toy = answered(rows), competition(k=1)
    limit = thresholds.fit_share(found, truth_of(rows).groups, share, toy)[""]
    called = (
        ranking.apply_thresholds(found, np.full(len(rows), limit), toy).answers[:, 0] == UNKNOWN
    ).sum()
    possible = [sum(n / 64 < t for n in numbers) for t in [-2.0, *(n / 64 for n in numbers), 2.0]]
    best = min(abs(count - share * len(numbers)) for count in possible)
    assert abs(called - share * len(numbers)) == pytest.approx(best)


@pytest.mark.parametrize("share", [0.0, 0.165, 0.5, 1.0])
def test_of_distinct_similarities_a_share_is_met_to_within_half_a_query(share: float) -> None:
    rows: list[Row] = [("A", "Lynx", ["A", "B", "C", "D"], [n]) for n in range(50)]
    limit = thresholds.fit_share(answered(rows), truth_of(rows).groups, share, competition(k=1))[""]
    assert abs(sum(n / 64 < limit for n in range(50)) - share * 50) <= 0.5


def test_queries_without_answer_count_as_unknown_in_a_share() -> None:
    rows: list[Row] = [("A", "Lynx", ["A", "B", "C", "D"], numbers) for numbers in
                       ([], [], [32], [48])]  # fmt: skip
    for share, below in ((0.0, 2), (0.5, 2), (0.75, 3), (1.0, 4)):
        found = answered(rows)
        limit = thresholds.fit_share(found, truth_of(rows).groups, share, competition(k=1))[""]
        assert math.isfinite(limit)
        assert (found.similarity[:, 0] < limit).sum() == below


def test_a_share_may_be_met_in_each_group() -> None:
    rows: list[Row] = [("A", "Lynx", ["A", "B", "C", "D"], [n]) for n in (0, 2, 4, 6)]
    rows += [("A", "Turtle", ["A", "B", "C", "D"], [n]) for n in (40, 42, 44, 46)]
    toy = competition(k=1, threshold={"by_group": True})
    found = thresholds.fit_share(answered(rows), truth_of(rows).groups, 0.5, toy)
    assert found == {"Lynx": 3 / 64, "Turtle": 43 / 64}
    together = thresholds.fit_share(answered(rows), truth_of(rows).groups, 0.5, competition(k=1))
    assert together == {"": 23 / 64}


def test_queries_with_only_themselves_have_a_threshold_of_zero() -> None:
    found = ranking_of({"q0": [("q0", 1.0)], "q1": [("q1", 1.0)]})
    toy = competition(answers="matches", k=2, task={"with_itself": True})
    assert thresholds.fit_share(found, strings(["", ""]), 0.5, toy) == {"": 0.0}


def test_a_share_of_matches_does_not_count_the_query_itself() -> None:
    found = ranking_of({"q0": [("q0", 1.0), ("a", 0.5)], "q1": [("q1", 1.0), ("a", 0.25)]})
    toy = competition(answers="matches", k=2, task={"with_itself": True, "least": 0})
    limit = thresholds.fit_share(found, strings(["", ""]), 0.5, toy)[""]
    assert limit == 0.375


# A circle of images: angle → individual ('' for none) and group.
IMAGES = st.dictionaries(
    st.integers(0, 179),
    st.tuples(st.sampled_from(["A", "B", "C", ""]), st.sampled_from(["Lynx", "Turtle"])),
    min_size=1,
    max_size=25,
)


def clustered(
    images: dict[int, tuple[str, str]], *, within_group: bool
) -> tuple[list[Search], GroundTruth]:
    """Return the searches of images moved so that no two joins are equally similar."""
    by_group: dict[str, list[int]] = {}
    for angle, (_, group) in sorted(images.items()):
        by_group.setdefault(group if within_group else "", []).append(angle)
    found = []
    for name, angles in by_group.items():
        ids = strings([str(angle) for angle in angles])
        found.append(Search(name, ids, ids, ids))
    order = [angle for angles in by_group.values() for angle in angles]
    rows: list[Row] = [(*images[angle], [], []) for angle in order]
    ids = strings([str(angle) for angle in order])
    known = truth_of(rows)
    return found, replace(known, query_ids=ids, images=ids, label_of={})


def agreement(tree_: ClusterTree, identity: np.ndarray, limit: float) -> float:
    named = identity != ""
    return float(adjusted_rand_score(identity[named], tree_.cut(limit)[named]))


def moved(images: dict[int, tuple[str, str]]) -> Embeddings:
    return placed({str(angle): angle + angle**2 / 1e4 for angle in images})


@pytest.mark.parametrize("within_group", [False, True])
@settings(max_examples=40)
@given(images=IMAGES)
def test_the_best_cut_agrees_as_well_as_any(
    within_group: bool, images: dict[int, tuple[str, str]]
) -> None:
    searches, known = clustered(images, within_group=within_group)
    toy = competition(answers="clusters", gallery="test")
    trees = cluster_tree.cluster_trees(neighbour_graphs(moved(images), searches))
    levels = np.concatenate([one.similarities for one in trees.values()])

    def mean_agreement(limit: float) -> float:
        return metric_outcome(
            cluster_tree.cut_trees(trees, searches, {"": limit}), known, toy
        ).value

    found = cluster_cuts.fit_best_cut(trees, searches, known, toy)
    assert list(found) == [""]
    every = [mean_agreement(limit) for limit in [*(levels - 1e-9), 2.0]]
    if np.isnan(every).all():  # no individual is known
        return
    assert mean_agreement(found[""]) == pytest.approx(max(every))


@settings(max_examples=30)
@given(images=IMAGES)
def test_the_best_cut_of_a_group_is_the_best_for_its_images(
    images: dict[int, tuple[str, str]],
) -> None:
    searches, known = clustered(images, within_group=True)
    toy = competition(answers="clusters", gallery="test", threshold={"by_group": True})
    trees = cluster_tree.cluster_trees(neighbour_graphs(moved(images), searches))
    found = cluster_cuts.fit_best_cut(trees, searches, known, toy)
    assert set(found) == {search.name for search in searches}
    for name, limit in found.items():
        identity = known.identity[known.groups == name]
        levels = [*(trees[name].similarities - 1e-9), 2.0]
        wanted = max(agreement(trees[name], identity, at) for at in levels)
        assert agreement(trees[name], identity, limit) == pytest.approx(wanted)


@settings(max_examples=40)
@given(IMAGES, st.floats(0, 1))
def test_a_cut_by_share_leaves_about_that_share_of_images_alone(
    images: dict[int, tuple[str, str]], share: float
) -> None:
    searches, _ = clustered(images, within_group=True)
    trees = cluster_tree.cluster_trees(neighbour_graphs(moved(images), searches))

    def alone(limit: float) -> int:
        return sum(int((np.bincount(one.cut(limit)) == 1).sum()) for one in trees.values())

    limit = cluster_cuts.fit_cut_share(trees, share)[""]
    levels = np.concatenate([one.similarities for one in trees.values()])
    best = min(abs(alone(at) - share * len(images)) for at in [*(levels - 1e-9), 2.0])
    assert abs(alone(limit) - share * len(images)) == pytest.approx(best)


def test_each_group_may_be_cut_by_its_own_share() -> None:
    trees = {"Lynx": link(at_angles(0, 1, 90, 100)), "Turtle": link(at_angles(0, 20, 180, 220))}
    found = cluster_cuts.fit_cut_share(trees, 0.5, by_group=True)
    assert list(found) == ["Lynx", "Turtle"]
    for name, limit in found.items():
        assert len(set(trees[name].cut(limit).tolist())) == 3  # one pair and two alone


def balanced(**changes: object) -> Competition:
    return competition(
        k=3, threshold={"rule": "balanced", **changes}, holdout={"unknown_share": 0.3}
    )


def mean_error(found: Ranking, known: GroundTruth, toy: Competition, limit: float) -> float:
    """Return the mean of both error shares, from the answers as they are given."""
    limits = np.full(len(known.query_ids), limit)
    called = ranking.apply_thresholds(found, limits, toy).answers[:, 0] == UNKNOWN
    unknown = known.expected == UNKNOWN
    return float((called[~unknown].mean() + (~called[unknown]).mean()) / 2)


def both_kinds(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with one query of either kind before them."""
    ends: list[Row] = [("A", "Lynx", ["A", "B", "C", "D"], [8])]
    return [*ends, ("X", "Lynx", ["A", "B", "C", "D"], [8]), *rows]


@settings(max_examples=60)
@given(rows=QUERIES)
def test_no_threshold_has_a_lesser_mean_of_both_error_shares(rows: list[Row]) -> None:
    rows, toy = both_kinds(rows), balanced()
    found, known = given_rows(rows, toy)
    [limit] = thresholds.fit_best(found, known, toy).values()
    finite = found.similarity[:, 0][np.isfinite(found.similarity[:, 0])].tolist()
    least = min(mean_error(found, known, toy, each) for each in [*finite, -2.0, 2.0])
    assert mean_error(found, known, toy, limit) == pytest.approx(least)
    errors = thresholds.FirstAnswers.of_ranking(found, known, toy).errors(np.full(len(rows), limit))
    assert errors["mean_share"] == pytest.approx(least, abs=1e-6)
    assert errors["known_queries"] + errors["unknown_queries"] == len(rows)


def few_unknown() -> list[Row]:
    """Return 28 known queries at .30 and above, and seven unknown ones below .40, in 64ths.

    The metric of the first answer alone is best where nothing is answered as unknown.
    """
    names = ["A", "B", "C", "D"]
    rows: list[Row] = [("A", "Lynx", names, [20 + n]) for n in range(28)]
    return rows + [("X", "Lynx", names, [18 + n]) for n in range(7)]


def test_balanced_weighs_few_unknown_queries_as_much_as_many_known_ones() -> None:
    rows = few_unknown()
    found, known = answered(rows), truth_of(rows)
    every = np.ones(len(rows))
    [limit] = thresholds.fit_best(found, known, balanced()).values()
    first = thresholds.FirstAnswers.of_ranking(found, known, balanced())
    # 18 to 24 are unknown, 20 to 47 known: above all unknown ones, five of 28 known are missed
    assert limit == 24.5 / 64
    assert first.errors(limit * every) == {
        "known_queries": 28,
        "known_answered_unknown": 5,
        "unknown_queries": 7,
        "unknown_answered_known": 0,
        "mean_share": round(5 / 28 / 2, 6),
    }


def test_a_group_without_unknown_queries_has_no_balanced_threshold_of_its_own() -> None:
    names = ["A", "B", "C", "D"]
    rows = [*few_unknown(), ("A", "Turtle", names, [10]), ("B", "Turtle", names, [12])]
    toy = balanced(by_group=True)
    assert thresholds.fit_best(answered(rows), truth_of(rows), toy) == {"Lynx": 24.5 / 64}
    limits = thresholds.cross_fit(answered(rows), truth_of(rows), toy)
    assert (np.isfinite(limits)).all()


def test_where_one_part_has_all_unknown_queries_the_fit_is_on_all() -> None:
    rows = few_unknown()  # the unknown ones are of one individual
    limits = thresholds.cross_fit(answered(rows), truth_of(rows), balanced())
    assert (limits[-7:] == 24.5 / 64).all()


def test_balanced_without_unknown_queries_is_an_error() -> None:
    rows = few_unknown()[:28]
    with pytest.raises(KitboxError) as caught:
        thresholds.fit_best(answered(rows), truth_of(rows), balanced())
    assert str(caught.value) == (
        "the threshold 'balanced' needs queries of known and of unknown individuals; of the "
        "holdout's 28 queries 0 are of unknown ones; change holdout.unknown_share in kitbox.toml, "
        "or take --threshold best"
    )


def test_matches_and_clusters_are_balanced_between_the_lone_and_the_others() -> None:
    toy = competition(
        answers="matches", k=2, task={"with_itself": True}, threshold={"rule": "balanced"}
    )
    pairs = {"A": 0.9, "B": 0.6, "C": 0.7, "D": 0.1}
    found = ranking_of({name: [(name, 1.0), ("Z", value)] for name, value in pairs.items()})
    known = replace(
        truth_of([(name, "", [], []) for name in pairs]), relevant=np.array([2, 2, 1, 1])
    )
    # C has no match, but looks more like Z than B does, who has one
    assert thresholds.fit_best(found, known, toy)[""] == pytest.approx(0.8)
    errors = thresholds.FirstAnswers.of_ranking(found, known, toy).errors(np.full(4, 0.8))
    assert (errors["known_answered_unknown"], errors["unknown_answered_known"]) == (1, 0)


def test_a_balanced_cut_leaves_alone_whom_nobody_else_shows() -> None:
    angles = {"0": "Ahab", "8": "Ahab", "90": "Boo", "98": "Boo", "200": "Cleo", "260": "Dora"}
    toy = competition(
        answers="clusters", gallery="test", unknown_label=None, threshold={"rule": "balanced"}
    )
    embeddings = at_angles(*map(int, angles))
    search = Search("", embeddings.image_ids, embeddings.image_ids, embeddings.image_ids)
    trees = {"": link(embeddings)}
    known = replace(
        truth_of([(name, "", [], []) for name in angles.values()]),
        relevant=np.array([1, 1, 1, 1, 0, 0]),
    )
    [limit] = cluster_cuts.fit_balanced_cut(trees, [search], known, toy).values()
    assert math.cos(math.radians(60)) < limit < math.cos(math.radians(8))
    errors = thresholds.FirstAnswers.of_trees(trees, [search], known, toy).errors(np.full(6, limit))
    assert errors["mean_share"] == 0
