"""Tables of duplicates: counts, order and suggested decisions."""

import csv
from collections import Counter
from dataclasses import replace

import pytest

from kitbox.dataset.duplicates import DuplicateGroup, LinkKind
from kitbox.dataset.label_errors import LabelSuspect
from kitbox.decisions import decision_file
from kitbox.decisions.decision import Decision
from kitbox.report import duplicates_page
from kitbox.workspace import Workspace

MUTUAL = LabelSuspect(
    kind="mutual",
    images=("b.jpg", "a.jpg"),
    labels=("Boo", "Ahab"),
    similarity=0.75,
    evidence=0.25,
)
SPLIT = LabelSuspect(
    kind="split",
    images=("c.jpg", "d.jpg", "e, f.jpg", "g.jpg"),
    labels=("Cleo",),
    similarity=0.1,
    evidence=0.2,
    first_count=2,
)


def group(
    labels: str, sides: str | None = None, kind: LinkKind = "copies", *, undecided: bool = True
) -> DuplicateGroup:
    """Return a group of images 0, 1, … with one letter per label, . for none, ? for unknown."""
    names = {"t": "train", "q": "query", "T": "test", "-": "left out"}
    return DuplicateGroup(
        kind=kind,
        images=tuple(str(i) for i in range(len(labels))),
        labels=tuple({".": "", "?": "new_whale"}.get(letter, letter) for letter in labels),
        sides=tuple(names[side] for side in sides or "t" * len(labels)),
        undecided=undecided,
    )


def test_undecided_groups_are_counted_and_decided_ones_separately() -> None:
    groups = [
        group("AA"),
        group("AB", kind="near-duplicates"),
        group("A.", "tT", "neighbours"),
        group("AA", "tq", "neighbours"),
        group("AB", undecided=False),
    ]
    assert duplicates_page.count_undecided(groups, [MUTUAL, SPLIT]) == {
        "copies": 1,
        "near-duplicates": 1,
        "neighbours": 2,
        "label conflicts": 1,
        "across train and test": 1,
        "across the holdout": 1,
        "decided": 1,
        "look-alikes of two labels": 1,
        "labels in two clusters": 1,
    }


def test_conflicts_come_first_and_then_leaks() -> None:
    plain, near, leak, conflict = (
        group("AA"),
        group("AA", kind="near-duplicates"),
        group("A.", "tT", "neighbours"),
        group("AB", kind="neighbours"),
    )
    given = [near, plain, group("AB", undecided=False), leak, conflict]
    assert duplicates_page.by_urgency(given) == [conflict, leak, plain, near]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (group("AAA"), ["drop,1", "drop,2"]),
        (group("AA", "-t"), []),
        (group("A.A", "tTt"), ["drop,2"]),
        (group("AA", kind="near-duplicates"), ["drop,1"]),
        (group("AA", "tq", kind="neighbours"), []),
        (group("AB"), ["label,1,A"]),
        (group("ABB"), ["label,0,B"]),
        (group("?A"), ["label,0,A"]),
        (group("??A", kind="neighbours"), ["label,0,A", "label,1,A"]),
    ],
)
def test_decisions_are_suggested_for_each_group(given: DuplicateGroup, expected: list[str]) -> None:
    rows = duplicates_page.group_suggestions(given, "new_whale")
    assert [duplicates_page.format_decision(decision) for decision in rows] == expected


@pytest.mark.parametrize(
    ("images_of", "expected"),
    [
        ({"Ahab": 2, "Boo": 2}, ["label,b.jpg,Ahab"]),
        ({"Ahab": 2, "Boo": 1}, ["merge,Boo,Ahab"]),
        ({"Ahab": 1, "Boo": 2}, ["merge,Ahab,Boo"]),
        ({"Ahab": 1, "Boo": 1}, ["merge,Boo,Ahab"]),
    ],
)
def test_a_label_with_one_image_is_merged_into_its_look_alike(
    images_of: dict[str, int], expected: list[str]
) -> None:
    rows = duplicates_page.suspect_suggestions(MUTUAL, Counter(images_of))
    assert [duplicates_page.format_decision(decision) for decision in rows] == expected


def test_the_smaller_part_of_a_split_label_gets_a_new_label() -> None:
    assert duplicates_page.suspect_suggestions(SPLIT, Counter()) == [
        Decision("label", "e, f.jpg", "Cleo_2"),
        Decision("label", "g.jpg", "Cleo_2"),
    ]


def test_the_new_label_is_not_taken() -> None:
    rows = duplicates_page.suspect_suggestions(SPLIT, Counter(["Cleo", "Cleo_2", "Cleo_3"]))
    assert [row.value for row in rows] == ["Cleo_4", "Cleo_4"]


def test_names_that_look_like_formulas_are_written_as_text(workspace: Workspace) -> None:
    odd = replace(MUTUAL, images=("=b.jpg", "a.jpg"), labels=("+B", "Ahab"), similarity=-0.25)
    groups = [replace(group("AA"), images=("=cmd().jpg", "b"))]
    paths = duplicates_page.save(workspace, groups, [odd], Counter(), None)
    assert paths[0].read_text().splitlines()[1].startswith("1,copies,'=cmd().jpg,")
    assert "'=b.jpg" in paths[1].read_text()
    assert ",-0.25,0.25," in paths[1].read_text()


def test_suggested_rows_can_be_pasted_into_decisions(workspace: Workspace) -> None:
    groups = [group("AB", kind="near-duplicates"), group("AA", "t-", undecided=False)]
    counted = Counter({"Ahab": 2, "Boo": 2})
    paths = duplicates_page.save(workspace, groups, [MUTUAL, SPLIT], counted, None)
    assert [path.name for path in paths] == ["duplicates.csv", "suspects.csv"]
    assert all(path.parent == workspace.reports for path in paths)
    with paths[0].open() as file:
        images = list(csv.DictReader(file))
    assert [row["group"] for row in images] == ["1", "1", "2", "2"]
    assert images[1] == {
        "group": "1", "kind": "near-duplicates", "image": "1", "side": "train", "label": "B",
        "conflict": "1", "leaks": "", "open": "1", "decision": "label,1,A",
    }  # fmt: skip
    assert images[3]["decision"] == ""
    with paths[1].open() as file:
        suspects = list(csv.DictReader(file))
    assert (suspects[0]["first"], suspects[0]["labels"]) == ("b.jpg", "Boo\nAhab")
    # the scale of the terminal and of the page, which show it with three decimals
    assert float(suspects[0]["similarity_cosine"]) == MUTUAL.similarity
    assert (suspects[1]["first"], suspects[1]["second"]) == ("c.jpg\nd.jpg", "e, f.jpg\ng.jpg")
    pasted = [row["decision"] for row in (*images, *suspects) if row["decision"]]
    pasted += [row["fine"] for row in suspects]
    workspace.decisions.write_text("\n".join(["decision,subject,value,note", *pasted]))
    assert decision_file.load(workspace.decisions).rows == (
        Decision("label", "1", "A"),
        Decision("label", "b.jpg", "Ahab"),
        *duplicates_page.suspect_suggestions(SPLIT, counted),
        Decision("fine", "b.jpg", "a.jpg"),
        Decision("fine", "Cleo"),
    )


def test_without_networks_there_is_no_table_of_suspects(workspace: Workspace) -> None:
    [path] = duplicates_page.save(workspace, [], None, Counter(), None)
    assert path.read_text() == "group,kind,image,side,label,conflict,leaks,open,decision\n"
