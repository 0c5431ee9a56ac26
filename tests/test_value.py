"""Settings: mistakes are one sentence that names the setting, and values cannot change."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from kitbox.errors import KitboxError
from kitbox.network.checkpoint import Origin
from kitbox.training.runs import RunKey
from kitbox.value import FileName, Recorded, Value, check, explain


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


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "../../x", "/etc/x", "a/b", "a\\b", "..\\x", "C:x", "c:\\x"),
        *("a\0", "a\nb", " ", ". .", "a" * 256, "ü" * 128),
    ],
)
def test_a_name_from_a_file_is_one_part_of_a_path(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(FileName).validate_python(name)
    assert "is no name" in explain(caught.value)


@pytest.mark.parametrize(
    "name",
    ["resnet34_620", "a@epochs=2,learning_rate=0.001", "…", ".x", "2026-01-31_a+b_1f2e3d4c", "ü"],
)
def test_names_of_plugins_and_submissions_are_names(name: str) -> None:
    assert TypeAdapter(FileName).validate_python(name) == name


class Point(Recorded):
    name: FileName
    at: list[float] = Field(default=[])


class Line(Recorded):
    points: list[Point]
    note: str | None = None


@dataclass(frozen=True)
class Key:
    seed: int
    labels: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("kind", "given", "sentence"),
    [
        (Line, 3, "x.json: 3 should be a table of keys and values; remove it"),
        (Line, [], "x.json: [] should be a table of keys and values; remove it"),
        (Line, {}, "x.json: points is missing; remove it"),
        (Line, {"points": [3]}, "x.json: points.0 = 3 should be a table of keys and values; "),
        (Line, {"points": [], "note": 3}, "x.json: note = 3 should be a valid string; remove it"),
        (Line, {"points": [{"name": "a/b"}]}, "x.json: 'a/b' is no name: it has 1 to 255 bytes, "),
        (Line, {"points": [{"name": "a", "at": ["3"]}]}, "x.json: points.0.at.0 = '3' should be "),
        (Line, {"points": [{"name": "a", "at": [10**400]}]}, "x.json: points.0.at.0 = 1000"),
        (Key, {"labels": []}, "x.json: seed is missing; remove it"),
        (Key, [], "x.json: [] should be a table of keys and values; remove it"),
    ],
)
def test_a_record_of_another_form_is_one_sentence(kind: Any, given: Any, sentence: str) -> None:
    with pytest.raises(KitboxError) as caught:
        check(kind, given, where="x.json", fix="remove it")
    assert str(caught.value).startswith(sentence)


def test_a_record_of_a_later_release_may_have_more_keys() -> None:
    later = {"points": [{"name": "a", "at": [1, 2.5], "colour": "red"}], "author": {}}
    assert check(Line, later, where="") == Line(points=[Point(name="a", at=[1.0, 2.5])])
    assert check(Key, {"seed": 1, "labels": ["a"]}, where="") == Key(1, ("a",))


RUN = {"plugin": "a", "fingerprint": "0", "data": "", "weights": "hub", "on": "all", "seed": 0,
       "precision": "32"}  # fmt: skip


@pytest.mark.parametrize(
    "odd", [{"seed": "0"}, {"seed": 0.0}, {"seed": True}, {"boxes": 1}, {"plugin": "../x"}]
)
def test_what_a_program_recorded_has_its_types(odd: dict[str, Any]) -> None:
    origin = RUN | {"settings": {}, "labels": ["b", "a"], "epoch": 1}
    assert check(RunKey, RUN).seed == 0
    assert check(Origin, origin).labels == ("b", "a")
    for kind, good in ((RunKey, RUN), (Origin, origin)):
        if kind is RunKey or "boxes" not in odd:
            with pytest.raises(KitboxError):
                check(kind, good | odd)
