"""How good a catalogue's answers are: each photograph asked about without its own encounter."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kitbox.errors import KitboxError, counted
from kitbox.identification.catalogue_calibration import CatalogueCalibration, MetOnce
from kitbox.identification.identity_model import Numbers, has_own
from kitbox.records import Floats, Integers, Score, Strings
from kitbox.scoring.bootstrap import bootstrap_interval

# Individuals of a photograph whose stated probabilities are compared with what is right.
_COMPARED = 10
# A stated probability is compared with what is right where so many pairs have one like it.
ENOUGH_PAIRS = 200
_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
# The share of matches that a person wants to find.
_FOUND = 0.95
_FALSE_ALARMS = 0.05
# A rule of thumb for when a network learns enough from a catalogue to pay for its training.
_FEWEST_TO_TRAIN = 50
_GOOD_ENOUGH = 0.9


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Answers whose stated probability is from `low` to `high`.

    They are pairs of a photograph and an individual, or photographs that may show a new one.
    `stated` is the mean of the probability, `right` the share of answers that are so. Photographs
    whose individual is in the catalogue and the same ones without it are weighted by the expected
    share of new individuals; `pairs` counts both.
    """

    low: float
    high: float
    pairs: int
    stated: float
    right: float

    @property
    def gap(self) -> float:
        """How far what is stated is above what is right."""
        return self.stated - self.right

    def as_json(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        values = {"low": self.low, "high": self.high, "stated": self.stated, "right": self.right}
        return _rounded(values) | {"pairs": self.pairs}


@dataclass(frozen=True, kw_only=True)
class CatalogueAudit:
    """How the answers to photographs of a catalogue are, with intervals over individuals.

    `recall` maps k to the share of photographs whose individual is among the first k, `chance` to
    that of a random order of `individuals`. `look_through` is how many individuals of each
    photograph a person looks at to find 95 % of the matches, by chance `look_through_by_chance`.

    `recall_once` is that of photographs asked about as if each individual had been met once, as
    `met_once` of them were; {} where nobody can be asked about so.

    With a model: shares of the photographs of known individuals by `verdicts` ("right", "wrong",
    "new?", "undecided") and of new ones by `new_verdicts` ("new?", "wrong", "undecided") at the
    probability `certain`; `new_recall`, the share of new individuals that are found where 5 % of
    the known ones are called new; and how right probabilities are, in bins: `reliability` of those
    of individuals, `new_reliability` of those of a new one. `log_loss` is the mean of −log of
    the probability of what is right. Else these are empty or None.
    """

    queries: int
    individuals: int
    recall: dict[int, Score]
    recall_once: dict[int, Score]
    met_once: int
    chance: dict[int, float]
    look_through: int
    look_through_by_chance: int
    certain: float
    expected_new: float
    verdicts: dict[str, float]
    new_verdicts: dict[str, float]
    new_recall: float | None
    reliability: tuple[ReliabilityBin, ...]
    new_reliability: tuple[ReliabilityBin, ...]
    advice: str
    log_loss: float | None = None
    why_not_calibrated: str = ""

    @property
    def worst_gap(self) -> float | None:
        """The largest gap of probabilities that 200 answers or more have, None where none have."""
        bins = (*self.reliability, *self.new_reliability)
        gaps = [abs(part.gap) for part in bins if part.pairs >= ENOUGH_PAIRS]
        return max(gaps) if gaps else None

    def as_json(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "photographs": self.queries,
            "individuals": self.individuals,
            "recall": {str(k): score.as_json(4) for k, score in self.recall.items()},
            "recall_met_once": {str(k): score.as_json(4) for k, score in self.recall_once.items()},
            "individuals_met_once": self.met_once,
            "chance": {str(k): round(value, 4) for k, value in self.chance.items()},
            "look_through": self.look_through,
            "look_through_by_chance": self.look_through_by_chance,
            "certain": self.certain,
            "expected_new": round(self.expected_new, 4),
            "verdicts": _rounded(self.verdicts),
            "new_verdicts": _rounded(self.new_verdicts),
            "new_recall_at_5_percent_false_alarms": self.new_recall,
            "log_loss": self.log_loss,
            "reliability": [part.as_json() for part in self.reliability],
            "new_reliability": [part.as_json() for part in self.new_reliability],
            "worst_gap": self.worst_gap,
            "advice": self.advice,
            "why_not_calibrated": self.why_not_calibrated,
        }


def audit(given: CatalogueCalibration, certain: float) -> CatalogueAudit:
    """Return how good the answers of a calibrated catalogue are.

    Probabilities are those of models fitted without the individual that is asked about. Raises
    KitboxError where no photograph has its individual at another encounter.
    """
    asked = np.flatnonzero(has_own(given.signals, given.own))
    people = len(given.gallery.individuals)
    if not len(asked) or people < 2:
        reason = given.too_small or "no photograph shows an individual met at another encounter"
        raise KitboxError(
            f"there is nothing to audit: {reason}",
            fix="add photographs of another encounter; 'kitbox identify' sorts by similarity",
        )
    order_by = given.signals.similarity if given.cross is None else given.cross.known.probability
    better, equal = _places(order_by[asked], given.own[asked])
    recall = _recalls(better, equal, given.individuals[asked])
    recall_once = {} if given.once is None else _recalls_once(given, given.once)
    depth = next(
        k for k in range(1, people + 1) if _found_in_first(k, better, equal).mean() >= _FOUND - 1e-9
    )
    found = CatalogueAudit(
        queries=len(asked),
        individuals=people,
        recall=recall,
        recall_once=recall_once,
        met_once=_met_once(given),
        chance={k: min(k / people, 1.0) for k in recall},
        look_through=depth,
        look_through_by_chance=int(np.ceil(_FOUND * people)),
        certain=certain,
        expected_new=given.expected_new,
        verdicts={},
        new_verdicts={},
        new_recall=None,
        reliability=(),
        new_reliability=(),
        advice=_advice(given, recall[1].value),
        why_not_calibrated=given.too_small,
    )
    return found if given.cross is None else _with_probabilities(found, given, asked, certain)


def _with_probabilities(
    found: CatalogueAudit, given: CatalogueCalibration, asked: Integers, certain: float
) -> CatalogueAudit:
    assert given.cross is not None  # noqa: S101  the caller asks
    known, unknown = given.cross.known, given.cross.unknown
    rows, own = np.arange(len(asked)), given.own[asked]
    best = known.probability[asked].argmax(axis=1)
    top = known.probability[asked][rows, best]
    is_new = known.new[asked] >= certain
    named = ~is_new & (top >= certain)
    verdicts = {
        "right": float((named & (best == own)).mean()),
        "wrong": float((named & (best != own)).mean()),
        "new?": float(is_new.mean()),
        "undecided": float((~named & ~is_new).mean()),
    }
    called_new = unknown.new >= certain
    called_known = ~called_new & (unknown.probability.max(axis=1) >= certain)
    new_verdicts = {
        "new?": float(called_new.mean()),
        "wrong": float(called_known.mean()),
        "undecided": float((~called_new & ~called_known).mean()),
    }
    limit = float(np.quantile(known.new[asked], 1 - _FALSE_ALARMS))
    return replace(
        found,
        verdicts=verdicts,
        new_verdicts=new_verdicts,
        new_recall=float((unknown.new > limit).mean()),
        reliability=_reliability(given, asked),
        new_reliability=_new_reliability(given, asked),
        log_loss=given.loss,
    )


def _reliability(given: CatalogueCalibration, asked: Integers) -> tuple[ReliabilityBin, ...]:
    """Return the bins of probability over the first individuals of photographs, known and new."""
    assert given.cross is not None  # noqa: S101  the caller asks
    share = given.expected_new
    parts: list[tuple[Numbers, Numbers, Numbers]] = []
    everyone = np.arange(len(given.own))
    for probability, rows, weight in (
        (given.cross.known.probability, asked, (1 - share) / len(asked)),
        (given.cross.unknown.probability, everyone, share / len(everyone)),
    ):
        width = min(_COMPARED, probability.shape[1])
        order = np.argsort(-probability[rows], axis=1, kind="stable")[:, :width]
        stated = np.take_along_axis(probability[rows], order, axis=1)
        same = (order == given.own[rows][:, None]) & (probability is given.cross.known.probability)
        parts.append((stated.ravel(), same.ravel().astype(float), np.full(stated.size, weight)))
    return _bins(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _new_reliability(given: CatalogueCalibration, asked: Integers) -> tuple[ReliabilityBin, ...]:
    """Return the bins of the probability of a new individual over photographs, known and new."""
    assert given.cross is not None  # noqa: S101  the caller asks
    share, everyone = given.expected_new, len(given.own)
    known, unknown = given.cross.known.new[asked], given.cross.unknown.new
    return _bins(
        np.concatenate([known, unknown]),
        np.repeat([0.0, 1.0], [len(asked), everyone]),
        np.repeat([(1 - share) / len(asked), share / everyone], [len(asked), everyone]),
    )


def _bins(stated: Numbers, same: Numbers, weights: Numbers) -> tuple[ReliabilityBin, ...]:
    """Return the bins that have answers: stated probability (n,), whether it is so, weight."""
    places = np.clip(np.searchsorted(_EDGES, stated, side="right") - 1, 0, len(_EDGES) - 2)
    bins = []
    for place in np.unique(places).tolist():
        chosen = places == place
        bins.append(
            ReliabilityBin(
                low=_EDGES[place],
                high=_EDGES[place + 1],
                pairs=int(chosen.sum()),
                stated=float(np.average(stated[chosen], weights=weights[chosen])),
                right=float(np.average(same[chosen], weights=weights[chosen])),
            )
        )
    return tuple(bins)


def _met_once(given: CatalogueCalibration) -> int:
    """Return how many individuals have one encounter alone."""
    gallery = given.gallery
    parts = np.split(gallery.encounters, gallery.starts[1:])
    return sum(len(np.unique(codes)) == 1 for codes in parts)


def _places(values: Floats | Numbers, own: Integers) -> tuple[Integers, Integers]:
    """Return how many individuals come before the right one (q,), and how many are as good."""
    of_own = values[np.arange(len(own)), own][:, None]
    return (values > of_own).sum(axis=1), (values == of_own).sum(axis=1)


def _recalls(better: Integers, equal: Integers, individuals: Strings) -> dict[int, Score]:
    _, clusters = np.unique(individuals, return_inverse=True)
    return {k: _recall(_found_in_first(k, better, equal), clusters) for k in (1, 5)}


def _recalls_once(given: CatalogueCalibration, once: MetOnce) -> dict[int, Score]:
    asked = np.flatnonzero(has_own(once.evidence.signals, once.own))
    if not len(asked):
        return {}
    cross, similarity = given.cross_once, once.evidence.signals.similarity
    order_by = similarity if cross is None else cross.known.probability
    return _recalls(*_places(order_by[asked], once.own[asked]), once.individuals[asked])


def _found_in_first(k: int, better: Integers, equal: Integers) -> Numbers:
    """Return the chance (q,) that the first k hold the right individual, of ties in any order.

    `better` others come before it, and `equal` ones, itself among them, are as good as it is.
    """
    return np.clip((k - better) / equal, 0.0, 1.0)


def _recall(hits: Numbers, clusters: Integers) -> Score:
    value = float(hits.mean())

    def mean(weights: Numbers) -> Numbers:
        found: Numbers = (weights @ hits) / weights.sum(axis=1)
        return found

    low, high = bootstrap_interval(value, mean, clusters, with_replacement=True)
    return Score(value, max(low, 0.0), min(high, 1.0), len(hits))


def _advice(given: CatalogueCalibration, recall: float) -> str:
    """Return whether training a plugin on the catalogue would pay."""
    again = len(np.unique(given.individuals[has_own(given.signals, given.own)]))
    if recall >= _GOOD_ENOUGH:
        return "the first individual is nearly always right: a trained plugin would add little"
    if again >= _FEWEST_TO_TRAIN:
        return (
            f"{again} individuals were met more than once: a plugin that is trained on them would "
            "probably pay; 'kitbox plugins' lists some to train, and identify takes it by itself"
        )
    return (
        f"{counted(again, 'individual was', 'individuals were')} met more than once, too few to "
        f"train on ({_FEWEST_TO_TRAIN}): a network that knows animals helps more"
    )


def sentences(found: CatalogueAudit) -> list[str]:
    """Return the audit in sentences, without capital and full stop."""
    first, fifth = found.recall[1], found.recall[5]
    lines = [
        f"asked about {found.queries} photographs, each without its encounter, among "
        f"{found.individuals} individuals",
        f"the first individual is right in {first.value:.1%} ({first.low:.1%} – {first.high:.1%}; "
        f"by chance {found.chance[1]:.1%}), one of the first five in {fifth.value:.1%} "
        f"({fifth.low:.1%} – {fifth.high:.1%}; by chance {found.chance[5]:.1%})",
        *_sentences_once(found),
        f"to find 95 % of the matches, look through {found.look_through} individuals a photograph; "
        f"by chance {found.look_through_by_chance}",
    ]
    if found.verdicts:
        of, new = found.verdicts, found.new_verdicts
        lines += [
            f"at {found.certain:g}, of known individuals {of['right']:.1%} are named rightly, "
            f"{of['wrong']:.1%} wrongly, {of['new?']:.1%} are called new and {of['undecided']:.1%} "
            "are undecided",
            f"of new individuals {new['new?']:.1%} are called new, {new['wrong']:.1%} get a name "
            f"and {new['undecided']:.1%} are undecided",
            f"where 5 % of known individuals are taken for new, {found.new_recall:.1%} of new ones "
            "are found",
        ]
        gap = found.worst_gap
        lines.append(
            "too few answers to say how right probabilities are"
            if gap is None
            else f"probabilities are off by {gap:.3f} at most, where {ENOUGH_PAIRS} answers have "
            "one like it"
        )
    else:
        lines.append(f"not calibrated: {found.why_not_calibrated}")
    return [*lines, found.advice]


def _sentences_once(found: CatalogueAudit) -> list[str]:
    if not found.recall_once:
        return []
    first, fifth = found.recall_once[1], found.recall_once[5]
    were = "was" if found.met_once == 1 else "were"
    return [
        f"as if each individual had been met once before, as {found.met_once} of them {were}: the "
        f"first individual is right in {first.value:.1%} ({first.low:.1%} – {first.high:.1%}), one "
        f"of the first five in {fifth.value:.1%} ({fifth.low:.1%} – {fifth.high:.1%})"
    ]


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
