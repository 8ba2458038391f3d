"""In which order a WhatsApp export writes day, month and year, told from all of its dates together.

01/02/21 alone can be read in three ways, so no line is ever read by itself. A first pass over the file hands every
date to ``Dates``, which keeps three numbers for each order and not the dates; ``Dates.order`` then decides:

1. An order in which one date is none (month 13, 30 February, before WhatsApp) is out.
2. Messages stand about in the order of time: of the orders left, that under which the file steps back least.
3. A day that stays the same through three dates or more, while months or years go by, is no day.
4. What no locale writes with the file's punctuation is out, where another order is possible (``unlikely_orders``).
5. Orders that agree on every date are one.
6. What is still open then is asked, not guessed.
"""

from collections.abc import Callable, Iterable
from datetime import date
from functools import lru_cache
from itertools import combinations

from chatladder.io.console import DataError

#: Places of day, month and year.
ORDERS = {"dmy": (0, 1, 2), "mdy": (1, 0, 2), "ymd": (2, 1, 0)}
#: WhatsApp came out in 2009: a year of two digits below 09 is a day or a month. Four digits are a year anyway.
FIRST_YEAR = 2009
EARLIEST_YEAR = 1970
#: Buddhist years are ahead by this; from the year below on a year is one (2552 is 2009).
BUDDHIST = 543
FIRST_BUDDHIST_YEAR = FIRST_YEAR + BUDDHIST
LAST_YEAR = 2100
#: Years before the first of a Japanese era: Heisei and Reiwa.
ERAS = {"H": 1988, "R": 2018}
#: That many dates on the same day of different months are no chance.
TELLING_DATES = 3

Parts = tuple[str, str, str]


@lru_cache(4096)  # messages of one day come together, and each is read in every order
def read_date(parts: Parts, order: str) -> date | None:
    """The date that three parts are in an order, or None if they are none in it."""
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
    """Gregorian year of ``21``, ``2021``, ``2564``, ``2564BE`` or ``R3``."""
    if text[0] in ERAS:
        return ERAS[text[0]] + int(text[1:])
    year = int(text.removesuffix("BE"))
    if len(text) <= 2:
        return 2000 + year
    return year - BUDDHIST if text.endswith("BE") or year >= FIRST_BUDDHIST_YEAR else year


def unlikely_orders(separator: str, end: str) -> tuple[str, ...]:
    """Orders that no locale has with this punctuation, the most unlikely first.

    Source:
        CLDR's short dates. With dots the day comes first (de ``30.01.19``, hr ``30. 01. 2019.``), but in Korean the
        year does (``19. 1. 30.``); a short year comes first nowhere else but in Basque (``19/1/30``).
    """
    if separator == ". " and end == ".":
        return ("mdy", "dmy")
    return ("ymd", "mdy") if separator.startswith(".") else ("ymd",)


class _Reading:
    """What the file's dates are like in one order."""

    def __init__(self) -> None:
        self.refused: int | None = None  # line of the first date that is none in this order
        self.days_back = 0  # sum of all steps back
        self.latest: int | None = None
        self.dates: set[int] = set()  # the first few
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
        """Whether all the dates fall on the same day of their months."""
        return len(self.dates) >= TELLING_DATES and len(self.days_of_month) == 1


class Dates:
    """All dates of one file, as evidence for their order."""

    def __init__(self, unlikely: Iterable[str] = ("ymd",)) -> None:
        """Start without dates; ``unlikely`` orders, the most unlikely first, are read only where none else can be."""
        self._unlikely = tuple(unlikely)
        self._readings = {order: _Reading() for order in ORDERS}
        self._differ: dict[frozenset[str], int] = {}  # two orders -> line of the first date that they read differently
        self._before: Parts | None = None

    def add(self, parts: Parts, line: int) -> bool:
        """Take a date in; False if it is none in any order, so that its line starts no message."""
        if parts == self._before:
            return True  # most messages are of the same day as the one before
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
        """The order of all dates.

        Args:
            wanted: ``dmy``, ``mdy`` or ``ymd`` if it is known, else ``auto``.
            where: Names a line in an error.

        Raises:
            DataError: If no order, or more than one, reads them all.
        """
        if wanted in ORDERS:
            if (line := self._readings[wanted].refused) is not None:
                raise DataError(
                    f"{where(line)}: expected a date in the order {wanted}, got one that is none in it. With "
                    "--date-order auto the file tells its order itself, where it can."
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
                    f"{' and as '.join(pair)}, such as the one here. Say which it is with --date-order."
                )
        return possible[0]

    def _contradiction(self, where: Callable[[int], str]) -> DataError:
        """Names two lines whose dates cannot have one order."""
        first, second = sorted({reading.refused or 0 for reading in self._readings.values()})[-2:]
        return DataError(
            f"{where(second)}: expected dates in one order of day, month and year throughout the file, got one here "
            f"that is a date only in another order than the one at line {first}. If two exports were put together in "
            "one file, separate them; else remove the line that is wrong."
        )
