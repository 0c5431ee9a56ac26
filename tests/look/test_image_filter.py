"""Image filters: the grid shows exactly the matching images, page by page."""

from typing import Any

import pytest

from kitbox.decisions.decision import Decision
from kitbox.errors import KitboxError
from kitbox.look import payloads
from kitbox.look.payloads import ImageFilter
from kitbox.look.review_items import Review
from tests.look.sample_review import HOSTILE_ID, HOSTILE_LABEL


def shown(review: Review, **values: Any) -> list[str]:
    return payloads.filtered_ids(ImageFilter(**values), review.session.state)


def test_all_images_even_unreadable_ones_are_shown_in_listed_order(review: Review) -> None:
    everything = shown(review)
    assert everything == review.photographs.images.image_ids.tolist()
    assert {"broken.png", HOSTILE_ID, "t_0.png"} <= set(everything)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"text": "0_"}, {"0_0.png", "0_1.png", "0_2.png", "0_3.png"}),
        ({"text": "W_4 _2"}, {"4_2.png"}),
        ({"text": "émoji"}, {HOSTILE_ID}),
        ({"text": "</SCRIPT>"}, {HOSTILE_ID}),
        ({"text": "nothing like it"}, set()),
        ({"label": HOSTILE_LABEL}, {HOSTILE_ID}),
        ({"label": "w_0"}, {"0_0.png", "0_1.png", "0_2.png", "0_3.png", "copy.png"}),
        ({"side": "test", "text": "t_1"}, {"t_1.png"}),
        ({"side": "labelled", "text": "t_1"}, set()),
        ({"filter": "with box"}, {"0_1.png"}),
        ({"filter": "unreadable"}, {"broken.png"}),
        ({"filter": "decided"}, set()),
    ],
)
def test_a_filter_shows_exactly_the_matching_images(
    review: Review, values: dict[str, str], expected: set[str]
) -> None:
    assert set(shown(review, **values)) == expected


def test_images_are_filtered_by_the_decisions_about_them(review: Review) -> None:
    review.session.decide([Decision("drop", "0_0.png")])
    review.session.decide([Decision("box", "t_0.png", "1 1 40 40")])
    review.session.decide([Decision("label", "1_1.png", "w_new")])
    assert shown(review, filter="decided") == ["0_0.png", "1_1.png", "t_0.png"]
    assert shown(review, filter="dropped") == ["0_0.png"]
    assert shown(review, filter="with box") == ["0_1.png", "t_0.png"]
    assert shown(review, label="w_new") == ["1_1.png"]
    assert shown(review, text="w_1 1_1") == ["1_1.png"]  # the listed label matches too
    review.session.decide([Decision("merge", "w_5", "w_0")])
    merged = ["5_0.png", "5_1.png", "5_2.png", "5_3.png"]
    assert shown(review, filter="decided") == ["0_0.png", "1_1.png", *merged, "t_0.png"]


def test_individuals_stay_together_and_unknown_ones_come_last(review: Review) -> None:
    state = review.session.state
    labels = [state.label(image_id) for image_id in shown(review, order="individual")]
    runs = [label for n, label in enumerate(labels) if n == 0 or labels[n - 1] != label]
    assert len(runs) == len(set(runs))
    assert runs[-2:] == ["", "new_whale"]
    counts = [
        len(state.members[label])
        for image_id in shown(review, order="photographs", side="labelled")
        if (label := state.label(image_id)) != "new_whale"
    ]
    assert counts == sorted(counts, reverse=True)


def test_the_pages_together_show_every_image_once(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "PAGE_SIZE", 7)
    state, ids = review.session.state, []
    pages = payloads.grid_page(ImageFilter(), state)["pages"]
    for number in range(1, pages + 1):
        part = payloads.grid_page(ImageFilter(page=number), state)["images"]
        assert len(part) <= 7
        ids += [image["id"] for image in part]
    assert ids == shown(review)
    assert payloads.grid_page(ImageFilter(page=pages + 5), state)["page"] == pages
    assert payloads.grid_page(ImageFilter(text="nothing"), state)["pages"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"filter": "blue"}, "no filter 'blue'; there are all, decided"),
        ({"order": "size"}, "no order 'size'; there are listed, individual"),
        ({"page": 0}, "there is no page 0; pages count from 1"),
    ],
)
def test_an_invalid_filter_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(KitboxError, match=message):
        ImageFilter(**values)
