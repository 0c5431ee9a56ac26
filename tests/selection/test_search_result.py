"""The rule by which a level is written, and the score of its choice."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.records import Integers, strings
from kitbox.scoring.comparison import Difference
from kitbox.scoring.outcomes import Mean, Outcome
from kitbox.selection.candidate import Candidate, CandidateMember
from kitbox.selection.search_result import (
    Level,
    LevelChoice,
    LevelResult,
    SearchResult,
    SearchSettings,
    choose_apart,
    simplest,
)

QUERIES = 30
IDS = strings([f"q{row:02}" for row in range(QUERIES)])
NOBODY: Mapping[str, str] = {}  # each query is an individual of its own
PART: Integers = np.repeat([0, 1, 2], 10)
# Differences that are 0 on the average of each part, and large.
NOISE = np.tile([0.3, -0.3], 15)


def outcome(values: np.ndarray | float) -> Mean:
    return Mean(IDS, np.zeros(QUERIES) + values)


def test_the_simplest_level_is_that_which_none_is_shown_to_be_better_than() -> None:
    levels: dict[Level, Outcome] = {"tuned": outcome(0.5 + NOISE), "single": outcome(0.5)}
    assert simplest(levels, NOBODY) == "single"
    # better than the plugin alone, and not shown to be better than its whitening
    levels = {
        "tuned": outcome(0.62 + NOISE),
        "whitened": outcome(0.6),
        "single": outcome(0.2),
        "members": outcome(0.4),
    }
    assert simplest(levels, NOBODY) == "whitened"
    assert simplest({**levels, "tuned": outcome(0.7)}, NOBODY) == "tuned"
    # a gain by one individual alone is not shown
    of_one = np.append(np.ones(10), np.zeros(20))
    gained: dict[Level, Outcome] = {"single": outcome(0.0), "tuned": outcome(of_one)}
    assert simplest(gained, dict.fromkeys(IDS[:10].tolist(), "Ahab")) == "single"
    assert simplest(gained, NOBODY) == "tuned"


def test_a_part_is_answered_by_the_level_that_the_other_parts_choose() -> None:
    # whitening helps in the second and third part, and harms in the first
    change = np.where(PART == 0, -0.2, 0.2) + NOISE / 3
    single, whitened = outcome(0.5), outcome(0.5 + change)
    answers: dict[Level, list[Outcome]] = {"single": [single] * 3, "whitened": [whitened] * 3}
    levels, found = choose_apart(answers, PART, NOBODY)
    # with the first part among the others, no gain is shown
    assert levels == ("whitened", "single", "single")
    assert found.per_query == pytest.approx(np.where(PART == 0, 0.5 + change, 0.5))


def test_the_choice_uses_what_was_chosen_without_each_part() -> None:
    # each part's own candidate is right on that part alone
    of_parts: list[Outcome] = [outcome((number == PART) * 1.0) for number in range(3)]
    answers: dict[Level, list[Outcome]] = {"single": [outcome(0.5)] * 3, "members": of_parts}
    levels, found = choose_apart(answers, PART, NOBODY)
    assert levels == ("members",) * 3
    assert found.value == 1.0
    turned: dict[Level, list[Outcome]] = {**answers, "members": [*of_parts[1:], of_parts[0]]}
    levels, found = choose_apart(turned, PART, NOBODY)
    assert levels == ("single",) * 3
    assert found.value == 0.5


def difference(value: float, low: float, high: float) -> Difference:
    return Difference(names=("a", "b"), value=value, low=low, high=high, p=None, query_ids=IDS)


def result(level: Level, *members: CandidateMember, over_whitened: Difference) -> SearchResult:
    """Return a result in which a level with these members was chosen."""
    chosen = LevelResult(
        level=level,
        candidate=Candidate(members=members, options=EnsembleOptions()),
        in_sample=0.5,
        out_of_sample=0.5,
        gain=None,
        over_whitened=None,
        over_equal=None,
    )
    both = (CandidateMember(name="a"), CandidateMember(name="b"))
    other = replace(chosen, level="members", candidate=replace(chosen.candidate, members=both))
    return SearchResult(
        metric="map_at_5",
        levels=(chosen, other),
        choice=LevelChoice(
            level=level,
            apart=(level,) * 3,
            out_of_sample=0.5,
            gain=difference(0.1, 0.05, 0.15),
            over_whitened=over_whitened,
        ),
        settings=SearchSettings(),
        parts=3,
        individuals=30,
        queries=30,
        evaluations=9,
    )


def test_sentences_tell_what_pays_and_whether_the_choice_is_sure() -> None:
    gain = "out of sample: map_at_5 +0.1000 [+0.0500, +0.1500] over the best plugin alone"
    sure, unsure = difference(0.02, 0.01, 0.03), difference(0.02, 0.0, 0.04)
    plain, whitened = CandidateMember(name="a"), CandidateMember(name="a", whiten=64)
    found = result("tuned", whitened, over_whitened=sure).sentences
    assert found == [
        "chosen: with weights and steps by search",
        f"{gain}, +0.0200 [+0.0100, +0.0300] over the best plugin whitened",
    ]
    assert result("tuned", whitened, over_whitened=unsure).sentences[2] == (
        "not sure: where the choice is made out of sample, it is not shown to be better than the "
        "best plugin whitened"
    )
    both = result("tuned", whitened, over_whitened=unsure)
    both = replace(both, choice=replace(both.choice, gain=difference(0.1, -0.01, 0.2)))
    assert both.sentences[2].endswith("better than the best plugin alone or whitened")
    assert result("single", plain, over_whitened=unsure).sentences == [
        "nothing pays: nothing is shown to be better than the best plugin alone, so the recipe is "
        "that plugin"
    ]
    assert result("whitened", whitened, over_whitened=unsure).sentences == [
        "nothing pays beyond whitening a to 64, which is the recipe",
        gain,
    ]
    viewed = CandidateMember(name="a@views=flip", whiten=64)
    assert result("viewed", viewed, over_whitened=unsure).sentences[0] == (
        "nothing pays beyond a@views=flip whitened to 64, which is the recipe"
    )
    assert result("viewed", plain, over_whitened=unsure).sentences[0] == (
        "nothing pays beyond a alone, which is the recipe"
    )
