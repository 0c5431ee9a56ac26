"""Settings: mistakes are one sentence that names the setting, and values cannot change."""

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from kitbox.value import Value, explain


class Inner(Value):
    kind: Literal["Inner"] = "Inner"
    margin: float = Field(default=0.5, ge=0)


class Other(Value):
    kind: Literal["Other"] = "Other"
    scale: float = 1.0


class Outer(Value):
    name: str
    count: int = Field(default=1, ge=1)
    mode: Literal["stop", "drop"] = "stop"
    losses: tuple[Inner | Other, ...] = ()
    side: int | tuple[int, int] = 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "name is missing"),
        ({"name": "a", "count": 0}, "count = 0 should be greater than or equal to 1"),
        (
            {"name": "a", "count": "many"},
            "count = 'many' should be a valid integer, unable to parse string as an integer",
        ),
        ({"name": "a", "mode": "halt"}, "mode = 'halt' should be 'stop' or 'drop'"),
        ({"name": "a", "modus": "stop"}, "'modus' is not a setting of Outer; did you mean mode?"),
        ({"name": "a", "xyzzy": 1}, "'xyzzy' is not a setting of Outer"),
        ({"name": 1, "mode": "halt"}, "name = 1 should be a valid string; 1 more like it"),
        ({"name": "a", "count": float("inf")}, "count = inf should be a finite number"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_setting_and_its_value(
    settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(settings)
    assert explain(caught.value) == sentence


def test_a_setting_is_named_even_if_its_name_resembles_a_type() -> None:
    class Pointing(Value):
        interval: int

    with pytest.raises(ValidationError) as caught:
        Pointing.model_validate({"interval": 1.5})
    assert explain(caught.value).startswith("interval = 1.5 should be a valid integer")


def test_one_wrong_value_of_several_possible_types_is_one_mistake() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"name": "a", "side": "wide"})
    assert explain(caught.value).startswith("side = 'wide' should be a valid integer")
    assert "more like it" not in explain(caught.value)


def test_a_mistake_inside_another_value_is_located() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"name": "a", "losses": [{"kind": "Inner", "margin": -1}]})
    assert explain(caught.value).startswith("losses.0.margin = -1 should be greater than or equal")


def test_a_value_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer(name="a").name = "b"


def test_values_of_equal_settings_are_equal() -> None:
    assert Outer(name="a", losses=(Inner(),)) == Outer(name="a", losses=(Inner(margin=0.5),))
    assert Outer(name="a") != Outer(name="b")
