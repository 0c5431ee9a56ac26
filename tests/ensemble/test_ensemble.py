import pytest

from kitbox.competition.settings import Competition
from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.errors import KitboxError
from tests.circle import competition

IMAGES = competition(answers="images")


@pytest.mark.parametrize(
    ("options", "task", "message"),
    [
        (
            EnsembleOptions(combine="labels"),
            IMAGES,
            "--combine labels ranks labels; toy asks for images, so leave it out",
        ),
        (
            EnsembleOptions(combine="classifier"),
            IMAGES,
            "--combine classifier ranks labels; toy asks for images, ",
        ),
        (
            EnsembleOptions(dims=8),
            competition(),
            "--dims 8 is the classifier's; add --combine classifier",
        ),
        (
            EnsembleOptions(unknown="learned"),
            competition(unknown_label=None),
            "--new-label learned: toy answers no query with an unknown label; leave it out",
        ),
        (
            EnsembleOptions(unknown="learned"),
            IMAGES,
            "--new-label learned: toy answers no query with ",
        ),
        (
            EnsembleOptions(unknown="learned"),
            competition(threshold={"rule": "fixed", "similarity": 0.4}),
            "--new-label learned cuts at a probability, not at a fixed similarity; "
            "add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            EnsembleOptions(combine="classifier"),
            competition(threshold={"rule": "fixed", "similarity": 0.4}),
            "--combine classifier ranks by probability, not by similarity; "
            "add --threshold best, or a share as --threshold 16.5%",
        ),
        (
            EnsembleOptions(unknown="learned"),
            competition(answers="label", k=1),
            "--new-label learned cuts at a probability of one half, which is best for the mean "
            "of 1 / rank and not for baks_baus; add --threshold balanced, or a share as ",
        ),
    ],
)
def test_options_that_do_not_fit_the_competition_are_refused(
    options: EnsembleOptions, task: Competition, message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        options.check(task)
    assert str(caught.value).startswith(message)


def test_options_that_fit_the_competition_pass() -> None:
    EnsembleOptions().check(IMAGES)
    EnsembleOptions(combine="classifier", dims=8, unknown="learned").check(competition())
    EnsembleOptions(combine="labels").check(competition(unknown_label=None))
    shared = {"rule": "share", "share": 0.3}
    EnsembleOptions(combine="classifier", unknown="learned").check(
        competition(answers="label", k=1, threshold=shared)
    )
