"""The holdout: shares, units, folds and groups, the same in any order of rows."""

import csv
import dataclasses
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kitbox.competition import holdout
from kitbox.competition.settings import Competition, HoldoutSettings
from kitbox.errors import KitboxError
from kitbox.records import Holdout, ImageSet, strings
from kitbox.workspace import Workspace
from tests.circle import competition, image_set


def photographed(*times: int, unknown: int = 0) -> ImageSet:
    """Return images of individuals, the given number for each."""
    names = [(f"{who}-{i}.jpg", f"w{who}") for who, n in enumerate(times) for i in range(n)]
    no_individual = [(f"unknown-{i}.jpg", "new_whale") for i in range(unknown)]
    return image_set(dict(names + no_individual))


def configured(
    gallery: str = "train", unknown_label: str | None = "new_whale", **shape: Any
) -> Competition:
    return competition(
        gallery=gallery, answers="images", unknown_label=unknown_label, holdout=shape
    )


def sides(split: Holdout) -> dict[str, str]:
    """Return image id → its side, for queries with the correct answer."""
    train = dict.fromkeys(split.train.image_ids.tolist(), "train")
    answers = zip(split.query.image_ids.tolist(), split.query_answers.tolist(), strict=True)
    return train | {image_id: f"query: {answer}" for image_id, answer in answers}


def labels(images: ImageSet) -> list[str]:
    assert images.labels is not None
    return [str(label) for label in images.labels]


SETS = st.builds(
    lambda times, unknown: photographed(*times, unknown=unknown),
    st.lists(st.integers(1, 6), min_size=1, max_size=25),
    st.integers(0, 4),
)
SHAPES = st.fixed_dictionaries(
    {
        "share": st.floats(0.1, 0.9),
        "unknown_share": st.floats(0, 0.9),
        "seed": st.integers(0, 100),
    }
)


def split_or_reject(images: ImageSet, given: Competition) -> Holdout:
    try:
        return holdout.split(images, given)
    except KitboxError:
        assume(False)
        raise


@given(SETS, SHAPES)
def test_every_image_is_on_exactly_one_side(images: ImageSet, shape: dict[str, Any]) -> None:
    split = split_or_reject(images, configured(**shape))
    both = [*split.train.image_ids.tolist(), *split.query.image_ids.tolist()]
    assert sorted(both) == sorted(images.image_ids.tolist())


@given(SETS, SHAPES, st.sampled_from(["new_whale", None]))
def test_an_answer_is_unknown_exactly_where_training_does_not_show_the_individual(
    images: ImageSet, shape: dict[str, Any], unknown: str | None
) -> None:
    split = split_or_reject(images, configured(unknown_label=unknown, **shape))
    shown = set(labels(split.train))
    for label, answer in zip(labels(split.query), split.query_answers.tolist(), strict=True):
        assert answer == (label if label in shown else (unknown or ""))


@given(SETS, SHAPES)
def test_queries_do_not_exceed_the_shares(images: ImageSet, shape: dict[str, Any]) -> None:
    split = split_or_reject(images, configured(**shape))
    known = sum(label != "new_whale" for label in labels(images))
    most = round(shape["share"] * known)
    assert len(split.query) <= most
    held_out = sum(answer == "new_whale" for answer in split.query_answers)
    assert held_out <= round(shape["unknown_share"] * most)


@given(SETS, SHAPES)
def test_images_without_a_known_individual_are_never_queries(
    images: ImageSet, shape: dict[str, Any]
) -> None:
    assert "new_whale" not in labels(split_or_reject(images, configured(**shape)).query)


@given(SETS, SHAPES, st.randoms(use_true_random=False))
def test_a_split_does_not_depend_on_the_order_of_rows(
    images: ImageSet, shape: dict[str, Any], shuffle: random.Random
) -> None:
    split = split_or_reject(images, configured(**shape))
    order = list(range(len(images)))
    shuffle.shuffle(order)
    assert sides(holdout.split(images.take(np.array(order)), configured(**shape))) == sides(split)


@pytest.mark.parametrize(
    ("gallery", "searched"),
    [("train", ["train"]), ("test", ["query"]), ("train+test", ["train", "query"])],
)
def test_the_gallery_imitates_that_of_the_leaderboard(gallery: str, searched: list[str]) -> None:
    images = photographed(*[3] * 20)
    split = holdout.split(images, configured(gallery))
    ids = np.concatenate([getattr(split, side).image_ids for side in searched])
    assert sorted(split.gallery.image_ids.tolist()) == sorted(ids.tolist())
    label_of = dict(zip(images.image_ids.tolist(), labels(images), strict=True))
    assert labels(split.gallery) == [label_of[name] for name in split.gallery.image_ids.tolist()]


def test_shares_are_met_where_there_are_enough_photographs() -> None:
    # 400 images: 80 become queries, 20 of them of 5 individuals who are held out whole
    split = holdout.split(photographed(*[4] * 100), configured(share=0.2, unknown_share=0.25))
    assert len(split.query) == 80
    assert Counter(split.query_answers.tolist())["new_whale"] == 20


def test_an_unknown_individual_is_held_out_with_all_photographs() -> None:
    split = holdout.split(photographed(*[3] * 40), configured(share=0.3, unknown_share=0.5))
    unknown = {
        label
        for label, answer in zip(labels(split.query), split.query_answers.tolist(), strict=True)
        if answer == "new_whale"
    }
    assert unknown
    assert not unknown & set(labels(split.train))
    assert all(labels(split.query).count(label) == 3 for label in unknown)


def test_without_an_unknown_share_every_individual_is_in_training() -> None:
    split = holdout.split(photographed(*[1] * 50, *[2] * 50), configured(share=0.5))
    assert len(split.query) == 50
    assert set(labels(split.query)) <= set(labels(split.train))


def test_another_seed_gives_another_split() -> None:
    images = photographed(*[3] * 50)
    assert sides(holdout.split(images, configured(seed=1))) != sides(
        holdout.split(images, configured())
    )


def test_a_split_stays_the_same_from_version_to_version() -> None:
    # golden: scores of one version are compared with scores of the next
    split = holdout.split(photographed(3, 3, 2, 1, 1), configured(share=0.4, unknown_share=0.25))
    assert {name: side for name, side in sides(split).items() if side != "train"} == {
        "0-0.jpg": "query: w0",
        "1-1.jpg": "query: w1",
        "2-1.jpg": "query: w2",
        "3-0.jpg": "query: new_whale",
    }


def test_a_new_image_moves_few_others() -> None:
    before = photographed(*[3] * 100)
    after = dataclasses.replace(
        photographed(*[3] * 100, 1), image_ids=np.append(before.image_ids, "new.jpg")
    )
    shape = {"share": 0.2, "unknown_share": 0.25}
    old, new = (sides(holdout.split(images, configured(**shape))) for images in (before, after))
    assert sum(new[name] != side for name, side in old.items()) <= 5


@pytest.mark.parametrize(
    ("times", "shape", "counted"),
    [
        ((1, 1, 1), {}, "3 labelled images of 3 individuals"),
        ((1,), {"share": 0.9}, "1 labelled image of 1 individual"),
        ((2, 1), {"share": 0.3}, "3 labelled images of 2 individuals"),
        ((2,), {"share": 0.9}, "2 labelled images of 1 individual"),
        ((1,) * 20, {"share": 0.5, "unknown_share": 0.9}, "20 labelled images of 20 individuals"),
        # all three photographs of one individual are held out, and the others have one each
        (
            (3, 1, 1, 1),
            {"share": 0.5, "unknown_share": 0.9, "seed": 2},
            "6 labelled images of 4 individuals",
        ),
    ],
)
def test_too_few_photographs_are_refused(
    times: tuple[int, ...], shape: dict[str, Any], counted: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        holdout.split(photographed(*times), configured(**shape))
    assert str(caught.value) == (
        f"a holdout needs individuals with two photographs; {counted} leave no query"
    )


@given(SETS, SHAPES)
def test_some_query_has_a_match_among_the_training_images(
    images: ImageSet, shape: dict[str, Any]
) -> None:
    split = split_or_reject(images, configured(**shape))
    assert set(labels(split.query)) & set(labels(split.train))


def photographs(*who: str, unit: str | None = None) -> tuple[ImageSet, np.ndarray | None]:
    """Return images of individuals, numbered in order, and units of one letter each."""
    images = image_set({f"{i}.jpg": name for i, name in enumerate(who)})
    return images, None if unit is None else np.array([ord(letter) for letter in unit])


@st.composite
def united(draw: st.DrawFn) -> tuple[ImageSet, np.ndarray]:
    """Draw images and units of several of them, mostly of the same individual."""
    images = draw(SETS)
    bonds = draw(st.lists(st.sampled_from("000123"), min_size=len(images), max_size=len(images)))
    units = np.arange(len(images))
    for row, bond in enumerate(bonds):
        if row >= int(bond) > 0:
            units[units == units[row]] = units[row - int(bond)]
    return images, units


FOLDED = st.fixed_dictionaries(
    {
        "share": st.floats(0.1, 0.9),
        "unknown_share": st.sampled_from([0.0, 0.2, 0.5, 1.0]),
        "frequency_power": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        "folds": st.integers(1, 4),
        "seed": st.integers(0, 100),
    }
)


def draw(given: tuple[ImageSet, np.ndarray], shape: dict[str, Any]) -> holdout.Folds:
    return holdout.draw_folds(given[0], HoldoutSettings(**shape), "new_whale", given[1])


def in_mixed_unit(images: ImageSet, units: np.ndarray) -> np.ndarray:
    """Return for each image whether its unit shows two individuals."""
    names = np.array(labels(images))
    return np.array([len(set(names[units == unit])) > 1 for unit in units])


@given(united(), FOLDED)
def test_a_unit_is_never_split_between_sides_or_folds(
    given: tuple[ImageSet, np.ndarray], shape: dict[str, Any]
) -> None:
    fold_of = draw(given, shape).fold_of
    for unit in np.unique(given[1]):
        assert len(set(fold_of[given[1] == unit].tolist())) == 1


@given(united(), FOLDED)
def test_an_image_under_two_labels_stays_in_training(
    given: tuple[ImageSet, np.ndarray], shape: dict[str, Any]
) -> None:
    assert not draw(given, shape).fold_of[in_mixed_unit(*given)].any()


@given(united(), FOLDED, st.lists(st.integers(0, 200), min_size=1, max_size=20))
def test_an_image_that_may_not_be_a_query_stays_in_training_with_its_unit(
    given: tuple[ImageSet, np.ndarray], shape: dict[str, Any], rows: list[int]
) -> None:
    images, units = given
    chosen = np.unique(np.array(rows) % len(images))
    training_only = images.image_ids[chosen].tolist()
    found = holdout.draw_folds(
        images, HoldoutSettings(**shape), "new_whale", units, training_only=training_only
    )
    assert not found.fold_of[np.isin(units, units[chosen])].any()
    shown = {labels(images)[row] for row in chosen}
    assert not shown & set().union(*found.unknown), "its individual is known"


def test_an_image_that_may_not_be_a_query_still_counts_for_its_individual() -> None:
    images = photographed(2)
    found = holdout.draw_folds(images, HoldoutSettings(share=0.5), None, training_only=["0-1.jpg"])
    assert found.fold_of.tolist() == [1, 0]


@given(united(), FOLDED)
def test_a_known_query_keeps_a_photograph_of_another_unit_in_training(
    given: tuple[ImageSet, np.ndarray], shape: dict[str, Any]
) -> None:
    (images, units), found = given, draw(given, shape)
    names = np.array(labels(images))
    for fold, unknown in enumerate(found.unknown, 1):
        left = found.fold_of != fold
        for row in np.flatnonzero(found.fold_of == fold):
            others = left & (names == names[row]) & (units != units[row])
            assert others.any() == (names[row] not in unknown)
            assert not (unknown & set(names[left])), "held out with all photographs"


@given(united(), FOLDED)
def test_folds_use_every_photograph_that_can_be_a_query(
    given: tuple[ImageSet, np.ndarray], shape: dict[str, Any]
) -> None:
    assume(shape["folds"] > 1 and shape["unknown_share"] < 1)
    (images, units), found = given, draw(given, shape)
    names = np.array(labels(images))
    unknown = set().union(*found.unknown)
    for row, name in enumerate(names):
        several = len(set(units[names == name])) > 1
        usable = name != "new_whale" and not in_mixed_unit(images, units)[row]
        assert (found.fold_of[row] > 0) == (usable and (several or name in unknown))


@given(united(), FOLDED)
def test_no_fold_exceeds_its_share(
    given: tuple[ImageSet, np.ndarray], shape: dict[str, Any]
) -> None:
    found = draw(given, shape)
    share = shape["share"] if shape["folds"] == 1 else 1 / shape["folds"]
    most = round(share * found.images)
    for fold, unknown in enumerate(found.unknown, 1):
        queries = np.array(labels(given[0]))[found.fold_of == fold]
        assert np.isin(queries, list(unknown)).sum() <= round(shape["unknown_share"] * most)
        if shape["folds"] == 1:
            assert len(queries) <= most


@given(united(), FOLDED, st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_the_order_of_rows(
    given: tuple[ImageSet, np.ndarray], shape: dict[str, Any], shuffle: random.Random
) -> None:
    (images, units), found = given, draw(given, shape)
    order = np.array(shuffle.sample(range(len(images)), len(images)))
    again = draw((images.take(order), 1000 - units[order]), shape)
    assert again.fold_of.tolist() == found.fold_of[order].tolist()
    assert again.unknown == found.unknown


def test_folds_have_different_queries_and_equally_many() -> None:
    images = photographed(*[4] * 30)
    splits = [holdout.split(images, configured(folds=5), fold=fold) for fold in range(1, 6)]
    names = [name for split in splits for name in split.query.image_ids.tolist()]
    assert sorted(names) == sorted(images.image_ids.tolist())
    assert [len(split.query) for split in splits] == [24] * 5


def test_folds_leave_no_remainder() -> None:
    # ten images in three folds
    found = holdout.draw_folds(photographed(5, 5), HoldoutSettings(folds=3), None)
    assert sorted(np.bincount(found.fold_of).tolist()) == [0, 3, 3, 4]


def test_every_fold_has_its_own_unknown_individuals() -> None:
    images, shape = photographed(*[3] * 100), {"folds": 4, "unknown_share": 0.2}
    splits = [holdout.split(images, configured(**shape), fold=fold) for fold in range(1, 5)]
    unknown = [set(labels(split.query)) - set(labels(split.train)) for split in splits]
    assert len(set().union(*unknown)) == sum(len(names) for names in unknown)
    for split in splits:  # 75 queries, a fifth of them in threes
        assert Counter(split.query_answers.tolist())["new_whale"] == 15


@pytest.mark.parametrize("count", [1, 3])
def test_every_group_has_its_share_of_unknown_individuals(count: int) -> None:
    # 60 lynxes of four photographs, 20 turtles of three, one salamander of two
    labelled = photographed(*[4] * 60, *[3] * 20, 2)
    groups = np.repeat(["lynx", "turtle", "salamander"], [240, 60, 2])
    for seed in range(5):
        shape = HoldoutSettings(share=1 / 3, unknown_share=0.5, folds=count, seed=seed)
        found = holdout.draw_folds(
            dataclasses.replace(labelled, groups=strings(groups)), shape, None, by_group=True
        )
        for fold, unknown in enumerate(found.unknown, 1):
            names = np.array(labels(labelled))
            unknown_rows = (found.fold_of == fold) & np.isin(names, list(unknown))
            assert unknown_rows[groups == "lynx"].sum() == 40
            assert unknown_rows[groups == "turtle"].sum() == 9
            assert not unknown_rows[groups == "salamander"].any()


def test_groups_searched_together_share_the_unknown_individuals() -> None:
    labelled = photographed(*[4] * 60, *[3] * 20)
    grouped = dataclasses.replace(labelled, groups=strings(["lynx"] * 240 + ["turtle"] * 60))
    shape = HoldoutSettings(unknown_share=0.5)
    assert (
        holdout.draw_folds(grouped, shape, None).unknown
        == holdout.draw_folds(labelled, shape, None).unknown
    )


@pytest.mark.parametrize("number", [1, 2, 5, 10])
@pytest.mark.parametrize("unknown_share", [0.1, 0.27, 0.5])
def test_individuals_who_were_photographed_once_do_not_raise_the_unknown_share(
    number: int, unknown_share: float
) -> None:
    # they can only be unknown queries, so that folds are smaller than 1 / folds
    images = photographed(*[4] * 320, *[1] * 300)
    shape = HoldoutSettings(folds=number, unknown_share=unknown_share)
    found = holdout.draw_folds(images, shape, None)
    for fold, unknown in enumerate(found.unknown, 1):
        queries = np.array(labels(images))[found.fold_of == fold]
        count = np.isin(queries, list(unknown)).sum()
        assert count / len(queries) == pytest.approx(unknown_share, abs=2 / len(queries))


@pytest.mark.parametrize("fold", [0, 3])
def test_a_missing_fold_is_refused(fold: int) -> None:
    with pytest.raises(KitboxError) as caught:
        holdout.split(photographed(*[3] * 10), configured(folds=2), fold=fold)
    assert str(caught.value) == f"there is no fold {fold}: kitbox.toml has holdout.folds = 2"


def test_a_unit_that_is_too_large_stays_in_training() -> None:
    # the share is four of ten images: the unit of a's five does not fit, and others fill the fold
    images, units = photographs(*"aaaaaaabbb", unit="xxxxxyzuvw")
    for seed in range(20):
        found = holdout.draw_folds(images, HoldoutSettings(share=0.4, seed=seed), None, units)
        assert not found.fold_of[:5].any()
        assert 3 <= found.fold_of.sum() <= 4


def test_an_individual_with_an_image_under_two_labels_is_not_held_out() -> None:
    # the last image of a is also an image of b
    images, units = photographs(*"aabbccdd", unit="stxxyzuv")
    units[1], units[2] = ord("x"), ord("x")
    for seed in range(20):
        shape = HoldoutSettings(share=0.5, unknown_share=1.0, seed=seed)
        assert set(holdout.draw_folds(images, shape, None, units).unknown[0]) <= {"c", "d"}


def test_with_unknown_queries_only_no_individual_is_on_both_sides() -> None:
    images = photographed(*[1, 2, 3, 4] * 20, unknown=9)
    split = holdout.split(images, configured("test", share=0.3, unknown_share=1.0))
    assert not set(labels(split.query)) & set(labels(split.train))
    assert set(split.query_answers.tolist()) == {"new_whale"}
    assert len(split.query) == 60
    assert split.gallery.image_ids.tolist() == split.query.image_ids.tolist()


def test_unknown_individuals_with_one_photograph_match_nothing() -> None:
    with pytest.raises(KitboxError, match="a holdout needs individuals with two photographs"):
        holdout.split(photographed(*[1] * 20), configured("test", unknown_share=1.0))


def test_the_queries_are_the_gallery_in_place_of_an_index() -> None:
    given = competition(
        gallery="index",
        answers="images",
        images={"index_folder": "index"},
        holdout={"unknown_share": 1.0},
    )
    split = holdout.split(photographed(*[3] * 20), given)
    assert split.gallery.image_ids.tolist() == split.query.image_ids.tolist()


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_queries_come_in_proportion_to_a_power_of_the_photographs(power: float) -> None:
    # of 2, 4 and 8 photographs, one is drawn; Efraimidis and Spirakis, 2006
    images, draws = photographed(2, 4, 8), 1500
    first: Counter[str] = Counter()
    for seed in range(draws):
        shape = HoldoutSettings(share=1 / 14, frequency_power=power, seed=seed)
        [row] = np.flatnonzero(holdout.draw_folds(images, shape, None).fold_of)
        first[labels(images)[row]] += 1
    weights = np.array([2, 4, 8]) ** power
    for who, expected in zip(("w0", "w1", "w2"), weights / weights.sum(), strict=True):
        deviation = np.sqrt(expected * (1 - expected) / draws)
        assert abs(first[who] / draws - expected) < 4 * deviation


def test_rare_individuals_are_queries_where_photographs_do_not_count() -> None:
    images = photographed(*[40] * 3, *[2] * 60)
    rare = {f"w{who}" for who in range(3, 63)}
    shares = [
        np.isin(
            labels(holdout.split(images, configured(frequency_power=power)).query), list(rare)
        ).mean()
        for power in (0.0, 1.0, 2.0)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.85  # 60 of 63 individuals
    assert 0.3 < shares[1] < 0.6  # 120 of 240 photographs
    assert shares[2] < 0.1


def write(images: ImageSet, given: Competition, workspace: Workspace) -> str:
    found = holdout.draw_folds(images, given.holdout, given.images.unknown_label)
    holdout.save(found, images, given, workspace)
    return workspace.holdout.read_text()


def test_a_split_is_saved_as_a_csv(workspace: Workspace) -> None:
    images = image_set(
        {"c.jpg": "Boo", "b.jpg": "Ahab", "z.jpg": "Boo", "a.jpg": "Cleo, the old", "d.jpg": "Boo"}
    )
    given = configured()
    found = holdout.Folds(np.array([0, 0, 1, 1, 0]), (frozenset({"Cleo, the old"}),), 5, 3)
    holdout.save(found, images, given, workspace)
    assert workspace.holdout.read_text() == (
        "image,side,label,answer\n"
        'a.jpg,query,"Cleo, the old",new_whale\n'
        "z.jpg,query,Boo,Boo\n"
        "b.jpg,train,Ahab,Ahab\n"
        "c.jpg,train,Boo,Boo\n"
        "d.jpg,train,Boo,Boo\n"
    )


def test_several_folds_are_saved_with_the_fold_of_each_query(
    workspace: Workspace,
) -> None:
    images = image_set({"c.jpg": "Boo", "b.jpg": "Boo", "a.jpg": "Cleo", "d.jpg": "Ahab"})
    found = holdout.Folds(np.array([2, 1, 2, 0]), (frozenset(), frozenset({"Cleo"})), 4, 3)
    holdout.save(found, images, configured(folds=2), workspace)
    assert workspace.holdout.read_text() == (
        "image,side,label,answer,fold\n"
        "b.jpg,query,Boo,Boo,1\n"
        "a.jpg,query,Cleo,new_whale,2\n"
        "c.jpg,query,Boo,Boo,2\n"
        "d.jpg,train,Ahab,Ahab,\n"
    )


@pytest.mark.parametrize("shape", [{}, {"folds": 3, "unknown_share": 0.3}])
def test_the_saved_split_is_the_split(workspace: Workspace, shape: dict[str, Any]) -> None:
    images, given = photographed(*[3] * 30, unknown=5), configured(**shape)
    rows = list(csv.DictReader(write(images, given, workspace).splitlines()))
    assert len(rows) == len(images)
    for fold in range(1, given.holdout.folds + 1):
        written = {
            row["image"]: f"query: {row['answer']}"
            for row in rows
            if row["side"] == "query" and row.get("fold", "1") == str(fold)
        }
        found = sides(holdout.split(images, given, fold=fold))
        assert written == {name: side for name, side in found.items() if side != "train"}


def test_an_unchanged_split_is_not_saved_again(workspace: Workspace) -> None:
    write(photographed(*[3] * 10), configured(), workspace)
    written = workspace.holdout.stat().st_ino
    write(photographed(*[3] * 10), configured(), workspace)
    assert workspace.holdout.stat().st_ino == written
    assert write(photographed(*[3] * 11), configured(), workspace).count("\n") == 34


@pytest.mark.parametrize("gallery", ["test", "train"])
def test_distractors_join_the_gallery(gallery: str) -> None:
    images = photographed(3, 3, 3, 3, unknown=2)
    shape = {"share": 0.5, "unknown_share": 0.5}
    alone = holdout.split(images, configured(gallery, **shape))
    beside = holdout.split(images, configured(gallery, **shape, distractors=True))
    assert sides(beside) == sides(alone)
    assert set(beside.gallery.image_ids) == set(images.image_ids)
    assert len(alone.gallery) < len(images)
