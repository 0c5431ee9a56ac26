"""Dates of photographs: from a list's column, from EXIF, and from names of files and folders."""

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

# The order of the parts of a date like 3/7/2019.
DateOrder = Literal["day-first", "month-first"]

_YEAR = r"((?:19|20)\d\d)"
_TIME = r"(?:[ T_](\d\d?):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?\s*(?:Z|[+-]\d\d:?\d\d)?)?"
# 2019-07-03, 2019:07:03, 2019/7/3 or 2019.07.03, with or without a time
_YEAR_FIRST = re.compile(_YEAR + r"([-:/. ])(\d\d?)\2(\d\d?)" + _TIME)
_YEAR_LAST = re.compile(r"(\d\d?)([-/. ])(\d\d?)\2" + _YEAR + _TIME)
_DIGITS = re.compile(_YEAR + r"(\d\d)(\d\d)")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(" + "|".join(_MONTHS) + r")[a-z]*"
_DAY_MONTH = re.compile(rf"(\d\d?)(?:st|nd|rd|th)?[-/. ]*{_MONTH}\.?[-/., ]*{_YEAR}{_TIME}", re.I)
_MONTH_DAY = re.compile(rf"{_MONTH}\.?[-/. ]*(\d\d?)(?:st|nd|rd|th)?[-/., ]+{_YEAR}{_TIME}", re.I)
_YEAR_MONTH = re.compile(_YEAR + r"[-/.](\d\d?)")
# In names: the parts of a day have two digits and are joined by one sign or by none. A time of six
# digits may follow.
_IN_NAME = re.compile(r"(?<!\d)" + _YEAR + r"([-_. ]?)(\d\d)\2(\d\d)(?=\d{6}(?!\d)|(?!\d))")
_YEAR_FOLDER = re.compile(r"(?:season|year)?[-_ ]*" + _YEAR, re.IGNORECASE)


def parse(text: str, order: DateOrder | None = None) -> str:
    """Return a date as ISO 8601, as exact as it is given, or '' for one that cannot be read.

    "2019-07-03 10:11", "20190703", "3 July 2019", "3.7.2019", "2019-07" and "2019" are read; so is
    3/7/2019 if `order` says which number is the day, or if one of them is above 12.
    """
    text = text.strip()
    if match := _YEAR_FIRST.fullmatch(text):
        year, _, month, day, *time = match.groups()
        return _iso(year, month, day, *time)
    if match := _YEAR_LAST.fullmatch(text):
        one, sign, other, year, *time = match.groups()
        order = _order(int(one), int(other)) or ("day-first" if sign == "." else order)
        if order is None:
            return ""
        day, month = (one, other) if order == "day-first" else (other, one)
        return _iso(year, month, day, *time)
    if match := _DIGITS.fullmatch(text):
        return _iso(*match.groups())
    if match := _DAY_MONTH.fullmatch(text):
        day, month, year, *time = match.groups()
        return _iso(year, _month(month), day, *time)
    if match := _MONTH_DAY.fullmatch(text):
        month, day, year, *time = match.groups()
        return _iso(year, _month(month), day, *time)
    if match := _YEAR_MONTH.fullmatch(text):
        return _iso(match[1], match[2], "1")[:7]
    return text if re.fullmatch(_YEAR, text) else ""


def needs_order(text: str) -> bool:
    """Return whether a date is like 3/7/2019, where either number may be the day."""
    match = _YEAR_LAST.fullmatch(text.strip())
    return match is not None and match[2] != "." and _order(int(match[1]), int(match[3])) is None


def order_of(texts: Iterable[str]) -> DateOrder | None:
    """Return the order that all dates like 25/7/2019 in a column show, or None."""
    found = set()
    for text in texts:
        match = _YEAR_LAST.fullmatch(text.strip())
        if match and match[2] != ".":
            found.add(_order(int(match[1]), int(match[3])))
    orders = found - {None}
    return orders.pop() if len(orders) == 1 else None


def from_exif(text: str) -> str:
    """Return EXIF's "2019:07:03 10:11:12" as ISO 8601, or '' for an empty or damaged one."""
    return parse(text.strip("\0 "))


def in_path(path: Path, without: str = "") -> str:
    """Return the date in a name of a file or of a folder above it, the nearest one, or ''.

    A day is written 2019-07-03, 2019_07_03 or 20190703 anywhere in a name; a folder may be a year
    or "season 2019". The name of the individual, `without`, is no date.
    """
    for number, part in enumerate(reversed(path.parts)):
        stem = Path(part).stem if number == 0 else part
        if part == without:
            continue
        for match in _IN_NAME.finditer(stem):
            if date := _iso(match[1], match[3], match[4]):
                return date
        if number and (year := _YEAR_FOLDER.fullmatch(part)):
            return year[1]
    return ""


def _order(one: int, other: int) -> DateOrder | None:
    """Return the order of two numbers of which one cannot be a month, else None."""
    if one > 12 >= other:
        return "day-first"
    return "month-first" if other > 12 >= one else None


def _month(name: str) -> str:
    return str(_MONTHS.index(name.lower()) + 1)


def _iso(year: str, month: str, day: str, *time: str | None) -> str:
    """Return ISO 8601, or '' for a day or a time that does not exist."""
    hour, minute, second = ([*time, None, None, None])[:3]
    try:
        moment = datetime(
            *(int(year), int(month), int(day)),
            *(int(hour or 0), int(minute or 0), int(second or 0)),
        )
    except ValueError:
        return ""
    return moment.isoformat() if hour is not None else moment.date().isoformat()
