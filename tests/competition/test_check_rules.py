"""Check rules: the action for each kind of finding on each side."""

import pytest
from pydantic import ValidationError

from kitbox.competition import check_rules
from kitbox.competition.check_rules import KINDS, CheckRules
from kitbox.value import explain


@pytest.mark.parametrize(
    ("kind", "side", "broken", "given", "action"),
    [
        ("empty", "labelled", "stop", {}, "stop"),
        ("empty", "labelled", "drop", {}, "drop"),
        ("empty", "index", "drop", {}, "drop"),
        ("empty", "test", "drop", {}, "repair"),
        ("empty", "test", "stop", {}, "stop"),
        ("empty", "labelled", "stop", {"drop": ["empty"]}, "drop"),
        ("empty", "labelled", "drop", {"stop": ["empty"]}, "stop"),
        ("truncated", "test", "drop", {}, "repair"),
        ("truncated", "test", "stop", {"keep": ["truncated"]}, "keep"),
        ("truncated", "labelled", "stop", {"keep": ["truncated"]}, "keep"),
        ("truncated", "index", "drop", {"keep": ["truncated"]}, "keep"),
        ("truncated", "unlisted", "drop", {"keep": ["truncated"]}, "drop"),
        ("missing", "labelled", "drop", {}, "drop"),
        ("missing", "test", "drop", {}, "stop"),
        ("repeated", "labelled", "stop", {}, "stop"),
        ("repeated", "labelled", "drop", {}, "repair"),
        ("repeated", "labelled", "stop", {"keep": ["repeated"]}, "repair"),
        ("blank-in-name", "test", "drop", {}, "repair"),
        ("cmyk", "labelled", "stop", {}, "repair"),
        ("cmyk", "labelled", "stop", {"drop": ["cmyk"]}, "drop"),
        ("cmyk", "test", "stop", {"drop": ["cmyk"]}, "repair"),
        ("tiny", "labelled", "drop", {}, "keep"),
        ("tiny", "test", "drop", {"drop": ["tiny"]}, "keep"),
        ("tiny", "index", "drop", {"drop": ["tiny"]}, "drop"),
        ("tiny", "unlisted", "stop", {}, "drop"),
        ("list", "labelled", "drop", {}, "stop"),
        ("unlisted", "labelled", "stop", {}, "drop"),
    ],
)
def test_the_action_follows_from_kind_side_and_settings(
    kind: str,
    side: check_rules.Side,
    broken: check_rules.Broken,
    given: dict[str, list[str]],
    action: str,
) -> None:
    assert check_rules.action_for(kind, side, CheckRules.model_validate(given), broken) == action


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", ["drop", "stop", "keep"])
def test_a_rule_has_its_effect_or_is_refused(kind: str, rule: str) -> None:
    if rule in KINDS[kind].choices:
        done = check_rules.action_for(
            kind, "labelled", CheckRules.model_validate({rule: [kind]}), "stop"
        )
        assert done == rule if rule != "keep" else done in ("keep", "repair")
        return
    with pytest.raises(ValidationError) as caught:
        CheckRules.model_validate({rule: [kind]})
    assert f"check.{rule}: '{kind}' can only be" in explain(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"drop": ["blured"]}, "check.drop: 'blured' is not a kind of finding; did you mean "),
        ({"keep": ["empty"]}, "check.keep: 'empty' can only be in check.drop or check.stop"),
        ({"drop": ["crlf"]}, "check.drop: 'crlf' can only be reported; leave it out"),
        ({"drop": ["tiny"], "keep": ["tiny"]}, "'tiny' is in check.drop and in check.keep"),
        ({"tiny_belw": 3}, "'tiny_belw' is not a setting of [check]; did you mean tiny_below?"),
    ],
)
def test_an_impossible_rule_is_refused_by_name(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CheckRules.model_validate(given)
    assert explain(caught.value).startswith(message)
