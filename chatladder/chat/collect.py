"""Messages of all formats gathered: named by pseudonyms, masked, hashed, checked for order, and put aside on disk.

Only what decides a message's identity and place stays in memory, some 50 bytes each.

Where there are other processes they read files too, a portion at a time; what they find is added up in the order of the
files. Who somebody is does not depend on where a file is read, with one exception: of two names that meet in one
pseudonym the later gets a longer one (``chatladder.privacy.pseudonyms``). So a worker tells which names it asked for;
where one of them turns out to have another pseudonym, the portion is read again by the process that knows.

Workers take the key from where the command has it, and are told only what checks it: it must never lie in a cluster's
store.
"""

import platform
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import chdir
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from chatladder.chat.exports import open_archive
from chatladder.chat.formats import Format, with_formats
from chatladder.chat.message import Context, Message, Skipped, valid_text
from chatladder.chat.options import ExportOptions
from chatladder.chat.source import Archive, Budget, BudgetError, Source
from chatladder.distributed import Workers, check_seen
from chatladder.io.console import DataError
from chatladder.io.rows import MESSAGES
from chatladder.privacy import masking
from chatladder.privacy.pseudonyms import Known, Pseudonyms
from chatladder.privacy.secret import KEY_FILE, KEY_VARIABLE

BATCH_ROWS, BATCH_CHARACTERS = 16_384, 2**26
#: What waits on disk: a message without what can only be settled once every file is read.
COLLECTED = pa.schema([field for field in MESSAGES if field.name not in ("message_id", "reply_to")])
#: In place of a timestamp that the export does not have.
NO_TIME = -(2**63)
#: Small files are read together until they hold so much.
PORTION_BYTES = 32 * 2**20
#: What a worker holds of a portion at most: a packed file may be far larger than it looks.
KEPT_BYTES = 2**30


class Index(NamedTuple):
    """The facts that decide about each collected row; arrays of shape ``(rows,)`` where nothing else is said."""

    key: np.ndarray  # 64-bit keyed hash of what identifies the message
    has_own_id: np.ndarray  # bool: the hash is of the export's own id
    file: np.ndarray  # number of its file
    line: np.ndarray
    group: np.ndarray  # number of its group, in the order of the groups' pseudonyms
    sender: np.ndarray  # number of its sender
    timestamp: np.ndarray  # UTC seconds, or NO_TIME
    replies: tuple[np.ndarray, np.ndarray]  # rows that answer a message, and the keys of those messages
    recalls: np.ndarray  # keys of messages that were taken back
    files: list[str]  # name of each file


class Writer(Protocol):
    """A place to put texts aside."""

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows of ``COLLECTED``."""


class Collector:
    """Takes the messages of one file after another."""

    def __init__(self, context: Context, masked: Counter[str], counts: Counter[str], texts: Writer) -> None:
        """Start with nothing.

        Args:
            context: The context of the files.
            masked: Gains one for everything masked, by kind.
            counts: Gains one for every record, and one under its reason for each that makes no message.
            texts: The place where the texts wait.
        """
        self.groups: dict[str, int] = {}  # the exports' own names
        self._texts = texts
        self._context = context
        self._masked = masked
        self._counts = counts
        self._files: list[str] = []
        self._senders: dict[str, int] = {}
        self._absent: set[str] = set()
        self._columns = {name: array(code) for name, code in zip(Index._fields[:7], "Qbiiiiq", strict=True)}
        self._reply_rows, self._reply_keys, self._recalls = array("q"), array("Q"), array("Q")

    def read(self, format_: Format, source: Source, progress: tqdm | None = None) -> None:
        """Take one file's records, checking that time does not run backwards within a group."""
        self._files.append(source.name)
        latest: dict[str, int] = {}
        rows: list[tuple[Any, ...]] = []
        characters = 0
        for item in source.counted(format_.parse(source, self._context)):
            self._counts["raw_lines"] += 1
            if isinstance(item, Skipped):
                self._counts[f"skipped_{item.reason}"] += 1
                continue
            if reason := self._context.left_out(item.sender):
                self._counts[f"skipped_{reason}"] += 1
                self._know_absent(item.sender)
                continue
            if item.timestamp is not None:
                self._check_order(item, latest, source, format_.LATE_SECONDS)
            rows.append(self._row(item, source))
            characters += len(item.text)
            if len(rows) == BATCH_ROWS or characters > BATCH_CHARACTERS:
                self._put_aside(rows, progress)
                rows, characters = [], 0
        self._put_aside(rows, progress)

    def portion(self, **rest: Any) -> "Portion":
        """Return the rows read so far, with all else that a worker tells."""
        replies = self._reply_rows, self._reply_keys
        columns, recalls = self._columns, self._recalls
        return Portion(list(self.groups), list(self._senders), self._files, columns, replies, recalls, **rest)

    def add(self, other: "Portion") -> None:
        """Take over what a worker read, as if its files had been read here.

        The pseudonyms must be those that would be made here.
        """
        rows, files = len(self._columns["key"]), len(self._files)
        groups = [self.groups.setdefault(name, len(self.groups)) for name in other.groups]
        senders = [self._senders.setdefault(name, len(self._senders)) for name in other.senders]
        own = {name: np.frombuffer(values, values.typecode) for name, values in other.columns.items()}
        own["group"] = np.array(groups, "i")[own["group"]]
        own["sender"] = np.array(senders, "i")[own["sender"]]
        own["file"] = own["file"] + np.array(files, "i")
        for name, values in own.items():
            self._columns[name].frombytes(values.tobytes())
        self._files += other.files
        reply_rows, reply_keys = other.replies
        self._reply_rows.extend(row + rows for row in reply_rows)
        self._reply_keys.extend(reply_keys)
        self._recalls.extend(other.recalls)
        for names in other.met:
            self._context.know(*names)
        for batch in other.batches:
            self._texts.write(batch)
        self._counts.update(other.counts)
        self._masked.update(other.masked)

    def index(self) -> Index:
        """Return the facts that decide about each row read so far; they are handed over, not kept."""
        columns = {name: np.frombuffer(values, values.typecode) for name, values in self._columns.items()}
        columns["has_own_id"] = columns["has_own_id"].astype(bool)
        names = [self._context.pseudonyms.group(name) for name in self.groups]
        columns["group"] = np.argsort(np.argsort(np.array(names, dtype=object), kind="stable"))[columns["group"]]
        self._columns = {}
        return Index(
            **columns,
            replies=(np.frombuffer(self._reply_rows, "q"), np.frombuffer(self._reply_keys, "Q")),
            recalls=np.frombuffer(self._recalls, "Q"),
            files=self._files,
        )

    def _know_absent(self, sender: str) -> None:
        """Have the name of somebody whose messages are left out found in the texts of others."""
        if sender not in self._absent:
            self._absent.add(sender)
            self._context.know(sender)

    def _check_order(self, item: Message, latest: dict[str, int], source: Source, allowed: int | None) -> None:
        timestamp = item.timestamp or 0
        before = latest.get(item.group, timestamp)
        if timestamp < before:
            self._counts["late"] += 1
            if allowed is not None and before - timestamp > allowed:
                raise DataError(
                    f"{source.where(item.line)}: expected messages in the order of time, got one that is "
                    f"{before - timestamp} s older than one before it in its group ({allowed} s are "
                    "allowed). Sort the export by time."
                )
        latest[item.group] = max(before, timestamp)

    def _row(self, item: Message, source: Source) -> tuple[Any, ...]:
        pseudonyms = self._context.pseudonyms
        group = pseudonyms.group(item.group)
        sender = pseudonyms.person(item.sender)
        if sender not in self._senders:
            self._context.know(item.sender)
        text, damaged = valid_text(item.text)
        mask = masking.mask_file_name if item.kind == "file" else masking.mask
        text = mask(text, self._masked, self._context.phone_regions)
        self._counts["damaged"] += item.damaged or damaged
        # A message keeps its id where one export knows its topic and another does not.
        chat = item.group if item.chat is None else item.chat
        if item.own_id is not None:
            key = pseudonyms.message(chat, item.own_id)
        else:
            # Without a time, equal rows of two files are not known to be one message.
            time = source.plain_name if item.timestamp is None else str(item.timestamp)
            # As typed, so that the answers about a message stay with it when more of it is masked.
            typed = item.text if item.typed is None else item.typed
            key = pseudonyms.message(item.group, item.sender, time, typed)
        if item.reply_to is not None:
            self._reply_rows.append(len(self._columns["key"]))
            self._reply_keys.append(pseudonyms.message(chat, item.reply_to))
        if item.recalls is not None:
            self._recalls.append(pseudonyms.message(chat, item.recalls))
        columns = self._columns
        columns["key"].append(key)
        columns["has_own_id"].append(item.own_id is not None)
        columns["file"].append(len(self._files) - 1)
        columns["line"].append(item.line)
        columns["group"].append(self.groups.setdefault(item.group, len(self.groups)))
        columns["sender"].append(self._senders.setdefault(sender, len(self._senders)))
        columns["timestamp"].append(NO_TIME if item.timestamp is None else item.timestamp)
        place = f"{pseudonyms.file(source.name)}:{item.line}"
        return group, sender, item.timestamp, item.resolution_seconds, item.kind, text, place

    def _put_aside(self, rows: list[tuple[Any, ...]], progress: tqdm | None) -> None:
        if progress is not None:
            progress.update(len(rows))
        if rows:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, COLLECTED, strict=True)]
            self._texts.write(pa.RecordBatch.from_arrays(arrays, schema=COLLECTED))


class Place(NamedTuple):
    """Where a file is, in words that can be sent."""

    path: Path
    name: str  # below the folder of exports, or inside the archive
    in_archive: bool


class Portion(NamedTuple):
    """The content of some files that a worker read; numbers in it are its own."""

    groups: list[str]  # the exports' own names
    senders: list[str]  # pseudonyms
    files: list[str]
    columns: dict[str, "array[int]"]  # as the first fields of ``Index``
    replies: tuple["array[int]", "array[int]"]  # as in ``Index``
    recalls: "array[int]"
    batches: list[pa.RecordBatch]  # of COLLECTED
    known: Known  # pseudonyms that it asked for
    met: list[tuple[str, ...]]  # arguments of ``Context.know``
    counts: Counter[str]
    masked: Counter[str]
    drawn: dict[tuple[str, str], int]  # as in ``Budget``


class TooLargeError(Exception):
    """A portion that does not fit into ``KEPT_BYTES``."""


class Kept:
    """Batches in memory, in place of files on disk."""

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


def cut(sources: Iterable[Source], most: int) -> Iterator[list[Source]]:
    """Successive files that are read together; one that is larger than ``most`` bytes is alone."""
    gathered: list[Source] = []
    size = 0
    for source in sources:
        own = source.size
        if gathered and (own > most or size + own > PORTION_BYTES):
            yield gathered
            gathered, size = [], 0
        gathered.append(source)
        size += own
    if gathered:
        yield gathered


def read_portions(
    portions: list[list[Source]], options: ExportOptions, pseudonyms: Pseudonyms, pool: Workers
) -> Iterator[Portion | None]:
    """Have workers read the portions, in order; None for one that this process is to read.

    Raises:
        DataError: As reading the files here would, or if a worker does not see them or has another key.
    """
    small = [portion[0].size < pool.most_bytes for portion in portions]
    items = (
        [Place(each.path, each.inner, each.archive is not None) for each in portion]
        for portion in compress(portions, small)
    )
    shared = (Path.cwd(), options, pseudonyms.check, KEPT_BYTES, pseudonyms.forgotten)
    found = pool.map(read_portion, items, *shared)
    for is_small in small:
        yield next(found) if is_small else None


def read_portion(
    places: list[Place],
    folder: Path,
    options: ExportOptions,
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
        context = options.context(pseudonyms, lambda *names: met.setdefault(names))
        kept, counts, masked = Kept(most), Counter[str](), Counter[str]()
        collector = Collector(context, masked, counts, kept)
        budget = Budget()
        try:
            for source, format_ in with_formats(_opened(places, budget), options.format, counts):
                collector.read(format_, source)
        except (TooLargeError, BudgetError):
            return None
    return collector.portion(
        batches=kept.batches,
        known=pseudonyms.known,
        met=list(met),
        counts=counts,
        masked=masked,
        drawn=budget.drawn,
    )


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
