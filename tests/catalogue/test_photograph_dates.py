"""Dates of photographs in columns, in EXIF and in names."""

from pathlib import Path

import pytest

from kitbox.catalogue import photograph_dates
from kitbox.catalogue.photograph_dates import DateOrder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-07-03", "2019-07-03"),
        (" 2019-07-03 10:11 ", "2019-07-03T10:11:00"),
        ("2019-07-03T10:11:12.5Z", "2019-07-03T10:11:12"),
        ("2019/7/3", "2019-07-03"),
        ("20190703", "2019-07-03"),
        ("3.7.2019", "2019-07-03"),
        ("25/12/2019 08:00", "2019-12-25T08:00:00"),
        ("12/25/2019", "2019-12-25"),
        ("3 July 2019", "2019-07-03"),
        ("03-Jul-2019", "2019-07-03"),
        ("July 3rd, 2019", "2019-07-03"),
        ("2019-07", "2019-07"),
        ("2019", "2019"),
        ("3/7/2019", ""),
        ("2019-13-01", ""),
        ("2019-02-30", ""),
        ("2019-07-03 25:00", ""),
        ("last summer", ""),
        ("12345678", ""),
        ("", ""),
    ],
)
def test_a_date_is_read_as_exactly_as_it_is_written(text: str, expected: str) -> None:
    assert photograph_dates.parse(text) == expected


@pytest.mark.parametrize(
    ("order", "expected"), [("day-first", "2019-07-03"), ("month-first", "2019-03-07")]
)
def test_an_order_settles_which_number_is_the_day(order: DateOrder, expected: str) -> None:
    assert photograph_dates.needs_order("3/7/2019")
    assert photograph_dates.parse("3/7/2019", order) == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["3/7/2019", "25/7/2019"], "day-first"),
        (["3/7/2019", "7/25/2019"], "month-first"),
        (["3/7/2019"], None),
        (["25/7/2019", "7/25/2019"], None),
        (["25.7.2019", "3/7/2019"], None),
    ],
)
def test_a_column_shows_its_order_where_all_its_dates_agree(
    column: list[str], expected: DateOrder | None
) -> None:
    assert photograph_dates.order_of(column) == expected


def test_the_time_of_exif_is_read_and_an_empty_one_is_none() -> None:
    assert photograph_dates.from_exif("2019:07:03 10:11:12\0") == "2019-07-03T10:11:12"
    assert photograph_dates.from_exif("0000:00:00 00:00:00") == ""
    assert photograph_dates.from_exif("    :  :     :  :  ") == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("A12/IMG_20190703_101112.jpg", "2019-07-03"),
        ("A12/20190703101112.jpg", "2019-07-03"),
        ("A12/whale 2019-07-03 left.jpg", "2019-07-03"),
        ("2019/A12/x.jpg", "2019"),
        ("season 2019/A12/x.jpg", "2019"),
        ("2018/A12/2019-07-03/x.jpg", "2019-07-03"),
        ("A12/DSC_20191309.jpg", ""),
        ("A12/120190703.jpg", ""),
        ("A12/2019.jpg", ""),
        ("A12/2019-0703.jpg", ""),
    ],
)
def test_the_nearest_date_in_a_path_is_found(path: str, expected: str) -> None:
    assert photograph_dates.in_path(Path(path)) == expected


def test_the_name_of_an_individual_is_no_date() -> None:
    assert photograph_dates.in_path(Path("20190703/x.jpg"), without="20190703") == ""
