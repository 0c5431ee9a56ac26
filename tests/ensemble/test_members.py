from dataclasses import asdict, replace

import pytest

from kitbox.ensemble import members
from kitbox.errors import KitboxError
from kitbox.files import write_json
from kitbox.records import strings
from kitbox.training.runs import Causes
from kitbox.workspace import Workspace
from tests.circle import competition, image_set
from tests.photographs import named, tiny
from tests.submission.collected import collection


@pytest.mark.parametrize(("fold", "asked"), [(1, ""), (3, " --fold 3")])
def test_a_network_of_another_fold_is_told_with_the_fold_to_train(
    workspace: Workspace, fold: int, asked: str
) -> None:
    causes = Causes("tiny", tiny().fingerprint, "other", "none", "holdout", 0, "32")
    write_json(workspace.runs / "tiny" / "one" / "run.json", asdict(causes))
    labelled = replace(image_set({"a": "Ahab", "b": "Boo"}), digests=strings(["1", "2"]))
    images = collection(competition(), labelled, None)
    with pytest.raises(KitboxError) as caught:
        members.for_holdout(workspace, [named(tiny())], None, images, fold=fold)
    assert str(caught.value) == (
        "tiny was trained on other images, labels or boxes than are here; "
        f"run 'kitbox train tiny{asked}'"
    )
