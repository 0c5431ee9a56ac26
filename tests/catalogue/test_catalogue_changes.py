"""Changes of a catalogue, and the history that tells every one of them."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kitbox.catalogue import catalogue_changes, catalogue_list, query_list
from kitbox.catalogue.catalogue_changes import Move, Rows
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.errors import KitboxError, KitboxWarning
from kitbox.workspace import Workspace


def row(image: str, individual: str, date: str = "") -> CatalogueRow:
    return CatalogueRow(image, individual, date)


ROWS = (row("c/a.jpg", "W-1", "2019"), row("c/b.jpg", "W-1"), row("c/d.jpg", "W-2"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    catalogue_list.save(tmp_path / "catalogue.csv", ROWS)
    return Workspace(tmp_path)


def individuals(workspace: Workspace) -> dict[str, str]:
    return {one.image: one.individual for one in catalogue_list.load(workspace.catalogue)}


def change(workspace: Workspace, what: str, edit: Callable[[Rows], Rows]) -> str:
    return str(catalogue_changes.change(workspace, what, edit, by="Ann"))


def test_every_change_is_kept_with_its_author_and_photographs(workspace: Workspace) -> None:
    told = [
        change(
            workspace,
            "add",
            lambda rows: catalogue_changes.added(rows, [row("s/e.jpg", "W-3", "2020")]),
        ),
        change(workspace, "rename", lambda rows: catalogue_changes.renamed(rows, "W-1", "Ann")),
        change(workspace, "merge", lambda rows: catalogue_changes.merged(rows, "W-2", "Ann")),
        change(
            workspace,
            "split",
            lambda rows: catalogue_changes.split(rows, "Ann", ["c/b.jpg"], "=Bob"),
        ),
    ]
    assert told == [
        "change 1, add 'W-3': 1 photograph",
        "change 2, rename 'W-1' → 'Ann': 2 photographs",
        "change 3, merge 'W-2' → 'Ann': 1 photograph",
        "change 4, split 'Ann' → '=Bob': 1 photograph",
    ]
    assert individuals(workspace) == {
        "c/a.jpg": "Ann",
        "c/b.jpg": "=Bob",
        "c/d.jpg": "Ann",
        "s/e.jpg": "W-3",
    }
    history = catalogue_changes.load(workspace)
    assert [(one.number, one.by, one.what, one.moves) for one in history] == [
        (1, "Ann", "add", (Move("s/e.jpg", "", "W-3"),)),
        (2, "Ann", "rename", (Move("c/a.jpg", "W-1", "Ann"), Move("c/b.jpg", "W-1", "Ann"))),
        (3, "Ann", "merge", (Move("c/d.jpg", "W-2", "Ann"),)),
        (4, "Ann", "split", (Move("c/b.jpg", "Ann", "=Bob"),)),
    ]
    assert ",'=Bob,,,,,,\n" in workspace.catalogue_history.read_text()


def test_changes_are_taken_back_one_after_the_other(workspace: Workspace) -> None:
    change(workspace, "add", lambda rows: catalogue_changes.added(rows, [row("s/e.jpg", "W-3")]))
    change(workspace, "merge", lambda rows: catalogue_changes.merged(rows, "W-2", "W-1"))
    assert catalogue_changes.undo(workspace).change.what == "undo 2"
    assert individuals(workspace)["c/d.jpg"] == "W-2"
    assert catalogue_changes.undo(workspace).change.what == "undo 1"
    assert catalogue_list.load(workspace.catalogue) == ROWS
    with pytest.raises(KitboxError, match="there is no change of the catalogue to take back"):
        catalogue_changes.undo(workspace)


@pytest.mark.parametrize("name", ["w-1", "W 01", "W_1 (2)"])
def test_the_spelling_of_a_name_is_corrected(workspace: Workspace, name: str) -> None:
    change(workspace, "rename", lambda rows: catalogue_changes.renamed(rows, "W-1", name))
    assert set(individuals(workspace).values()) == {name, "W-2"}
    with pytest.raises(KitboxError, match="nothing changes in the catalogue"):
        change(workspace, "rename", lambda rows: catalogue_changes.renamed(rows, name, name))


def test_a_name_is_known_in_both_ways_in_which_unicode_writes_it(workspace: Workspace) -> None:
    one, other = "Ame\u0301lie", "Am\u00e9lie"
    change(workspace, "rename", lambda rows: catalogue_changes.renamed(rows, "W-1", one))
    change(workspace, "merge", lambda rows: catalogue_changes.merged(rows, "W-2", other))
    assert set(individuals(workspace).values()) == {one}
    change(workspace, "split", lambda rows: catalogue_changes.split(rows, other, ["c/d.jpg"], "B"))
    change(workspace, "rename", lambda rows: catalogue_changes.renamed(rows, other, other))
    assert set(individuals(workspace).values()) == {other, "B"}


def test_a_change_by_hand_is_not_overwritten_by_undo(workspace: Workspace) -> None:
    change(workspace, "merge", lambda rows: catalogue_changes.merged(rows, "W-2", "W-1"))
    by_hand = [*ROWS[:2], row("c/d.jpg", "W-9")]
    catalogue_list.save(workspace.catalogue, by_hand)
    with pytest.raises(KitboxError) as caught:
        catalogue_changes.undo(workspace)
    assert str(caught.value) == (
        "catalogue.csv: 'c/d.jpg' is of 'W-9', not of 'W-1' as change 1 left it; "
        "correct it there; it was changed by hand"
    )


REFUSED: list[tuple[Callable[[Rows], Rows], str]] = [
    (
        lambda rows: catalogue_changes.added(rows, [row("c/a.jpg", "W-2")]),
        "'c/a.jpg' is in the catalogue already, under 'W-1'; leave it out",
    ),
    (
        lambda rows: catalogue_changes.renamed(rows, "W-1", "W-2"),
        "there is an individual 'W-2' already; 'kitbox catalogue merge \"W-1\" \"W-2\"' "
        "makes them one",
    ),
    (
        lambda rows: catalogue_changes.renamed(rows, "W-1", "w_02"),
        "there is an individual 'W-2', which differs from 'w_02' in signs only; "
        "use 'W-2', or another name",
    ),
    (
        lambda rows: catalogue_changes.renamed(rows, "W1", "A"),
        "'W1' is no individual of the catalogue; did you mean W-1?",
    ),
    (
        lambda rows: catalogue_changes.renamed(rows, "W-1", " A"),
        "' A' is no name; give one without blanks around it",
    ),
    (
        lambda rows: catalogue_changes.merged(rows, "W-1", "W-1"),
        "'W-1' is named twice; name two individuals",
    ),
    (
        lambda rows: catalogue_changes.split(rows, "W-1", ["c/d.jpg"], "A"),
        "'c/d.jpg' is no photograph of 'W-1'; did you mean c/b.jpg?",
    ),
    (
        lambda rows: catalogue_changes.split(rows, "W-1", ["c/a.jpg"], "W-2"),
        "there is an individual 'W-2' already; give --known to move the photographs to it",
    ),
    (
        lambda rows: catalogue_changes.split(rows, "W-1", ["c/a.jpg", "c/b.jpg"], "A"),
        "no photograph is left to 'W-1'; 'kitbox catalogue rename \"W-1\" \"A\"'",
    ),
    (lambda rows: rows, "nothing changes in the catalogue"),
    (
        lambda rows: catalogue_changes.merged(rows[:0], "W-1", "W-2"),
        "the catalogue is empty; add photographs of individuals",
    ),
]


@pytest.mark.parametrize(("edit", "expected"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_a_refused_change_leaves_the_catalogue_and_no_history(
    workspace: Workspace, edit: Callable[[Rows], Rows], expected: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        change(workspace, "rename", edit)
    assert str(caught.value) == expected
    assert catalogue_list.load(workspace.catalogue) == ROWS
    assert not workspace.catalogue_history.exists()


def test_photographs_are_moved_to_a_known_individual_on_request(workspace: Workspace) -> None:
    change(
        workspace,
        "split",
        lambda rows: catalogue_changes.split(rows, "W-1", ["c/b.jpg"], "W-2", known=True),
    )
    assert individuals(workspace) == {"c/a.jpg": "W-1", "c/b.jpg": "W-2", "c/d.jpg": "W-2"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("W-{number:04d}", ["W-0013", "W-0014"]),
        ("W-{number}", ["W-13", "W-14"]),
        ("{number:03d} ({{new}})", ["001 ({new})", "002 ({new})"]),
        ("Z{number:d}", ["Z1", "Z2"]),
    ],
)
def test_new_individuals_get_the_numbers_after_the_largest(
    pattern: str, expected: list[str]
) -> None:
    taken = ["W-2", "W-0012", "W-x", "other", "W-" + "9" * 5000]
    assert catalogue_changes.next_names(pattern, taken, 2) == expected


@pytest.mark.parametrize(
    "pattern",
    ["W", "{number}-{number}", "{name}", "{number:.2f}", "{number", "{}", "{number:x>4}"],
)
def test_a_pattern_without_one_number_is_refused(pattern: str) -> None:
    with pytest.raises(KitboxError, match=r"is no pattern of names; write one like 'W-\{number"):
        catalogue_changes.next_names(pattern, [])


def test_the_number_of_a_merged_individual_is_not_given_again(workspace: Workspace) -> None:
    change(workspace, "merge", lambda rows: catalogue_changes.merged(rows, "W-2", "W-1"))
    names = catalogue_changes.names_ever(
        catalogue_list.load(workspace.catalogue), catalogue_changes.load(workspace)
    )
    assert catalogue_changes.next_names("W-{number}", names) == ["W-3"]


def write_queries(workspace: Workspace, *lines: str) -> None:
    workspace.queries.write_text("\n".join(lines) + "\n")


def test_undo_puts_photographs_back_among_those_to_identify(workspace: Workspace) -> None:
    write_queries(workspace, "image", "s/e.jpg", "s/f.jpg", "s/g.jpg")
    new = [row("grown/W-3/e.jpg", "W-3"), row("s/f.jpg", "=B"), row("card/x.jpg", "W-1")]
    names = {"grown/W-3/e.jpg": "s/e.jpg", "s/f.jpg": "s/f.jpg", "card/x.jpg": "card/x.jpg"}
    catalogue_changes.change(
        workspace, "add", lambda rows: catalogue_changes.added(rows, new), queries=names
    )
    assert workspace.queries.read_text() == "image\ns/g.jpg\n"
    assert [move.query for one in catalogue_changes.load(workspace) for move in one.moves] == [
        *("s/e.jpg", "s/f.jpg", "")
    ]
    change(workspace, "merge", lambda rows: catalogue_changes.merged(rows, "W-3", "=B"))
    catalogue_changes.undo(workspace)
    assert workspace.queries.read_text() == "image\ns/g.jpg\n"
    catalogue_changes.undo(workspace)
    assert workspace.queries.read_text() == "image\ns/e.jpg\ns/f.jpg\ns/g.jpg\n"
    assert catalogue_list.load(workspace.catalogue) == ROWS


def add(workspace: Workspace, image: str, date: str = "") -> None:
    new = [row(image, "W-1", date)]
    catalogue_changes.change(
        workspace,
        "add",
        lambda rows: catalogue_changes.added(rows, new),
        queries={image: image},
    )


def test_undo_brings_back_what_the_list_said_of_a_photograph(workspace: Workspace) -> None:
    write_queries(
        workspace,
        *("image,date,place,side,encounter", "s/e.jpg,2024,Bay,left,", "s/f.jpg,,,,"),
    )
    before = workspace.queries.read_bytes()
    add(workspace, "s/e.jpg", "2024-05-01")
    assert workspace.queries.read_text() == "image\ns/f.jpg\n"
    catalogue_changes.undo(workspace)
    assert workspace.queries.read_bytes() == before


def test_undo_puts_a_photograph_into_its_own_list_and_into_no_other(workspace: Workspace) -> None:
    write_queries(workspace, "image", "s/e.jpg", "s/f.jpg", "s/g.jpg")
    add(workspace, "s/e.jpg")
    add(workspace, "s/f.jpg")
    write_queries(workspace, "image", "t/a.jpg")  # the next season is identified
    add(workspace, "t/a.jpg")
    assert catalogue_changes.undo(workspace).unlisted == ()
    assert workspace.queries.read_text() == "image\nt/a.jpg\n"
    assert catalogue_changes.undo(workspace).unlisted == ("s/f.jpg",)
    assert workspace.queries.read_text() == "image\nt/a.jpg\n"
    write_queries(workspace, "image", "s/f.jpg", "s/g.jpg")  # the first season once more
    assert catalogue_changes.undo(workspace).unlisted == ()
    assert workspace.queries.read_text() == "image\ns/e.jpg\ns/f.jpg\ns/g.jpg\n"


def test_what_was_typed_of_a_photograph_is_kept_when_it_is_taken_out(workspace: Workspace) -> None:
    write_queries(workspace, "image", "s/e.jpg")
    new = [row("copies/e.jpg", "W-1")]
    catalogue_changes.change(
        workspace,
        "add",
        lambda rows: catalogue_changes.added(rows, new),
        queries={"copies/e.jpg": "s/e.jpg"},
    )
    typed = [
        replace(one, date="2024-05-01", place="Bay", side="left") if "e.jpg" in one.image else one
        for one in catalogue_list.load(workspace.catalogue)
    ]
    catalogue_list.save(workspace.catalogue, typed)
    catalogue_changes.undo(workspace)
    known = catalogue_changes.last_known(catalogue_changes.load(workspace))
    assert known["copies/e.jpg"] == known["s/e.jpg"]
    assert known["s/e.jpg"] == {"date": "2024-05-01", "place": "Bay", "side": "left"}


def test_photographs_that_were_read_are_kept_in_the_history_and_no_undo_takes_them(
    workspace: Workspace,
) -> None:
    add(workspace, "s/e.jpg")
    new = [row("c/n.jpg", "W-2"), row("c/o.jpg", "W-9")]
    rows = [*catalogue_list.load(workspace.catalogue), *new]
    kept = catalogue_changes.keep_read(workspace, rows, new)
    assert str(kept) == "change 2, read 'W-2' and 1 more: 2 photographs"
    assert catalogue_changes.load(workspace)[-1] == kept
    assert catalogue_list.load(workspace.catalogue) == tuple(rows)
    assert catalogue_changes.undo(workspace).change.what == "undo 1"
    with pytest.raises(KitboxError, match="there is no change"):
        catalogue_changes.undo(workspace)


@pytest.mark.parametrize("header", ["image,note", "Image"])
def test_a_list_of_another_form_is_the_users_own(workspace: Workspace, header: str) -> None:
    write_queries(workspace, header, "s/e.jpg")
    before = workspace.queries.read_bytes()
    catalogue_changes.change(
        workspace,
        "add",
        lambda rows: catalogue_changes.added(rows, [row("s/e.jpg", "W-3")]),
        queries={"s/e.jpg": "s/e.jpg"},
    )
    catalogue_changes.undo(workspace)
    assert workspace.queries.read_bytes() == before


def test_a_history_without_names_of_queries_is_read(workspace: Workspace) -> None:
    workspace.catalogue_history.write_text(
        "change,time,by,what,image,before,after\n1,t,Ann,add,c/d.jpg,,W-2\n"
    )
    assert catalogue_changes.load(workspace)[0].moves == (Move("c/d.jpg", "", "W-2"),)
    catalogue_changes.undo(workspace)
    assert "c/d.jpg" not in individuals(workspace)


def test_an_image_is_named_by_the_end_of_its_path() -> None:
    rows = [*ROWS, row("s/a.jpg", "W-3")]
    assert catalogue_changes.image_named(rows, "b.jpg") == "c/b.jpg"
    assert catalogue_changes.image_named(rows, "./c/a.jpg") == "c/a.jpg"
    with pytest.raises(KitboxError, match=r"'a\.jpg' is 'c/a\.jpg' and 's/a\.jpg'; write its fol"):
        catalogue_changes.image_named(rows, "a.jpg")
    with pytest.raises(KitboxError, match=r"'c/x\.jpg' is not in the catalogue; did you mean c/"):
        catalogue_changes.image_named(rows, "c/x.jpg")


class Killed(BaseException):
    """What no code of kitbox catches."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Stop before the n-th time that a file or a folder takes its place; return those before it."""
    done: list[str] = []

    def counted_call(original: Callable[..., object]) -> Callable[..., object]:
        def call(self: Path, *given: object) -> object:
            if len(done) + 1 == number:
                raise Killed
            done.append(self.name)
            return original(self, *given)

        return call

    for name in ("replace", "rename"):
        monkeypatch.setattr(Path, name, counted_call(getattr(Path, name)))
    remove = shutil.rmtree

    def rmtree(path: Path, **given: bool) -> None:
        if given:  # temporary folders, which a kill would leave
            return
        counted_call(lambda self: remove(self))(path)

    monkeypatch.setattr("kitbox.files.shutil.rmtree", rmtree)
    return done


def a_season(root: Path) -> Workspace:
    """Return a workspace with a catalogue, a season and a change before."""
    catalogue_list.save(root / "catalogue.csv", ROWS)
    query_list.save(root / "photographs.csv", [row("s/e.jpg", ""), row("s/f.jpg", "")])
    workspace = Workspace(root)
    add(workspace, "s/f.jpg")
    return workspace


def of_user(workspace: Workspace) -> None:
    """Read a photograph that the user's own catalogue has more."""
    with catalogue_list.locked(workspace):
        new = row("c/new.jpg", "W-2")
        rows = (*catalogue_list.load(workspace.catalogue), new)
        if new not in rows[:-1]:
            catalogue_changes.keep_read(workspace, rows, [new])


KINDS: dict[str, Callable[[Workspace], object]] = {
    "add": lambda workspace: add(workspace, "s/e.jpg"),
    "rename": lambda workspace: change(
        workspace, "rename", lambda rows: catalogue_changes.renamed(rows, "W-1", "Ann")
    ),
    "undo": lambda workspace: catalogue_changes.undo(workspace, by="Ann"),
    "read": of_user,
}


def files_of(workspace: Workspace) -> dict[str, str]:
    """Return the texts of a workspace's files by name, without times."""
    return {
        path.name: re.sub(r"\d{4}-\d\d-\d\dT[^,]*", "TIME", path.read_text())
        for path in workspace.root.rglob("*")
        if path.is_file() and path.suffix != ".lock" and not path.parent.name.endswith(".partial")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_that_is_killed_at_any_moment_is_finished_by_the_next_command(
    tmp_path: Path, kind: str
) -> None:
    whole = a_season(tmp_path / "whole")
    before = files_of(whole)
    KINDS[kind](whole)
    expected = files_of(whole)
    steps = 0
    for number in range(1, 30):
        workspace = a_season(tmp_path / str(number))
        with pytest.MonkeyPatch.context() as patched:
            done = kill_at(patched, number)
            try:
                KINDS[kind](workspace)
            except Killed:
                pass
            else:
                break
        steps = len(done)
        if workspace.catalogue_change.is_dir():
            with pytest.warns(KitboxWarning, match="was interrupted, and is finished now"):
                catalogue_list.finish(workspace)
        else:
            assert files_of(workspace) == before
            KINDS[kind](workspace)
        assert files_of(workspace) == expected, number
        assert not workspace.catalogue_change.exists()
    assert steps >= 6  # two files and a record written, their folder, and each in its place
    assert files_of(workspace) == expected


def test_an_interrupted_change_overwrites_nothing_that_was_changed_since(tmp_path: Path) -> None:
    workspace = a_season(tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        kill_at(patched, 6)
        with pytest.raises(Killed):
            add(workspace, "s/e.jpg")
    by_hand = [*ROWS[:2], row("c/d.jpg", "W-9")]
    catalogue_list.save(workspace.catalogue, by_hand)
    before = files_of(workspace)
    stage = workspace.catalogue_change
    for command in (add, lambda workspace, _: catalogue_changes.undo(workspace)):
        with pytest.raises(KitboxError) as caught:
            command(workspace, "s/e.jpg")
        assert str(caught.value) == (
            f"{workspace.catalogue} was changed after a command that was changing it was killed; "
            f"remove {stage} to keep it so, or put {stage / 'catalogue.csv'} in its place"
        )
    assert files_of(workspace) == before
