import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score

from kitbox.errors import KitboxError
from kitbox.records import strings
from kitbox.scoring.outcomes import (
    AreaUnderCurve,
    BalancedAccuracy,
    ClusterAgreement,
    GlobalAveragePrecision,
    Mean,
    MeanOverIndividuals,
    Outcome,
    pool,
    stitch,
    take,
)


def ids(n: int) -> np.ndarray:
    return strings([f"q{i:02}" for i in range(n)])  # in order of their names


# A query: its individual, what was answered, the confidence, its group, and how often it is drawn.
QUERY = st.tuples(
    st.sampled_from(["A", "B", "C", "D"]),
    st.sampled_from(["A", "B", "C", "D", "new"]),
    st.sampled_from([-math.inf, 0.0, 0.5, 1.0]),
    st.sampled_from(["Lynx", "Turtle"]),
    st.integers(0, 3),
)
QUERIES = st.lists(QUERY, min_size=1, max_size=12)


def columns(rows: list[tuple[str, str, float, str, int]]) -> tuple[np.ndarray, ...]:
    identity, predicted, confidence, group, drawn = zip(*rows, strict=True)
    return (
        strings(identity), strings(predicted), np.array(confidence), strings(group),
        np.array(drawn, dtype=np.float64),
    )  # fmt: skip


def balanced(
    identity: np.ndarray, predicted: np.ndarray, group: np.ndarray, which: str = "both"
) -> BalancedAccuracy:
    known = np.isin(identity, ["A", "B"])
    correct = predicted == np.where(known, identity, "new")
    return BalancedAccuracy(
        query_ids=ids(len(identity)),
        identity=identity,
        known=known,
        correct=correct,
        group=group,
        which=which,
    )  # type: ignore[arg-type]


def slow_halves(identity: np.ndarray, predicted: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Return the accuracies of known and of unknown individuals, as means over individuals."""
    found = {}
    for which, there in (("baks", known), ("baus", ~known)):
        shares = [
            np.mean(predicted[identity == one] == (one[:1] if which == "baks" else "new"))
            for one in np.unique(identity[there])
        ]
        found[which] = float(np.mean(shares)) if shares else math.nan
    return found


def slow_balanced(identity: np.ndarray, predicted: np.ndarray, group: np.ndarray) -> float:
    scores = []
    for name in np.unique(group):
        truth, answers = identity[group == name], predicted[group == name]
        both = slow_halves(truth, answers, np.isin(truth.astype("U1"), ["A", "B"]))
        there = [factor for factor in both.values() if not math.isnan(factor)]
        scores.append(math.prod(there) ** (1 / len(there)))
    return float(np.mean(scores)) if scores else math.nan


@given(QUERIES)
def test_an_individual_drawn_twice_counts_as_two_in_a_balanced_accuracy(
    rows: list[tuple[str, str, float, str, int]],
) -> None:
    identity, predicted, _, group, drawn = columns(rows)
    often = dict(zip(identity.tolist(), drawn.tolist(), strict=True))
    weights = np.array([often[one] for one in identity.tolist()])
    found = balanced(identity, predicted, group).over(np.stack([weights, np.ones_like(drawn)]))
    copies = [(i, n) for i, weight in enumerate(weights) for n in range(int(weight))]
    taken = np.array([i for i, _ in copies], dtype=np.int64)
    names = strings([f"{identity[i]}{n}" for i, n in copies])
    wanted = [
        slow_balanced(names, predicted[taken], group[taken]),
        slow_balanced(identity, predicted, group),
    ]
    assert found.tolist() == pytest.approx(wanted, nan_ok=True)


@given(QUERIES)
def test_baks_and_baus_alone_are_means_over_the_groups_that_have_them(
    rows: list[tuple[str, str, float, str, int]],
) -> None:
    identity, predicted, _, group, _ = columns(rows)
    known = np.isin(identity, ["A", "B"])
    by_group = [
        slow_halves(identity[own], predicted[own], known[own])
        for own in (group == name for name in np.unique(group))
    ]
    for which in ("baks", "baus"):
        there = [found[which] for found in by_group if not math.isnan(found[which])]
        mean = float(np.mean(there)) if there else math.nan
        assert balanced(identity, predicted, group, which).value == pytest.approx(mean, nan_ok=True)


def test_a_rare_individual_counts_as_much_as_a_frequent_one() -> None:
    found = balanced(strings(["A"] * 9 + ["B"]), strings(["A"] * 10), strings(["Lynx"] * 10))
    assert found.value == 0.5  # of all queries 0.9 are right
    assert math.isnan(balanced(*[strings(["A"])] * 3, "baus").value)


def test_a_group_without_unknown_individuals_is_scored_by_the_known_alone() -> None:
    # Lynx: 1 of 2 known is right. Turtle: 1 known right, 1 of 4 unknown: sqrt(1 · 1/4).
    identity = strings(["A", "A", "B", "C", "C", "C", "C"])
    predicted = strings(["A", "B", "B", "new", "A", "A", "A"])
    group = strings(["Lynx"] * 2 + ["Turtle"] * 5)
    assert balanced(identity, predicted, group).value == pytest.approx((0.5 + 0.5) / 2)
    assert balanced(identity, predicted, group, "baks").value == (0.5 + 1) / 2
    assert balanced(identity, predicted, group, "baus").value == 0.25


def test_one_name_in_two_groups_is_two_individuals() -> None:
    group = strings(["Lynx", "Lynx", "Turtle"])
    found = balanced(strings(["A", "A", "A"]), strings(["A", "new", "A"]), group)
    assert found.value == (0.5 + 1) / 2


@given(QUERIES)
def test_a_mean_is_weighted_by_how_often_queries_were_drawn(
    rows: list[tuple[str, str, float, str, int]],
) -> None:
    identity, predicted, _, _, drawn = columns(rows)
    values = (identity == predicted).astype(np.float64)
    found = Mean(ids(len(rows)), values)
    copies = np.repeat(values, drawn.astype(int))
    wanted = float(copies.mean()) if len(copies) else math.nan
    assert found.over(drawn[None]).tolist() == pytest.approx([wanted], nan_ok=True)
    assert found.value == pytest.approx(values.mean())
    assert found.per_query is values


def slow_weighted_gap(
    rows: list[tuple[float, bool, bool, float]],
) -> float:
    ahead = answered = gained = 0.0
    for _, correct, answerable, weight in sorted(rows, key=lambda row: -row[0]):
        answered, ahead = answered + weight, ahead + weight * (correct and answerable)
        gained += weight * (correct and answerable) * ahead / max(answered, 1)
    return gained / sum(weight for _, _, answerable, weight in rows if answerable)


@given(QUERIES)
def test_copies_of_an_answer_have_one_place_in_the_list_of_all(
    rows: list[tuple[str, str, float, str, int]],
) -> None:
    identity, predicted, confidence, _, drawn = columns(rows)
    confidence = np.where(np.isinf(confidence), -1, confidence)  # everyone answers
    correct, answerable = identity == predicted, identity != "D"
    outcome = GlobalAveragePrecision(ids(len(rows)), confidence, correct, answerable)
    listed = list(
        zip(confidence.tolist(), correct.tolist(), answerable.tolist(), drawn, strict=True)
    )
    there = drawn @ answerable > 0
    wanted = slow_weighted_gap(listed) if there else math.nan
    assert outcome.over(drawn[None]).tolist() == pytest.approx([wanted], nan_ok=True)


def slow_rand(cluster: np.ndarray, identity: np.ndarray, weights: np.ndarray) -> float:
    both = clusters = identities = pairs = 0.0
    for i, j in itertools.combinations(range(len(cluster)), 2):
        weight = weights[i] * weights[j]
        together, same = cluster[i] == cluster[j], identity[i] == identity[j]
        both, pairs = both + weight * (together and same), pairs + weight
        clusters, identities = clusters + weight * together, identities + weight * same
    expected = clusters * identities / pairs if pairs else 0.0
    room = (clusters + identities) / 2 - expected
    return (both - expected) / room if room > 1e-9 else 1.0


@given(QUERIES)
def test_a_query_drawn_twice_is_no_pair_with_itself(
    rows: list[tuple[str, str, float, str, int]],
) -> None:
    identity, cluster, _, group, drawn = columns(rows)
    found = ClusterAgreement(
        query_ids=ids(len(rows)), cluster=cluster, identity=identity, group=group
    ).over(drawn[None])
    by_group = [
        slow_rand(cluster[own], identity[own], drawn[own])
        for own in (group == "Lynx", group == "Turtle")
        if drawn[own].sum() > 0
    ]
    wanted = float(np.mean(by_group)) if by_group else math.nan
    assert found.tolist() == pytest.approx([wanted], nan_ok=True, abs=1e-9)


@given(QUERIES)
def test_agreement_of_clusters_is_the_mean_over_groups(
    rows: list[tuple[str, str, float, str, int]],
) -> None:
    identity, cluster, _, group, drawn = columns(rows)
    copies = np.repeat(np.arange(len(rows)), drawn.astype(int))
    rand = ClusterAgreement(
        query_ids=ids(len(rows)), cluster=cluster, identity=identity, group=group
    )
    information = ClusterAgreement(
        query_ids=ids(len(rows)), cluster=cluster, identity=identity, group=group, which="nmi"
    )
    everyone = np.arange(len(rows))
    for found, metric, queries in (
        (rand.value, adjusted_rand_score, everyone),
        (information.value, normalized_mutual_info_score, everyone),
        (information.over(drawn[None])[0], normalized_mutual_info_score, copies),
    ):
        by_group = [
            metric(identity[own], cluster[own])
            for own in (queries[group[queries] == name] for name in ("Lynx", "Turtle"))
            if len(own)
        ]
        wanted = float(np.mean(by_group)) if by_group else math.nan
        assert found == pytest.approx(wanted, nan_ok=True, abs=1e-9)


@pytest.mark.parametrize(
    ("cluster", "identity", "rand", "information"),
    [
        ("ab", "xy", 1.0, 1.0),  # all apart, and rightly
        ("aa", "xx", 1.0, 1.0),  # all together, and rightly
        ("aa", "xy", 0.0, 0.0),
        ("ab", "xx", 0.0, 0.0),
        ("a", "x", 1.0, 1.0),
        ("abab", "xxyy", -0.5, 0.0),  # worse than chance
        # I = log 2, H = log 2 and log 4; the geometric mean would give 1/√2
        ("aabb", "wxyz", 0.0, 2 / 3),
    ],
)
def test_agreement_of_small_partitions_by_hand(
    cluster: str, identity: str, rand: float, information: float
) -> None:
    both = strings(list(cluster)), strings(list(identity))
    group = strings(["g"] * len(cluster))
    assert ClusterAgreement(
        query_ids=ids(len(cluster)), cluster=both[0], identity=both[1], group=group
    ).value == pytest.approx(rand)
    assert ClusterAgreement(
        query_ids=ids(len(cluster)), cluster=both[0], identity=both[1], group=group, which="nmi"
    ).value == pytest.approx(information)


SOME = (
    strings(["A", "B", "C", "D"]),
    np.array([True, True, False, False]),
    strings(["Lynx", "Lynx", "Turtle", "Turtle"]),
)


def outcomes(correct: list[bool], confidence: list[float]) -> list[Outcome]:
    identity, known, group = SOME
    right = np.array(correct)
    return [
        Mean(ids(4), right.astype(np.float64)),
        GlobalAveragePrecision(ids(4), np.array(confidence), right, np.ones(4, np.bool_)),
        BalancedAccuracy(
            query_ids=ids(4), identity=identity, known=known, correct=right, group=group
        ),
    ]


FIRST = outcomes([True, False, True, False], [0.9, 0.8, 0.7, -math.inf])
SECOND = outcomes([True, True, False, True], [90.0, 95.0, 80.0, 70.0])


@pytest.mark.parametrize(("a", "b"), list(zip(FIRST, SECOND, strict=True)))
def test_swapping_none_gives_the_first_system_and_swapping_all_the_second(
    a: Outcome, b: Outcome
) -> None:
    none, every = np.zeros(4, np.bool_), np.ones(4, np.bool_)
    for mask, wanted in ((none, a.value), (every, b.value)):
        swapped = a.swapped(b, mask)
        assert swapped is not None
        assert swapped.value == wanted


def test_confidences_of_two_systems_are_compared_by_rank() -> None:
    # 'q1' is second with the first system and, at 95 %, first with the other, as 'q0' was:
    # of equal places the earlier query is ahead. By raw numbers q1's answer would lead.
    swapped = FIRST[1].swapped(SECOND[1], np.array([False, True, False, False]))
    assert isinstance(swapped, GlobalAveragePrecision)
    assert swapped.confidence.tolist() == [-1, -1, -3, -math.inf]
    assert swapped.correct.tolist() == [True, True, True, False]
    assert swapped.value == 3 / 4


def test_outcomes_of_different_metrics_are_not_swapped() -> None:
    every = np.ones(4, np.bool_)
    for a, b in itertools.permutations(FIRST, 2):
        assert a.swapped(b, every) is None


def test_clusters_of_two_systems_are_not_swapped() -> None:
    identity, _, group = SOME
    clusters = ClusterAgreement(query_ids=ids(4), cluster=identity, identity=identity, group=group)
    assert clusters.swapped(clusters, np.ones(4, np.bool_)) is None


def test_only_a_mean_has_a_value_for_each_query() -> None:
    identity, _, group = SOME
    assert FIRST[0].per_query is not None
    for other in (
        *FIRST[1:],
        ClusterAgreement(query_ids=ids(4), cluster=identity, identity=identity, group=group),
    ):
        assert other.per_query is None


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(KitboxError, match=r"^3 queries but 2 of values$"):
        Mean(ids(3), np.zeros(2))
    identity, known, group = SOME
    with pytest.raises(KitboxError, match=r"^4 queries but 3 of correct$"):
        BalancedAccuracy(
            query_ids=ids(4), identity=identity, known=known, correct=known[:3], group=group
        )
    with pytest.raises(KitboxError, match=r"^5 queries but 4 of cluster$"):
        ClusterAgreement(query_ids=ids(5), cluster=identity, identity=identity, group=group)
    with pytest.raises(KitboxError, match=r"^4 queries but 1 of answerable$"):
        GlobalAveragePrecision(ids(4), np.zeros(4), known, known[:1])


def fold(rows: list[tuple[str, str, float, str, int]], first: int) -> list[Outcome]:
    """Return the outcomes of queries that are numbered from `first`."""
    identity, predicted, confidence, group, _ = columns(rows)
    names = strings([f"q{first + i}" for i in range(len(rows))])
    known = np.isin(identity, ["A", "B"])
    right = predicted == np.where(known, identity, "new")
    return [
        Mean(names, right.astype(np.float64)),
        GlobalAveragePrecision(names, confidence, right, known),
        BalancedAccuracy(
            query_ids=names, identity=identity, known=known, correct=right, group=group
        ),
        BalancedAccuracy(
            query_ids=names,
            identity=identity,
            known=known,
            correct=right,
            group=group,
            which="baus",
        ),
    ]


@given(QUERIES, QUERIES)
def test_pooled_folds_are_scored_like_all_their_queries_at_once(
    a: list[tuple[str, str, float, str, int]], b: list[tuple[str, str, float, str, int]]
) -> None:
    parts = zip(fold(a, 0), fold(b, len(a)), strict=True)
    for (first, second), whole in zip(parts, fold([*a, *b], 0), strict=True):
        found = pool([first, second])
        assert type(found) is type(whole)
        assert found.query_ids.tolist() == whole.query_ids.tolist()
        assert found.value == pytest.approx(whole.value, nan_ok=True)


def test_clusters_of_two_folds_are_groups_of_their_own() -> None:
    # 'cluster_0' of one fold and of the other have nothing to do with each other
    right = ClusterAgreement(
        query_ids=ids(4),
        cluster=strings(list("0011")),
        identity=strings(list("AABB")),
        group=strings(["g"] * 4),
    )
    names = strings(["r0", "r1", "r2"])
    wrong = ClusterAgreement(
        query_ids=names,
        cluster=strings(list("000")),
        identity=strings(list("ABC")),
        group=strings(["g"] * 3),
    )
    found = pool([right, wrong])
    assert isinstance(found, ClusterAgreement)
    assert found.query_ids.tolist() == ["q00", "q01", "q02", "q03", "r0", "r1", "r2"]
    assert found.group.tolist() == ["1/g"] * 4 + ["2/g"] * 3
    assert (right.value, wrong.value, found.value) == (1.0, 0.0, 0.5)


def test_a_single_fold_is_pooled_to_itself() -> None:
    for outcome in FIRST:
        assert pool([outcome]).value == outcome.value


def test_folds_of_different_metrics_are_not_pooled() -> None:
    identity, known, group = SOME
    both, baks = (
        BalancedAccuracy(
            query_ids=ids(4), identity=identity, known=known, correct=known, group=group, which=w
        )
        for w in ("both", "baks")
    )  # type: ignore[arg-type]
    for a, b in ((FIRST[0], FIRST[1]), (both, baks)):
        message = r"^folds were scored by different metrics; score them by one$"
        with pytest.raises(KitboxError, match=message):
            pool([a, b])


def area_of(values: list[float], positive: list[bool]) -> AreaUnderCurve:
    query_ids = strings([f"q{i}" for i in range(len(values))])
    return AreaUnderCurve(query_ids, np.array(values), np.array(positive))


@pytest.mark.parametrize(
    ("values", "area"),
    [([3, 2, 1, 0], 1.0), ([0, 1, 2, 3], 0.0), ([1, 1, 1, 1], 0.5), ([3, 1, 2, 0], 0.75)],
)
def test_the_area_counts_pairs_in_the_right_order_and_ties_as_half(
    values: list[float], area: float
) -> None:
    assert area_of(values, [True, True, False, False]).value == area


VALUES = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=12
)


@given(VALUES)
def test_a_weight_counts_as_so_many_queries(queries: list[tuple[int, bool, int]]) -> None:
    values, positive, weights = (list(part) for part in zip(*queries, strict=True))
    found = area_of(values, positive).over(np.array([weights], dtype=np.float64))[0]
    repeated = [(m, n) for n, m, w in queries for _ in range(w)]
    if len({m for m, _ in repeated}) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(*zip(*repeated, strict=True)))


@given(QUERIES)
def test_a_mean_over_individuals_counts_each_as_often_as_it_was_drawn(
    rows: list[tuple[str, str, float, str, int]],
) -> None:
    identity, _, _, _, _ = columns(rows)
    values = np.arange(len(rows)) / 7
    names = sorted(set(identity.tolist()))
    drawn = {name: number % 3 for number, name in enumerate(names)}
    outcome = MeanOverIndividuals(query_ids=ids(len(rows)), values=values, identity=identity)
    means = {name: float(values[identity == name].mean()) for name in names}
    assert outcome.value == pytest.approx(np.mean(list(means.values())))
    weights = np.array([drawn[name] for name in identity.tolist()], dtype=np.float64)
    several = [means[name] for name in names for _ in range(drawn[name])]
    found = float(outcome.over(weights[None])[0])
    assert math.isnan(found) if not several else found == pytest.approx(np.mean(several))


def test_a_mean_over_individuals_takes_the_others_values_where_they_are_swapped() -> None:
    identity = strings(["A", "A", "B"])
    one, other = (
        MeanOverIndividuals(query_ids=ids(3), values=np.array(values), identity=identity)
        for values in ([0.0, 1.0, 0.5], [1.0, 1.0, 0.0])
    )
    assert (one.value, other.value) == (0.5, 0.5)
    swapped = one.swapped(other, np.array([True, True, False]))
    assert swapped is not None
    assert swapped.value == 0.75
    assert one.swapped(Mean(ids(3), np.zeros(3)), np.array([True, False, False])) is None
    assert pool([one, other]).value == pytest.approx((3 / 4 + 1 / 4) / 2)


def test_queries_of_each_part_have_the_answers_of_its_outcome() -> None:
    one = Mean(ids(4), np.array([1.0, 1.0, 0.0, 0.0]))
    two = Mean(ids(4), np.array([0.25, 0.5, 0.75, 1.0]))
    found = stitch([one, two], np.array([0, 1, 1, 0]))
    assert found.per_query is not None
    assert found.per_query.tolist() == [1.0, 0.5, 0.75, 0.0]
    assert found.query_ids.tolist() == ids(4).tolist()


def test_clusters_of_parts_are_kept_apart() -> None:
    identity = strings(["A", "A", "B", "B", "A", "A"])
    apart = strings(list("123456"))
    groups = strings([""] * 6)
    one, two = (
        ClusterAgreement(query_ids=ids(6), cluster=cluster, identity=identity, group=groups)
        for cluster in (identity, apart)
    )
    found = stitch([one, two], np.array([0, 0, 0, 1, 1, 1]))
    assert found.query_ids.tolist() == ids(6).tolist()
    # the first part has its clusters right, an index of 1; the other joins none, an index of 0
    assert found.value == pytest.approx(0.5)
    assert stitch([one, one], np.array([1, 0, 1, 0, 1, 0])).value == pytest.approx(1.0)


def test_some_queries_are_scored_as_if_there_were_no_others() -> None:
    rows = np.array([0, 2, 3])
    identity, predicted = strings(["A", "B", "C", "A"]), strings(["A", "A", "new", "B"])
    group = strings(["x", "x", "x", "y"])
    whole = balanced(identity, predicted, group)
    alone = balanced(identity[rows], predicted[rows], group[rows])
    assert take(whole, rows).value == pytest.approx(alone.value, nan_ok=True)
