"""The annotation log: one JSON object a line, only ever appended to, one file per round and annotator.

``data/annotations/round_2/li.jsonl`` holds what ``li`` answered in round 2::

    {"item_id": "9f2c…", "annotator": "li", "round": 2, "label": "needed", "at": "2023-10-01T12:00:00Z"}

A later line about the same item replaces the earlier one; a line with ``"undo": true`` takes the latest one
back, so the one before it counts again. Replaying the file therefore gives one answer per item and annotator,
however often the work was interrupted. What an adjudicator settles is kept in the same way, in
``round_2/adjudication/chen.jsonl``, with the adjudicator as ``"annotator"``.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages.annotation.answer import Answer, Label, line_of, line_reader, now, parse, row_of
from stages.annotation.rounds import (
    adjudication_files,
    adjudication_path,
    check_owner,
    latest_answered,
    latest_round,
    log_files,
    log_path,
    owner,
)
from stages.cli import DataError
from stages.files import write_jsonl

__all__ = [
    "Answer",
    "HeldError",
    "Label",
    "LogWriter",
    "adjudication_files",
    "adjudication_path",
    "append",
    "create",
    "latest_answered",
    "latest_round",
    "log_files",
    "log_path",
    "now",
    "replay",
]


@dataclass(frozen=True)
class Replay:
    """What a log says once it is read to its end.

    Attributes:
        answers: The answer that counts, by item, in the order in which items were first answered.
        lines: The line each of them stands on, from 1.
        history: Every answer that was not taken back, replaced ones too, in the order in which they were given.
        torn: Number of a last line that was cut short while it was written, or None.
    """

    answers: dict[str, Answer]
    lines: dict[str, int]
    history: list[Answer]
    torn: int | None


class HeldError(DataError):
    """Another process writes the log."""


class LogWriter:
    """A log held open by one process, to add answers to: each is on the disk before ``append`` returns.

    While it is open no other process can write the log. The lock belongs to the process, not to a file that
    could stay behind, so a killed one leaves none.

    Attributes:
        path: The log.
        set_aside: Bytes of a last line that an earlier crash had cut short, found at opening. They were moved to
            ``.<annotator>.torn`` beside the log, so that they cannot swallow the next answer. Such an answer was
            never confirmed to the annotator.
    """

    def __init__(self, path: Path) -> None:
        """Open the log, or begin it, and mend its end.

        Raises:
            HeldError: If another process holds it.
            DataError: If it cannot be written.
        """
        self._owner = owner(path)
        self.path = path
        try:
            is_new = not path.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _not_recorded(path, error) from error
        self._is_held = False
        try:
            self._lock()
            self.set_aside = self._mend()
            self._size = os.fstat(self._handle).st_size
            self._is_whole = True
            if is_new:
                # Without these a crash of the machine could lose the file itself, with every answer in it.
                _sync_folder(path.parent)
                _sync_folder(path.parent.parent)
        except OSError as error:
            self.close()
            raise _not_recorded(path, error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the log; one that holds no answer goes with it."""
        with suppress(OSError):
            own = os.fstat(self._handle)
            if self._is_held and own.st_size == 0 and os.path.samestat(own, self.path.stat()):
                self.path.unlink()
        os.close(self._handle)

    def append(self, answer: Answer) -> None:
        """Add one answer and wait until it is on the disk. If that fails, the log is as it was.

        Raises:
            DataError: If the answer belongs into another file or cannot be written, or something else changed
                the log since it was opened.
        """
        check_owner(answer, self._owner, where=str(self.path))
        line = f"{line_of(answer)}\n".encode()
        try:
            if not self._is_whole:
                self._take_back()
            self._check_unchanged()
            self._is_whole = False
            _write(self._handle, line)
            os.fsync(self._handle)
            self._size += len(line)
            self._is_whole = True
        except BaseException as error:
            with suppress(OSError):  # tried again before the next answer
                self._take_back()
            if isinstance(error, OSError):
                raise _not_recorded(self.path, error) from error
            raise

    def _lock(self) -> None:
        import fcntl  # not on Windows, where the rest of this module works

        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HeldError(
                f"{self.path}: another process is writing this log: {self._owner.name!a} {self._owner.does} in another "
                "window. Close that one, or go on under another name."
            ) from error
        self._is_held = True

    def _mend(self) -> int:
        """End the log with a newline: complete a last line that lacks only that, move one aside that was cut short."""
        content = self.path.read_bytes()
        last = content.rpartition(b"\n")[2]
        if not last:
            return 0
        try:
            json.loads(last.decode("utf-8"))
        except (ValueError, RecursionError):
            with self.path.with_name(f".{self.path.stem}.torn").open("ab") as aside:
                aside.write(last + b"\n")
                aside.flush()
                os.fsync(aside.fileno())
            os.ftruncate(self._handle, len(content) - len(last))
            os.fsync(self._handle)
            return len(last)
        _write(self._handle, b"\n")
        os.fsync(self._handle)
        return 0

    def _take_back(self) -> None:
        if not self._is_whole:
            os.ftruncate(self._handle, self._size)
            self._is_whole = True

    def _check_unchanged(self) -> None:
        # A checkout or an editor may put another file in its place: answers would go to one that nobody sees.
        own = os.fstat(self._handle)
        there = self.path.stat() if self.path.exists() else None
        if there is None or (own.st_dev, own.st_ino, own.st_size) != (there.st_dev, there.st_ino, self._size):
            raise DataError(
                f"{self.path}: expected the log as this process left it, but something else changed, replaced or "
                "removed it meanwhile. The answer was not recorded. Quit, look at the file, and start again."
            )


def append(path: Path, answer: Answer) -> None:
    """Add one answer to a log and wait until it is on the disk.

    Raises:
        DataError: As ``LogWriter`` does.
    """
    check_owner(answer, owner(path), where=str(path))
    with LogWriter(path) as log:
        log.append(answer)


def create(path: Path, answers: Iterable[Answer]) -> None:
    """Write a new log of answers that were given elsewhere, whole or not at all.

    Raises:
        DataError: If the log exists, or an answer belongs into another file.
    """
    if path.exists():
        raise DataError(f"{path}: expected no log here yet; answers are only ever added to one, never replaced.")
    rows = []
    for answer in answers:
        check_owner(answer, owner(path), where=str(path))
        rows.append(row_of(answer))
    write_jsonl(path, rows, answers=True)


def replay(path: Path) -> Replay:
    """Read a log from its first line to its last.

    Raises:
        DataError: At the first line that is malformed, belongs to another round or annotator, or undoes
            nothing. A last line cut short is not an error: it is named in ``torn``.
    """
    torn = None
    standing: dict[int, Answer] = {}  # by line
    latest: dict[str, int | None] = {}  # by item: the line that counts; None where all were taken back
    replaced: dict[int, int] = {}  # by line: the line before it about the same item
    for number, answer in _read(path):
        if answer is None:
            torn = number
            continue
        counting = latest.get(answer.item_id)
        if not answer.undo:
            standing[number] = answer
            latest[answer.item_id] = number
            if counting is not None:
                replaced[number] = counting
        elif counting is not None:
            del standing[counting]
            latest[answer.item_id] = replaced.get(counting)
        else:
            raise DataError(
                f"{path}:{number}: expected an earlier answer to undo, got none for this item. Remove the line."
            )
    lines = {item_id: number for item_id, number in latest.items() if number is not None}
    return Replay(
        answers={item_id: standing[number] for item_id, number in lines.items()},
        lines=lines,
        history=list(standing.values()),
        torn=torn,
    )


def _read(path: Path) -> Iterator[tuple[int, Answer | None]]:
    """Every line that is not empty, by number from 1; None for a last one that was cut short."""
    own = owner(path)
    read = line_reader(own.name, own.round)
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8")
            answer = read(text)
            if answer is None:
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                answer = parse(json.loads(text), where)
                check_owner(answer, own, where)
        except (ValueError, RecursionError) as error:
            # Whole lines end in a newline: only a piece after the last one can be an interrupted write.
            if number < len(lines):
                raise DataError(
                    f"{path}:{number}: expected a JSON object: {error}. Correct or remove the line."
                ) from error
            answer = None
        yield number, answer


def _write(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_recorded(path: Path, error: OSError) -> DataError:
    if error.errno == errno.ENOSPC:
        return DataError(
            f"{path}: the answer could not be recorded: the disk is full. Free some space and answer again."
        )
    return DataError(f"{path}: the answer could not be recorded: {error.strerror or error}.")
