import numpy as np

from kitbox.catalogue.encounter_rule import encounters_of, names_of

NO_PAIRS = np.empty((0, 2), dtype=np.int64)


def test_photographs_of_one_named_encounter_of_an_individual_are_together():
    found = encounters_of(
        np.array(["a", "a", "a", "b"]),
        np.array(["trip 1", "trip 1", "trip 2", "trip 1"]),
        np.array(["", "", "", ""]),
        NO_PAIRS,
    )
    first, second, third, of_b = found.codes.tolist()
    assert first == second
    assert len({first, third, of_b}) == 3
    assert found.count == 3
    assert found.sentence == "3 encounters: 4 photographs by the encounter in catalogue.csv"


def test_without_a_name_those_of_one_day_are_together_whatever_the_time():
    found = encounters_of(
        np.array(["a", "a", "a"]),
        np.array(["", "", ""]),
        np.array(["2024-05-01T08:00:00", "2024-05-01T19:30:00", "2024-05-02"]),
        NO_PAIRS,
    )
    assert found.codes[0] == found.codes[1] != found.codes[2]
    assert found.sentence == "2 encounters: 3 photographs by individual, day and place"


def test_a_year_or_a_month_is_no_day_and_leaves_photographs_alone():
    found = encounters_of(
        np.array(["a", "a", "a"]),
        np.array(["", "", ""]),
        np.array(["2024", "2024-05", ""]),
        NO_PAIRS,
    )
    assert found.count == 3
    assert found.alone == 3
    assert found.sentence == "3 encounters: 3 photographs without date, each on its own"


def test_near_duplicates_join_encounters_even_of_two_individuals():
    found = encounters_of(
        np.array(["a", "a", "b"]),
        np.array(["1", "2", "1"]),
        np.array(["", "", ""]),
        np.array([[1, 2]]),
    )
    assert found.codes[1] == found.codes[2] != found.codes[0]
    assert found.sentence == (
        "2 encounters: 3 photographs by the encounter in catalogue.csv, 2 near-duplicates joined "
        "with another"
    )


def test_photographs_of_nobody_are_alone_even_on_one_day():
    found = encounters_of(
        np.array(["", ""]), np.array(["", ""]), np.array(["2024-05-01"] * 2), NO_PAIRS
    )
    assert found.count == 2


def test_a_burst_is_one_encounter_whether_all_of_it_is_named_or_not():
    found = encounters_of(
        np.array(["a", "a", "a", "b"]),
        np.array(["E7", "", "E8", ""]),
        np.array(["2024-05-01T08:00:00", "2024-05-01", "2024-05-02", "2024-05-01"]),
        NO_PAIRS,
    )
    burst, unnamed, later, other = found.codes.tolist()
    assert burst == unnamed
    assert len({burst, later, other}) == 3


def test_two_places_of_a_day_are_two_encounters_and_an_unknown_place_may_be_either():
    def codes(*places: str) -> list[int]:
        count = len(places)
        found = encounters_of(
            np.array(["a"] * count),
            np.array([""] * count),
            np.array(["2024-05-01"] * count),
            NO_PAIRS,
            places=np.array(places),
        )
        return found.codes.tolist()

    first, second, again = codes("bay", "cape", "bay")
    assert first == again != second
    assert len(set(codes("bay", "", "bay"))) == 1
    assert len(set(codes("bay", "cape", ""))) == 1


def test_exports_count_named_encounters_apart_that_a_holdout_keeps_together():
    found = names_of(
        ["a", "a", "a", "a", "b"],
        ["E7", "E8", "", "", ""],
        ["2024-05-01", "2024-05-01", "2024-05-01", "2024", "2024-05-01"],
        ["", "", "bay", "bay", ""],
    )
    assert found.counted == ("E7", "E8", "a 2024-05-01 bay", "", "b 2024-05-01")
    assert found.together == ("E7", "E7", "E7", "", "2024-05-01")
