"""The reason why there is no holdout is the setting without which there would be one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kitbox.dataset.absent_holdout import AbsentHoldout
from kitbox.images.file_index import Signatures
from kitbox.records import LabelledImages, strings
from tests.circle import competition, image_set

# Photographs of each individual: (hour, second) of the day when they were taken.
Times = tuple[tuple[tuple[int, int], ...], ...]


def photographed(*times: int) -> LabelledImages:
    """Return images of individuals, the given number for each, an hour apart."""
    return at_times(*(tuple((hour, 0) for hour in range(count)) for count in times))


def at_times(*times: tuple[tuple[int, int], ...]) -> LabelledImages:
    label_of = {f"{who}-{i}": f"w{who}" for who, own in enumerate(times) for i in range(len(own))}
    images = image_set(label_of)
    seconds = [3600.0 * hour + second for own in times for hour, second in own]
    return replace(images, times=np.array(seconds), digests=images.image_ids)


def missing(
    images: LabelledImages, training_only: frozenset[str] = frozenset(), **shape: Any
) -> AbsentHoldout:
    count = len(images)
    flat = Signatures(np.zeros((count, 8), np.uint8), np.zeros((count, 256), np.uint8))
    given = competition(holdout=shape, images={"time_column": "time"})
    return AbsentHoldout(images, flat, given, training_only)


BURST = ((10, 0), (10, 1), (10, 2), (10, 3))
UNDER = " under [holdout] in kitbox.toml"


@pytest.mark.parametrize(
    ("images", "shape", "reason", "fix"),
    [
        pytest.param(
            photographed(*[1] * 40),
            {},
            "every individual was photographed once (40 labelled images of 40 individuals)",
            "add a second photograph of some individuals",
            id="everyone once",
        ),
        pytest.param(
            photographed(*[1] * 40),
            {"unknown_share": 0.9, "folds": 3, "encounter_minutes": 5},
            "every individual was photographed once (40 labelled images of 40 individuals)",
            "add a second photograph of some individuals",
            id="everyone once, whatever the settings",
        ),
        pytest.param(
            photographed(2, 1, 1),
            {},
            "1 individual has two different photographs, too few for two queries",
            "add a second photograph of some individuals",
            id="one pair",
        ),
        pytest.param(
            photographed(2, 2),
            {},
            "share = 0.2 of 4 labelled images of 2 individuals is too small for two queries",
            f"set share = 0.4{UNDER}",
            id="two of two",
        ),
        pytest.param(
            photographed(3, 3),
            {},
            "share = 0.2 of 6 labelled images of 2 individuals is too small for two queries",
            f"set share = 0.25{UNDER}",
            id="two of three",
        ),
        pytest.param(
            at_times(*[BURST] * 6),
            {"encounter_minutes": 30},
            "encounter_minutes = 30 puts each individual's photographs into one encounter",
            f"remove encounter_minutes{UNDER}",
            id="one burst each",
        ),
        pytest.param(
            at_times(*[((10, 0), (10, 600))] * 10),
            {"encounter_minutes": 30},
            "encounter_minutes = 30 puts each individual's photographs into one encounter",
            f"set encounter_minutes = 7{UNDER}",
            id="encounters of half an hour",
        ),
        pytest.param(
            at_times(BURST[:3], BURST[:3]),
            {"encounter_minutes": 30},
            "encounter_minutes = 30 puts each individual's photographs into one encounter and "
            "share = 0.2 of 6 labelled images of 2 individuals is too small for two queries",
            f"remove encounter_minutes{UNDER} and set share = 0.25{UNDER}",
            id="two individuals, one burst each",
        ),
        pytest.param(
            photographed(2, 2, 2),
            {"folds": 5},
            "folds = 5 are too many for 6 labelled images of 3 individuals",
            f"set folds = 3{UNDER}",
            id="more folds than photographs",
        ),
        pytest.param(
            photographed(3, 1, 1, 1),
            {"share": 0.5, "unknown_share": 0.9, "seed": 2},
            "unknown_share = 0.9 holds out individuals whole and leaves no query of a known one",
            f"set unknown_share = 0.45{UNDER}",
            id="individuals held out whole",
        ),
    ],
)
def test_the_reason_is_what_would_give_a_holdout_if_it_were_changed(
    images: LabelledImages, shape: dict[str, Any], reason: str, fix: str
) -> None:
    found = missing(images, **shape)
    assert (found.reason, found.fix) == (reason, fix)
    assert str(found.error) == (
        f"there is no holdout to score on: {reason}; {fix}, or train on every label with "
        "'kitbox train NAME --on all'"
    )


def test_an_encounter_column_may_be_the_reason() -> None:
    images = photographed(*[4] * 6)
    images = replace(images, encounters=images.labels)
    found = missing(images)
    assert found.reason == (
        "images.encounter_column puts each individual's photographs into one encounter"
    )
    assert found.fix == "remove encounter_column under [images] in kitbox.toml"


def test_decisions_may_be_the_reason() -> None:
    images = photographed(*[4] * 6)
    found = missing(images, frozenset(images.image_ids.tolist()))
    assert found.reason == "decisions.csv keeps 24 images in training"
    assert found.fix == "remove rows 'train' of decisions.csv"


def test_copies_are_one_photograph() -> None:
    images = photographed(*[3] * 20)
    found = missing(replace(images, digests=images.labels))
    assert found.reason.startswith("every individual was photographed once")


def test_images_without_labels_are_told_so() -> None:
    images = photographed(3, 3)
    nobody = images.with_labels(np.full(len(images), "new_whale"))
    assert str(missing(nobody).error) == (
        "there is no holdout to score on: no labelled image shows a known individual; "
        "label some of them"
    )


def test_near_duplicates_may_be_the_reason() -> None:
    images = photographed(4, 4, 4)
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 255, (3, 8)).astype(np.uint8)[[0] * 4 + [1] * 4 + [2] * 4]
    thumbnails = generator.integers(0, 255, (3, 256)).astype(np.uint8)[[0] * 4 + [1] * 4 + [2] * 4]
    found = AbsentHoldout(
        images, Signatures(hashes, thumbnails), competition(), frozenset(strings([]).tolist())
    )
    assert found.reason == "near_duplicate_bits = 6 keeps images together as near-duplicates"
    assert found.fix == f"set near_duplicate_bits = 0{UNDER}"
