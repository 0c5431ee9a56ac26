"""Photographs whose individual a person confirmed: in a list, or by decisions of pairs."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kitbox import tables
from kitbox.catalogue import catalogue_changes, catalogue_list, photograph_dates
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError, did_you_mean

# What people write into a column of confirmations, in lower case.
_YES = frozenset(("yes", "y", "x", "ok", "true", "1", "✓"))
_NO = frozenset(("", "no", "n", "-", "?", "false", "0", "skip", "unsure", "cannot tell", "poor"))
_NEW = re.compile(r"new\??(?:[ :#_-]+(\w+))?", re.IGNORECASE)
# Columns of a list that go into the catalogue with the photograph.
_KEPT = ("date", "place", "side", "encounter")


@dataclass(frozen=True)
class Confirmation:
    """A photograph and its individual; of a new one, `individual` is '' until it has a name.

    Photographs of one `group` show the same new individual. `given` are the date, place, side and
    encounter as a list has them.
    """

    image: str
    individual: str
    group: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Confirmed:
    """What is confirmed; `open` counts the photographs that were looked at and are not.

    `gone` are photographs that are confirmed and whose file is not there, `left_out` sentences on
    others that cannot be added.
    """

    rows: tuple[Confirmation, ...]
    open: int = 0
    gone: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read(
    path: Path,
    individuals: Iterable[str],
    *,
    new_names: bool = False,
    current: Mapping[str, str] | None = None,
) -> Confirmed:
    """Return the confirmations in the column `confirmed` of a list as identified.csv.

    A cell is the name of an individual; "yes" for the one in the column `individual`, or for a new
    one where the column `verdict` says so; "new", or "new 1" and "new 2" for several photographs of
    one new individual each; or empty, "no" or "?" for a photograph that stays open. An individual
    that is called so, as "0" or "NO", is meant by its name. `current` maps names that individuals
    lost since the list was written to those that they have now. With `new_names` a name that nobody
    has is that of a new individual. Raises KitboxError, with the line, for any other cell, for a
    new name that differs from another one in signs only, and for a photograph that has two answers.
    """
    known = set(individuals)
    found: dict[str, Confirmation] = {}
    open_rows = 0
    optional = ("individual", *_KEPT)
    table = list(tables.read_rows(path, ("image", "confirmed"), optional=optional))
    order = photograph_dates.order_of(row.get("date", "") for _, row in table)
    for line, row in table:
        where, image = f"{path} line {line}", row["image"].strip()
        row["confirmed"] = cell = catalogue_changes.written(row["confirmed"].strip(), known)
        if cell.lower() in _NO and cell not in known:
            open_rows += 1
            continue
        if not image:
            raise KitboxError("the row has no image", where=where, fix="complete or remove it")
        cell = in_full(row, known)
        if not cell:
            raise KitboxError(
                f"'{row['confirmed']}' confirms no individual: the row has none",
                where=where,
                fix="write the individual's name, or new",
            )
        cell = cell if cell in known else (current or {}).get(cell, cell)
        new = None if cell in known else _NEW.fullmatch(cell)
        if new is None and cell not in known and not new_names:
            raise KitboxError(
                f"'{cell}' is no individual of the catalogue{did_you_mean(cell, known)}",
                where=where,
                fix="" if did_you_mean(cell, known) else "write new, or give --new-names",
            )
        if new is None and cell not in known:
            catalogue_changes.require_other_signs(
                cell, {*known, *(one.individual for one in found.values())} - {"", cell}, where
            )
        given = {name: row.get(name, "").strip() for name in _KEPT if row.get(name, "").strip()}
        if date := given.get("date"):
            given["date"] = catalogue_list.iso_date(date, order, where)
        # each photograph that is just "new" shows an individual of its own
        group = "" if new is None else f"new {new[1]}" if new[1] else f"new, line {line}"
        one = Confirmation(image, "" if new else cell, group, given)
        before = found.get(image)
        if before and (before.individual, before.group) != (one.individual, one.group):
            raise KitboxError(
                f"'{image}' is confirmed as '{before.individual or before.group}' and as "
                f"'{one.individual or one.group}'",
                where=where,
                fix="correct one of the rows",
            )
        found[image] = one
    return Confirmed(tuple(found.values()), open_rows)


def in_full(row: Mapping[str, str], individuals: Collection[str]) -> str:
    """Return the cell `confirmed` of a row, with what the row confirms in place of a "yes".

    A "yes" in a row without an individual is ''.
    """
    cell = row["confirmed"].strip()
    if cell.lower() not in _YES or cell in individuals:
        return cell
    verdict = row.get("verdict", "").strip()
    return "new" if _NEW.fullmatch(verdict) else row.get("individual", "").strip()


def decided(
    decisions: Decisions,
    rows: Sequence[CatalogueRow],
    is_there: Callable[[str], bool] | None = None,
) -> Confirmed:
    """Return the photographs that decisions give to individuals of a catalogue, or to new ones.

    A photograph shows the individual of those that it is the `same` as, through any chain. One
    without such a chain into the catalogue shows a new individual where it, or one of its chain, is
    decided to be `new`. Photographs that are not there are set aside where only pages wrote the
    rows about them; in a row written by hand the name may have a typing error. Of rows that
    contradict each other no photograph is added, nor a new individual that has one of them.
    """
    label_of = {row.image: row.individual for row in rows}
    links, contradictions, aside = decisions.link_sound(label_of)
    open_images = {image for row in decisions.rows for image in row.images} - set(label_of)
    numbered = zip(decisions.rows, decisions.lines, strict=bool(aside))
    disputed = {image for row, line in numbered if line in aside for image in row.images}
    unclear = {links.individual_of.get(image, -1) for image in disputed} - links.label_of.keys()
    found = []
    for image, number in links.individual_of.items():
        if image in label_of or image in disputed or number in unclear:
            continue
        individual = links.label_of.get(number, "")
        if individual or number in links.new:
            found.append(Confirmation(image, individual, "" if individual else f"new {number}"))
    by_hand = {image for row in decisions.rows if not row.by for image in row.images}
    there = is_there or (lambda _: True)
    gone = [one.image for one in found if one.image not in by_hand and not there(one.image)]
    return Confirmed(
        tuple(one for one in found if one.image not in gone),
        len(open_images) - len(found),
        tuple(gone),
        tuple(f"left out until it is settled: {sentence}" for sentence in contradictions),
    )


def named(confirmed: Iterable[Confirmation], names: Sequence[str]) -> list[Confirmation]:
    """Return the confirmations with a name for each new individual, in their order.

    Raises KitboxError for fewer names than new individuals.
    """
    confirmed = list(confirmed)
    groups = new_groups(confirmed)
    if len(names) < len(groups):
        raise KitboxError(f"{len(names)} names for {len(groups)} new individuals", fix="give more")
    name_of = dict(zip(groups, names, strict=False))
    return [
        Confirmation(one.image, one.individual or name_of[one.group], one.group, one.given)
        for one in confirmed
    ]


def new_groups(confirmed: Iterable[Confirmation]) -> list[str]:
    """Return the groups of photographs that show a new individual each, in order."""
    return list(dict.fromkeys(one.group for one in confirmed if not one.individual))
