"""All that lies on the table: photographs, what they are compared by, cases, and the desk."""

from dataclasses import dataclass, field

from kitbox.errors import KitboxError
from kitbox.look import cases, neighbours
from kitbox.look.cases import Case
from kitbox.look.desk import Desk
from kitbox.look.photographs import Photographs
from kitbox.look.pictures import Pictures
from kitbox.records import Embeddings


@dataclass(frozen=True)
class Table:
    """What a person looks at: of which competition, compared `by` which plugins (none: by hash)."""

    name: str
    by: tuple[str, ...]
    embeddings: Embeddings
    suspects: list[Case]
    duplicates: list[Case]
    desk: Desk
    pictures: Pictures = field(default_factory=Pictures)

    @property
    def photographs(self) -> Photographs:
        """All photographs."""
        return self.desk.photographs

    def cases(self, what: str) -> list[Case]:
        """Return the suspects or the duplicates; raises KitboxError for what is neither."""
        if what not in ("suspects", "duplicates"):
            raise KitboxError(f"there are no cases '{what}'; ask for suspects or duplicates")
        return self.suspects if what == "suspects" else self.duplicates


def lay(
    name: str, desk: Desk, bits: int, by: tuple[str, ...] = (), seen: Embeddings | None = None
) -> Table:
    """Return the table of a competition, with what is not yet decided.

    `seen` are the embeddings by the plugins `by`; without them perceptual hashes are compared, by
    which no individual is known, so that there are no suspects. Hashes of near-duplicates differ
    in at most `bits`.
    """
    standing = desk.standing
    if seen is None:
        seen, suspects = neighbours.by_hash(desk.photographs), []
        duplicates = cases.duplicates(standing, bits)
    else:
        near = cases.compared(seen, standing)
        suspects = cases.suspects(seen, near, standing)
        duplicates = cases.duplicates(standing, bits, seen, near.limit)
    return Table(name, by, seen, suspects, duplicates, desk)
