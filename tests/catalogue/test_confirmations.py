"""Confirmed photographs: what people write into a list, and what their decisions say."""

from pathlib import Path

import pytest

from kitbox.catalogue import confirmations
from kitbox.catalogue.catalogue_list import CatalogueRow
from kitbox.catalogue.confirmations import Confirmation
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.errors import KitboxError

ROWS = (CatalogueRow("c/a.jpg", "W1"), CatalogueRow("c/b.jpg", "W2"))


def write(path: Path, *rows: str, header: str = "image,individual,confirmed") -> Path:
    file = path / "identified.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def test_a_name_yes_and_new_confirm_and_everything_else_stays_open(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "s/a.jpg,W1,W2",
        "s/b.jpg,W1,Yes",
        "s/c.jpg,W1,new",
        "s/d.jpg,new?,x",
        "s/e.jpg,W2,new 1",
        "s/f.jpg,W1,NEW 1",
        "s/g.jpg,W1,",
        "s/h.jpg,W1,no",
        "s/i.jpg,W1,?",
    )
    found = confirmations.read(file, ["W1", "W2"])
    assert [(one.image, one.individual, one.group) for one in found.rows] == [
        ("s/a.jpg", "W2", ""),
        ("s/b.jpg", "W1", ""),
        ("s/c.jpg", "", "new, line 4"),
        ("s/d.jpg", "", "new, line 5"),
        ("s/e.jpg", "", "new 1"),
        ("s/f.jpg", "", "new 1"),
    ]
    assert found.open == 3
    assert confirmations.new_groups(found.rows) == ["new, line 4", "new, line 5", "new 1"]
    named = confirmations.named(found.rows, ["N1", "N2", "N3"])
    assert [one.individual for one in named] == ["W2", "W1", "N1", "N2", "N3", "N3"]


def test_yes_to_a_verdict_of_new_means_a_new_individual(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "s/a.jpg,new?,W1,yes",
        "s/b.jpg,undecided,W1,yes",
        header="image,verdict,individual,confirmed",
    )
    found = confirmations.read(file, ["W1"])
    assert [(one.image, one.individual) for one in found.rows] == [
        ("s/a.jpg", ""),
        ("s/b.jpg", "W1"),
    ]


def test_dates_and_places_of_a_list_come_along(tmp_path: Path) -> None:
    file = write(tmp_path, "s/a.jpg,W1,2019-07-03,Bay", header="image,confirmed,date,place")
    assert confirmations.read(file, ["W1"]).rows == (
        Confirmation("s/a.jpg", "W1", "", {"date": "2019-07-03", "place": "Bay"}),
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            ["a,W1,W11"],
            "line 2: 'W11' is no individual of the catalogue; did you mean W1?",
        ),
        (
            ["a,W1,Ann"],
            "line 2: 'Ann' is no individual of the catalogue; write new, or give --new-names",
        ),
        (
            ["a,,yes"],
            "line 2: 'yes' confirms no individual: the row has none; "
            "write the individual's name, or new",
        ),
        (["a,,W1", "a,,new"], "line 3: 'a' is confirmed as 'W1' and as 'new, line 3'; correct"),
        ([",,W1"], "line 2: the row has no image; complete or remove it"),
    ],
)
def test_an_unclear_confirmation_is_refused_with_its_line(
    tmp_path: Path, rows: list[str], expected: str
) -> None:
    file = write(tmp_path, *rows)
    with pytest.raises(KitboxError) as caught:
        confirmations.read(file, ["W1", "W2"])
    assert str(caught.value).startswith(f"{file} {expected}")


def test_an_individual_that_was_merged_since_is_the_one_that_it_is_now(tmp_path: Path) -> None:
    file = write(tmp_path, "a,Old,yes", "b,W1,Old")
    found = confirmations.read(file, ["W1"], current={"Old": "W1"})
    assert [one.individual for one in found.rows] == ["W1", "W1"]


def test_names_that_nobody_has_are_taken_on_request(tmp_path: Path) -> None:
    found = confirmations.read(write(tmp_path, "a,W1,Ann"), ["W1"], new_names=True)
    assert found.rows == (Confirmation("a", "Ann"),)


@pytest.mark.parametrize("name", ["0", "NO", "x", "1", "-", "new"])
def test_an_individual_is_confirmed_by_its_name_whatever_it_is(tmp_path: Path, name: str) -> None:
    found = confirmations.read(write(tmp_path, f"a,W1,{name}", "b,W1,no"), [name, "W1"])
    assert found.rows == (Confirmation("a", name),)
    assert found.open == 1


@pytest.mark.parametrize(
    ("rows", "other", "line"),
    [(["a,W1,w_2"], "W-2", 2), (["a,W1,Ann", "b,W1,ann"], "Ann", 3), (["a,W1,W-02"], "W-2", 2)],
)
def test_a_new_name_that_differs_in_signs_only_is_refused(
    tmp_path: Path, rows: list[str], other: str, line: int
) -> None:
    file = write(tmp_path, *rows)
    name = rows[-1].split(",")[-1]
    with pytest.raises(KitboxError) as caught:
        confirmations.read(file, ["W1", "W-2"], new_names=True)
    assert str(caught.value) == (
        f"{file} line {line}: there is an individual '{other}', which differs from '{name}' in "
        f"signs only; use '{other}', or another name"
    )


def test_a_new_name_may_be_on_several_rows(tmp_path: Path) -> None:
    found = confirmations.read(write(tmp_path, "a,W1,Ann", "b,W1,Ann"), ["W1"], new_names=True)
    assert [one.individual for one in found.rows] == ["Ann", "Ann"]


def test_photographs_that_are_gone_are_set_aside_where_a_page_decided() -> None:
    decided = Decisions(
        (
            Decision("same", "s/1.jpg", "c/a.jpg", by="Ann"),
            Decision("same", "s/gone.jpg", "c/a.jpg", by="Ann"),
            Decision("same", "s/3.jpg", "s/gone.jpg", by="Ann"),
            Decision("same", "s/typo.jpg", "c/b.jpg"),
            Decision("unsure", "s/5.jpg", by="Ann"),
        )
    )
    there = {"s/1.jpg", "s/3.jpg", "s/5.jpg", "c/a.jpg", "c/b.jpg"}
    found = confirmations.decided(decided, ROWS, there.__contains__)
    assert [(one.image, one.individual) for one in found.rows] == [
        *[("s/1.jpg", "W1"), ("s/3.jpg", "W1"), ("s/typo.jpg", "W2")]
    ]
    assert (found.gone, found.open) == (("s/gone.jpg",), 1)


def test_decisions_give_photographs_to_individuals_through_chains() -> None:
    decided = Decisions(
        (
            Decision("same", "s/1.jpg", "c/a.jpg"),
            Decision("same", "s/2.jpg", "s/1.jpg"),
            Decision("new", "s/3.jpg"),
            Decision("same", "s/3.jpg", "s/4.jpg"),
            Decision("new", "s/5.jpg"),
            Decision("same", "s/6.jpg", "s/7.jpg"),
            Decision("different", "s/8.jpg", "c/b.jpg"),
            Decision("unsure", "s/9.jpg"),
            Decision("poor", "s/10.jpg"),
        )
    )
    found = confirmations.decided(decided, ROWS)
    by_image = {one.image: one.individual for one in found.rows}
    assert by_image == {"s/1.jpg": "W1", "s/2.jpg": "W1"} | dict.fromkeys(
        ["s/3.jpg", "s/4.jpg", "s/5.jpg"], ""
    )
    groups = {one.image: one.group for one in found.rows if not one.individual}
    assert groups["s/3.jpg"] == groups["s/4.jpg"] != groups["s/5.jpg"]
    assert found.open == 5


def test_a_new_photograph_that_is_the_same_as_a_known_one_is_known() -> None:
    decided = Decisions((Decision("new", "s/1.jpg"), Decision("same", "s/1.jpg", "c/a.jpg")))
    assert confirmations.decided(decided, ROWS).rows == (Confirmation("s/1.jpg", "W1"),)


def test_a_photograph_of_two_individuals_is_left_out_and_the_others_are_added() -> None:
    decided = Decisions(
        (
            Decision("same", "s/1.jpg", "c/a.jpg"),
            Decision("same", "s/1.jpg", "c/b.jpg"),
            Decision("same", "s/2.jpg", "c/a.jpg"),
            Decision("new", "s/3.jpg"),
            # what hangs on the contradiction alone is no new individual
            Decision("same", "s/1.jpg", "s/4.jpg"),
            Decision("new", "s/4.jpg"),
        ),
        Path("decisions.csv"),
        lines=(2, 3, 4, 5, 6, 7),
    )
    found = confirmations.decided(decided, ROWS)
    [new] = [one for one in found.rows if not one.individual]
    assert new.image == "s/3.jpg"
    assert [one for one in found.rows if one is not new] == [Confirmation("s/2.jpg", "W1")]
    assert found.open == 2
    assert found.left_out == (
        "left out until it is settled: decisions.csv line 3: 'c/a.jpg' of 'W1' and 'c/b.jpg' of "
        "'W2' are the same individual by lines 2 and 3; correct or remove a row, or merge the "
        "labels",
    )


def test_new_individuals_are_in_the_order_of_their_photographs() -> None:
    images = [f"{number}.jpg" for number in range(9)]
    decided = Decisions(tuple(Decision("new", image) for image in reversed(images)))
    found = confirmations.named(confirmations.decided(decided, ()).rows, images)
    assert [one.image for one in found] == [one.individual for one in found] == images
