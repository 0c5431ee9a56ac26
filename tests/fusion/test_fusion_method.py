import re

import pytest

from kitbox.errors import KitboxError
from kitbox.fusion.fused_graphs import FusionSettings
from kitbox.fusion.fusion_method import LogitSum, parse_fusion


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("logit", "logit"),
        ("boost", "boost:weight=1"),
        (" boost: weight=0.50 ", "boost:weight=0.5"),
        ("vote", "vote:k=5"),
        ("vote:shortlist=30,k=3", "vote:k=3,shortlist=30"),
        ("classifier:blend=.5", "classifier:blend=0.5"),
        ("rank_sum", "rank_sum"),
        ("mean:shortlist=20", "mean:shortlist=20"),
    ],
)
def test_a_method_has_a_text_that_reads_back(text: str, canonical: str) -> None:
    method = parse_fusion(text)
    assert str(method) == canonical
    assert parse_fusion(str(method)) == method


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("logits", "there is no method of fusion 'logits'; did you mean logit?"),
        ("", "is no method of fusion ''; there are logit, mean, boost, rank_sum, vote, classifier"),
        ("boost:wight=1", "boost has no setting 'wight'; did you mean weight?"),
        ("mean:k=3", "the method of fusion 'mean:k=3': mean has no setting 'k'; it has shortlist"),
        ("boost:weight=2", "weight = 2 should be less than or equal to 1"),
        ("vote:k=2.5", "k = 2.5 should be a valid integer"),
        ("mean:shortlist=0", "shortlist = 0 should be greater than or equal to 1"),
        ("logit:blend=-0.1", "blend = -0.1 should be greater than or equal to 0"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(KitboxError, match=re.escape(message)):
        parse_fusion(text)


def test_matches_alone_are_fused_by_their_logits() -> None:
    settings = FusionSettings.parse(None, ["sift:shortlist=30"])
    assert settings is not None
    assert settings.method == LogitSum()
    assert [str(matcher) for matcher in settings.matchers] == ["sift:shortlist=30"]
    assert FusionSettings.parse(None, []) is None


def test_what_cannot_be_fused_is_refused() -> None:
    with pytest.raises(KitboxError, match="boost raises similarities by local matches"):
        FusionSettings.parse("boost", [])
    with pytest.raises(KitboxError, match=r"^there is no matcher 'shift'"):
        FusionSettings.parse(None, ["shift"])
    with pytest.raises(KitboxError, match="the matcher 'sift' is given twice"):
        FusionSettings.parse(None, ["sift", "sift"])
