"""The annotation log: JSON lines, append-only, one file per round and annotator.

``data/annotations/round_2/li.jsonl`` holds what ``li`` answered in round 2::

    {"item_id": "9f2c…", "annotator": "li", "round": 2, "label": "needed", "at": "2023-10-01T12:00:00Z"}

A later line about the same item replaces the earlier one; a line with ``"undo": true`` takes the latest one
back, so the one before it counts again. Replaying the file therefore gives one answer per item and annotator,
however often the work was interrupted. If the annotator rewrote the question, ``"rewrite"`` holds the text, so a
rewrite is replaced and taken back with its answer. Adjudicators' answers are logged in the same way, in
``round_2/adjudication/chen.jsonl``, with the adjudicator as ``"annotator"``.
"""

import codecs
import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.io.files import OPEN_FILES_MOVE
from chatladder.labels.answer import Answer, is_beginning, line_of, parse
from chatladder.labels.rounds import Owner, check_log, check_owner, lost, owner

#: Windows would otherwise write a carriage return before each line feed.
_APPEND = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Replay:
    """The content of a log, read to its end.

    Attributes:
        answers: The answer that counts, by item, in the order in which items were first answered.
        lines: The line number of each, from 1.
        history: Every answer that was not taken back, replaced ones included, in the order in which they were given.
        torn: Number of the last line if its write was interrupted, else None.
    """

    answers: dict[str, Answer]
    lines: dict[str, int]
    history: list[Answer]
    torn: int | None


class HeldError(DataError):
    """Another process is writing the log."""


class LogWriter:
    """A log open for appending; each answer is on disk before ``append`` returns.

    While it is open, no other process can write the log. The lock belongs to the process, so a killed one leaves no
    stale lock. On Windows, where a locked file cannot be read either, the lock is on ``.<annotator>.lock`` next to the
    log.

    Until its first answer the log has the name ``.<annotator>.begun``. A log under its final name is thus never empty,
    and an empty one is known to have lost its answers.

    Attributes:
        path: The log.
        set_aside: The number of bytes of an incomplete line that an earlier crash left. At opening they are moved to
            ``.<annotator>.torn`` next to the log, so that they cannot corrupt the next answer. The incomplete answer
            was never confirmed to the annotator.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the log, and repair its end.

        Raises:
            HeldError: If another process holds it.
            DataError: If it cannot be written, holds no answer, or its last line is malformed.
        """
        self._owner = owner(path)
        self.path = path
        self._begun = path.with_name(f".{path.stem}.begun")
        self._held = ExitStack()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not OPEN_FILES_MOVE:
                self._held.enter_context(_locked_beside(path))
            self._handle = self._open()
        except OSError as error:
            self._held.close()
            raise _not_recorded(path, error) from error
        try:
            self.set_aside = self._mend()
            self._size = os.fstat(self._handle).st_size
            self._is_whole = True
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
        """Close the log, and remove a new one that holds no answer."""
        is_empty = False
        with self._held:
            with suppress(OSError):
                is_empty = _is_at(self._handle, self._begun) and not os.fstat(self._handle).st_size
                if is_empty and OPEN_FILES_MOVE:
                    self._begun.unlink()
            os.close(self._handle)
            with suppress(OSError):
                if is_empty and not OPEN_FILES_MOVE:
                    self._begun.unlink()

    def append(self, answer: Answer) -> None:
        """Append an answer and wait until it is on disk. If that fails, the log is unchanged.

        Raises:
            DataError: If the answer belongs in another file or cannot be written, or something else changed the log
                since it was opened.
        """
        self.extend([answer])

    def extend(self, answers: Iterable[Answer]) -> None:
        """Append answers, all of them or none, as ``append`` does one.

        Raises:
            DataError: As ``append`` does.
        """
        lines = []
        for answer in answers:
            check_owner(answer, self._owner, where=str(self.path))
            lines.append(f"{line_of(answer)}\n")
        content = "".join(lines).encode()
        try:
            if not self._is_whole:
                self._take_back()
            self._check_unchanged()
            self._is_whole = False
            _write(self._handle, content)
            os.fsync(self._handle)
            if not self._size and content:
                self._move(self._begun, self.path)
                # Without these a crash of the machine could lose the file itself, with every answer in it.
                _sync_folder(self.path.parent)
                _sync_folder(self.path.parent.parent)
            self._size += len(content)
            self._is_whole = True
        except BaseException as error:
            with suppress(OSError):  # tried again before the next answer
                self._take_back()
            if isinstance(error, OSError):
                raise _not_recorded(self.path, error) from error
            raise

    def _open(self) -> int:
        """Open the log, or its ``.begun`` file, for this process alone."""
        while True:
            is_there = os.path.lexists(self.path)
            place = self.path if is_there else self._begun
            handle = os.open(place, _APPEND | (0 if is_there else os.O_CREAT), 0o644)
            try:
                if OPEN_FILES_MOVE:
                    self._lock(handle)
                # Before it was locked, another process may have removed it, or renamed it to its final name.
                if _is_at(handle, place) and os.path.lexists(self.path) == is_there:
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _lock(self, handle: int) -> None:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _is_held(self.path) from error

    def _move(self, source: Path, target: Path) -> None:
        """Move the log while it is open."""
        if OPEN_FILES_MOVE:
            source.rename(target)
            return
        os.close(self._handle)
        try:
            source.rename(target)
        finally:
            self._handle = os.open(target if target.exists() else source, _APPEND)

    def _mend(self) -> int:
        """End the log with a newline: complete a last line that lacks only that, set aside one that was cut short."""
        if _is_at(self._handle, self._begun):
            cut, is_all = self._begun.read_bytes(), True  # nothing in it was ever confirmed
        else:
            lines = _lines(self.path)
            last = [answer for _, answer in _answers(self.path, lines, start=len(lines) - 1)]
            if last and last[0] is not None:
                _write(self._handle, b"\n")
                os.fsync(self._handle)
            cut = lines[-1] if None in last else b""
            is_all = not any(line.strip() for line in lines[:-1])
        if cut:
            self._set_aside(cut, is_all=is_all)
        return len(cut)

    def _set_aside(self, cut: bytes, *, is_all: bool) -> None:
        with self.path.with_name(f".{self.path.stem}.torn").open("ab") as aside:
            aside.write(cut + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        if is_all and not _is_at(self._handle, self._begun):
            self._move(self.path, self._begun)
        os.ftruncate(self._handle, 0 if is_all else os.fstat(self._handle).st_size - len(cut))
        os.fsync(self._handle)

    def _take_back(self) -> None:
        if not self._is_whole:
            if not self._size and _is_at(self._handle, self.path):
                self._move(self.path, self._begun)
            os.ftruncate(self._handle, self._size)
            self._is_whole = True

    def _check_unchanged(self) -> None:
        # A checkout or an editor may have replaced the file: answers would go to one that nobody sees.
        place = self.path if self._size else self._begun
        is_same = _is_at(self._handle, place) and os.fstat(self._handle).st_size == self._size
        if not is_same or (not self._size and os.path.lexists(self.path)):
            raise DataError(
                f"{self.path}: expected the log as this process left it, but something else changed, replaced or "
                "removed it meanwhile. The answer was not recorded. Quit, look at the file, and start again."
            )


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Lock a log while a block replaces it, and repair its end first.

    Raises:
        DataError: As ``LogWriter``.
    """
    with LogWriter(path):
        if OPEN_FILES_MOVE:
            yield
    if not OPEN_FILES_MOVE:  # an open file could not be replaced
        with _locked_beside(path):
            yield


@contextmanager
def _locked_beside(path: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.stem}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise _is_held(path) from error
    try:
        yield
    finally:
        lock.release()


def _is_held(path: Path) -> HeldError:
    who = owner(path)
    return HeldError(
        f"{path}: another process is writing this log: {who.name!a} {who.does} in another window. Close that one, or "
        "go on under another name."
    )


def create(path: Path, answers: Iterable[Answer]) -> None:
    """Write a new log of answers from another source, whole or not at all.

    Raises:
        DataError: If the log exists or is being created, or an answer belongs in another file.
    """
    with LogWriter(path) as log:
        refuse_existing(path)
        log.extend(answers)


def refuse_existing(path: Path) -> None:
    """Refuse to write a new log over an existing one.

    Raises:
        DataError: If the log exists.
    """
    if os.path.lexists(path):
        raise DataError(f"{path}: expected no log here yet; answers are only ever added to one, never replaced.")


def replay(path: Path) -> Replay:
    """Read a whole log; a missing one is empty.

    Raises:
        DataError: If the log cannot be read or is empty; at the first line that is malformed, belongs to another
            round or annotator, or undoes nothing. A last line cut short is not an error: it is named in ``torn``.
    """
    torn = None
    standing: dict[int, Answer] = {}  # by line
    latest: dict[str, int | None] = {}  # by item: the line that counts; None where all were taken back
    replaced: dict[int, int] = {}  # by line: the line before it about the same item
    for number, answer in _answers(path, _lines(path) if os.path.lexists(path) else []):
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


def _lines(path: Path) -> list[bytes]:
    """Return the lines of a log, whatever their line ends; the last is the text after the last line end.

    Raises:
        DataError: If it cannot be read or holds no answer.
    """
    check_log(path)
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if not content.strip():
        raise lost(path)
    lines = content.splitlines()  # bytes split at line feeds and carriage returns alone, and no JSON string holds these
    return [*lines, b""] if content.endswith((b"\n", b"\r")) else lines


def _answers(path: Path, lines: list[bytes], start: int = 0) -> Iterator[tuple[int, Answer | None]]:
    """Yield the number, from 1, and answer of each non-empty line; None for a last line that was cut short.

    Args:
        path: The log, which gives the owner and the place for errors.
        lines: All lines of the log.
        start: The number of lines to skip.

    Raises:
        DataError: At the first line that is malformed or belongs in another log.
    """
    log = owner(path)
    for number, line in enumerate(lines[start:], start=start + 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            answer = parse(json.loads(line.decode("utf-8")), where)
            check_owner(answer, log, where)
        except (ValueError, RecursionError) as error:
            # Whole lines have a line end: only text after the last one can be an interrupted write.
            if number < len(lines) or not _is_cut_short(line, log):
                raise DataError(f"{where}: expected a JSON object: {error}. {_remedy(line)}") from error
            yield number, None
        else:
            yield number, answer


def _is_cut_short(line: bytes, own: Owner) -> bool:
    """Return True if a line is only the beginning of an answer, as an interrupted write leaves it."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(line)  # the last character may be cut, too
    except UnicodeDecodeError:
        return False
    return is_beginning(text, own.name, own.round)


def _remedy(line: bytes) -> str:
    if line.count(b'"item_id"') > 1:
        return "The line holds several answers: end each with a line feed."
    return "Correct or remove the line."


def _is_at(handle: int, place: Path) -> bool:
    """Return True if an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False


def _write(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def _sync_folder(folder: Path) -> None:
    if not OPEN_FILES_MOVE:  # Windows, which cannot open a folder either
        return
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
