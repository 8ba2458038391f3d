"""Collect messages of all formats: pseudonymise, mask and hash them, check their order, set their texts aside on disk.

Only the fields that decide a message's identity and position stay in memory, some 50 bytes each.

Where workers exist, they read files too, a portion at a time, and their results are added in the order of the files. A
person's pseudonym does not depend on which process reads a file, with one exception: where two names collide in one
pseudonym, the later one gets a longer pseudonym (``chatladder.privacy.pseudonyms``). So a worker returns the names it
asked for; if one of them turns out to have another pseudonym, the main process reads the portion again.

Workers load the key themselves, from where the command has it, and are sent only a checksum of it: the key must never
reach a cluster's object store.
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
#: The columns that wait on disk: a message without those that are known only once every file is read.
COLLECTED = pa.schema([field for field in MESSAGES if field.name not in ("message_id", "reply_to")])
#: Stands for the timestamp that an export does not have.
NO_TIME = -(2**63)
#: Small files are read together up to this size.
PORTION_BYTES = 32 * 2**20
#: The most that a worker keeps in memory of a portion: a packed file may be far larger than it looks.
KEPT_BYTES = 2**30


class Index(NamedTuple):
    """The facts that decide each collected row's identity and position; arrays have shape ``(rows,)`` by default."""

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
    """Anything that texts can be written to until they are needed."""

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows of ``COLLECTED``."""


class Collector:
    """Collects the messages of one file after another."""

    def __init__(self, context: Context, masked: Counter[str], counts: Counter[str], texts: Writer) -> None:
        """Start empty.

        Args:
            context: The context of the files.
            masked: Counts the masked items by kind.
            counts: Counts all records, and those that make no message by reason.
            texts: Receives the rows of ``COLLECTED``.
        """
        self.groups: dict[str, int] = {}  # names as in the exports
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
        """Collect one file's records, checking that time does not run backwards within a group."""
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
        """Return the rows read so far, with ``rest``, the other fields that a worker returns."""
        replies = self._reply_rows, self._reply_keys
        columns, recalls = self._columns, self._recalls
        return Portion(list(self.groups), list(self._senders), self._files, columns, replies, recalls, **rest)

    def add(self, other: "Portion") -> None:
        """Add the rows that a worker read, as if this process had read its files.

        The worker's pseudonyms must equal those that this process would make.
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
        """Return the facts about each row read so far, and release them."""
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
        """Record the name of a person whose messages are left out, so that it is found in the texts of others."""
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
        # A message keeps its id even if only one of two exports knows its topic.
        chat = item.group if item.chat is None else item.chat
        if item.own_id is not None:
            key = pseudonyms.message(chat, item.own_id)
        else:
            # Without a time, equal rows of two files may be different messages.
            time = source.plain_name if item.timestamp is None else str(item.timestamp)
            # The text as typed, so that labels of a message stay valid when more of it is masked.
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
    """The location of a file, in a form that can be sent to a worker."""

    path: Path
    name: str  # below the folder of exports, or inside the archive
    in_archive: bool


class Portion(NamedTuple):
    """The content of some files that a worker read; its row, file, group and sender numbers are local."""

    groups: list[str]  # names as in the exports
    senders: list[str]  # pseudonyms
    files: list[str]
    columns: dict[str, "array[int]"]  # as the first fields of ``Index``
    replies: tuple["array[int]", "array[int]"]  # as in ``Index``
    recalls: "array[int]"
    batches: list[pa.RecordBatch]  # of COLLECTED
    known: Known  # the pseudonyms that the worker asked for
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
            TooLargeError: If the rows exceed the limit.
        """
        self._left -= rows.nbytes
        if self._left < 0:
            raise TooLargeError
        self.batches.append(rows)


def cut(sources: Iterable[Source], most: int) -> Iterator[list[Source]]:
    """Group successive files that are read together; a file larger than ``most`` bytes is alone."""
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
    """Have workers read the portions, in order; yield None for a portion that this process must read.

    Raises:
        DataError: As when reading the files locally, or if a worker cannot see them or has another key.
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
    """Read some files on a worker, as seen from a folder.

    Return None if their rows take more than ``most`` bytes or exceed the budget of a whole folder: only the command
    knows how much of the budget is left, and it reports the file and line where that runs out.
    """
    check_seen(folder)
    with chdir(folder):  # so that errors name files, and the key is looked up, as in the command
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
