from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kitbox.errors import KitboxError
from kitbox.fusion.fusion_method import parse_fusion
from kitbox.fusion.pair_set import PairSet
from kitbox.fusion.pair_signals import (
    SignalPairs,
    SignalSources,
    collect_pairs,
    pairs_to_match,
)
from kitbox.keypoints import pair_scores
from kitbox.keypoints.match_settings import MatchSettings
from kitbox.keypoints.pair_scores import PairMatches
from kitbox.records import Embeddings, LabelledImages, Search, strings
from kitbox.retrieval.neighbour_graph import NeighbourGraph
from kitbox.workspace import Workspace
from tests.circle import cosine, graph_of, image_set, placed

GALLERY = {"a": 0.0, "b": 20.0, "c": 50.0, "d": 90.0}
SIFT_2 = MatchSettings.parse("sift:shortlist=2")
LABELS = {"a": "Ahab", "b": "Ahab", "c": "Boo", "d": "", "q": "Ahab", "r": "Boo"}


def sources_of(
    graph: NeighbourGraph,
    *,
    members: dict[str, Embeddings] | None = None,
    images: LabelledImages | None = None,
) -> SignalSources:
    ids = [*graph.search.gallery_images.tolist(), *graph.search.query_images.tolist()]
    everything = image_set({image: LABELS.get(image, "") for image in dict.fromkeys(ids)})
    known = image_set({image: LABELS.get(image, "") for image in graph.search.gallery_images})
    return SignalSources(
        graphs=[graph],
        members=members or {},
        images=everything if images is None else images,
        known=known,
        workspace=Workspace(Path("nowhere")),
    )


def collected(
    sources: SignalSources, text: str = "logit:shortlist=2", match: Sequence[str] = ()
) -> SignalPairs:
    stage = collect_pairs(
        sources, parse_fusion(text), [MatchSettings.parse(each) for each in match]
    )
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def pairs_of(found: SignalPairs) -> list[tuple[str, str]]:
    return list(zip(found.table.first.tolist(), found.table.second.tolist(), strict=True))


def two_queries() -> NeighbourGraph:
    return graph_of(placed({"q": 10.0, "r": 60.0}), placed(GALLERY))


def test_a_shortlist_holds_the_nearest_and_as_many_are_beyond_it() -> None:
    found = collected(sources_of(two_queries()))
    assert pairs_of(found) == [("q", "a"), ("q", "b"), ("r", "c"), ("r", "d")]
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert found.table.query.tolist() == [0, 0, 1, 1]
    expected = [cosine(10, 0), cosine(10, 20), cosine(60, 50), cosine(60, 90)]
    np.testing.assert_allclose(found.table.whole, expected, atol=1e-6)
    beyond = list(zip(found.outside_first, found.outside_second, strict=True))
    assert sorted(beyond) == [("q", "c"), ("q", "d"), ("r", "a"), ("r", "b")]
    np.testing.assert_allclose(
        found.table.next_outside[[0, 2]], [cosine(10, 50), cosine(60, 20)], atol=1e-6
    )
    assert (found.table.reverse == -1).all()


def test_a_shortlist_larger_than_the_gallery_holds_all_of_it() -> None:
    found = collected(sources_of(two_queries()), "logit:shortlist=50")
    assert len(found.table) == 8
    assert not len(found.outside)
    assert np.isneginf(found.table.next_outside).all()


def test_queries_in_their_own_gallery_have_each_pair_in_both_directions() -> None:
    points = placed({"a": 0, "b": 10, "c": 25, "d": 70})
    found = collected(sources_of(graph_of(points, points)), "logit:shortlist=1")
    # d's nearest is c, so that c has d on its list although b is nearer
    assert pairs_of(found) == [
        ("a", "b"),
        ("b", "a"),
        ("b", "c"),
        ("c", "b"),
        ("c", "d"),
        ("d", "c"),
    ]
    assert found.table.reverse.tolist() == [1, 0, 3, 2, 5, 4]
    np.testing.assert_array_equal(found.table.whole, found.table.whole[found.table.reverse])
    np.testing.assert_allclose(found.table.whole[4], cosine(25, 70), atol=1e-6)


def test_each_member_is_a_signal_where_there_are_several() -> None:
    graph = two_queries()
    other = placed({"a": 0, "b": 0, "c": 0, "d": 0, "q": 60, "r": 90})
    found = collected(sources_of(graph, members={"one": graph.embeddings, "two": other}))
    assert found.table.signals == ("similarity", "one", "two")
    assert not found.table.local.any()
    np.testing.assert_allclose(found.table.values[:, 1], found.table.whole, atol=1e-6)
    np.testing.assert_allclose(found.table.values[:, 2], [0.5, 0.5, 0, 0], atol=1e-6)
    alone = collected(sources_of(graph, members={"one": graph.embeddings}))
    assert alone.table.signals == ("similarity",)


def test_lists_give_days_apart_box_ratios_and_equal_groups() -> None:
    graph = two_queries()
    images = sources_of(graph).images
    boxes = np.full((6, 4), np.nan, dtype=np.float32)
    boxes[images.image_ids == "a"] = [0, 0, 20, 10]
    boxes[images.image_ids == "q"] = [5, 5, 15, 15]
    day = 86_400.0
    images = replace(
        images,
        boxes=boxes,
        times=np.array([0, day, 2 * day, np.nan, 10.5 * day, 0]),
        groups=strings(["x", "y", "x", "", "x", "x"]),
    )
    features = collected(sources_of(graph, images=images.labelled)).table.features
    np.testing.assert_allclose(features["days apart"], [10.5, 9.5, 2, np.nan])
    np.testing.assert_allclose(features["box size ratio"], [np.log(2), np.nan, np.nan, np.nan])
    np.testing.assert_allclose(features["box aspect ratio"], [np.log(2), np.nan, np.nan, np.nan])
    np.testing.assert_allclose(features["equal group"], [1, 0, 1, np.nan])
    # what the lists of the test lack is no feature
    fewer = replace(sources_of(graph, images=images.labelled), metadata=("boxes",))
    assert [name for name in collected(fewer).table.features if "photo" not in name] == [
        "box size ratio",
        "box aspect ratio",
        "lead over the next individual",
    ]


def test_candidates_have_their_photographs_and_the_lead_over_the_next_individual() -> None:
    found = collected(sources_of(two_queries()), "logit:shortlist=3").table
    assert found.second.tolist() == ["a", "b", "c", "b", "c", "d"]
    np.testing.assert_allclose(
        found.features["photographs of the candidate"], [2, 2, 1, 2, 1, np.nan]
    )
    first = cosine(10, 0) - cosine(10, 50)
    last = cosine(60, 50) - cosine(60, 20)
    np.testing.assert_allclose(
        found.features["lead over the next individual"],
        [first, first, -first, -last, last, np.nan],
        atol=1e-6,
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Replace matching: pairs share as many keypoints as the letters of their names are apart."""
    pairs: list[tuple[str, str]] = []

    def measure(settings, images, first, second, *_, **__) -> Iterator[None]:  # type: ignore[no-untyped-def]
        given = list(zip(first.tolist(), second.tolist(), strict=True))
        pairs.extend(given)
        counts = np.array([abs(ord(a) - ord(b)) for a, b in given], dtype=np.float32)
        missing = (first == "d") | (second == "d")
        counts[missing] = np.nan
        left = len(given) - (settings.budget or len(given))
        counts[len(given) - left :] = np.nan
        yield
        return PairMatches(
            settings=settings,
            first=first,
            second=second,
            matches=counts * 2,
            inliers=counts,
            confident=counts,
            ratio=counts * 0 + 0.5,
            without_keypoints={"d": "too dark"} if missing.any() else {},
            over_budget=left,
        )

    monkeypatch.setattr(pair_scores, "measure", measure)
    return pairs


def test_a_matcher_looks_at_its_own_shortlist_and_finds_nothing_beyond(
    asked: list[tuple[str, str]],
) -> None:
    found = collected(sources_of(two_queries()), "logit:shortlist=3", ["sift:shortlist=1"])
    assert sorted(asked) == [("q", "a"), ("r", "c")]
    table = found.table
    assert table.signals == ("similarity", "sift")
    assert table.local.tolist() == [False, True]
    expected = [np.log1p(16), 0, 0, 0, np.log1p(15), 0]
    np.testing.assert_allclose(table.values[:, 1], expected, rtol=1e-6)
    matches = table.features["sift matches"]
    np.testing.assert_allclose(matches, [np.log1p(32), 0, 0, 0, np.log1p(30), 0], rtol=1e-6)


def test_a_pair_that_may_not_be_matched_has_no_value(asked: list[tuple[str, str]]) -> None:
    graph = two_queries()
    every = pairs_to_match([graph], parse_fusion("logit"), [SIFT_2])
    assert list(every) == [SIFT_2]
    listed = list(zip(*(ids.tolist() for ids in every[SIFT_2]), strict=True))
    assert listed == [("q", "a"), ("r", "c"), ("q", "b"), ("r", "d")]  # the best of all first
    assert asked == []
    ids = sources_of(graph).images.image_ids
    some = PairSet.of(ids, {SIFT_2: (strings(["a", "r"]), strings(["q", "c"]))})
    sources = replace(sources_of(graph), match_only=some)
    found = collected(sources, "logit:shortlist=3", [str(SIFT_2)])
    assert asked == [("q", "a"), ("r", "c")]
    expected = [np.log1p(16), np.nan, 0, 0, np.log1p(15), np.nan]
    assert pairs_of(found)[1::4] == [("q", "b"), ("r", "d")]
    np.testing.assert_allclose(found.table.values[:, 1], expected, rtol=1e-6)
    assert np.isnan(found.table.features["sift matches"][1])
    # so that fusion leaves them their global similarity
    assert found.table.without_keypoints.tolist() == [False, True, False, False, False, True]
    # of another matcher there is no pair
    collected(sources, "logit", ["orb:shortlist=2"])
    assert len(asked) == 2


def test_the_longest_shortlist_is_that_of_all_signals(asked: list[tuple[str, str]]) -> None:
    found = collected(sources_of(two_queries()), "logit", ["sift:shortlist=1", "orb:shortlist=3"])
    assert found.table.signals == ("similarity", "sift", "orb")
    assert len(found.table) == 6
    assert len(asked) == 2 + 6


@pytest.mark.usefixtures("asked")
def test_two_matchers_of_one_method_are_named_by_their_settings() -> None:
    found = collected(sources_of(two_queries()), "logit", ["sift:shortlist=1", "sift:points=60"])
    assert found.table.signals == ("similarity", "sift:shortlist=1", "sift:points=60")


def test_a_photograph_without_keypoints_has_no_value_and_is_named(
    asked: list[tuple[str, str]],
) -> None:
    found = collected(sources_of(two_queries()), "logit", ["sift:shortlist=2"])
    assert found.without_keypoints == {"sift": ("d",)}
    assert np.isnan(found.table.values[:, 1]).tolist() == [False, False, False, True]
    assert found.table.without_keypoints.tolist() == [False, False, False, True]


@pytest.mark.usefixtures("asked")
def test_of_a_pair_beyond_the_budget_nothing_is_known_and_it_is_counted() -> None:
    found = collected(
        sources_of(two_queries()),
        "logit:shortlist=3",
        ["sift:shortlist=2,budget=2", "orb:shortlist=3"],
    )
    # q-a and r-c are the best of their lists; q-b and r-d are over the budget, others not looked at
    assert pairs_of(found) == [
        ("q", "a"),
        ("q", "b"),
        ("q", "c"),
        ("r", "b"),
        ("r", "c"),
        ("r", "d"),
    ]
    sift, orb = found.table.values[:, 1:].T
    np.testing.assert_allclose(sift, [np.log1p(16), np.nan, 0, 0, np.log1p(15), np.nan], rtol=1e-6)
    assert np.isnan(found.table.features["sift matches"]).sum() == 2
    assert np.isnan(orb).tolist() == [False] * 5 + [True]
    assert found.over_budget == {"sift": 2}
    assert found.without_keypoints == {"sift": ("d",), "orb": ("d",)}


def test_the_best_pairs_are_asked_for_first(asked: list[tuple[str, str]]) -> None:
    collected(sources_of(two_queries()), "logit", ["sift:shortlist=2"])
    assert sorted(asked[:2]) == [("q", "a"), ("r", "c")]


def test_several_searches_are_one_table() -> None:
    graph = two_queries()
    gallery = graph.search.gallery_images
    graphs = [
        replace(graph, search=Search(name, strings([name]), strings([name]), gallery))
        for name in ("q", "r")
    ]
    found = collected(replace(sources_of(graph), graphs=graphs))
    whole = collected(sources_of(graph))
    assert pairs_of(found) == pairs_of(whole)
    assert found.table.query.tolist() == [0, 0, 1, 1]


def test_an_empty_gallery_has_no_pairs() -> None:
    graph = two_queries()
    nothing = replace(graph.search, gallery_images=strings([]))
    with pytest.raises(KitboxError, match="the gallery is empty"):
        collected(sources_of(replace(graph, search=nothing)))
