"""Notation: settings from the command line, in plugin files and in plugin names."""

import re
from typing import Any

import pytest

from kitbox.errors import KitboxError
from kitbox.plugin import notation
from kitbox.plugin.losses import ArcFace, CrossEntropy, PowerMargin, Triplet
from kitbox.plugin.samplers import PK, Divide
from kitbox.plugin.schedules import Ema, Multistep, Phase
from tests.plugin.test_plugin import ANOTHER


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("8", 8),
        ("-0.5", -0.5),
        ("96x192", (96, 192)),
        ("64x64", 64),
        ("gem", "gem"),
        ("package:some_weights", "package:some_weights"),
        ("resnet10t.c3_in1k", "resnet10t.c3_in1k"),
        ("None", None),
        ("(2, 3)", (2, 3)),
        ("PK", PK()),
        ("PK(images_per_label=2, coverage=random)", PK(images_per_label=2, coverage="random")),
        ("Multistep(milestones=(2,4))", Multistep(milestones=(2, 4))),
        ("(Phase(epochs=1),Phase(epochs=2))", (Phase(epochs=1), Phase(epochs=2))),
        ("ArcFace(margin=PowerMargin)", ArcFace(margin=PowerMargin())),
    ],
)
def test_a_setting_is_parsed_from_text(text: str, value: Any) -> None:
    assert notation.parse_value(text) == value


@pytest.mark.parametrize("value", [each for each in ANOTHER.values() if not isinstance(each, str)])
def test_the_source_of_a_setting_parses_back(value: Any) -> None:
    assert notation.parse_value(notation.to_source(value)) == value


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ("PK(images_per_label=2,coverage=random), Shuffled",
         ["PK(images_per_label=2,coverage=random)", "Shuffled"]),
        ("(1,2),(3,)", ["(1,2)", "(3,)"]),
        ("a,", ["a", ""]),
    ],
)  # fmt: skip
def test_commas_within_brackets_do_not_split(text: str, parts: list[str]) -> None:
    assert notation.split_commas(text) == parts


def test_losses_are_joined_by_plus() -> None:
    found = notation.parse_losses("ArcFace(margin=0.3)+CrossEntropy(weight=0.5)")
    assert found == (ArcFace(margin=0.3), CrossEntropy(weight=0.5))
    assert notation.parse_losses("Triplet(mining=semi_hard)") == (Triplet(mining="semi_hard"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Triplett", "'Triplett' is not a loss; did you mean Triplet?"),
        ("Whatever", "'Whatever' is not a loss; there are ArcFace, BinaryCrossEntropy"),
        ("PK", "'PK' is not a loss"),
        ("PowerMargin", "'PowerMargin' is not a loss"),
        ("ArcFac(margin=1)", "there is no ArcFac; did you mean ArcFace?"),
        ("ArcFace(margn=1)", "ArcFace: 'margn' is not a setting of ArcFace; did you mean margin?"),
        ("Triplet(mining=soft_hard)", "Triplet: mining = 'soft_hard' should be 'batch_hard'"),
        ("ArcFace(0.3)", "give the settings of ArcFace by name, as margin=0.3"),
    ],
)
def test_a_word_that_is_not_a_loss_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(KitboxError, match=re.escape(message)):
        notation.parse_losses(text)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1e-05, "0.00001"),
        (10.0, "10"),
        (-0.5, "minus_0.5"),
        (True, "true"),
        (None, "none"),
        ((), "none"),
        ((2, 3), "2_3"),
        ((ArcFace(), CrossEntropy()), "arcface_crossentropy"),
        (Triplet(mining="semi_hard", margin=0.3), "triplet_margin_0.3_semi_hard"),
        (Divide(learners=4), "divide_learners_4"),
        (Ema(), "ema"),
        ("package:some_weights", "package_some_weights"),
    ],
)
def test_a_setting_becomes_a_part_of_a_name(value: Any, name: str) -> None:
    assert notation.name_part(value) == name
