"""Settings of losses: impossible margins are refused, and all others survive JSON."""

from typing import Any

import pytest
from pydantic import ValidationError

from kitbox.plugin.losses import ArcFace, CosFace, PowerMargin, Ramp, RarityMargin
from kitbox.value import explain

WIDE = {"kind": "PowerMargin", "coefficient": 1.6}


@pytest.mark.parametrize(
    ("loss", "given", "message"),
    [
        (ArcFace, {"margin": WIDE}, "a margin of 1.65 is not below 1.571"),
        (ArcFace, {"margin": {"kind": "RarityMargin", "most": 2}}, "a margin of 2 is not below"),
        (ArcFace, {"ramp": {"start": 1.6}}, "a start of a ramp of 1.6 is not below 1.571"),
        (CosFace, {"margin": WIDE | {"coefficient": 2}}, "a margin of 2.05 is not below 2"),
        (CosFace, {"ramp": {"start": 2}}, "a start of a ramp of 2 is not below 2"),
        (RarityMargin, {"least": 0.6}, "least = 0.6 is above most = 0.5"),
    ],
)
def test_an_impossible_margin_is_refused(loss: Any, given: Any, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        loss(**given)
    assert message in explain(raised.value)


@pytest.mark.parametrize("margin", [0.3, PowerMargin(), RarityMargin()])
@pytest.mark.parametrize("loss", [ArcFace, CosFace])
def test_margins_per_label_survive_json(loss: Any, margin: Any) -> None:
    one = loss(margin=margin, ramp=Ramp(start=0.2))
    assert loss.model_validate_json(one.model_dump_json()) == one


def test_later_settings_of_arcface_are_omitted_at_their_defaults() -> None:
    assert set(ArcFace().model_dump()) == {"kind", "weight", "margin", "scale"}
