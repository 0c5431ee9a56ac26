"""Decisions: loaded, applied, added and removed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitbox.competition import lists
from kitbox.competition.findings import DataFinding
from kitbox.competition.lists import ListedImages
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.decisions.decision_list import Decisions
from kitbox.decisions.image_links import Links
from kitbox.errors import KitboxError
from kitbox.records import ImageSet, LabelledImages
from kitbox.workspace import Workspace
from tests.circle import competition, image_set
from tests.photographs import competition_on_disk

HEADER = "decision,subject,value,note\n"


def written(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "".join(row + "\n" for row in rows))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.csv"


def of(*rows: tuple[str, ...]) -> Decisions:
    return Decisions(tuple(Decision(*row) for row in rows), lines=tuple(range(2, len(rows) + 2)))


def listed(findings: tuple[DataFinding, ...] = ()) -> ListedImages:
    labelled = image_set({"a1": "Ahab", "a2": "Ahab", "b1": "Boo", "b2": "Boo", "n": "new_whale"})
    test, index = (image_set(dict.fromkeys(names, "")) for names in ("xy", "ij"))
    return ListedImages(
        labelled, test=test.without_labels(), index=index.without_labels(), findings=findings
    )


def labels(images: ImageSet) -> dict[str, str]:
    assert images.labels is not None
    return dict(zip(images.image_ids.tolist(), images.labels.tolist(), strict=True))


def test_without_decisions_everything_stays(path: Path) -> None:
    assert decision_file.load(path) == Decisions((), path)
    path.write_text("\n \n")
    assert decision_file.load(path).rows == ()
    before = listed()
    assert lists.apply_decisions(before, decision_file.load(path)) is before


def test_every_kind_is_read_and_applied(path: Path) -> None:
    written(
        path,
        "merge,Boo,Ahab,same nick",
        "drop,i",
        "wrong,a2,",
        "label,n,Cleo,,",
        "train,a1",
        "box,x,1 2 3.5 4",
        "fine,a1,b1",
        "fine,Ahab",
    )
    decided = decision_file.load(path)
    assert decided.lines == tuple(range(2, 10))
    assert decided.rows[0] == Decision("merge", "Boo", "Ahab", "same nick")
    assert decided.fine == {frozenset({"a1", "b1"}), frozenset({"Ahab"})}
    assert decided.training_only == {"a1"}
    found = lists.apply_decisions(listed(), decided)
    assert labels(found.labelled) == {"a1": "Ahab", "b1": "Ahab", "b2": "Ahab", "n": "Cleo"}
    assert found.index is not None
    assert found.index.image_ids.tolist() == ["j"]
    assert found.test is not None
    assert found.test.boxes is not None
    np.testing.assert_equal(found.test.boxes, [[1, 2, 3.5, 4], [np.nan] * 4])
    assert found.labelled.boxes is None


def test_a_decided_box_replaces_the_listed_one() -> None:
    before = listed()
    boxed = LabelledImages(
        before.labelled.image_ids,
        before.labelled.paths,
        before.labelled.labels,
        np.arange(20, dtype=np.float32).reshape(5, 4),
    )
    decided = of(("box", "a2", "1 1 9 9"), ("box", "a2", "2 2 5 5"))
    found = lists.apply_decisions(ListedImages(boxed), decided).labelled.boxes
    assert found is not None
    assert found[:2].tolist() == [[0, 1, 2, 3], [2, 2, 5, 5]]
    assert boxed.boxes is not None
    assert boxed.boxes[1].tolist() == [4, 5, 6, 7]


def test_the_last_decision_about_a_label_counts() -> None:
    decided = of(
        ("drop", "a1"), ("label", "a1", "Boo"), ("label", "b1", "Ahab"), ("wrong", "b1"),
        ("wrong", "b2"), ("drop", "b2"), ("train", "b2"),
    )  # fmt: skip
    assert decided.labels == {"a1": "Boo"}
    assert (decided.wrong, decided.dropped) == ({"b1"}, {"b2"})
    found = lists.apply_decisions(listed(), decided)
    assert labels(found.labelled) == {"a1": "Boo", "a2": "Ahab", "n": "new_whale"}


@pytest.mark.parametrize(
    ("merges", "merged"),
    [
        (["AB"], {"A": "B"}),
        (["AB", "BC"], {"A": "C", "B": "C"}),
        (["BC", "AB"], {"A": "C", "B": "C"}),
        (["AB", "AC"], {"A": "C"}),  # a correction
        (["AB", "BA"], {"B": "A"}),
        (["AB", "BC", "CA"], {"B": "A", "C": "A"}),
        (["AC", "BC", "CD"], {"A": "D", "B": "D", "C": "D"}),
        (["AB", "CD", "BD"], {"A": "D", "B": "D", "C": "D"}),
    ],
)
def test_merges_are_followed_to_the_label_that_stays(
    merges: list[str], merged: dict[str, str]
) -> None:
    assert of(*(("merge", *pair) for pair in merges)).merged == merged


@given(st.lists(st.tuples(st.sampled_from("ABCDEF"), st.sampled_from("ABCDEF")), max_size=8))
def test_merged_labels_are_those_that_chains_connect(pairs: list[tuple[str, str]]) -> None:
    rows = [(one, other) for one, other in pairs if one != other]
    merged = of(*(("merge", *row) for row in rows)).merged
    last = dict(rows)  # one row a subject

    def reach(
        label: str,
    ) -> set[str]:  # the oracle: walk along rows, both ways, until nothing is new
        reached, new = set(), {label}
        links = [*last.items(), *((b, a) for a, b in last.items())]
        while new:
            reached |= new
            new = {b for a, b in links if a in reached} - reached
        return reached

    for label in "ABCDEF":
        group = reach(label)
        assert {merged.get(other, other) for other in group} == {merged.get(label, label)}
        assert merged.get(label, label) in group
        ends = group - set(last)
        assert merged.get(label, label) in (ends or group)


def test_a_decided_label_can_be_merged() -> None:
    found = lists.apply_decisions(listed(), of(("label", "n", "Cleo"), ("merge", "Cleo", "Boo")))
    assert labels(found.labelled)["n"] == "Boo"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("merg,a,b", "line 2: 'merg' is no decision; did you mean merge?"),
        ("unite,a,b", "'unite' is no decision; there are merge, drop, wrong, label, train, box, f"),
        ("drop,,", "line 2: drop names no image or label; fill in the column 'subject'"),
        ("drop,a,blurred", "drop takes no value, here 'blurred'; write comments into 'note'"),
        ("merge,a,", "merge of 'a' needs a value: the label of the same individual"),
        ("merge,a,a", "merge names 'a' twice; remove the row"),
        ("same,a,a", "same names 'a' twice; remove the row"),
        ("different,a,a", "different names 'a' twice; remove the row"),
        ("same,a,", "same of 'a' needs a value: the other image"),
        ("box,a,1 2 3", "box '1 2 3' is not four numbers; write 'x0 y0 x1 y1'"),
        ("box,a,1 2 1 4", "box '1 2 1 4' is empty; write 'x0 y0 x1 y1' with x0 < x1 and y0 < y1"),
        ("box,a,1 2 nan 4", "box '1 2 nan 4' is empty"),
        ("drop,a,,b,c", "line 2: 5 cells in 4 columns, 'c' is too many"),
    ],
)
def test_an_invalid_row_is_named(path: Path, row: str, message: str) -> None:
    written(path, row)
    with pytest.raises(KitboxError) as caught:
        decision_file.load(path)
    assert str(caught.value).startswith(f"{path} line 2: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("drop", "a22"), "'a22' is no labelled image; did you mean a2?"),
        (("drop", "x"), "'x' is no labelled image but a test image; correct or remove the row"),
        (("wrong", "i"), "'i' is no labelled image"),
        (("label", "bad", "Boo"), "'bad' is no labelled image; see l: faulty"),
        (("train", "y"), "'y' is no labelled image but a test image; correct or remove the row"),
        (("merge", "Boo", "Ahap"), "'Ahap' is no label of an individual; did you mean Ahab?"),
        (("merge", "new_whale", "Ahab"), "'new_whale' is no label of an individual"),
        (("box", "z", "1 2 3 4"), "'z' is no image"),
        (("fine", "a1", "zz"), "'zz' is no image or label"),
        (("same", "x", "zz"), "'zz' is no image; correct or remove the row"),
        (("different", "yy", "x"), "'yy' is no image; did you mean y?"),
        (("same", "x", "Ahab"), "'Ahab' is no image"),
    ],
)
def test_a_name_in_no_list_is_refused(row: tuple[str, ...], message: str) -> None:
    decided = Decisions((Decision("drop", "a1"), Decision(*row)), Path("d.csv"), (2, 7))
    with pytest.raises(KitboxError) as caught:
        lists.apply_decisions(
            listed((DataFinding("l", "faulty", image_id="bad"),)), decided, competition().images
        )
    assert str(caught.value).startswith("d.csv line 7: ")
    assert message in str(caught.value)


def test_links_join_images_of_all_sides_through_chains_and_labels() -> None:
    decided = of(
        ("same", "x", "a1"), ("same", "i", "j"), ("same", "j", "n"), ("different", "y", "j"),
        ("different", "y", "b1"),
    )  # fmt: skip
    found = lists.apply_decisions(listed(), decided, competition().images).links
    one = found.individual_of
    # a2 is of the individual of a1, and so is b2 of that of b1
    assert one["x"] == one["a1"] == one["a2"]
    assert one["i"] == one["j"] == one["n"]
    assert one["b1"] == one["b2"]
    assert found.label_of == {one["x"]: "Ahab", one["b1"]: "Boo"}  # new_whale is no individual
    apart = {frozenset({one["y"], one["i"]}), frozenset({one["y"], one["b1"]})}
    assert {frozenset(pair) for pair in found.different} == apart
    images = np.array(["x", "b2", "y", "i", "other"])
    assert found.individuals(images).tolist() == [*(one[i] for i in ("x", "b1", "y", "i")), -1]
    # two labels are two individuals without a row that says so
    assert {frozenset(pair) for pair in found.apart(found.individuals(images)).tolist()} == {
        *apart, frozenset({one["x"], one["b1"]})
    }  # fmt: skip
    assert found.apart(found.individuals(images[:1])).tolist() == []
    assert found.count_of(np.array(["y", "a2"])) == 2


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=9
    )
)
def test_links_are_refused_only_where_chains_contradict_them(
    given_: list[tuple[bool, str, str]],
) -> None:
    rows = [
        ("same" if same else "different", one, other) for same, one, other in given_ if one != other
    ]
    last = {frozenset({one, other}): kind for kind, one, other in rows}
    same = {pair for pair, kind in last.items() if kind == "same"}

    def reach(image: str) -> set[str]:  # the oracle: walk until nothing is new
        reached = {image}
        while more := {i for pair in same if pair & reached for i in pair} - reached:
            reached |= more
        return reached

    apart = [pair for pair, kind in last.items() if kind == "different"]
    contradicted = any(reach(one) & {other} for one, other in map(sorted, apart))
    if contradicted:
        with pytest.raises(KitboxError, match="are different, but the same individual by line"):
            of(*rows).link({})
        return
    found = of(*rows).link({})
    for image in found.individual_of:
        group = {i for i, who in found.individual_of.items() if who == found.individual_of[image]}
        assert group == reach(image) & set(found.individual_of)
    assert {frozenset(pair) for pair in found.different} == {
        frozenset({found.individual_of[one], found.individual_of[other]})
        for one, other in map(sorted, apart)
    }


def test_the_last_row_of_a_pair_counts_in_either_order() -> None:
    found = of(("same", "x", "y"), ("different", "y", "x")).link({})
    assert found.individual_of == {"x": 1, "y": 0}
    assert found.different == {(0, 1)}
    again = of(("same", "x", "y"), ("different", "y", "x"), ("same", "x", "y")).link({})
    assert (again.individual_of, again.different) == ({"x": 0, "y": 0}, frozenset())
    assert len(again.pairs) == 1


def test_a_contradiction_names_who_decided() -> None:
    rows = [
        Decision("same", "x", "y", by="Anna"), Decision("same", "y", "i"),
        Decision("different", "i", "x", by="Cleo"),
    ]  # fmt: skip
    with pytest.raises(KitboxError, match="individual by line 3 and Anna's 'same x y'; correct"):
        Decisions(tuple(rows), lines=(2, 3, 4)).link({})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("same", "x", "y"), ("same", "y", "i"), ("different", "i", "x")],
            "line 4: 'i' and 'x' are different, but the same individual by lines 2 and 3; correct "
            "or remove a row",
        ),
        (
            [("different", "a1", "a2")],
            "line 2: 'a1' and 'a2' are different, but the same individual by the label 'Ahab'; "
            "correct or remove a row",
        ),
        (
            [("same", "x", "a1"), ("same", "y", "a2"), ("different", "x", "y")],
            "line 4: 'x' and 'y' are different, but the same individual by lines 2 and 3 and the "
            "label 'Ahab'; correct or remove a row",
        ),
        (
            [("same", "a1", "b2")],
            "line 2: 'a1' of 'Ahab' and 'b2' of 'Boo' are the same individual by line 2; correct "
            "or remove a row, or merge the labels",
        ),
        (
            [("same", "a1", "x"), ("drop", "n"), ("same", "y", "x"), ("same", "y", "b1")],
            "line 5: 'a1' of 'Ahab' and 'b1' of 'Boo' are the same individual by lines 2, 4 and "
            "5; correct or remove a row, or merge the labels",
        ),
    ],
)
def test_links_that_contradict_each_other_are_refused_with_their_rows(
    rows: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(KitboxError) as caught:
        lists.apply_decisions(listed(), of(*rows), competition().images)
    assert str(caught.value) == f"decisions.csv {message}"


def test_decisions_about_labels_settle_a_contradiction() -> None:
    settings = competition().images
    same = ("same", "a1", "b2")
    merged = lists.apply_decisions(listed(), of(same, ("merge", "Boo", "Ahab")), settings)
    assert set(merged.links.label_of.values()) == {"Ahab"}
    wrong = lists.apply_decisions(listed(), of(same, ("wrong", "b2")), settings)
    assert wrong.links.individual_of["b2"] == wrong.links.individual_of["a2"]
    assert "b1" not in wrong.links.individual_of


def test_links_of_hidden_test_images_are_left_out_whole(tmp_path: Path) -> None:
    competition_on_disk(tmp_path, individuals=2, tests=2)
    workspace = Workspace(tmp_path / "workspace")
    rows = [
        Decision("same", "t_0.png", "t_1.png"), Decision("same", "t_0.png", "hidden.png"),
        Decision("different", "hidden.png", "t_0.png"),
    ]  # fmt: skip
    decision_file.add(workspace.decisions, *rows)
    assert lists.settle(workspace) == 2
    assert decision_file.load(workspace.decisions).rows == (rows[0],)


def test_an_image_already_left_out_may_be_dropped() -> None:
    decided = of(("drop", "bad"), ("wrong", "bad"))
    found = lists.apply_decisions(listed((DataFinding("l", "faulty", image_id="bad"),)), decided)
    assert len(found.labelled) == 5


def test_decisions_must_leave_a_labelled_image() -> None:
    everything = of(*(("drop", name) for name in ("a1", "a2", "b1", "b2", "n")))
    with pytest.raises(KitboxError, match="leaves no labelled image; take back some decisions"):
        lists.apply_decisions(listed(), everything)


def test_the_digest_covers_effective_rows_without_notes() -> None:
    one = of(("drop", "a", "", "blurred"), ("fine", "a", "b"))
    assert one.digest == of(("drop", "a", "", "dark")).digest
    assert one.digest != of(("wrong", "a")).digest
    assert one.effective == (Decision("drop", "a", "", "blurred"),)
    assert of(("same", "a", "b")).digest != of(("different", "a", "b")).digest


def test_a_label_found_fine_stays_harmless_once_it_is_read_as_the_unknown_label() -> None:
    settings = competition(images={"unknown_label": ["new_whale", "NA"]}).images
    found = lists.apply_decisions(listed(), of(("fine", "NA")), settings)
    assert labels(found.labelled) == labels(listed().labelled)
    with pytest.raises(KitboxError, match="'NB' is no image or label"):
        lists.apply_decisions(listed(), of(("fine", "NB")), settings)


def test_who_decided_and_when_does_not_change_the_digest() -> None:
    plain = of(("same", "a", "b"), ("different", "a", "c"), ("new", "x"))
    signed = of(
        ("same", "a", "b", "sure", "Anna", "now"), ("different", "a", "c", "", "Ben", "later"),
        ("unsure", "a"), ("poor", "y", "", "", "Ben"), ("same", "b", "a", "", "Ben", "later"),
        ("new", "x"), ("new", "x", "", "", "Ben"),
    )  # fmt: skip
    assert signed.digest == plain.digest
    assert len(signed.effective) == 3
    # a change of mind is a row of its own, and so is its end
    again = of(
        ("same", "a", "b"), ("different", "b", "a", "", "Ben"), ("same", "a", "b", "", "Anna")
    )
    assert len(again.effective) == 3
    # rows without a person are all counted, as in receipts of earlier releases
    assert len(of(("same", "a", "b"), ("same", "a", "b")).effective) == 2


def test_a_new_individual_is_none_of_those_with_a_label_until_it_has_one() -> None:
    settings = competition().images
    found = lists.apply_decisions(listed(), of(("new", "x"), ("same", "x", "y")), settings).links
    assert found.new == {found.individual_of["x"]} == {found.individual_of["y"]}
    assert found.named == {"a1", "a2", "b1", "b2"}  # n shows an unknown individual
    both = of(("new", "x"), ("same", "y", "a1"))
    images = np.array(["x", "y"])
    found = lists.apply_decisions(listed(), both, settings).links
    assert found.apart(found.individuals(images)).tolist() == [
        sorted(found.individuals(images).tolist())
    ]
    for ends in (("same", "y", "b1"), ("same", "x", "a2")):
        found = lists.apply_decisions(
            listed(), of(("new", "x"), ("same", "x", "y"), ends), settings
        ).links
        assert (found.new, found.named) == (frozenset(), frozenset())
    labelled = of(("new", "a1"), ("new", "n"))
    found = lists.apply_decisions(listed(), labelled, settings).links
    assert found.new == {found.individual_of["n"]}


def test_unsure_and_poor_change_nothing() -> None:
    decided = of(("unsure", "x"), ("poor", "a1"))
    found = lists.apply_decisions(listed(), decided, competition().images)
    assert labels(found.labelled) == labels(listed().labelled)
    assert found.links == Links()
    assert decided.poor == {"a1"}
    assert decided.effective == ()


def by_anna(*rows: tuple[str, ...]) -> Decisions:
    return of(*((*row, *[""] * (4 - len(row)), "Anna", "now") for row in rows))


@pytest.mark.parametrize("last", ["unsure", "poor"])
def test_who_cannot_tell_any_more_takes_back_an_own_link_and_an_own_new_one(last: str) -> None:
    decided = by_anna(("different", "x", "a1"), ("same", "x", "a1"), ("new", "y"),
                      (last, "x"), (last, "y"))  # fmt: skip
    assert (dict(decided.linked), decided.new, decided.effective) == ({}, frozenset(), ())
    assert lists.apply_decisions(listed(), decided, competition().images).links == Links()
    typed = of(("same", "a1", "x"), (last, "x"))
    assert not typed.linked
    # what others say stays, and so does that it is not another one
    others = Decision("same", "x", "a1", by="Ben")
    both = Decisions((others, *decided.rows))
    assert [row for row, _ in both.linked.values()] == [others] == list(both.effective)
    apart = by_anna(("same", "x", "a1"), ("different", "x", "a1"), (last, "x"))
    assert [row.kind for row, _ in apart.linked.values()] == ["different"]
    again = by_anna(("same", "x", "a1"), (last, "x"), ("same", "x", "a1"))
    assert [row.kind for row, _ in again.linked.values()] == ["same"]
    assert again.digest == by_anna(("same", "x", "a1")).digest


def test_an_answer_about_a_photograph_is_none_about_the_new_one_beside_it() -> None:
    joined = by_anna(("new", "x"), ("same", "y", "x"))
    assert joined.new == {"x"}
    assert joined.answers == {("Anna", "x"): "new", ("Anna", "y"): "same"}
    later = by_anna(("new", "x"), ("same", "y", "x"), ("poor", "x"))
    assert later.new == frozenset()
    assert frozenset({"x", "y"}) in later.linked
    assert not by_anna(("new", "x"), ("same", "y", "x"), ("new", "y")).linked


def test_a_new_individual_that_was_found_does_not_come_back() -> None:
    settings = competition().images
    rows = (("new", "x"), ("same", "x", "a1"), ("different", "x", "a1"))
    decided = by_anna(*rows)
    assert not lists.apply_decisions(listed(), decided, settings).links.new
    assert decided.digest == of(*rows[1:]).digest
    assert lists.apply_decisions(listed(), by_anna(*rows, ("new", "x")), settings).links.new
    assert by_anna(("new", "x"), ("different", "x", "a1")).new == {"x"}
    # another person still thinks that it is new, and typed rows count as before
    ben = Decision("new", "x", by="Ben")
    assert Decisions((ben, *decided.rows)).new == {"x"}
    assert of(*rows).new == {"x"}


@pytest.mark.parametrize(
    "row",
    [("same", "gone", "x"), ("different", "x", "gone"), ("new", "gone"), ("label", "gone", "Boo")],
)
def test_decisions_of_a_page_about_a_photograph_that_is_gone_are_told(row: tuple[str, ...]) -> None:
    signed = Decision(row[0], row[1], "".join(row[2:]), by="Anna")
    typed = Decision(row[0], row[1], "".join(row[2:]))
    kept = Decision("same", "x", "y", by="Anna")
    decided = Decisions((signed, kept), lines=(2, 3))
    found = lists.apply_decisions(listed(), decided, competition().images)
    assert found.gone == {"gone"}
    assert found.links.pairs == (kept,)
    with pytest.raises(KitboxError, match="line 2: 'gone' is no "):
        lists.apply_decisions(listed(), Decisions((typed,), lines=(2,)), competition().images)


@pytest.mark.parametrize(
    ("row", "gone"),
    [
        (("fine", "gone", "x"), {"gone"}), (("fine", "Cleo"), {"Cleo"}),
        (("merge", "Cleo", "Ahab"), {"Cleo"}), (("merge", "Boo", "Cleo"), {"Cleo"}),
        (("drop", "gone"), {"gone"}), (("box", "gone", "1 2 3 4"), {"gone"}),
        (("unsure", "gone"), {"gone"}),
    ],
)  # fmt: skip
def test_no_row_of_a_page_about_what_is_gone_stops_a_command(
    row: tuple[str, ...], gone: set[str]
) -> None:
    kind, subject, value = (*row, "")[:3]
    settings = competition().images
    for by, time in (("Anna", ""), ("", "2026-11-30T12:00:00Z")):
        decided = Decisions((Decision(kind, subject, value, "", by, time),), lines=(2,))
        found = lists.apply_decisions(listed(), decided, settings)
        assert found.gone == gone == lists.gone_names(listed(), decided, settings)
        assert labels(found.labelled) == labels(listed().labelled)
    typed = Decisions((Decision(kind, subject, value),), lines=(2,))
    with pytest.raises(KitboxError, match=r"line 2: '(gone|Cleo)' is no "):
        lists.apply_decisions(listed(), typed, settings)


def test_a_label_that_only_a_photograph_which_is_gone_had_is_gone_too() -> None:
    decided = by_anna(("label", "gone", "Cleo"), ("merge", "Cleo", "Ahab"), ("fine", "Boo"))
    assert lists.apply_decisions(listed(), decided, competition().images).gone == {"gone", "Cleo"}
    given = by_anna(("label", "a1", "Cleo"), ("merge", "Cleo", "Boo"))
    assert lists.apply_decisions(listed(), given, competition().images).gone == frozenset()
