"""Settings of local matching: their text form, ranges and keys."""

import pytest

from kitbox.keypoints.match_settings import METHODS, MatchSettings


def test_a_text_names_the_matcher_and_what_differs_from_its_defaults():
    settings = MatchSettings.parse(" sift: size=448 , shortlist=50")
    assert (settings.shortlist, settings.points, settings.size) == (50, 500, 448)
    assert (settings.ratio, settings.threshold, settings.fewest) == (0.95, 12.0, 8)
    assert str(settings) == "sift:shortlist=50"


@pytest.mark.parametrize("method", ["sift", "orb", "kaze"])
def test_the_plain_text_of_a_matcher_is_its_name(method):
    assert str(MatchSettings.parse(method)) == method


def test_the_canonical_text_reads_back_as_the_same_settings():
    text = "orb:shortlist=5,points=64,size=320,margin=0.125,ratio=0.75,threshold=2.5,fewest=6"
    settings = MatchSettings.parse(text)
    assert str(settings) == text
    assert MatchSettings.parse(str(settings)) == settings
    assert str(MatchSettings.parse("orb:points=64,shortlist=5")) == "orb:shortlist=5,points=64"
    assert MatchSettings.parse(settings.full) == settings
    assert MatchSettings.parse("orb").full == (
        "orb:shortlist=20,points=1024,size=768,margin=0.05,ratio=0.9,threshold=8,fewest=8"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shift", "there is no matcher 'shift'; did you mean sift?"),
        ("zzz", f"there is no matcher 'zzz'; there are {', '.join(METHODS)}"),
        ("sift:point=4", "the matcher sift has no setting 'point'; did you mean points?"),
        ("sift:x=4", "the matcher sift has no setting 'x'; it has shortlist, margin, points, "
                     "size, ratio, threshold, fewest"),
        ("sift:points", "'points' is no setting of the matcher sift; write it as points=500"),
        ("sift:", "'' is no setting of the matcher sift; write it as points=500"),
        ("sift:size=64,size=65", "the setting size of the matcher sift is given twice"),
        ("sift:points=1.5",
         "points=1.5 of the matcher sift is not a whole number from 4 to 100000"),
        ("sift:ratio=1.2", "ratio=1.2 of the matcher sift is not a number from 0.01 to 1"),
        ("sift:ratio=nan", "ratio=nan of the matcher sift is not a number from 0.01 to 1"),
        ("sift:shortlist=0",
         "shortlist=0 of the matcher sift is not a whole number of at least 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(text, sentence):
    with pytest.raises(ValueError, match="matcher") as error:
        MatchSettings.parse(text)
    assert str(error.value) == sentence


def test_keys_name_what_the_counts_and_the_features_depend_on():
    plain = MatchSettings.parse("sift")
    longer, ratio, points = map(
        MatchSettings.parse, ("sift:shortlist=7", "sift:ratio=0.8", "sift:points=499")
    )
    assert longer.key == plain.key
    assert ratio.key != plain.key
    assert ratio.extraction == plain.extraction
    assert points.extraction != plain.extraction
    assert len({plain.key, ratio.key, points.key, MatchSettings.parse("kaze").key}) == 4
