r"""The first line of a message in a WhatsApp export: its time, its layout, and the order of day, month and year.

A phone writes dates and times by its language and its settings, so there is not one format but a grammar::

    30/01/19, 20:49 - Ann: text                     Android: a dash, no seconds
    [2019/1/30 下午8:49:07] Ann: text               iOS: brackets and seconds
    [20:49:07, 1/30/19] Ann: text                   time first (Vietnamese)
    [\u200f٣٠/١/٢٠١٩، ٨:٤٩:٠٧ م] Ann: text           digits, comma and marker of another script, direction marks
    22. 1. 30. 오후 8:49 - Ann: text                dots and spaces, marker before the time
    [3/18/2565 BE, 14:56:01], [3/18/R4, 14:56:01]   Buddhist and Japanese years
    30.01.19 г., 20:49 - Ann: text                  the word for year (Bulgarian)
    2019年1月30日 下午8:49 - Ann: text                words for year, month and day (Chinese, Japanese)

The space before AM may be a narrow no-break one: it has been since CLDR 42 (unicode-org/cldr, pull 2001).

01/02/21 alone can be read in three ways, so no line is ever read by itself. A first pass over the file passes every
date to ``Dates``, which stores three numbers for each order and not the dates; ``Dates.order`` then decides:

1. An order in which a date is impossible (month 13, 30 February, before WhatsApp) is excluded.
2. Messages are roughly in order of time: of the remaining orders, the one with the smallest steps back is taken.
3. A day that stays the same through three dates or more, while months or years go by, is not the day.
4. An order that no locale uses with the file's punctuation is excluded if another is possible (``unlikely_orders``).
5. Orders that agree on every date are one.
6. If several orders remain, the user is asked; there is no guess.
"""

import re
import tomllib
from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.io.console import DataError

#: Direction marks, which the app inserts in many places, and a byte order mark.
MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")

#: Words of the app and of phones, by their position in a line; see the file.
WORDS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "whatsapp.toml").read_text(encoding="utf-8"))
S = "[ \u00a0\u2009\u202f]"
#: A few at most, so that a line of nothing else is cheap.
M = "[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]{0,4}"
#: Between date and time, if there is more than a comma: at, around, o'clock in several languages.
AT = "klo|kl|à|às|um|at|om|alle|ore|ob|las|в|о|u"


def _flexible(marker: str) -> str:
    """Return a marker as a pattern."""
    pieces = [re.escape(piece).replace("_", S) for piece in marker.split(".") if piece]
    return rf"\.?{S}?".join(pieces) + r"\.?"


def _half_days() -> tuple[str, dict[str, str]]:
    """Return one pattern for all markers, longest first, and the half day of each marker without dots and spaces."""
    markers = {each: half for half, names in WORDS["half_days"].items() for each in names}
    patterns = (_flexible(each) for each in sorted(markers, key=lambda each: (-len(each), each)))
    return "|".join(patterns), {_bare(each): half for each, half in markers.items()}


def _bare(marker: str) -> str:
    return re.sub(rf"{S}|[._]", "", MARKS.sub("", marker)).lower()


_MARKER, _HALVES = _half_days()
_DATE = (
    rf"(?P<a>[RH]?\d{{1,4}}){M}(?P<sep>\.{S}?|[/-]|{S}){M}(?P<b>\d{{1,2}}){M}(?P=sep){M}(?P<c>\d{{1,4}}|[RH]\d{{1,2}})"
    rf"{M}(?P<end>\.?)(?:{S}?(?P<era>BE|พ\.ศ\.)|{S}г\.?)?"
)
_TIME = (
    rf"(?:(?P<before>(?i:{_MARKER})){S}?{M})?(?P<hour>\d{{1,2}}){M}(?P<tsep>[:.]|{S}?h{S}?){M}(?P<minute>\d\d)"
    rf"(?:{M}(?P<has_second>(?P=tsep)){M}(?P<second>\d\d))?(?:{M}{S}?{M}(?P<after>(?i:{_MARKER})))?(?:{S}?(?:Uhr|ч\.|น\.))?"
)
_JOIN = rf"(?P<join>{M}(?:[,،]{M}{S}{{0,2}}|{S}{{1,2}}){M}(?:(?:{AT})\.?{S})?{M})"
_START = rf"{M}(?P<open>\[)?{M}"
_CLOSE = rf"{M}(?(open)\](?:{S}?[-–])?{S}?|(?P<close>{S}[-–—]|:)(?:{S}|$))"
_LAYOUT_GROUPS = ("open", "sep", "end", "join", "tsep", "has_second", "before", "after", "close")
_HEADERS = (
    re.compile(_START + _DATE + _JOIN + _TIME + _CLOSE),
    re.compile(_START + _TIME + _JOIN + _DATE + _CLOSE),
)
#: A line that opens a message must start so; this rules out most lines of text.
_MAY_OPEN = re.compile(rf"{M}\[?{M}(?:[RH]?\d|{_MARKER})", re.IGNORECASE)
#: A date with words; with dashes its layout differs from all others of these languages.
_WORDED = re.compile(
    rf"\A(?P<start>{M}\[?{M})(?P<year>\d{{4}}){S}?年{S}?(?P<month>\d{{1,2}}){S}?月{S}?(?P<day>\d{{1,2}}){S}?日"
)


class Layout(NamedTuple):
    """The form that the first lines of all messages in one file share, whatever the date."""

    is_bracketed: bool
    separator: str  # between the date's parts
    end: str  # a dot after the date, or nothing
    has_seconds: bool
    rest: tuple[object, ...]  # all other properties that distinguish layouts


class Header(NamedTuple):
    """The start of a message."""

    layout: Layout
    date: tuple[str, str, str]  # the date's parts in their order; a year of an era as R4 or 2565BE
    time: tuple[int, int, int]  # hour of 24, minute, second
    rest: str  # sender and text


def match_header(line: str) -> Header | None:
    """Return the header of the message that a line starts; None if it starts none in any layout."""
    if not _MAY_OPEN.match(line):
        return None
    line = _WORDED.sub(r"\g<start>\g<year>-\g<month>-\g<day>", line, count=1)
    for is_time_first, pattern in enumerate(_HEADERS):
        match = pattern.match(line)
        if match is None:
            continue
        hour = _hour(int(match["hour"]), _HALVES.get(_bare(match["before"] or match["after"] or "")))
        minute, second = int(match["minute"]), int(match["second"] or 0)
        if hour > 23 or minute > 59 or second > 59:
            return None
        a, b, c = match.group("a", "b", "c")
        # A year of four digits shows the position of the year.
        layout = _layout((bool(is_time_first), len(a) == 4, len(c) == 4), *match.group(*_LAYOUT_GROUPS))
        date = (a, b, c + "BE" if match["era"] else c)
        return Header(layout, date, (hour, minute, second), line[match.end() :])
    return None


@lru_cache(1024)  # a file has few layouts, and these texts determine them
def _layout(order: tuple[bool, ...], *groups: str | None) -> Layout:
    opened, separator, end, join, colon, second, before, after, close = groups
    joined = re.sub(S, " ", MARKS.sub("", join or "")).strip()
    rest = (*order, joined, (colon or "").strip(), bool(before), bool(after and not before), (close or "").strip())
    return Layout(opened is not None, re.sub(S, " ", separator or ""), end or "", second is not None, rest)


def _hour(hour: int, half: str | None) -> int:
    """Return the hour of 24; above 12 the marker is ignored. Some phones write 0:08 a. m., or 24:08."""
    if half is None or hour > 12:
        return 0 if hour == 24 else hour
    if half == "noon":  # 11:30 to 1:30 or so
        return hour if hour > 9 else hour + 12
    if half == "night":  # from the evening to the small hours
        return hour + 12 if 5 < hour < 12 else hour % 12
    return hour % 12 + (12 if half == "pm" else 0)


#: Positions of day, month and year.
ORDERS = {"dmy": (0, 1, 2), "mdy": (1, 0, 2), "ymd": (2, 1, 0)}
#: WhatsApp appeared in 2009: a two-digit year below 09 is a day or a month. Four digits are always a year.
FIRST_YEAR = 2009
EARLIEST_YEAR = 1970
#: Buddhist years are ahead by this; from the year below on, a year counts as one (2552 is 2009).
BUDDHIST = 543
FIRST_BUDDHIST_YEAR = FIRST_YEAR + BUDDHIST
LAST_YEAR = 2100
#: Years before the first of a Japanese era: Heisei and Reiwa.
ERAS = {"H": 1988, "R": 2018}
#: This many dates on the same day of different months are not a coincidence.
TELLING_DATES = 3

Parts = tuple[str, str, str]


@lru_cache(4096)  # messages of one day are adjacent, and each is read in every order
def read_date(parts: Parts, order: str) -> date | None:
    """Return the date of three parts in an order; None if they are not a date in it."""
    day, month, year = (parts[place] for place in ORDERS[order])
    # A year has two digits, or four, or an era; a day and a month have at most two digits.
    if (len(year) == 3 and year.isdigit()) or not (day.isdigit() and month.isdigit()) or max(len(day), len(month)) > 2:
        return None
    try:
        found = date(_year(year), int(month), int(day))
    except ValueError:
        return None
    earliest = FIRST_YEAR if len(year) <= 2 else EARLIEST_YEAR
    return found if earliest <= found.year <= LAST_YEAR else None


def _year(text: str) -> int:
    """Return the Gregorian year of ``21``, ``2021``, ``2564``, ``2564BE`` or ``R3``."""
    if text[0] in ERAS:
        return ERAS[text[0]] + int(text[1:])
    year = int(text.removesuffix("BE"))
    if len(text) <= 2:
        return 2000 + year
    return year - BUDDHIST if text.endswith("BE") or year >= FIRST_BUDDHIST_YEAR else year


def unlikely_orders(separator: str, end: str) -> tuple[str, ...]:
    """Return the orders that no locale has with this punctuation, the most unlikely first.

    Source:
        CLDR's short dates. With dots the day comes first (de ``30.01.19``, hr ``30. 01. 2019.``), except in Korean,
        where the year does (``19. 1. 30.``); a short year comes first only there and in Basque (``19/1/30``).
    """
    if separator == ". " and end == ".":
        return ("mdy", "dmy")
    return ("ymd", "mdy") if separator.startswith(".") else ("ymd",)


class _Reading:
    """The evidence of a file's dates for one order."""

    def __init__(self) -> None:
        self.refused: int | None = None  # line of the first date that is impossible in this order
        self.days_back = 0  # sum of all steps back
        self.latest: int | None = None
        self.dates: set[int] = set()  # only the first few
        self.days_of_month: set[int] = set()  # likewise

    def add(self, found: date | None, line: int) -> None:
        if found is None:
            self.refused = self.refused or line
            return
        number = found.toordinal()
        if self.latest is not None and number < self.latest:
            self.days_back += self.latest - number
        self.latest = number
        if len(self.dates) < TELLING_DATES:
            self.dates.add(number)
        if len(self.days_of_month) < 2:
            self.days_of_month.add(found.day)

    @property
    def is_regular(self) -> bool:
        """True if all dates fall on the same day of their months."""
        return len(self.dates) >= TELLING_DATES and len(self.days_of_month) == 1


class Dates:
    """All dates of one file, as evidence for their order."""

    def __init__(self, unlikely: Iterable[str] = ("ymd",)) -> None:
        """Start without dates; ``unlikely`` orders, the most unlikely first, are used only if no other is left."""
        self._unlikely = tuple(unlikely)
        self._readings = {order: _Reading() for order in ORDERS}
        self._differ: dict[frozenset[str], int] = {}  # two orders -> line of the first date that they read differently
        self._before: Parts | None = None

    def add(self, parts: Parts, line: int) -> bool:
        """Add a date; return False if it is impossible in every order, so that its line starts no message."""
        if parts == self._before:
            return True  # most messages are of the same day as the previous one
        found = {order: read_date(parts, order) for order in ORDERS}
        if not any(found.values()):
            return False
        self._before = parts
        for order, reading in self._readings.items():
            reading.add(found[order], line)
        for pair in combinations(ORDERS, 2):
            if found[pair[0]] != found[pair[1]]:
                self._differ.setdefault(frozenset(pair), line)
        return True

    def order(self, wanted: str, where: Callable[[int], str]) -> str:
        """Return the order of all dates.

        Args:
            wanted: ``dmy``, ``mdy`` or ``ymd`` if it is known, else ``auto``.
            where: Formats a line number for an error.

        Raises:
            DataError: If no order, or more than one, reads them all.
        """
        if wanted in ORDERS:
            if (line := self._readings[wanted].refused) is not None:
                raise DataError(
                    f"{where(line)}: expected a date in the order {wanted}, got one that is none in it. With "
                    "ingest.date_order: auto the order is read from the file, where it can be."
                )
            return wanted
        possible = [order for order, reading in self._readings.items() if reading.refused is None]
        if not possible:
            raise self._contradiction(where)
        least = min(self._readings[order].days_back for order in possible)
        possible = [order for order in possible if self._readings[order].days_back == least]
        possible = [order for order in possible if not self._readings[order].is_regular] or possible
        for each in self._unlikely:
            possible = [order for order in possible if order != each] or possible
        for pair in combinations(possible, 2):
            if (line := self._differ.get(frozenset(pair))) is not None:
                raise DataError(
                    f"{where(line)}: expected dates whose order the file tells, got only dates that can be read as "
                    f"{' and as '.join(pair)}, such as the one here. Set ingest.date_order "
                    "(chatladder resolve: --date-order)."
                )
        return possible[0]

    def _contradiction(self, where: Callable[[int], str]) -> DataError:
        """Return the error that names two lines whose dates cannot have one order."""
        first, second = sorted({reading.refused or 0 for reading in self._readings.values()})[-2:]
        return DataError(
            f"{where(second)}: expected dates in one order of day, month and year throughout the file, got one here "
            f"that is a date only in another order than the one at line {first}. If two exports were put together in "
            "one file, separate them; else remove the line that is wrong."
        )
