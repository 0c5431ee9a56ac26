"""The steps that a search tries: all of them, with defaults inside of their ranges."""

from dataclasses import replace
from typing import Any

import pytest

from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.retrieval import rerankers
from kitbox.selection import step_choices
from kitbox.selection.candidate import Candidate, CandidateMember
from kitbox.selection.search_space import MemberForms, SearchSpace, whitening_choices
from tests.circle import competition

UNKNOWN_ONLY = competition(answers="images", gallery="test", holdout={"unknown_share": 1})


class Extreme:
    """A trial that suggests the least or the largest value of everything."""

    def __init__(self, *, high: bool, picks: dict[str, str] | None = None) -> None:
        self.high, self.picks = high, picks or {}

    def suggest_int(self, name: str, low: int, high: int, step: int) -> int:
        assert (high - low) % step == 0, name
        return high if self.high else low

    def suggest_float(self, name: str, low: float, high: float, step: float) -> float:
        assert (high - low) / step == pytest.approx(round((high - low) / step)), name
        return high if self.high else low

    def suggest_categorical(self, name: str, choices: list[str]) -> Any:
        return self.picks.get(name, choices[-1 if self.high else 0])


def test_every_step_is_tried_where_it_fits() -> None:
    kinds = [c.name for part in step_choices.step_groups(UNKNOWN_ONLY).values() for c in part]
    # an index only loses neighbours
    assert sorted(kinds) == sorted(kind for kind in rerankers.STEPS if not rerankers.is_index(kind))
    usual = step_choices.step_groups(competition())
    assert [c.name for part in usual.values() for c in part] == [
        "query_expansion",
        "dba",
        "k_reciprocal",
        "diffusion",
        "local_scaling",
    ]


def test_defaults_and_both_ends_of_the_ranges_are_steps() -> None:
    for choices in step_choices.step_groups(UNKNOWN_ONLY).values():
        for choice in choices:
            for high in (False, True):
                text = choice.draw(Extreme(high=high), "place")
                assert str(rerankers.parse_step(text)) == text
            parameters = choice.parameters("place")
            assert len(parameters) == len(choice.ranges)
            for name, values in choice.ranges.items():
                given = parameters[f"place {choice.name} {name}"]
                assert values.low <= given <= values.high
                assert (given - values.low) / values.step == pytest.approx(
                    round((given - values.low) / values.step)
                )


def test_a_trial_draws_members_and_steps_in_their_order() -> None:
    space = SearchSpace(
        members=(
            MemberForms(views=("a", "a@views=plain+flip"), whitening=(None, 128), plain="a"),
            MemberForms(views=("b",), whitening=(None,), plain="b"),
        ),
        steps=step_choices.step_groups(competition()),
        methods=((("orb",), "logit"), (("orb",), "mean")),
    )
    base = Candidate(members=(CandidateMember(name="a"),), options=EnsembleOptions())
    picks = {"expansion": "dba", "re-ranking": "k_reciprocal"}
    found = space.draw(Extreme(high=True, picks=picks), base)
    assert found is not None
    assert found.members == (
        CandidateMember(name="a@views=plain+flip", weight=1.0, whiten=128),
        CandidateMember(name="b", weight=1.0),
    )
    assert found.options.rerank == (
        "dba:k=10,alpha=4",
        "k_reciprocal:k1=30,k2=8,lambda=0.9",
    )
    assert found.options.fusion == "mean"
    assert space.draw(Extreme(high=False), base) is None
    assert space.parameters(base) == {
        "weight a": 1.0,
        "views a": "a",
        "whitening a": "none",
        "weight b": 0.0,
        "expansion": "none",
        "re-ranking": "none",
    }
    fused = replace(base, options=EnsembleOptions(match=space.methods[0][0], fusion="logit"))
    assert space.parameters(fused)["fusion"] == "logit of orb"
    in_order = space.in_order(["k_reciprocal:k1=8,k2=2,lambda=0.5", "dba:k=3,alpha=3"])
    assert in_order == ("dba:k=3,alpha=3", "k_reciprocal:k1=8,k2=2,lambda=0.5")
    assert space.in_order(["sq8:probes=4", "dba:k=3"]) == ("sq8:probes=4", "dba:k=3")


@pytest.mark.parametrize(
    ("dims", "gallery", "choices"),
    [
        (1280, 2000, (None, 64, 128, 256, 512)),
        (128, 2000, (None, 64, 128)),
        (1280, 300, (None, 64, 128)),
        (16, 300, (None, 16)),
        (1280, 40, (None, 20)),
        (1280, 3, (None,)),
    ],
)
def test_whitening_leaves_half_of_the_gallery(
    dims: int, gallery: int, choices: tuple[int | None, ...]
) -> None:
    assert whitening_choices(dims, gallery) == choices


def test_methods_of_fusion_are_tried_where_something_is_fused() -> None:
    assert step_choices.fusion_methods(EnsembleOptions()) == ()
    found = step_choices.fusion_methods(EnsembleOptions(match=("sift",), fusion="mean"))
    assert found == tuple(
        (("sift",), name) for name in ("mean", "logit", "boost:weight=1", "rank_sum", "vote:k=5")
    )
    # without matches there is nothing that raises a similarity
    members = step_choices.fusion_methods(EnsembleOptions(fusion="logit"))
    assert [method for _, method in members] == ["logit", "mean", "rank_sum", "vote:k=5"]
