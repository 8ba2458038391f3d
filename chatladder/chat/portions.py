"""Files of exports that workers read, a portion at a time; what they find is added up in the order of the files.

Who somebody is does not depend on where a file is read, with one exception: of two names that meet in one pseudonym the
later gets a longer one (``chatladder.privacy.pseudonyms``). So a worker tells which names it asked for; where one of
them turns out to have another pseudonym, the portion is read again by the process that knows.

Workers take the key from where the command has it, and are told only what checks it: it must never lie in a
cluster's store.
"""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import chdir
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from chatladder.chat.collect import Collected, Collector
from chatladder.chat.exports import open_archive
from chatladder.chat.formats import with_formats
from chatladder.chat.message import Context
from chatladder.chat.source import Archive, Budget, BudgetError, Source
from chatladder.distributed import Workers, check_seen
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Known, Pseudonyms
from chatladder.privacy.secret import KEY_FILE, KEY_VARIABLE

#: Small files are read together until they hold so much; a larger one than ``MOST_BYTES`` is read by the command,
#: since all of a portion is in a worker's memory.
PORTION_BYTES, MOST_BYTES = 32 * 2**20, 256 * 2**20
#: What a worker holds of a portion at most: a packed file may be far larger than it looks.
KEPT_BYTES = 2**30


class Place(NamedTuple):
    """Where a file is, in words that can be sent."""

    path: Path
    name: str  # below the folder of exports, or inside the archive
    in_archive: bool


class Portion(NamedTuple):
    """What a worker found in some files."""

    collected: Collected
    batches: list[pa.RecordBatch]  # of COLLECTED
    known: Known  # pseudonyms that it asked for
    met: list[tuple[str, ...]]  # arguments of ``Context.know``
    counts: Counter[str]
    masked: Counter[str]
    drawn: dict[tuple[str, str], int]  # as in ``Budget``


class TooLargeError(Exception):
    """A portion that does not fit into ``KEPT_BYTES``."""


class Kept:
    """Batches in memory, in place of a spill."""

    def __init__(self, most: int) -> None:
        self.batches: list[pa.RecordBatch] = []
        self._left = most  # bytes

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows.

        Raises:
            TooLargeError: If they are too many.
        """
        self._left -= rows.nbytes
        if self._left < 0:
            raise TooLargeError
        self.batches.append(rows)


def cut(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Successive files that are read together; one that is larger than ``MOST_BYTES`` is alone."""
    gathered: list[Source] = []
    size = 0
    for source in sources:
        own = source.size
        if gathered and (own > MOST_BYTES or size + own > PORTION_BYTES):
            yield gathered
            gathered, size = [], 0
        gathered.append(source)
        size += own
    if gathered:
        yield gathered


def read_portions(
    portions: list[list[Source]], format_name: str, context: Context, pool: Workers
) -> Iterator[Portion | None]:
    """What workers find in each portion, in order; None for one that is too large for them.

    Raises:
        DataError: As reading the files here would, or if a worker does not see them or has another key.
    """
    small = [portion[0].size <= MOST_BYTES for portion in portions]
    items = (
        [Place(each.path, each.inner, each.archive is not None) for each in portion]
        for portion in compress(portions, small)
    )
    options = (context.timezone, context.date_order, context.phone_regions, dict(context.columns))
    pseudonyms = context.pseudonyms
    shared = (Path.cwd(), format_name, options, pseudonyms.check, KEPT_BYTES, pseudonyms.forgotten)
    found = pool.map(read_portion, items, *shared)
    for is_small in small:
        yield next(found) if is_small else None


def read_portion(
    places: list[Place],
    folder: Path,
    format_name: str,
    options: tuple[Any, ...],
    check: str,
    most: int,
    forgotten: frozenset[str] = frozenset(),
) -> Portion | None:
    """On a worker: read some files, as seen from a folder.

    None if their rows take more than ``most`` bytes, or they go beyond a whole folder's budget: the command, which
    knows what is left of it, says at which file and line that happens.
    """
    check_seen(folder)
    with chdir(folder):  # so that errors name files, and the key is looked for, as at the command
        pseudonyms = Pseudonyms()
        if pseudonyms.check != check:
            got = "none" if pseudonyms.is_demo else "another"
            raise DataError(
                f"{KEY_VARIABLE}: expected the command's key on {platform.node()} too, got {got}. Set it there before "
                f"ray start, or keep it in {KEY_FILE} of the project's folder."
            )
        pseudonyms.forget(forgotten)
        met: dict[tuple[str, ...], None] = {}
        context = Context(pseudonyms, lambda *names: met.setdefault(names), *options)
        kept, counts, masked = Kept(most), Counter[str](), Counter[str]()
        collector = Collector(context, masked, counts, kept)
        budget = Budget()
        try:
            for source, format_ in with_formats(_opened(places, budget), format_name, counts):
                collector.read(format_, source)
        except (TooLargeError, BudgetError):
            return None
    return Portion(collector.collected(), kept.batches, pseudonyms.known, list(met), counts, masked, budget.drawn)


def _opened(places: Iterable[Place], budget: Budget) -> Iterator[Source]:
    archive: Archive | None = None
    for place in places:
        if not place.in_archive:
            check_seen(place.path)
            yield Source(place.path, place.name, budget=budget)
            continue
        if archive is None or archive.path != place.path:
            check_seen(place.path)
            archive = open_archive(place.path)
        yield Source(place.path, place.name, archive, budget)
