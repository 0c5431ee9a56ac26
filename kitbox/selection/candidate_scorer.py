"""Scores of candidates by the metric of a search, and what the search will cost."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from kitbox.errors import KitboxError, format_duration
from kitbox.records import Progress
from kitbox.scoring.metrics import Numbers
from kitbox.scoring.outcomes import Outcome
from kitbox.selection import forward_selection, parameter_search
from kitbox.selection.candidate import Candidate
from kitbox.selection.evaluator import Evaluator
from kitbox.selection.search_result import SearchSettings
from kitbox.selection.search_space import SearchSpace


@dataclass
class CandidateScorer:
    """Scores candidates by one metric, and counts those that could not answer."""

    evaluator: Evaluator
    metric: str
    expected: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def outcome(
        self, candidate: Candidate, *, draft: bool = True
    ) -> Generator[Progress, None, Outcome]:
        """Return the outcome of a candidate, or of its draft; yields Progress where it is new."""
        new = not self.evaluator.is_known(candidate, draft=draft)
        found = yield from self.evaluator.evaluate(candidate, draft=draft)
        if new:
            done = self.evaluator.evaluations
            yield Progress("search", done, max(self.expected, done), unit="candidates")
        return found[self.metric]

    def under(self, inside: Numbers) -> Callable[[Candidate], Generator[Progress, None, float]]:
        """Return the score of candidates under weights (n,) of the queries.

        It is NaN for one that cannot answer, such as with a k that is larger than the gallery.
        """

        def score(candidate: Candidate) -> Generator[Progress, None, float]:
            try:
                outcome = yield from self.outcome(candidate)
            except KitboxError as error:
                reason = str(error)
                self.failures[reason] = self.failures.get(reason, 0) + 1
                return float("nan")
            return float(outcome.over(inside[None])[0])

        return score

    def share_under(self, weights: Numbers) -> parameter_search.BagShare:
        """Return the share of some weights (r, n) under which the first of two scores higher."""

        def share(first: Candidate, second: Candidate) -> Generator[Progress, None, float]:
            try:
                one = yield from self.outcome(first)
                two = yield from self.outcome(second)
            except KitboxError:  # what cannot answer is no better, and no simpler
                return 1.0
            higher = one.over(weights) > two.over(weights) + forward_selection.ROUNDING
            return float(higher.mean())

        return share

    def announce(
        self,
        space: SearchSpace,
        settings: SearchSettings,
        parts: int,
        seconds: float,
        whitening: float,
        pairs: int,
    ) -> Progress:
        """Return how many candidates are to be expected, and how long they take.

        One takes `seconds`, and all whitened blocks together `whitening` seconds more. What is
        chosen has `pairs` each to match at the end, most of which have been matched before.
        """
        forms = sum(len(one.all) for one in space.members)
        runs = parts + 1
        # a selection tries each member some ten times, and bags try much the same
        self.expected = forms + 10 * len(space.members) + runs * settings.trials
        needed = self.expected * seconds + whitening
        if settings.seconds is not None:
            needed = min(needed, settings.seconds)
        and_whitening = f" and {format_duration(whitening)} of whitening" if whitening >= 1 else ""
        notice = (
            f"about {self.expected} candidates of {seconds:.2f} s each{and_whitening}: "
            f"{format_duration(needed)}; the search runs {runs} times, once without each "
            f"of {parts} parts of the individuals"
        )
        if pairs:
            chosen = 3 if any(len(one.views) > 1 for one in space.members) else 2
            notice += (
                f"; at the end what it chose is matched in full, at most {runs * chosen * pairs:,} "
                "pairs, most of them matched by then"
            )
        done = self.evaluator.evaluations
        return Progress("search", done, self.expected, unit="candidates", notice=notice)
