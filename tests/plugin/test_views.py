"""Views: their names, what they cost, and plugins that are named with them."""

import pytest

from kitbox.errors import KitboxError
from kitbox.plugin import discovery
from kitbox.plugin.views import cost, parse_views, views_of
from tests.photographs import tiny


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["flop"], "there is no view 'flop'; did you mean flip?"),
        (["x"], "there is no view 'x'; there are plain, flip, five_crops, boxes, scale:1.25"),
        (["flip:2"], "there is no view 'flip:2'; did you mean flip?"),
        (["flip", "flip"], "the view 'flip' is named twice; leave one out"),
        (["scale:1.5", "scale:1.50"], "the view 'scale:1.5' is named twice; leave one out"),
        (["scale:0"], "the view 'scale:0' needs a factor from 0.25 to 4, written as scale:1.25"),
        (["scale:nan"], "the view 'scale:nan' needs a factor from 0.25 to 4"),
        (["scale"], "the view 'scale' needs a factor from 0.25 to 4, written as scale:1.25"),
        (["scale:1"], "the view 'scale:1' is the view plain; name that"),
    ],
)
def test_a_view_that_there_is_not_is_refused(names: list[str], told: str) -> None:
    with pytest.raises(ValueError, match="^" + told.replace("?", r"\?")):
        parse_views(names)
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        tiny(views=tuple(names))


def test_the_names_of_views_are_written_in_one_way() -> None:
    assert tiny(views=("plain", " scale:1.50")).views == ("plain", "scale:1.5")
    assert [view.name for view in views_of(())] == ["plain"]


def test_the_cost_counts_what_is_not_cached() -> None:
    views = parse_views(["plain", "flip", "scale:1.25", "five_crops"])
    assert cost(views[:2], views[:2], 2503) == "2 views (plain, flip): 2 × 2,503 images to embed"
    assert cost(views, views[1:], 2503) == (
        "4 views (plain, flip, scale:1.25, five_crops): 7 × 2,503 images to embed, 7.6 × the time "
        "of a plain view; plain is in the cache"
    )


def test_a_plugin_with_views_keeps_its_name() -> None:
    named = discovery.load("mobilenetv2_100_128x256@views=plain+scale:1.25", None)
    assert named.name == "mobilenetv2_100_128x256"
    assert named.plugin.views == ("plain", "scale:1.25")
    assert named.full_name == "mobilenetv2_100_128x256@views=plain+scale:1.25"
    assert discovery.load(named.full_name, None) == named
    base = discovery.load(named.name, None)
    assert named.plugin.fingerprint == base.plugin.fingerprint
    both = discovery.load("mobilenetv2_100_128x256@views=flip,epochs=2", None)
    assert (both.name, both.plugin.epochs) == ("mobilenetv2_100_128x256@epochs=2", 2)
    assert both.full_name == "mobilenetv2_100_128x256@epochs=2,views=flip"


def test_an_unknown_view_in_a_name_is_refused() -> None:
    with pytest.raises(KitboxError, match=r"^mobilenetv2_100_128x256: there is no view 'flop'"):
        discovery.load("mobilenetv2_100_128x256@views=flop", None)
