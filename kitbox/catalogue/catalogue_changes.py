"""Changes of the catalogue: photographs added, individuals renamed, merged and split; history.

catalogue-history.csv has a row for each photograph that a change gave to another individual:
change (its number), time, by, what, image, before and after. `before` is empty for a
photograph that came into the catalogue. `query` is its name in the list of photographs to identify,
from which it was taken then, and `list` names that list: `undo` puts it back into no other. date,
place, side and encounter are those that this list had; for a photograph that was taken out of the
catalogue, those that the catalogue had, which the next addition of it has again.
"""

import getpass
import string
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from kitbox import tables
from kitbox.catalogue import catalogue_list, query_list
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.catalogue.catalogue_source import alike
from kitbox.errors import KitboxError, counted, did_you_mean, more
from kitbox.files import changed_together
from kitbox.workspace import Workspace

Rows = tuple[CatalogueRow, ...]
# Kinds of changes that `undo` takes back.
_TAKEN_BACK = ("add", "rename", "merge", "split")
# What a list says of a photograph beside its individual.
_KNOWN = ("date", "place", "side", "encounter")
_NEEDED = ("change", "time", "by", "what", "image", "before", "after")
COLUMNS = (*_NEEDED, "query", "list", *_KNOWN)


class Move(NamedTuple):
    """A photograph's individual before and after a change; '' where it was or is in none.

    `query` is what the workspace's list of photographs to identify calls one that was added, ''
    where it was not in it, and `list` is the digest of that list as it was identified. The others
    are what that list said of it or, of one that was taken out, the catalogue.
    """

    image: str
    before: str
    after: str
    query: str = ""
    list: str = ""
    date: str = ""
    place: str = ""
    side: str = ""
    encounter: str = ""

    @property
    def known(self) -> dict[str, str]:
        """What a list said of the photograph: its date, place, side and encounter, if not ''."""
        return {name: text for name in _KNOWN if (text := getattr(self, name))}


@dataclass(frozen=True)
class CatalogueChange:
    """A change: its number from 1, time (ISO 8601 with UTC offset), author, kind and photographs.

    `what` is add, rename, merge, split, "read" for photographs that the user's own catalogue has
    more, or "undo 3" for the one that took change 3 back.
    """

    number: int
    time: str
    by: str
    what: str
    moves: tuple[Move, ...]

    def __str__(self) -> str:
        names = dict.fromkeys((move.before, move.after) for move in self.moves)
        before, after = next(iter(names))
        shown = f"'{before}' → '{after}'" if before and after else f"'{before or after}'"
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        photographs = counted(len(self.moves), "photograph")
        return f"change {self.number}, {self.what} {shown}{others}: {photographs}"


def change(
    workspace: Workspace,
    what: str,
    edit: Callable[[Rows], Rows],
    by: str = "",
    *,
    queries: Mapping[str, str] | None = None,
    back: Collection[Move] = (),
) -> CatalogueChange:
    """Apply an edit to the workspace's catalogue and to its history; return the change.

    `queries` are the images of added photographs with the names that they have as photographs to
    identify: those leave the workspace's own list of them, since an image in both would be a query
    and a gallery image at once. `back` are the moves whose photographs come back into it. Two
    processes may not change a catalogue at once. Raises KitboxError where the edit does, and for
    one that changes nothing.
    """
    with catalogue_list.locked(workspace):
        before, history = catalogue_list.load(workspace.catalogue), load(workspace)
        after = edit(before)
        listed = query_list.load(workspace.queries)
        moves = _moves(before, after)
        if not moves:
            raise KitboxError("nothing changes in the catalogue")
        if listed is not None:
            moves = _with_queries(moves, queries or {}, listed, history)
        done = _change(history, by, what, moves)
        with _written_together(workspace) as new:
            catalogue_list.save(new.catalogue, after)
            _save(new.catalogue_history, (*history, done))
            if listed is not None:
                out = {move.query for move in moves if move.query}
                returned = [CatalogueRow(move.query, "", **move.known) for move in back]
                kept = [row for row in listed if row.image not in out]
                left = query_list.put_back(kept, returned)
                if left != listed:
                    query_list.save(new.queries, left)
    return done


def keep_read(
    workspace: Workspace, rows: Iterable[CatalogueRow], new: Iterable[CatalogueRow]
) -> CatalogueChange:
    """Write a catalogue, and that the user's own has its `new` photographs more; return that.

    The caller holds the lock of the catalogue.
    """
    history = load(workspace)
    moves = tuple(Move(row.image, "", row.individual) for row in new)
    done = _change(history, "", "read", moves)
    with _written_together(workspace) as changed:
        catalogue_list.save(changed.catalogue, rows)
        _save(changed.catalogue_history, (*history, done))
    return done


@contextmanager
def _written_together(workspace: Workspace) -> Iterator[Workspace]:
    """Yield a workspace with copies of the files of a change, which become this one's at once."""
    paths = (workspace.catalogue, workspace.catalogue_history, workspace.queries)
    with changed_together(workspace.catalogue_change, paths) as folder:
        yield replace(workspace, root=folder)


def _change(
    history: Sequence[CatalogueChange], by: str, what: str, moves: tuple[Move, ...]
) -> CatalogueChange:
    return CatalogueChange(
        history[-1].number + 1 if history else 1,
        datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        by or author(),
        what,
        moves,
    )


def _with_queries(
    moves: Sequence[Move],
    queries: Mapping[str, str],
    listed: Sequence[CatalogueRow],
    history: Sequence[CatalogueChange],
) -> tuple[Move, ...]:
    """Return the moves with the names, the list and what it says of those that leave the list."""
    rows = {row.image: row for row in listed}
    season = _list_of(rows, history)
    found = []
    for move in moves:
        row = rows.get(queries.get(move.image, ""))
        if row is not None and not move.before:
            known = {name: getattr(row, name) for name in _KNOWN}
            move = move._replace(query=row.image, list=season, **known)
        found.append(move)
    return tuple(found)


def _list_of(images: Iterable[str], history: Iterable[CatalogueChange]) -> str:
    """Return the digest of a list of photographs to identify as it was before additions took some.

    That is the one which additions gave it, where it has again its photographs with theirs.
    """
    here = set(images)
    taken: dict[str, set[str]] = {}
    for move in (move for one in history for move in one.moves if move.list):
        taken.setdefault(move.list, set()).add(move.query)
    for known, names in reversed(taken.items()):
        if query_list.digest(here | names) == known:
            return known
    return query_list.digest(here)


class Undone(NamedTuple):
    """The change that took another one back, and the photographs that are in no list now.

    `unlisted` were taken from a list of photographs to identify that is another one by now.
    """

    change: CatalogueChange
    unlisted: tuple[str, ...] = ()


def undo(workspace: Workspace, by: str = "") -> Undone:
    """Take back the last change that is not taken back yet; return the change that does it.

    Photographs that are not in the catalogue then are again among those to identify, if they were
    and that list is still there; what was typed of them is kept in the history.
    Raises KitboxError where there is none, and where a photograph has another individual since.
    """
    catalogue_list.finish(workspace)
    history = load(workspace)
    undone = _undone(history)
    left = [one for one in history if one.number not in undone and one.what in _TAKEN_BACK]
    if not left:
        raise KitboxError("there is no change of the catalogue to take back")
    last = left[-1]
    listed = query_list.load(workspace.queries) or ()
    season = _list_of((row.image for row in listed), history)
    were = [move for move in last.moves if move.query]
    back = [move for move in were if move.list == season]
    done = change(
        workspace, f"undo {last.number}", lambda rows: taken_back(rows, last), by, back=back
    )
    return Undone(done, tuple(move.query for move in were if move not in back))


def known_of(row: CatalogueRow) -> dict[str, str]:
    """Return the date, place, side and encounter of a row, without those that are ''."""
    return {name: text for name in _KNOWN if (text := getattr(row, name))}


def last_known(history: Iterable[CatalogueChange]) -> dict[str, dict[str, str]]:
    """Return photographs that were taken out → what the catalogue had of them, to be added again.

    They are named as in the catalogue and as photographs to identify.
    """
    names: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for move in (move for one in history for move in one.moves):
        if move.query:
            names[move.image] = move.query
        if not move.after:
            found[move.image] = found[names.get(move.image, move.image)] = move.known
    return found


def images_of_queries(history: Iterable[CatalogueChange]) -> dict[str, str]:
    """Return names of photographs to identify → what the catalogue called them when it got them."""
    moves = [move for one in history for move in one.moves]
    return {move.query: move.image for move in moves if move.query}


def load(workspace: Workspace) -> tuple[CatalogueChange, ...]:
    """Return the changes of a workspace's catalogue, oldest first.

    Raises KitboxError for a row without the number of its change.
    """
    path = workspace.catalogue_history
    if not path.exists():
        return ()
    rows = []
    for line, row in tables.read_rows(path, _NEEDED, optional=COLUMNS[len(_NEEDED) :]):
        if tables.whole_number(row["change"]) is None:
            raise KitboxError(
                f"'{row['change']}' is no number of a change",
                where=f"{path} line {line}",
                fix="correct or remove the row",
            )
        rows.append(row)
    return tuple(
        CatalogueChange(
            int(number),
            (first := (part := list(group))[0])["time"],
            first["by"],
            first["what"],
            tuple(Move(*(row.get(name, "") for name in COLUMNS[4:])) for row in part),
        )
        for number, group in groupby(rows, lambda row: row["change"])
    )


def current_names(
    rows: Iterable[CatalogueRow], history: Iterable[CatalogueChange]
) -> dict[str, str]:
    """Return each name that a whole individual lost by a rename or merge → the name it has now.

    A user's folder may keep the old name: photographs that come into it are the new one's. A name
    that an individual has again is none of these.
    """
    history = tuple(history)
    undone = _undone(history)
    now: dict[str, str] = {}
    for one in history:
        if one.what in ("rename", "merge") and one.number not in undone:
            before, after = one.moves[0].before, one.moves[0].after
            now = {old: after if name == before else name for old, name in now.items()}
            now[before] = after
    individuals = {row.individual for row in rows}
    return {old: name for old, name in now.items() if old not in individuals}


def taken_out(history: Iterable[CatalogueChange]) -> set[str]:
    """Return the photographs that a change took out of the catalogue: they stay out of it."""
    last = {move.image: move.after for one in history for move in one.moves}
    return {image for image, individual in last.items() if not individual}


def _undone(history: Iterable[CatalogueChange]) -> set[int]:
    """Return the numbers of the changes that were taken back."""
    return {int(one.what.split()[1]) for one in history if one.what.startswith("undo ")}


def author() -> str:
    """Return the name of the system's user, or 'unknown' where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def added(rows: Rows, new: Sequence[CatalogueRow]) -> Rows:
    """Return the catalogue with photographs more; raises KitboxError for one that it has."""
    known = {row.image: row.individual for row in rows}
    again = [row for row in new if row.image in known]
    if again:
        raise KitboxError(
            f"'{again[0].image}' is in the catalogue already, under '{known[again[0].image]}'"
            f"{more(len(again) - 1)}",
            fix="leave it out",
        )
    return (*rows, *new)


def renamed(rows: Rows, old: str, new: str) -> Rows:
    """Return the catalogue with another name of an individual, which nobody else has.

    It may differ from the old one in signs only.
    """
    old = require_individual(rows, old)
    others = [row for row in rows if row.individual != old]
    require_new(others, new, f'\'kitbox catalogue merge "{old}" "{new}"\' makes them one')
    return _moved(rows, lambda row: row.individual == old, new)


def merged(rows: Rows, one: str, other: str) -> Rows:
    """Return the catalogue with the photographs of one individual given to another."""
    one, other = require_individual(rows, one), require_individual(rows, other)
    if one == other:
        raise KitboxError(f"'{one}' is named twice", fix="name two individuals")
    return _moved(rows, lambda row: row.individual == one, other)


def split(
    rows: Rows, individual: str, images: Collection[str], into: str, *, known: bool = False
) -> Rows:
    """Return the catalogue with some photographs of an individual given to a new one.

    With `known`, `into` is an individual of the catalogue. Raises KitboxError for photographs that
    the individual does not have, and where none is left to it.
    """
    individual = require_individual(rows, individual)
    own = {row.image for row in rows if row.individual == individual}
    for image in images:
        if image not in own:
            raise KitboxError(
                f"'{image}' is no photograph of '{individual}'{did_you_mean(image, own)}"
            )
    if known:
        into = require_individual(rows, into)
    else:
        require_new(rows, into, "give --known to move the photographs to it")
    if own <= set(images):
        raise KitboxError(
            f"no photograph is left to '{individual}'",
            fix=f'\'kitbox catalogue {"merge" if known else "rename"} "{individual}" "{into}"\'',
        )
    return _moved(rows, lambda row: row.image in images, into)


def taken_back(rows: Rows, done: CatalogueChange) -> Rows:
    """Return the catalogue as it was before a change.

    Raises KitboxError for a photograph that is no longer as the change left it.
    """
    now = {row.image: row for row in rows}
    for move in done.moves:
        individual = now[move.image].individual if move.image in now else ""
        if individual != move.after:
            is_now = f"is of '{individual}'" if individual else "is gone"
            raise KitboxError(
                f"'{move.image}' {is_now}, not of '{move.after}' as change {done.number} left it",
                where="catalogue.csv",
                fix="correct it there; it was changed by hand",
            )
    before = {move.image: move.before for move in done.moves}
    found = [replace(row, individual=before.get(row.image, row.individual)) for row in rows]
    return tuple(row for row in found if row.individual)


def next_names(pattern: str, taken: Iterable[str], count: int = 1) -> list[str]:
    """Return names of new individuals: the numbers after the largest that a name has or had.

    Raises KitboxError for a pattern without a single {number}.
    """
    before, spec, after = _pattern(pattern)
    numbers = [
        number
        for name in taken
        if name.startswith(before)
        and name.endswith(after)
        and (number := tables.whole_number(name[len(before) : len(name) - len(after)])) is not None
    ]
    start = max(numbers, default=0) + 1
    return [f"{before}{format(number, spec)}{after}" for number in range(start, start + count)]


def names_ever(rows: Iterable[CatalogueRow], history: Iterable[CatalogueChange]) -> set[str]:
    """Return all names that individuals have or had: none of them is given to another animal."""
    moves = [move for one in history for move in one.moves]
    names = {row.individual for row in rows} | {
        name for move in moves for name in (move.before, move.after)
    }
    return names - {""}


def require_individual(rows: Iterable[CatalogueRow], name: str) -> str:
    """Return the name of an individual of the catalogue, as the catalogue writes it.

    Raises KitboxError for a name that nobody has.
    """
    names = {row.individual for row in rows}
    if not names:
        raise KitboxError("the catalogue is empty", fix="add photographs of individuals")
    known = written(name, names)
    if known not in names:
        raise KitboxError(f"'{name}' is no individual of the catalogue{did_you_mean(name, names)}")
    return known


def written(name: str, names: Collection[str]) -> str:
    """Return a name as one of `names` is written, where Unicode writes one text in two ways.

    Keyboards and folders of one system give "é", those of another "e" and an accent.
    """
    if name in names:
        return name
    same = unicodedata.normalize("NFC", name)
    fitting = [known for known in names if unicodedata.normalize("NFC", known) == same]
    return fitting[0] if len(fitting) == 1 else name


def require_new(rows: Iterable[CatalogueRow], name: str, fix: str) -> None:
    """Raise KitboxError for a name that an individual has, or has in another spelling."""
    if not name.strip() or name != name.strip():
        raise KitboxError(f"'{name}' is no name", fix="give one without blanks around it")
    names = {row.individual for row in rows}
    if name in names:
        raise KitboxError(f"there is an individual '{name}' already", fix=fix)
    require_other_signs(name, names)


def require_other_signs(name: str, names: Iterable[str], where: str = "") -> None:
    """Raise KitboxError for a new name that differs from another one in signs only."""
    groups = alike(dict.fromkeys([name, *sorted(names)]))
    near = [one for group in groups if name in group for one in group if one != name]
    if near:
        raise KitboxError(
            f"there is an individual '{near[0]}', which differs from '{name}' in signs only",
            where=where,
            fix=f"use '{near[0]}', or another name",
        )


def image_named(rows: Iterable[CatalogueRow], text: str) -> str:
    """Return the image of the catalogue that a text names: its name, or the end of it.

    Raises KitboxError for none and for several.
    """
    images = [row.image for row in rows]
    plain = text.replace("\\", "/")
    if plain in images:
        return plain
    fitting = [image for image in images if f"/{image}".endswith("/" + plain.lstrip("./"))]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise KitboxError(
            f"'{text}' is '{fitting[0]}' and '{fitting[1]}'{more(len(fitting) - 2)}",
            fix="write its folder before it",
        )
    raise KitboxError(f"'{text}' is not in the catalogue{did_you_mean(plain, images)}")


def _pattern(pattern: str) -> tuple[str, str, str]:
    """Return what is before the number in a pattern, its format, and what is behind it."""
    try:
        parts = list(string.Formatter().parse(pattern))
        fields = [part for part in parts if part[1] is not None]
        text = pattern.format(number=1)
        (before, name, spec, _), *_ = fields
        if len(fields) != 1 or name != "number" or not format(1, spec or "").isdecimal():
            raise ValueError
    except (ValueError, LookupError, AttributeError) as error:
        raise KitboxError(
            f"'{pattern}' is no pattern of names", fix="write one like 'W-{number:04d}'"
        ) from error
    spec = spec or ""
    return before, spec, text[len(before) + len(format(1, spec)) :]


def _moved(rows: Rows, moves: Callable[[CatalogueRow], bool], individual: str) -> Rows:
    return tuple(replace(row, individual=individual) if moves(row) else row for row in rows)


def _moves(before: Rows, after: Rows) -> tuple[Move, ...]:
    old, new = ({row.image: row for row in rows} for rows in (before, after))
    found = []
    for image in {**old, **new}:
        was, now = old.get(image), new.get(image)
        if now is None and was is not None:
            known = (getattr(was, name) for name in _KNOWN)
            found.append(Move(image, was.individual, "", "", "", *known))
        elif now is not None and (was is None or was.individual != now.individual):
            found.append(Move(image, was.individual if was else "", now.individual))
    return tuple(found)


def _save(path: Path, history: Iterable[CatalogueChange]) -> None:
    rows = [
        (one.number, one.time, one.by, one.what, *move) for one in history for move in one.moves
    ]
    tables.write_rows(path, [COLUMNS, *rows])
