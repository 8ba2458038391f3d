"""Files between stages: read with errors that name file and line, written whole or not at all."""

import csv
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from stages.cli import DataError

#: How the message of a failed read or write ends in libraries written in Rust (safetensors, tokenizers).
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there once the block ends without an error.

    What a process that was killed left of an earlier try is removed.

    Raises:
        DataError: If the disk is full or the folder cannot be written.
    """

    def make() -> Path:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        return Path(name)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _locked(path, make)
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that replaces it once the block ends without an error.

    What a process that was killed left of an earlier try is removed.

    Raises:
        DataError: If the disk is full or the parent folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _locked(path, lambda: Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)))
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    except Exception as error:
        # safetensors and tokenizers write by themselves and raise errors of their own.
        if failed := _RUST_ERROR.search(str(error)):
            number = int(failed[1])
            raise _write_error(path, OSError(number, os.strerror(number))) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def _locked(path: Path, make: Callable[[], Path]) -> tuple[Path, int]:
    """A temporary file or folder for ``path``, and an open lock on it, which ends with the process at the latest."""
    _sweep(path)
    while True:
        temporary = make()
        try:
            lock = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with suppress(OSError):  # some network drives have no locks; what is left there stays
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Until it was locked, another process may have taken it for left over.
        if temporary.exists():
            return temporary, lock
        os.close(lock)


def _sweep(path: Path) -> None:
    """Remove temporary files and folders for ``path`` that nobody has locked: their processes are dead."""
    left = re.compile(re.escape(f".{path.name}.") + "[a-z0-9_]{8}")
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


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, indented, keys in the order given."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def create_json(path: Path, value: Any) -> bool:
    """Write one JSON document where none is yet, whole or not at all; of several who do so at once, the first wins.

    Returns:
        Whether it was written: False where the file was there already, and stays as it is.

    Raises:
        DataError: If the disk is full, or the folder cannot be written or has no hard links.
    """
    candidate = path.with_name(f".{path.name}.{token_hex(8)}")
    write_json(candidate, value)
    try:
        # A link never replaces what is there, as a rename would, and what it makes appears whole.
        path.hardlink_to(candidate)
    except FileExistsError:
        return False
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}.") from error
    finally:
        candidate.unlink(missing_ok=True)
    return True


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        DataError: If it cannot be read, is not UTF-8 or not JSON, or is too deep or too long a number to be held.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, got byte 0x{error.object[error.start]:02x}.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: expected JSON: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON, got {_beyond_json(error)}.") from error


def _beyond_json(error: ValueError | RecursionError) -> str:
    """What Python's reader does not take though JSON's grammar does: it limits depth, and the digits of integers."""
    if isinstance(error, RecursionError):
        return "lists or objects nested too deep"
    return "a number of thousands of digits"


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file; empty lines are passed over.

    Raises:
        DataError: At the first line that is not UTF-8 or not a JSON object, or that ``read_json`` would refuse.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: expected UTF-8, got byte 0x{line[error.start]:02x}.") from error
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: expected a JSON object: {error.msg}.") from error
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: expected a JSON object, got {_beyond_json(error)}.") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}.")
            yield number, row


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one compact JSON object a line."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write a header and rows as CSV, with line feeds."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
