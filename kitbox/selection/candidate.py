"""Candidates: members with their weights and whitening, and the options of their ensemble."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from kitbox.ensemble.ensemble import EnsembleOptions
from kitbox.ensemble.members import Member
from kitbox.errors import KitboxError
from kitbox.files import canonical_json

# Decimals of a share by which two candidates are told apart: float32 blocks are no finer.
_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class CandidateMember:
    """A member by its full name, with its weight, and the dimensions that it is whitened to.

    None leaves its block as it is.
    """

    name: str
    weight: float = 1.0
    whiten: int | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to answer: members, and options whose own `whiten` is None.

    Raises KitboxError for no member, and for one that is named twice.
    """

    members: tuple[CandidateMember, ...]
    options: EnsembleOptions

    def __post_init__(self) -> None:
        if not self.members:
            raise KitboxError("an ensemble needs a plugin")
        names = self.names
        repeated = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if repeated is not None:
            raise KitboxError(f"plugin {repeated} is named twice; to count it double give weights")

    @classmethod
    def of_members(cls, members: Sequence[Member], options: EnsembleOptions) -> "Candidate":
        """Return the candidate that an ensemble of members with options is.

        Its fusion is named where matches alone choose it.
        """
        fused = options.fusion_settings
        fusion = None if fused is None else str(fused.method)
        return cls(
            members=tuple(
                CandidateMember(
                    name=member.full_name,
                    weight=member.weight,
                    whiten=member.whiten or options.whiten,
                )
                for member in members
            ),
            options=replace(options, whiten=None, fusion=fusion),
        )

    @property
    def summary(self) -> str:
        """The members with their weights and whitening, and the steps, in a line."""
        parts = [
            f"{member.weight:g} {member.name}{f' whitened to {dims}' if dims else ''}"
            for member in self.members
            for dims in [member.whiten]
        ]
        options = self.options
        parts += options.rerank
        parts += [] if options.fusion is None else [fusion_text(options.match, options.fusion)]
        return ", ".join(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The full names of the members."""
        return tuple(member.name for member in self.members)

    @property
    def key(self) -> str:
        """A text that is equal for candidates with the same answers: weights are shares."""
        total = sum(member.weight for member in self.members)
        rows = sorted(
            (member.name, round(member.weight / total, _DIGITS), member.whiten or 0)
            for member in self.members
        )
        return canonical_json([rows, asdict(self.options)])

    def weighted(self, weights: Mapping[str, float]) -> "Candidate":
        """Return the candidate with these weights; a member without one, or with 0, is left out."""
        return replace(
            self,
            members=tuple(
                replace(member, weight=float(weights[member.name]))
                for member in self.members
                if weights.get(member.name, 0) > 0
            ),
        )

    def without(self, name: str) -> "Candidate":
        """Return the candidate without a member."""
        return replace(self, members=tuple(m for m in self.members if m.name != name))

    def exchanged(self, name: str, by: CandidateMember) -> "Candidate":
        """Return the candidate with another member in the place of one."""
        return replace(self, members=tuple(by if m.name == name else m for m in self.members))


def fusion_text(match: Sequence[str], fusion: str | None) -> str:
    """Return a method of fusion with what it fuses, 'none' without a method."""
    if fusion is None:
        return "none"
    return f"{fusion} of {' + '.join(match) if match else 'the members'}"
