"""Why labelled images leave no holdout, and the settings that would give one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitbox.competition import holdout
from kitbox.competition.settings import Competition
from kitbox.dataset import near_duplicates
from kitbox.errors import KitboxError, counted
from kitbox.images.file_index import Signatures
from kitbox.records import Integers, LabelledImages

# Shares to propose; half of the images is the most where each individual has two.
_SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)

Values = dict[str, Any]


@dataclass(frozen=True)
class _Limit:
    """A setting that may keep images from being queries.

    `values` are its own one and milder ones, the mildest last; `reason` and `fix` say of a value
    what it does and how to set it.
    """

    name: str
    values: Sequence[Any]
    reason: str
    fix: Callable[[Any], str]


@dataclass(frozen=True)
class AbsentHoldout:
    """The reason why there is no holdout, and the fix.

    The reason is the settings without which there would be one: all limits are lifted, and put
    back one after the other as far as a holdout remains. This draws folds a few dozen times, so it
    happens when the reason is asked for.
    """

    labelled: LabelledImages
    signatures: Signatures
    competition: Competition
    training_only: frozenset[str]

    @property
    def error(self) -> KitboxError:
        """The error of a command that needs a holdout."""
        fix = self.fix
        if self._known.any():
            fix += ", or train on every label with 'kitbox train NAME --on all'"
        return KitboxError(f"there is no holdout to score on: {self.reason}", fix=fix)

    @property
    def reason(self) -> str:
        """What leaves no holdout, as a part of a sentence."""
        return self._reason_and_fix[0]

    @property
    def fix(self) -> str:
        """What would give a holdout: lines of kitbox.toml, or more photographs."""
        return self._reason_and_fix[1]

    @cached_property
    def _reason_and_fix(self) -> tuple[str, str]:
        limits = self._limits()
        chosen = {limit.name: limit.values[-1] for limit in limits}
        if not self._gives_holdout(chosen):
            return self._too_few_photographs(chosen)
        for limit in limits:  # its own value is tried first
            values = ({**chosen, limit.name: value} for value in limit.values)
            chosen = next(given for given in values if self._gives_holdout(given))
        needed = [limit for limit in limits if chosen[limit.name] != limit.values[0]]
        fixes = [limit.fix(chosen[limit.name]) for limit in needed]
        return " and ".join(limit.reason for limit in needed), " and ".join(fixes)

    def _limits(self) -> list[_Limit]:
        """Return the limits, those first that are better kept: they are put back first."""
        settings = self.competition.holdout
        bits, minutes = settings.near_duplicate_bits, settings.encounter_minutes
        limits = [
            _Limit(
                "training_only",
                [self.training_only, frozenset()],
                f"decisions.csv keeps {counted(len(self.training_only), 'image')} in training",
                lambda _: "remove rows 'train' of decisions.csv",
            ),
            _setting(
                "near_duplicate_bits",
                [bits, *_halves(bits), 0],
                "near_duplicate_bits = {} keeps images together as near-duplicates",
            ),
            _Limit(
                "encounters",
                [True, False],
                "images.encounter_column puts each individual's photographs into one encounter",
                lambda _: "remove encounter_column under [images] in kitbox.toml",
            ),
        ]
        if self.labelled.encounters is None:
            limits.pop()
        if minutes is not None:
            limits.append(
                _setting(
                    "encounter_minutes",
                    [minutes, *_halves(minutes), None],
                    "encounter_minutes = {} puts each individual's photographs into one encounter",
                )
            )
        shares = [share for share in _SHARES if share > settings.share]
        unknown = settings.unknown_share
        return [
            *limits,
            _setting(
                "folds",
                range(settings.folds, 0, -1),
                f"folds = {{}} are too many for {self._counted}",
            ),
            _setting(
                "unknown_share",
                [unknown, round(unknown / 2, 2), round(unknown / 4, 2), 0.0],
                "unknown_share = {} holds out individuals whole and leaves no query of a known one",
            ),
            _setting(
                "share",
                [settings.share, *shares],
                f"share = {{}} of {self._counted} is too small for two queries",
            ),
        ]

    def _gives_holdout(self, chosen: Values) -> bool:
        """Return whether every fold has queries with these values."""
        settings = self.competition.holdout
        own = {name: value for name, value in chosen.items() if hasattr(settings, name)}
        competition = self.competition.model_copy(
            update={"holdout": settings.model_copy(update=own)}
        )
        folds = holdout.draw_folds(
            self.labelled,
            competition.holdout,
            competition.images.unknown_label,
            self._units(chosen),
            by_group=competition.task.within_group,
            training_only=chosen["training_only"],
        )
        try:
            for fold in range(1, len(folds.unknown) + 1):
                holdout.from_folds(folds, self.labelled, competition, fold)
        except holdout.TooFewQueriesError:
            return False
        return True

    def _units(self, chosen: Values) -> Integers:
        settings = self.competition.holdout.model_copy(
            update={name: chosen.get(name) for name in ("near_duplicate_bits", "encounter_minutes")}
        )
        images = self.labelled
        if not chosen.get("encounters"):
            images = replace(images, encounters=None)
        return near_duplicates.split_units(images, self.signatures, settings)

    def _too_few_photographs(self, chosen: Values) -> tuple[str, str]:
        """Return the reason and the fix where no setting helps; `chosen` lifts all limits."""
        labels, units, known = self.labelled.labels, self._units(chosen), self._known
        if not known.any():
            return "no labelled image shows a known individual", "label some of them"
        _, rows = np.unique(labels[known], return_inverse=True)
        pairs = np.unique(np.stack([rows, units[known]]), axis=1)
        several = int((np.bincount(pairs[0]) > 1).sum())
        fix = "add a second photograph of some individuals"
        if not several:
            return f"every individual was photographed once ({self._counted})", fix
        noun = "individual has" if several == 1 else "individuals have"
        return f"{several} {noun} two different photographs, too few for two queries", fix

    @property
    def _known(self) -> NDArray[np.bool_]:
        """Which labelled images (n,) show a known individual."""
        unknown = self.competition.images.unknown_label or ""
        return np.asarray(self.labelled.labels != unknown)

    @property
    def _counted(self) -> str:
        known = self.labelled.labels[self._known]
        images = counted(len(known), "labelled image")
        return f"{images} of {counted(len(np.unique(known)), 'individual')}"


def _setting(name: str, values: Sequence[Any], reason: str) -> _Limit:
    """Return the limit of a setting under [holdout]; `reason` has {} where its own value goes."""

    def fix(value: Any) -> str:
        line = f"remove {name}" if value is None else f"set {name} = {value:g}"
        return f"{line} under [holdout] in kitbox.toml"

    return _Limit(name, values, reason.format(f"{values[0]:g}"), fix)


def _halves(value: float) -> list[int]:
    """Return the half of a number, its quarter and so on, as whole numbers down to 1."""
    halves = [int(value / 2**power) for power in range(1, 12)]
    return [half for half in dict.fromkeys(halves) if half]
