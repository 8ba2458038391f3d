"""When the lines of an IRC log were written, from stamps that often leave out the year, the day or the offset."""

import re
from datetime import date, timedelta, tzinfo

from chatladder.chat.formats.clock import EPOCH, LATE, LocalClock
from chatladder.chat.formats.irc_layouts import MARKER
from chatladder.chat.source import Source
from chatladder.io.console import DataError

DAY = 86_400
HALF_YEAR = 183 * DAY
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: 2013-01-05, 20130105, or 05Jan2013 as Eggdrop has it.
NAME_DATE = re.compile(
    r"(?<!\d)(?:(?P<year>\d{4})(?P<dash>[-_.]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    rf"|(?P<eggday>\d\d)(?P<eggmonth>(?i:{'|'.join(MONTHS)}))(?P<eggyear>\d{{4}}))(?!\d)"
)
NAME_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


class Calendar:
    """Gives every stamp of a file its UTC seconds; ``wall`` is what clocks there show, as seconds since 1970."""

    def __init__(self, source: Source, timezone: tzinfo) -> None:
        self._source = source
        self._clock = LocalClock(timezone)
        self._wall: int | None = None  # of the latest line
        self._start = 0  # midnight before logging began

    def mark(self, line: str, number: int) -> None:
        """Take the date of a line that tells where logging starts, stops or enters a day."""
        match = MARKER.match(line)
        if match is None or match["year"] is None:
            return
        midnight = self._midnight(int(match["year"]), match["month"], match["day"], number)
        if match["opened"] or self._wall is None:
            self._start = midnight
        self._wall = midnight + (_time_of_day(match) if match["minute"] else 0)

    def seconds(self, stamp: re.Match[str], number: int) -> int:
        """UTC seconds of a stamp.

        Raises:
            DataError: If its date cannot be told, or there is no such date.
        """
        time, groups = _time_of_day(stamp), stamp.re.groupindex
        if "year" in groups:
            self._wall = self._midnight(int(stamp["year"]), stamp["month"], stamp["day"], number) + time
        elif "day" in groups:
            self._wall = self._in_year(stamp, number) + time
        else:
            self._wall = self._advance(time, number)
        offset = stamp["offset"] if "offset" in groups else None
        return self._wall - _offset_seconds(offset) if offset else self._utc(self._wall, number)

    def _advance(self, time: int, number: int) -> int:
        """The wall time of a time of day that follows the latest line."""
        if self._wall is None:
            self._wall = self._start = self._named_midnight(number)
        step = time - self._wall % DAY
        if step < -DAY // 2:
            step += DAY  # past midnight
        elif step >= DAY - LATE and self._wall >= self._start + DAY:
            step -= DAY  # a late line of the day before
        return self._wall + step

    def _in_year(self, stamp: re.Match[str], number: int) -> int:
        """Midnight of a day without a year: the first that does not lie half a year before the latest line."""
        if self._wall is None:
            return self._midnight(self._named_year(number), stamp["month"], stamp["day"], number)
        year = (EPOCH + timedelta(seconds=self._wall)).year
        # A late line of New Year's Eve is a day older; no log is silent for more than half a year and then on time.
        for candidate, earliest in ((year - 1, DAY), (year, HALF_YEAR), (year + 1, HALF_YEAR)):
            try:
                midnight = _midnight(candidate, stamp["month"], stamp["day"])
            except ValueError:
                continue  # 29 February
            if midnight >= self._wall - earliest:
                return midnight
        return self._midnight(year, stamp["month"], stamp["day"], number)

    def _utc(self, wall: int, number: int) -> int:
        try:
            return self._clock.seconds(EPOCH + timedelta(seconds=wall))
        except OverflowError:
            where = self._source.where(number)
            raise DataError(f"{where}: expected a date, got one after the year 9999.") from None

    def _midnight(self, year: int, month: str, day: str, number: int) -> int:
        try:
            return _midnight(year, month, day)
        except ValueError:
            where = self._source.where(number)
            raise DataError(f"{where}: expected a date, got {year:04d}-{month}-{day}.") from None

    def _named_midnight(self, number: int) -> int:
        named = NAME_DATE.search(self._source.plain_name)
        if named is None:
            raise DataError(
                f"{self._source.where(number)}: expected the date of these lines in the file's name (such as "
                "2013-01-05.channel.txt) or in a line before them (--- Log opened Sat Jan 05 21:20:37 2013), got none."
            )
        year, month, day = (named[name] or named[f"egg{name}"] for name in ("year", "month", "day"))
        try:
            return _midnight(int(year), month, day)
        except ValueError:
            raise DataError(f"{self._source}: expected a date, got {year}-{month}-{day}.") from None

    def _named_year(self, number: int) -> int:
        name = self._source.plain_name
        if named := NAME_DATE.search(name):
            return int(named["year"] or named["eggyear"])
        if lone := NAME_YEAR.search(name):
            return int(lone[0])
        raise DataError(
            f"{self._source.where(number)}: expected the year of these lines in the file's name (such as "
            "channel.2013.log) or in a line before them (**** BEGIN LOGGING AT Sat Jan  5 21:20:37 2013), got none."
        )


def _midnight(year: int, month: str, day: str) -> int:
    """Wall seconds at which a day starts; the month is a number or a name.

    Raises:
        ValueError: If there is no such day.
    """
    number = MONTHS.index(month[:3].lower()) + 1 if month[0].isalpha() else int(month.rstrip("月"))
    return (date(year, number, int(day)) - EPOCH.date()).days * DAY


def _time_of_day(match: re.Match[str]) -> int:
    return int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"] or 0)


def _offset_seconds(offset: str) -> int:
    if offset == "Z":
        return 0
    seconds = int(offset[1:3]) * 3600 + int(offset[-2:]) * 60
    return -seconds if offset[0] == "-" else seconds
