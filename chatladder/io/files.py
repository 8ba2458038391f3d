"""Files between stages: read with errors that name file and line, written whole or not at all."""

import csv
import ctypes
import errno
import json
import os
import re
import shutil
import stat
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from secrets import token_hex
from typing import Any

from chatladder.io.console import DataError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: True if an open file or folder can be locked, moved and removed: not on Windows.
OPEN_FILES_MOVE = fcntl is not None
#: The end of the message of a failed read or write in Rust libraries (safetensors, tokenizers).
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")

#: A round of annotation: the only folder whose files no stage can make again.
ROUND_FOLDER = re.compile(r"round_([1-9]\d*)")
#: Constants of renameat2(2).
_HERE, _RENAME_EXCHANGE = -100, 2


@contextmanager
def whole_file(path: Path, *, answers: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` and move it there once the block ends without an error.

    Temporary files of processes that were killed are removed.

    Args:
        path: The file to write or replace.
        answers: True for the commands that may write into an annotation round.

    Raises:
        DataError: If the path lies in an annotation round, the disk is full, or the folder cannot be written.
    """
    if not answers:
        refuse_rounds(path)
    with _writing(path):
        temporary, lock = _locked(path, lambda new: os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)))
    mode = stat.S_IMODE(temporary.stat().st_mode)
    try:
        with _writing(path):
            yield temporary
            with temporary.open("r+b") as written:  # on Windows a file open for reading cannot be synced
                os.fsync(written.fileno())
            temporary.chmod(mode)  # safetensors replaces the file by one that only the owner can read
            temporary.replace(path)
    finally:
        with suppress(OSError):  # after a failure the writer may still be open
            temporary.unlink(missing_ok=True)
        lock.close()


@contextmanager
def whole_folder(path: Path, *written: str) -> Iterator[Path]:
    """Yield a temporary folder next to ``path`` that replaces it once the block ends without an error.

    A kill at any moment leaves the old folder or the new one. Temporary folders of processes that were killed are
    removed.

    Args:
        path: The folder to write or replace.
        written: The names, or patterns of names, of the files that the caller writes; see ``check_replaceable``.

    Raises:
        DataError: If the folder must not be replaced, the disk is full, or the parent folder cannot be written.
    """
    check_replaceable(path, *written)
    with _writing(path):
        _restore(path)
        temporary, lock = _locked(path, Path.mkdir)
    try:
        with _writing(path):
            yield temporary
            check_replaceable(path, *written)
            if path.exists():
                _exchange(temporary, path)
            else:
                temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        lock.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the path in errors of writing it.

    Raises:
        DataError: If the disk is full, or the path cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise _write_error(path, error) from error
    except Exception as error:
        # safetensors and tokenizers write by themselves and raise their own errors.
        if failed := _RUST_ERROR.search(str(error)):
            number = int(failed[1])
            raise _write_error(path, OSError(number, os.strerror(number))) from error
        raise


def check_replaceable(path: Path, *written: str) -> None:
    """Refuse a folder that holds, or may hold, anything but the output of the same command.

    Args:
        path: The folder to be replaced; a missing or an empty one passes.
        written: The patterns of all files that the command writes, relative to the folder, with the wildcards of
            ``fnmatch`` within a name. Every output of the command has a file that matches the first one. Without a
            pattern the folder must be new or empty.

    Raises:
        DataError: If it is the current folder or a parent of it, lies in an annotation round, is a link or a file, or
            holds a file that no pattern matches.
    """
    if path.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise DataError(
            f"{path}: expected a folder to write into, got the current folder or one above it. Name another."
        )
    refuse_rounds(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise DataError(f"{path}: expected a folder to write into, got a link or a file. Name another.")
    files = [entry for entry in path.rglob("*") if entry.is_symlink() or not entry.is_dir()]
    names = sorted(entry.relative_to(path).as_posix() for entry in files)
    foreign = [name for name in names if not any(_matches(name, pattern) for pattern in written)]
    if names and not foreign and not any(_matches(name, written[0]) for name in names):
        foreign = names
    if foreign:
        own = f"a new or empty folder, or one that holds {', '.join(written)} alone"
        raise DataError(
            f"{path}: expected {own if written else 'an empty folder'}, got one with {foreign[0]}; it was left as it "
            "is. Name another folder, or move that file away."
        )


def _matches(name: str, pattern: str) -> bool:
    """Return True if a relative path matches, folder by folder: no wildcard matches a "/"."""
    names, patterns = name.split("/"), pattern.split("/")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))


def refuse_rounds(path: Path) -> None:
    """Refuse a path in a folder of annotation answers, which no stage can make again.

    Raises:
        DataError: If the path is, or lies in, a folder named ``round_<n>``.
    """
    if any(ROUND_FOLDER.fullmatch(part.lower()) for part in path.resolve().parts):
        raise DataError(
            f"{path}: expected a place outside of the annotations, got one in a round's folder. "
            "Answers cannot be made again, so only the commands that annotate write there. Name another."
        )


def share(folder: Path) -> None:
    """Give the files in a folder the folder's mode, from the umask; safetensors lets only the owner read."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    for entry in folder.rglob("*"):
        entry.chmod(mode if entry.is_dir() else mode & 0o666)


def _exchange(new: Path, old: Path) -> None:
    """Swap the names of two folders: atomically if the system can, or else by way of a third name."""
    code = -1
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # a C library that lacks it
            code = ctypes.CDLL(None, use_errno=True).renameat2(_HERE, bytes(new), _HERE, bytes(old), _RENAME_EXCHANGE)
    if code != 0:  # or a file system that lacks it
        aside = _aside(old)
        old.rename(aside)
        new.rename(old)
        aside.rename(new)


def _restore(path: Path) -> None:
    """Restore a folder whose process was killed while ``_exchange`` used a third name."""
    aside = _aside(path)
    if aside.exists() and path.exists():
        shutil.rmtree(aside)
    elif aside.exists():
        aside.rename(path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _locked(path: Path, make: Callable[[Path], None]) -> tuple[Path, ExitStack]:
    """Make a temporary file or folder for ``path``; return it with a lock on it, which ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    lock = ExitStack()
    while True:
        temporary = path.with_name(f".{path.name}.{token_hex(4)}")
        try:
            make(temporary)
        except FileExistsError:
            continue
        if not OPEN_FILES_MOVE:  # leftovers stay
            return temporary, lock
        try:
            handle = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue
        lock.callback(os.close, handle)
        with suppress(OSError):  # some network drives have no locks; leftovers stay
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Before it was locked, another process may have removed it as a leftover.
        if temporary.exists():
            return temporary, lock
        lock.close()


def _sweep(path: Path) -> None:
    """Remove temporary files and folders for ``path`` that are not locked: their processes are dead."""
    if not OPEN_FILES_MOVE:
        return
    left = re.compile(re.escape(f".{path.name}.") + "[0-9a-f]{8}")
    for other in [other for other in path.parent.iterdir() if left.fullmatch(other.name)]:
        with suppress(OSError):  # locked, gone, or not ours
            lock = os.open(other, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if other.is_dir():
                    shutil.rmtree(other)
                else:
                    other.unlink()
            finally:
                os.close(lock)


def _write_error(path: Path, error: OSError) -> DataError:
    if error.errno == errno.ENOSPC:
        return DataError(f"{path}: the disk is full; nothing was written. Free some space and run again.")
    return DataError(f"{path}: cannot be written: {error.strerror or error}.")


def write_json(path: Path, value: Any, *, answers: bool = False) -> None:
    """Write one JSON document, indented, keys in the order given; ``answers`` as for ``whole_file``."""
    with whole_file(path, answers=answers) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")


def create_json(path: Path, value: Any) -> bool:
    """Write one JSON document of a round if it does not exist, whole or not at all; of several writers, the first wins.

    Returns:
        True if it was written; False if the file existed, which then stays as it is.

    Raises:
        DataError: If the disk is full, or the folder cannot be written or has no hard links.
    """
    candidate = path.with_name(f".{path.name}.{token_hex(8)}")
    write_json(candidate, value, answers=True)
    try:
        with _writing(path), suppress(FileExistsError):
            # Unlike a rename, a link never replaces an existing file, and it appears whole.
            path.hardlink_to(candidate)
            return True
    finally:
        candidate.unlink(missing_ok=True)
    return False


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        DataError: If it cannot be read, is not UTF-8 or not JSON, is nested too deep or has too long a number.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return _parsed(content.removeprefix(BOM_UTF8), path, "JSON")  # editors may write a byte order mark


def _parsed(content: bytes, path: Path, expected: str, line: int | None = None) -> Any:
    """Return the JSON of a file, or of one of its lines."""
    place = str(path) if line is None else f"{path}:{line}"
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected UTF-8, got byte 0x{content[error.start]:02x}.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line or error.lineno}: expected {expected}: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        # Python's reader limits more than JSON's grammar does: depth, and the digits of integers.
        is_deep = isinstance(error, RecursionError)
        got = "lists or objects nested too deep" if is_deep else "a number of thousands of digits"
        raise DataError(f"{place}: expected {expected}, got {got}.") from error


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file; empty lines are skipped.

    Raises:
        DataError: At the first line that is not UTF-8 or not a JSON object, or that ``read_json`` would refuse.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parsed(line, path, "a JSON object", number)
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}.")
            yield number, row


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one compact JSON object a line."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write a header and rows as CSV, with line feeds."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
