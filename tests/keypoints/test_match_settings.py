"""Settings of local matching: their text form, ranges and keys."""

import pytest

from kitbox.errors import KitboxError
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
        ("sift:point=4",
         "the matcher 'sift:point=4': sift has no setting 'point'; did you mean points?"),
        ("sift:x=4", "the matcher 'sift:x=4': sift has no setting 'x'; it has shortlist, budget, "
                     "points, size, margin, ratio, threshold, fewest"),
        ("sift:network=n16", "the matcher 'sift:network=n16': sift has no setting 'network'; it "
                             "has shortlist, budget, points, size, margin, ratio, threshold, "
                             "fewest"),
        ("sift:points=3",
         "the matcher 'sift:points=3': points = 3 should be greater than or equal to 4"),
        ("sift:ratio=1.2",
         "the matcher 'sift:ratio=1.2': ratio = 1.2 should be less than or equal to 1"),
        ("sift:shortlist=0",
         "the matcher 'sift:shortlist=0': shortlist = 0 should be greater than or equal to 1"),
        ("sift:budget=0",
         "the matcher 'sift:budget=0': budget = 0 should be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(text, sentence):
    with pytest.raises(KitboxError) as error:
        MatchSettings.parse(text)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("text", "full", "key"),
    [
        ("sift", "sift:shortlist=20,points=500,size=448,margin=0.05,ratio=0.95,threshold=12,"
                 "fewest=8", "0b5e710d9912fbad37ff54012e77a9ab"),
        ("orb", "orb:shortlist=20,points=1024,size=768,margin=0.05,ratio=0.9,threshold=8,fewest=8",
         "674b0696865ca24c8821b441ca72401f"),
        ("kaze", "kaze:shortlist=20,points=500,size=448,margin=0.05,ratio=0.95,threshold=12,"
                 "fewest=8", "59754ee86688f0c6386347158d0565db"),
        ("xfeat", "xfeat:shortlist=20,points=500,size=448,margin=0.05,threshold=8,fewest=8,"
                  "cosine=0.82", "76d374d492147b4146795a53711fa2ee"),
        ("aliked", "aliked:shortlist=20,points=256,size=448,margin=0.05,threshold=8,fewest=8,"
                   "cosine=0.5,network=n16", "11f7a94a9d0e0ac91cc8a89841afea1a"),
        ("disk", "disk:shortlist=20,points=256,size=448,margin=0.05,threshold=8,fewest=8,"
                 "cosine=0.5", "d5256ae6aa1e543837dbd143d51bed3a"),
        ("xfeat+lightglue", "xfeat+lightglue:shortlist=20,points=500,size=448,margin=0.05,"
                            "threshold=8,fewest=8,confidence=0.5",
         "ea99db90fad2de3cdadf9fb0608e16e7"),
        ("aliked+lightglue", "aliked+lightglue:shortlist=20,points=256,size=448,margin=0.05,"
                             "threshold=8,fewest=8,confidence=0.5,network=n16",
         "2da11c4775e220d5559b00c50a8e7945"),
        ("disk+lightglue", "disk+lightglue:shortlist=20,points=256,size=448,margin=0.05,"
                           "threshold=8,fewest=8,confidence=0.5",
         "3c0fac7a10ff10f77e960c6653f683a7"),
        ("loftr", "loftr:shortlist=20,points=1000,size=448,margin=0.05,threshold=8,fewest=8,"
                  "confidence=0.5", "76965f7476f3f3768cbc7f3124cb0685"),
    ],
)  # fmt: skip
def test_receipts_and_caches_of_earlier_versions_keep_their_texts_and_keys(text, full, key):
    settings = MatchSettings.parse(text)
    assert (settings.full, settings.key) == (full, key)


def test_a_budget_is_written_and_changes_neither_features_nor_counts():
    plain = MatchSettings.parse("sift")
    for settings in (
        MatchSettings.parse("sift:budget=900"),
        MatchSettings.parse("sift", budget=900),
    ):
        assert str(settings) == "sift:budget=900"
        assert settings.full.startswith("sift:shortlist=20,budget=900,points=500")
        assert (settings.key, settings.extraction) == (plain.key, plain.extraction)
    assert MatchSettings.parse("sift:budget=9", budget=900).budget == 9
    with pytest.raises(KitboxError, match="budget = 0 should be greater than or equal to 1"):
        MatchSettings.parse("sift", budget=0)


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
