"""Local times of exports that name no offset, as UTC seconds."""

from datetime import UTC, datetime, timedelta, tzinfo

EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)
#: A message may be this much older than the one before it without the clock having been set back, in seconds.
LATE = 60


class LocalClock:
    """Turns the local times of one file into UTC, in the file's order.

    In autumn an hour happens twice. Its first time is meant until the times step back by more than a minute; then
    the second is. An hour that spring leaves out is read as if the clock had not been set yet. Years before 1970
    give negative seconds.
    """

    def __init__(self, timezone: tzinfo) -> None:
        self._timezone = timezone
        self._fixed = timezone is UTC
        self._latest: int | None = None

    def seconds(self, local: datetime) -> int:
        """UTC seconds of a local time without a zone."""
        if self._fixed:
            return (local - EPOCH) // SECOND
        found = self._at(local, 0)
        if self._latest is not None and found < self._latest - LATE:
            # Only in autumn's hour is the second reading the later one; in spring's gap it is the earlier.
            found = max(found, self._at(local, 1))
        self._latest = found
        return found

    def _at(self, local: datetime, fold: int) -> int:
        offset = local.replace(fold=fold, tzinfo=self._timezone).utcoffset()
        return (local - EPOCH - (offset or timedelta(0))) // SECOND
