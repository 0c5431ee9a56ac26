import dataclasses

import numpy as np
import pytest

from kitbox.competition.settings import Competition
from kitbox.dataset.collection import Collection
from kitbox.errors import KitboxError
from kitbox.records import Embeddings, Holdout, ImageSet, Score, concatenate, strings
from kitbox.scoring import holdout_realism
from kitbox.scoring.holdout_realism import HoldoutRealism, estimate
from tests.circle import competition, image_set, placed
from tests.submission.collected import collection, unlabelled

UNKNOWN = "new_whale"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdout_realism, "_RESAMPLES", 40)  # each takes a fit


def angles(prefix: str, count: int, share: float, rng: np.random.Generator) -> dict[str, float]:
    """Return photographs of twelve individuals, 30 degrees apart, unknown ones half-way between.

    The unknown ones come first.
    """
    shown = rng.integers(12, size=count)
    unknown = np.arange(count) < round(share * count)
    places = 30.0 * shown + 15 * unknown + rng.normal(0, 3, size=count)
    return {f"{prefix}{i}": float(place) for i, place in enumerate(places)}


def world(
    seed: int, queries: int, tests: int, *, unknown_share: float
) -> tuple[Embeddings, Holdout, ImageSet]:
    """Return a holdout of which a third is unknown, and a test with another share of them.

    Half of the twelve individuals have one training photograph, the others three.
    """
    rng = np.random.default_rng(seed)
    shown = [w for w in range(12) for _ in range(1 + 2 * (w > 5))]
    train = {f"t{i}": 30.0 * w + rng.normal(0, 1) for i, w in enumerate(shown)}
    label_of = {name: f"w{w}" for name, w in zip(train, shown, strict=True)}
    query, test = angles("q", queries, 1 / 3, rng), angles("x", tests, unknown_share, rng)
    unknown = np.arange(queries) < round(queries / 3)
    answers = [UNKNOWN if own else f"w{round(a / 30) % 12}"
               for a, own in zip(query.values(), unknown, strict=True)]  # fmt: skip
    query_set = image_set({name: f"individual of {name}" for name in query})
    split = Holdout(image_set(label_of), query_set, image_set(label_of), strings(answers))
    return placed(train | query | test), split, image_set(dict.fromkeys(test, ""))


def test_a_test_like_the_holdout_is_reported_as_alike() -> None:
    embeddings, split, test = world(0, 200, 150, unknown_share=1 / 3)
    found = estimate(embeddings, split, test, competition())
    assert found.separability.low < 0.5 < found.separability.high
    assert found.separability.value < holdout_realism._ALIKE
    assert found.sentence.endswith("they are alike")
    assert found.holdout_unknown_share == 67 / 200
    assert found.unknown_share is not None
    assert found.unknown_share.low <= 1 / 3 <= found.unknown_share.high
    assert found.photographs == pytest.approx(found.holdout_photographs, abs=0.4)


@pytest.mark.parametrize("unknown_share", [0.0, 0.1, 0.6, 1.0])
def test_the_share_of_unknown_individuals_in_the_test_is_estimated(unknown_share: float) -> None:
    embeddings, split, test = world(1, 200, 150, unknown_share=unknown_share)
    found = estimate(embeddings, split, test, competition())
    assert found.unknown_share is not None
    assert found.unknown_share.value == pytest.approx(unknown_share, abs=0.08)
    assert found.unknown_share.low <= found.unknown_share.value <= found.unknown_share.high
    assert found.unknown_share.queries == 150


def lifted(embeddings: Embeddings, test: ImageSet, height: float) -> Embeddings:
    """Return embeddings of three dimensions, those of the test above the others."""
    tested = np.isin(embeddings.image_ids, test.image_ids)
    vectors = np.column_stack([embeddings.vectors, np.where(tested, height, 0)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(embeddings.image_ids, vectors.astype(np.float32))


def test_a_test_from_another_camera_is_reported_as_different() -> None:
    embeddings, split, test = world(2, 60, 60, unknown_share=1 / 3)
    found = estimate(lifted(embeddings, test, 0.5), split, test, competition())
    assert found.separability.low == pytest.approx(1.0)
    assert "they differ in more than who is shown" in found.sentence


def test_the_photographs_of_the_nearest_individuals_are_counted() -> None:
    train = {f"t{w}.{i}": 60.0 * w for w in range(2) for i in range(1 + 4 * w)}
    query = {f"q{i}": 1.0 for i in range(10)}  # near the one with one photograph
    test = {f"x{i}": 59.0 for i in range(10)}  # near the one with five
    label_of = {name: f"w{name[1]}" for name in train}
    query_set = image_set(dict.fromkeys(query, "w0"))
    split = Holdout(image_set(label_of), query_set, query_set, strings(["w0"] * 10))
    found = estimate(
        placed(train | query | test), split, image_set(dict.fromkeys(test, "")), competition()
    )
    assert (found.holdout_photographs, found.photographs) == (1.0, 5.0)


def test_a_holdout_without_unknown_individuals_gives_no_estimate_of_their_share() -> None:
    embeddings, split, test = world(3, 30, 30, unknown_share=0.5)
    assert split.query.labels is not None
    closed = Holdout(split.train, split.query, split.gallery, split.query.labels)
    found = estimate(embeddings, closed, test, competition())
    assert found.unknown_share is None
    assert found.holdout_unknown_share == 0


def test_training_images_without_an_individual_are_not_counted() -> None:
    embeddings, split, test = world(4, 30, 30, unknown_share=0.5)
    train = concatenate(split.train, image_set({"n0": UNKNOWN, "n1": ""}))
    everyone = placed({"n0": 15.0, "n1": 15.0})
    both = Embeddings(
        np.concatenate([embeddings.image_ids, everyone.image_ids]),
        np.concatenate([embeddings.vectors, everyone.vectors]),
    )
    more = Holdout(train, split.query, split.gallery, split.query_answers)
    assert estimate(both, more, test, competition()) == estimate(
        embeddings, split, test, competition()
    )


@pytest.mark.parametrize(("queries", "tests"), [(9, 30), (30, 9)])
def test_too_few_images_of_either_side_are_refused(queries: int, tests: int) -> None:
    embeddings, split, test = world(5, queries, tests, unknown_share=0.5)
    with pytest.raises(KitboxError) as caught:
        estimate(embeddings, split, test, competition())
    assert str(caught.value) == f"{queries} queries and {tests} test images are too few"


def test_few_queries_beside_many_test_images_are_in_every_resample() -> None:
    # of 200 images 10 are queries: drawn from all at once, some draws would hold hardly any
    embeddings, split, test = world(6, 10, 190, unknown_share=1 / 3)
    found = estimate(embeddings, split, test, competition())
    assert found.separability.low < found.separability.value < found.separability.high


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0.5, "a classifier cannot tell the queries from the test images: they are alike"),
        (0.6, "a classifier tells some queries from test images: they differ a little"),
        (
            0.75,
            "a classifier tells queries from test images: they differ in more than who is shown; "
            "look for other cameras, years or places, and split by them with encounters or groups",
        ),
    ],
)
def test_the_sentence_follows_the_area_under_the_curve(value: float, sentence: str) -> None:
    found = HoldoutRealism(
        separability=Score(value, value, value, 100),
        unknown_share=None,
        holdout_unknown_share=0.0,
        photographs=1.0,
        holdout_photographs=1.0,
    )
    assert found.sentence == sentence


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_the_estimated_share_equals_the_mean_of_its_probabilities(share: float) -> None:
    # Exact chances under a prior of one half: likelihood ratios of two normal distributions.
    rng = np.random.default_rng(7)
    place = np.concatenate([rng.normal(2, 1, round(20_000 * share)),
                            rng.normal(0, 1, round(20_000 * (1 - share)))])  # fmt: skip
    chance = 1 / (1 + np.exp(-(2 * place - 2)))
    assert holdout_realism._consistent_prior(chance, 0.5) == pytest.approx(share, abs=0.02)


LABELLED = {"a": "Ahab", "a2": "Ahab", "a3": "Ahab", "b": "Boo", "n": "new_whale"}


def collected(**shape: object) -> tuple[Collection, Competition]:
    """Return a collection that asks about 'a', and its competition."""
    toy = competition(holdout=shape)
    found = collection(toy, LABELLED, unlabelled("x", "y", "z"))
    digests = np.array([f"{number:064x}" for number in range(len(LABELLED))])
    return (
        dataclasses.replace(found, labelled=dataclasses.replace(found.labelled, digests=digests)),
        toy,
    )


def by_name(figures: list[holdout_realism.RealismRow]) -> dict[str, tuple[object, object]]:
    return {figure.name: (figure.holdout, figure.test) for figure in figures}


def estimated(low: float, high: float, photographs: float = 3.0) -> HoldoutRealism:
    """Return a test whose share of unknown individuals lies between two, .27 on the holdout."""
    alike = Score(0.5, 0.45, 0.55, 100)
    share = Score((low + high) / 2, low, high, 100)
    return HoldoutRealism(
        separability=alike,
        unknown_share=share,
        holdout_unknown_share=0.27,
        photographs=photographs,
        holdout_photographs=3.0,
    )


def test_sizes_of_the_holdout_are_counted_beside_those_of_the_test() -> None:
    figures = by_name(holdout_realism.count_rows(*collected()))
    assert figures["training images"] == (4, 5)
    assert figures["training individuals"] == (2, 2)
    assert figures["queries"] == (1, 3)
    assert figures["gallery images"] == (4, 5)
    assert figures["queries of unknown individuals"] == ("0.0%", None)
    assert figures["unknown individuals"] == (0, None)


@pytest.mark.parametrize(("power", "mean"), [(0.0, "2.00"), (1.0, "2.50"), (2.0, "2.80")])
def test_the_mean_photographs_of_asked_individuals_follow_the_power_they_are_drawn_by(
    power: float, mean: str
) -> None:
    # Ahab has three photographs and Boo one: (3·3 + 1·1) / (3 + 1) = 2.5 where photographs are
    # drawn; the holdout asks about Ahab, of whom two remain
    figures = by_name(holdout_realism.count_rows(*collected(frequency_power=power)))
    assert figures["training photographs of a queried individual"] == (2.0, f"{mean} if drawn so")


def test_a_holdout_of_unknown_individuals_has_no_row_about_their_photographs() -> None:
    found, toy = collected()
    unknown = np.array(["new_whale"])
    holdout = dataclasses.replace(found.holdout, query_answers=unknown)
    figures = by_name(holdout_realism.count_rows(dataclasses.replace(found, holdout=holdout), toy))
    assert "training photographs of a queried individual" not in figures
    assert figures["queries of unknown individuals"] == ("100.0%", None)
    assert figures["unknown individuals"] == (1, None)


def test_a_copy_of_the_query_in_training_is_counted() -> None:
    found, toy = collected()
    assert found.labelled.digests is not None
    copied = found.labelled.digests.copy()
    copied[1] = copied[0]
    labelled = dataclasses.replace(found.labelled, digests=copied)
    figures = by_name(
        holdout_realism.count_rows(dataclasses.replace(found, labelled=labelled), toy)
    )
    assert figures["near-duplicates of queries in training"] == (1, None)


def test_an_estimate_with_a_wide_interval_is_marked() -> None:
    wide = by_name(holdout_realism.estimate_rows(estimated(0.0, 0.9)))[
        "unknown individuals, estimated"
    ]
    assert wide == ("27.0%", "45.0% [0.0%, 90.0%], too wide to tell")
    narrow = by_name(holdout_realism.estimate_rows(estimated(0.2, 0.3)))[
        "unknown individuals, estimated"
    ]
    assert narrow == ("27.0%", "25.0% [20.0%, 30.0%]")


def test_a_setting_is_advised_where_the_share_is_outside_the_estimate() -> None:
    toy = competition(holdout={"unknown_share": 0.27})
    assert holdout_realism.advice(estimated(0.2, 0.3), toy) == []
    assert holdout_realism.advice(estimated(0.0, 0.9), toy) == []
    [sentence] = holdout_realism.advice(estimated(0.4, 0.5), toy)
    assert sentence == "more like the test: holdout.unknown_share = 0.45, where it is 0.27"


@pytest.mark.parametrize(("photographs", "change"), [(4.0, "raise"), (2.0, "lower")])
def test_a_setting_is_advised_where_numbers_of_photographs_differ(
    photographs: float, change: str
) -> None:
    [sentence] = holdout_realism.advice(estimated(0.2, 0.3, photographs), competition())
    assert sentence.startswith(f"individuals that the test asks about have {photographs / 3:.2f} ")
    assert sentence.endswith(f"{change} holdout.frequency_power, which is 1")
    assert (
        holdout_realism.advice(estimated(0.2, 0.3, photographs), competition(answers="images"))
        == []
    )
