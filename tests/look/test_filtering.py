"""Filtering: what a person asks to see is shown, page by page, and nothing else."""

from typing import Any

import pytest

from kitbox.competition.decisions import Decision
from kitbox.errors import KitboxError
from kitbox.look import payloads
from kitbox.look.cases import Table
from kitbox.look.payloads import Wish
from tests.look.tables import EVIL, NASTY


def shown(table: Table, **wish: Any) -> list[str]:
    return payloads.find(Wish(**wish), table.desk.standing)


def test_everything_is_shown_as_listed_the_unreadable_too(table: Table) -> None:
    everything = shown(table)
    assert everything == table.photographs.images.image_ids.tolist()
    assert {"broken.png", NASTY, "t_0.png"} <= set(everything)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"words": "0_"}, {"0_0.png", "0_1.png", "0_2.png", "0_3.png"}),
        ({"words": "W_4 _2"}, {"4_2.png"}),
        ({"words": "émoji"}, {NASTY}),
        ({"words": "</SCRIPT>"}, {NASTY}),
        ({"words": "nothing like it"}, set()),
        ({"label": EVIL}, {NASTY}),
        ({"label": "w_0"}, {"0_0.png", "0_1.png", "0_2.png", "0_3.png", "copy.png"}),
        ({"side": "test", "words": "t_1"}, {"t_1.png"}),
        ({"side": "labelled", "words": "t_1"}, set()),
        ({"only": "with box"}, {"0_1.png"}),
        ({"only": "unreadable"}, {"broken.png"}),
        ({"only": "decided"}, set()),
    ],
)
def test_a_wish_is_fulfilled(table: Table, wish: dict[str, str], expected: set[str]) -> None:
    assert set(shown(table, **wish)) == expected


def test_decisions_are_found_by_what_was_decided(table: Table) -> None:
    table.desk.decide([Decision("drop", "0_0.png")])
    table.desk.decide([Decision("box", "t_0.png", "1 1 40 40")])
    table.desk.decide([Decision("label", "1_1.png", "w_new")])
    assert shown(table, only="decided") == ["0_0.png", "1_1.png", "t_0.png"]
    assert shown(table, only="dropped") == ["0_0.png"]
    assert shown(table, only="with box") == ["0_1.png", "t_0.png"]
    assert shown(table, label="w_new") == ["1_1.png"]
    assert shown(table, words="w_1 1_1") == ["1_1.png"]  # also by the label that was listed
    table.desk.decide([Decision("merge", "w_5", "w_0")])
    merged = ["5_0.png", "5_1.png", "5_2.png", "5_3.png"]
    assert shown(table, only="decided") == ["0_0.png", "1_1.png", *merged, "t_0.png"]


def test_individuals_stand_together_and_nobody_comes_last(table: Table) -> None:
    standing = table.desk.standing
    labels = [standing.label(image_id) for image_id in shown(table, order="individual")]
    runs = [label for n, label in enumerate(labels) if n == 0 or labels[n - 1] != label]
    assert len(runs) == len(set(runs))
    assert runs[-2:] == ["", "new_whale"]
    counts = [
        len(standing.members[label])
        for image_id in shown(table, order="photographs", side="labelled")
        if (label := standing.label(image_id)) != "new_whale"
    ]
    assert counts == sorted(counts, reverse=True)


def test_pages_show_every_image_once(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "PAGE", 7)
    standing, seen = table.desk.standing, []
    pages = payloads.page(Wish(), standing)["pages"]
    for number in range(1, pages + 1):
        part = payloads.page(Wish(page=number), standing)["images"]
        assert len(part) <= 7
        seen += [image["id"] for image in part]
    assert seen == shown(table)
    assert payloads.page(Wish(page=pages + 5), standing)["page"] == pages
    assert payloads.page(Wish(words="nothing"), standing)["pages"] == 1


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"only": "blue"}, "no filter 'blue'; there are all, decided"),
        ({"order": "size"}, "no order 'size'; there are listed, individual"),
        ({"page": 0}, "there is no page 0; pages count from 1"),
    ],
)
def test_a_wish_that_means_nothing_is_refused(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        Wish(**wish)
