"""Timestamps of exports and local times without an offset, as UTC seconds; common mistakes are refused by name."""

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from chatladder.io.console import DataError, printable

#: Seconds reach this in the year 5138, milliseconds in 1973: a larger number is not in seconds.
LATEST_SECONDS = 100_000_000_000
NUMBER = re.compile(r"-?\d{1,20}(?:\.\d*)?")
WITHOUT_SECONDS = re.compile(r"[T ]\d\d:\d\d(?:Z|[+-]\d\d:?\d\d)?$")


def parse_timestamp(value: Any, where: str, timezone: tzinfo = UTC) -> int | None:
    """Return the UTC seconds of a number, an ISO 8601 text or a datetime; None stays None.

    Args:
        value: The value in the export.
        where: The file and line, for errors.
        timezone: The zone of a text or datetime without an offset.

    Raises:
        DataError: If it is in milliseconds, a negative number, or neither a number nor ISO 8601. A text may lie before
            1970: a written date is intended, while a negative number is mostly a mistake.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = value.strip()  # also of what float() would ignore, such as U+001F
        if not NUMBER.fullmatch(value):
            return _iso_seconds(value, where, timezone)
    if isinstance(value, datetime):
        return _seconds(value, where, timezone)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{where}: expected a timestamp in UTC seconds, got {type(value).__name__}.")
    number = float(value) if isinstance(value, str) else value
    if not 0 <= number < math.inf:  # also False for NaN
        raise DataError(f"{where}: expected a timestamp in UTC seconds since 1970, got {str(number)[:40]}.")
    if number > LATEST_SECONDS:
        raise DataError(
            f"{where}: expected a timestamp in seconds, got {str(int(number))[:40]}, which looks like "
            "milliseconds. Divide the timestamps of this file by 1000."
        )
    return int(number)


def parse_milliseconds(value: Any, where: str) -> int | None:
    """Return the UTC seconds of milliseconds since 1970, a number or digits; None stays None.

    Raises:
        DataError: If it is anything else.
    """
    if value is None or value == "":
        return None
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20 else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise DataError(f"{where}: expected a timestamp in milliseconds, got {type(value).__name__}.")
    if not 0 <= number < LATEST_SECONDS * 1000:
        raise DataError(f"{where}: expected a timestamp in milliseconds since 1970, got {str(number)[:40]}.")
    return int(number // 1000)


def resolution(value: Any) -> int:
    """Return the resolution of a timestamp in seconds: 60 for an ISO 8601 text without seconds, else 1."""
    return 60 if isinstance(value, str) and WITHOUT_SECONDS.search(value.strip()) else 1


def shape_of(text: str) -> str:
    """Return the shape of a text, for errors: 9 for a digit, a for letters, and none of its content."""
    return printable(re.sub(r"\d", "9", re.sub(r"[^\W\d_]+", "a", text[:1000].strip())))[:60]


def _iso_seconds(value: str, where: str, timezone: tzinfo) -> int:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        # Only its shape: if columns are confused, it is a person's text.
        raise DataError(
            f"{where}: expected a timestamp in UTC seconds or ISO 8601 such as 2023-01-31T14:05:00, got one like "
            f"{shape_of(value)!r} (9 for a digit, a for letters)."
        ) from None
    return _seconds(moment, where, timezone)


def _seconds(moment: datetime, where: str, timezone: tzinfo) -> int:
    if moment.year == 1:
        got = moment.isoformat()
        raise DataError(
            f"{where}: expected a timestamp, got {got}, which some programs write for none. Leave it empty."
        )
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=timezone)).timestamp())


EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)
#: A message may be this many seconds older than the one before it without the clock having been set back.
LATE = 60


class LocalClock:
    """Converts the local times of one file to UTC, in the file's order.

    An hour in autumn occurs twice. Its first occurrence is assumed until the times step back by more than a minute,
    then the second. An hour that spring skips is read as if the clock had not been set yet. Years before 1970 give
    negative seconds.
    """

    def __init__(self, timezone: tzinfo) -> None:
        self._timezone = timezone
        self._fixed = timezone is UTC
        self._latest: int | None = None

    def seconds(self, local: datetime) -> int:
        """Return the UTC seconds of a local time without a zone."""
        if self._fixed:
            return (local - EPOCH) // SECOND
        found = self._at(local, 0)
        if self._latest is not None and found < self._latest - LATE:
            # The second reading is later only in autumn's hour; in spring's gap it is earlier.
            found = max(found, self._at(local, 1))
        self._latest = found
        return found

    def _at(self, local: datetime, fold: int) -> int:
        offset = local.replace(fold=fold, tzinfo=self._timezone).utcoffset()
        return (local - EPOCH - (offset or timedelta(0))) // SECOND
