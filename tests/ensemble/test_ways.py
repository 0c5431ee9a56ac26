import pytest

from kitbox.ensemble.fusion import Way
from kitbox.errors import KitboxError
from tests.circle import competition

IMAGES = competition(answers="images")


@pytest.mark.parametrize(
    ("way", "asked", "message"),
    [
        (
            Way("labels"),
            IMAGES,
            "--combine labels ranks labels; toy asks for images, so leave it out",
        ),
        (Way("classifier"), IMAGES, "--combine classifier ranks labels; toy asks for images, "),
        (Way(dims=8), competition(), "--dims 8 is the classifier's; add --combine classifier"),
        (
            Way(new_label="learned"),
            competition(unknown_label=None),
            "--new-label learned: toy answers no query with an unknown label; leave it out",
        ),
        (Way(new_label="learned"), IMAGES, "--new-label learned: toy answers no query with "),
        (
            Way(new_label="learned"),
            competition(threshold={"rule": "fixed", "similarity": 0.4}),
            "--new-label learned judges by chances, not at a fixed similarity; "
            "add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            Way("classifier"),
            competition(threshold={"rule": "fixed", "similarity": 0.4}),
            "--combine classifier ranks by probability, not by similarity; "
            "add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            Way(new_label="learned"),
            competition(answers="label", k=1),
            "--new-label learned cuts at a chance of one half, which is best for the mean of "
            "1 / rank and not for baks_baus; add a share as --threshold 16.5%",
        ),
    ],
)
def test_a_way_that_does_not_fit_the_competition_is_refused(way, asked, message: str) -> None:
    with pytest.raises(KitboxError) as caught:
        way.check(asked)
    assert str(caught.value).startswith(message)


def test_ways_that_fit_pass() -> None:
    Way().check(IMAGES)
    Way("classifier", 8, "learned").check(competition())
    Way("labels").check(competition(unknown_label=None))
    shared = {"rule": "share", "share": 0.3}
    Way("classifier", None, "learned").check(competition(answers="label", k=1, threshold=shared))


def test_a_way_is_the_same_again_from_what_a_receipt_says() -> None:
    way = Way("classifier", 8, "learned")
    assert Way(**way.as_json()) == way
