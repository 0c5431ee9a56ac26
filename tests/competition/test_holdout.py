import dataclasses
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kitbox.competition import holdout
from kitbox.competition.settings import Competition
from kitbox.errors import KitboxError
from kitbox.records import Holdout, ImageSet
from kitbox.workspace import Workspace
from tests.circle import competition, image_set


def photographed(*times: int, unknown: int = 0) -> ImageSet:
    """Return images of individuals who were photographed so many times each."""
    names = [(f"{who}-{i}.jpg", f"w{who}") for who, n in enumerate(times) for i in range(n)]
    nobody = [(f"nobody-{i}.jpg", "new_whale") for i in range(unknown)]
    return image_set(dict(names + nobody))


def asked(
    gallery: str = "train", unknown_label: str | None = "new_whale", **shape: Any
) -> Competition:
    return competition(
        gallery=gallery, answers="images", unknown_label=unknown_label, holdout=shape
    )


def sides(split: Holdout) -> dict[str, str]:
    """Return image id → its side and what a scorer expects."""
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


def split_or_reject(images: ImageSet, wanted: Competition) -> Holdout:
    try:
        return holdout.split(images, wanted)
    except KitboxError:
        assume(False)
        raise


@given(SETS, SHAPES)
def test_every_image_is_on_exactly_one_side(images: ImageSet, shape: dict[str, Any]) -> None:
    split = split_or_reject(images, asked(**shape))
    both = [*split.train.image_ids.tolist(), *split.query.image_ids.tolist()]
    assert sorted(both) == sorted(images.image_ids.tolist())


@given(SETS, SHAPES, st.sampled_from(["new_whale", None]))
def test_an_answer_is_unknown_exactly_where_training_does_not_show_the_individual(
    images: ImageSet, shape: dict[str, Any], unknown: str | None
) -> None:
    split = split_or_reject(images, asked(unknown_label=unknown, **shape))
    shown = set(labels(split.train))
    for label, answer in zip(labels(split.query), split.query_answers.tolist(), strict=True):
        assert answer == (label if label in shown else (unknown or ""))


@given(SETS, SHAPES)
def test_no_more_is_asked_than_the_shares_say(images: ImageSet, shape: dict[str, Any]) -> None:
    split = split_or_reject(images, asked(**shape))
    known = sum(label != "new_whale" for label in labels(images))
    wanted = round(shape["share"] * known)
    assert len(split.query) <= wanted
    held_out = sum(answer == "new_whale" for answer in split.query_answers)
    assert held_out <= round(shape["unknown_share"] * wanted)


@given(SETS, SHAPES)
def test_images_of_nobody_are_never_asked_about(images: ImageSet, shape: dict[str, Any]) -> None:
    assert "new_whale" not in labels(split_or_reject(images, asked(**shape)).query)


@given(SETS, SHAPES, st.randoms(use_true_random=False))
def test_a_split_does_not_depend_on_the_order_of_rows(
    images: ImageSet, shape: dict[str, Any], shuffle: random.Random
) -> None:
    split = split_or_reject(images, asked(**shape))
    order = list(range(len(images)))
    shuffle.shuffle(order)
    assert sides(holdout.split(images.take(np.array(order)), asked(**shape))) == sides(split)


@pytest.mark.parametrize(
    ("gallery", "searched"),
    [("train", ["train"]), ("test", ["query"]), ("train+test", ["train", "query"])],
)
def test_the_gallery_is_the_side_that_plays_it(gallery: str, searched: list[str]) -> None:
    images = photographed(*[3] * 20)
    split = holdout.split(images, asked(gallery))
    wanted = np.concatenate([getattr(split, side).image_ids for side in searched])
    assert sorted(split.gallery.image_ids.tolist()) == sorted(wanted.tolist())
    label_of = dict(zip(images.image_ids.tolist(), labels(images), strict=True))
    assert labels(split.gallery) == [label_of[name] for name in split.gallery.image_ids.tolist()]


def test_shares_are_met_where_there_are_photographs_enough() -> None:
    # 400 images: 80 are asked about, 20 of them of 5 individuals who are held out whole
    split = holdout.split(photographed(*[4] * 100), asked(share=0.2, unknown_share=0.25))
    assert len(split.query) == 80
    assert Counter(split.query_answers.tolist())["new_whale"] == 20


def test_an_unknown_individual_is_held_out_with_all_photographs() -> None:
    split = holdout.split(photographed(*[3] * 40), asked(share=0.3, unknown_share=0.5))
    unknown = {
        label
        for label, answer in zip(labels(split.query), split.query_answers.tolist(), strict=True)
        if answer == "new_whale"
    }
    assert unknown
    assert not unknown & set(labels(split.train))
    assert all(labels(split.query).count(label) == 3 for label in unknown)


def test_without_unknown_share_every_query_is_of_a_shown_individual() -> None:
    split = holdout.split(photographed(*[1] * 50, *[2] * 50), asked(share=0.5))
    assert len(split.query) == 50
    assert set(labels(split.query)) <= set(labels(split.train))


def test_another_seed_is_another_split() -> None:
    images = photographed(*[3] * 50)
    assert sides(holdout.split(images, asked(seed=1))) != sides(holdout.split(images, asked()))


def test_a_split_keeps_its_meaning() -> None:
    # golden: scores of one version are compared with scores of the next
    split = holdout.split(photographed(3, 3, 2, 1, 1), asked(share=0.4, unknown_share=0.25))
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
    old, new = (sides(holdout.split(images, asked(**shape))) for images in (before, after))
    assert sum(new[name] != side for name, side in old.items()) <= 5


@pytest.mark.parametrize(
    ("times", "shape", "counted"),
    [
        ((1, 1, 1), {}, "3 labelled images of 3 individuals"),
        ((1,), {"share": 0.9}, "1 labelled images of 1 individuals"),
        ((2, 1), {"share": 0.3}, "3 labelled images of 2 individuals"),
        ((2,), {"share": 0.9}, "2 labelled images of 1 individuals"),
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
        holdout.split(photographed(*times), asked(**shape))
    assert str(caught.value) == (
        f"a holdout needs individuals with two photographs; {counted} leave nothing to ask about"
    )


@given(SETS, SHAPES)
def test_some_query_has_a_match_among_the_training_images(
    images: ImageSet, shape: dict[str, Any]
) -> None:
    split = split_or_reject(images, asked(**shape))
    assert set(labels(split.query)) & set(labels(split.train))


def test_a_split_is_written_down_for_people(workspace: Workspace) -> None:
    train = image_set({"c.jpg": "Boo", "b.jpg": "Ahab"})
    query = image_set({"z.jpg": "Boo", "a.jpg": "Cleo, the old"})
    split = Holdout(train, query, train, np.array(["Boo", "new_whale"]))
    holdout.write(split, workspace)
    assert workspace.holdout.read_text() == (
        "image,side,label,answer\n"
        'a.jpg,query,"Cleo, the old",new_whale\n'
        "z.jpg,query,Boo,Boo\n"
        "b.jpg,train,Ahab,Ahab\n"
        "c.jpg,train,Boo,Boo\n"
    )


def test_an_unchanged_split_is_not_written_again(workspace: Workspace) -> None:
    split = holdout.split(photographed(*[3] * 10), asked())
    holdout.write(split, workspace)
    written = workspace.holdout.stat().st_ino
    holdout.write(split, workspace)
    assert workspace.holdout.stat().st_ino == written
    holdout.write(holdout.split(photographed(*[3] * 11), asked()), workspace)
    assert workspace.holdout.read_text().count("\n") == 34
