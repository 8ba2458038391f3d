r"""Damaged exports of every format, read by ingest: rows, clear errors, and faults.

Example:
    pytest tests/chat -n 0 -m "not slow" -k "not any_input and not portions" --basetemp /tmp/fixtures
    python -m benchmarks.fuzz --inputs 30000 --seed 7 --exports /tmp/fixtures --save benchmarks/results/fuzz.md

An input is a damaged export of one format, each in turn, or nonsense bytes: values of JSON or lines changed, cut or
doubled, with bytes or words of some format inserted, packed or in a zip. The exports are those into which the tests
plant secrets, and the smaller files of a folder, such as the one that the tests of the formats leave. An input depends
only on these, the seed and its number: --first N --inputs 1 runs the Nth again, and --keep writes faulty inputs to a
folder. An input that ends in neither rows nor a DataError is a fault, and so is one that takes more processor seconds
than --seconds.
"""

import bz2
import copy
import gzip
import io
import json
import lzma
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from benchmarks.results import publish, save_option
from chatladder.chat.formats import NAMES, find_format
from chatladder.chat.messages import ingest
from chatladder.chat.options import DATE_ORDERS, ExportOptions
from chatladder.chat.source import Source
from chatladder.io.console import DataError, InputFolder
from chatladder.privacy.pseudonyms import Pseudonyms
from tests.planted import EXPORTS

PSEUDONYMS = Pseudonyms("a key for benchmarks alone")
#: How often an input is changed, and about how many bytes at a time.
CHANGES, MOST_BYTES = (0, 0, 0, 0, 1, 1, 2, 5), 400
#: Replacements of a JSON value.
VALUES = (
    None,
    True,
    0,
    -1,
    1e300,
    2**70,
    "",
    " ",
    "x" * 3000,
    "\ud800",
    "\0",
    [],
    {},
    [[]],
    [None],
    {"": {}},
    ["a", {}],
)
#: File names by which a format recognises its files, besides those of the exports.
NAMED = (
    "users.json",
    "channels.json",
    "general/2016-01-14.json",
    "#rust.log",
    "_chat.txt",
    "2024-01-15.any.txt",
    *("realm.json", "group_info.json", "inbox/friends_1/message_1.json", "2013/01/25/#ubuntu-cn.txt"),
)
#: Fragments that may confuse a format, a decoder or a clock.
WORDS = (
    b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\\ud800", b"\\x1f",
    b"{", b"}", b"[", b"]", b'"', b",", b": ", b"null", b"true", b"-1", b"1e999", b"NaN", b"9" * 30, b"9" * 5000,
    b"[" * 2000, b'{"a":' * 2000, b" " * 3000, b"password=", b"a@b.c", b"PAR1", b"PK\x03\x04",
    b"=== a is now known as b\n", b"=== a has joined #b\n", b"--- Day changed Sat Jan 05 2013\n", b"[99:99] <a> b\n",
    b"31/02/19, 20:49 - Ann: a\n", b"29/02/2023, 24:00 - a\n", b"0000-00-00 00:00:00 a(1)\n",
    b"9999-12-31T23:59:59-18:00", b"0001-01-01T00:00:00+18:00", b"<@U1>", b"@all ", b"<!here|x>",
    "@\u2068a\u2069".encode(), "撤回了一条消息".encode(), "消息对象:".encode(),
    b"<sysmsg><newmsgid>1</newmsgid>revokemsg", "\n\n[引用](".encode(), "\n引用：a: b".encode(), "[引用 a：b]".encode(),
    "[链接|a](".encode(), "@a\u2005".encode(), b"<atuserlist>a,b</atuserlist>", b'{"_type": "x"}\n',
    b"> a(b) 00:00:00\n",
    b"\n2024-02-31 00:00:00 a\n", b"\n2024-01-15 00:00:00 'a'\n", b"\na(wxid_a) 99-99 00:00:00\n", b'"chunked": 1,',
    b"\\ufffc", b"@**a|1**", b"\\u00c3\\u00ab", b"> <@a:b> c\\n\\n", b'<at id=\\"0\\">b</at>',
    b'{"$date": {"$numberLong": "x"}}',
    b"2024/02/31(Thu)\n", b"25:61\ta\tb\n", b"[14 Jan 12:36] <a!b@c> -d\n", "[a] [오후 99:00] b\n".encode(),
    "2024년 13월 1일 오후 8:49, a : b\n".encode(), "你好\n".encode("gb18030"), "aišku\n".encode("cp1257"),
)  # fmt: skip


def parquet() -> bytes:
    """Return a table of messages."""
    columns = {"sender": ["ann", "bob"] * 50, "text": [f"text {n}" for n in range(100)], "timestamp": [1] * 100}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=40)
    return out.getvalue()


#: Exports of each format, by its name: file name and content.
Samples = dict[str, list[tuple[str, bytes]]]
#: Larger files of a folder are skipped, and so are those of no format.
LARGEST = 2**15


def samples(folder: Path | None = None) -> Samples:
    """Return the tests' planted exports, and those of a folder."""
    named = [(name, make()) for name, make in EXPORTS.items()] + [("chat.parquet", parquet())]
    if folder is not None:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
        named += [(path.name, path.read_bytes()) for path in files if 0 < path.stat().st_size <= LARGEST]
    found: Samples = {name: [] for name in NAMES}
    seen: set[bytes] = set()
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in named:
            (path := Path(scratch) / name).write_bytes(content)
            # A zip's format is that of its members; a planted export's zip is named after its format.
            format_ = path.stem if path.suffix == ".zip" else _format_of(path)
            if format_ in found and content not in seen:
                found[format_].append((name, content))
            seen.add(content)
    return found


def _format_of(path: Path) -> str | None:
    try:
        return find_format(Source(path)).NAME
    except DataError:
        return None


PACKINGS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
)


def drawn(seed: int, number: int, exports: Samples) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return files by name, and options of ingest; the first file is of the format whose turn it is."""
    draw = random.Random(f"{seed} {number}")
    files: dict[str, bytes] = {}
    for place in range(draw.choice((1, 1, 1, 1, 2))):
        format_ = NAMES[number % len(NAMES)] if not place else draw.choice(NAMES)
        name, sample = draw.choice(exports[format_])
        content = bytearray(sample if draw.random() < 0.95 else draw.randbytes(draw.randrange(MOST_BYTES)))
        for _ in range(draw.choice((0, 1, 2, 4))):
            content = bytearray(with_other_values(bytes(content), draw))
        for _ in range(draw.choice(CHANGES)):
            change(content, draw)
        name = draw.choice((name, name, name, draw.choice(NAMED)))
        if draw.random() < 0.1:
            suffix, pack = draw.choice(PACKINGS)
            name, content = name + suffix, bytearray(pack(bytes(content)))
            if draw.random() < 0.3:
                change(content, draw)
        files[name] = bytes(content)
    if draw.random() < 0.1:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        content = bytearray(out.getvalue())
        if draw.random() < 0.3:
            change(content, draw)
        files = {"a.zip": bytes(content)}
    options = {
        "format": draw.choice((*("auto",) * 6, *(NAMES[number % len(NAMES)],) * 3, draw.choice(NAMES))),
        "timezone": draw.choice(("UTC", "Asia/Shanghai", "America/St_Johns")),
        "date_order": draw.choice(DATE_ORDERS) if draw.random() < 0.1 else "auto",
    }
    return files, options


def with_other_values(content: bytes, draw: random.Random) -> bytes:
    """Return a document or lines with one value changed, still valid JSON if it was."""
    try:
        return json.dumps(_changed(json.loads(content), draw), ensure_ascii=draw.random() < 0.5, indent=1).encode()
    except (ValueError, RecursionError):
        lines = content.split(b"\n")
    place = draw.randrange(len(lines))
    try:
        lines[place] = json.dumps(_changed(json.loads(lines[place]), draw)).encode()
    except (ValueError, RecursionError):
        other = draw.choice(lines)
        pieces = [lines[place][:20], other[-20:], other, draw.choice(WORDS), b"", lines[place] * 2]
        lines[place] = b"".join(draw.sample(pieces, 2))
    return b"\n".join(lines)


def _changed(document: Any, draw: random.Random) -> Any:
    """Return JSON with one of its values removed, doubled, or moved over another."""
    places: list[tuple[Any, Any]] = [([document], 0)]
    for container, key in places:
        value = container[key]
        if isinstance(value, dict | list):
            places += [(value, each) for each in (value if isinstance(value, dict) else range(len(value)))]
    container, key = places[max(draw.randrange(len(places)) for _ in range(2))]  # deeper ones come later
    other, its_key = draw.choice(places)
    kind = draw.choice(("odd", "odd", "other", "leave out", "double"))
    if kind == "leave out":
        del container[key]
    elif kind == "double" and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[key] = copy.deepcopy(other[its_key] if kind == "other" else draw.choice(VALUES))
    return document


def change(content: bytearray, draw: random.Random) -> None:
    """Damage some bytes at one position."""
    start = draw.randrange(len(content) + 1)
    stop = min(len(content), start + draw.randrange(MOST_BYTES))
    kind = draw.choice(("cut", "bytes", "word", "word", "double", "flip", "end"))
    if kind == "cut":
        del content[start:stop]
    elif kind == "bytes":
        content[start:start] = draw.randbytes(draw.randrange(20))
    elif kind == "word":
        content[start:start] = draw.choice(WORDS)
    elif kind == "double":
        content[start:start] = content[start:stop] * draw.choice((1, 2, 30))
    elif kind == "flip" and start < len(content):
        content[start] ^= 1 << draw.randrange(8)
    elif draw.random() < 0.3:
        del content[start:]


class SlowError(BaseException):
    """Raised for an input that takes too long; a BaseException, so that no except clause catches it."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SlowError


def read(files: dict[str, bytes], options: dict[str, Any], seconds: float) -> str:
    """Return how ingest ends: rows, a clear error, or the location of a fault."""
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder) / "raw", Path(folder) / "messages.parquet"
        for name, content in files.items():
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            counts = ingest(raw, PSEUDONYMS, out, ExportOptions(**options))
        except DataError as error:
            return "left a file behind its error" if out.exists() else f"error {len(error.message) < 2000}"
        except SlowError:
            return "too slow"
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if counts["raw_lines"] != counts["messages"] + counts["skipped"]:
            return "lost a record"
    return "rows"


def as_table(ends: dict[str, Counter[str]], slowest: dict[str, float]) -> str:
    """Return a Markdown table of how the inputs of each format end."""
    lines = [
        "| format | inputs | rows | clear errors | faults | slowest, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    everything = {**ends, "all": sum(ends.values(), Counter())}
    for name, counts in everything.items():
        rows, errors = counts["rows"], counts["error True"]
        longest = slowest.get(name) or max(slowest.values())
        faults = counts.total() - rows - errors
        lines.append(f"| {name} | {counts.total():,} | {rows:,} | {errors:,} | {faults} | {longest:.2f} |")
    return "\n".join(lines)


@click.command()
@click.option("--inputs", type=click.IntRange(1), required=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="Number of the first input.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=5, show_default=True)
@click.option("--exports", "folder", type=InputFolder, help="Folder of further exports to damage.")
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder for every input that is a fault."
)
@save_option
def main(
    inputs: int, seed: int, first: int, seconds: float, folder: Path | None, keep: Path | None, save: Path | None
) -> None:
    """Print how many inputs of each format end in rows, in a clear error and in a fault, and the slowest."""
    signal.signal(signal.SIGPROF, _stop)
    exports = samples(folder)
    read(*drawn(seed, first, exports), seconds=60)  # loads everything once, outside any input's time
    ends: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    slowest: dict[str, float] = {}
    faults: dict[str, list[int]] = {}
    for number in tqdm(range(first, first + inputs), disable=None):
        files, options = drawn(seed, number, exports)
        name = NAMES[number % len(NAMES)]
        start = time.process_time()
        end = read(files, options, seconds)
        slowest[name] = max(slowest.get(name, 0), time.process_time() - start)
        ends[name][end] += 1
        if end not in ("rows", "error True"):
            faults.setdefault(end, []).append(number)
            if keep is not None:
                for name, content in files.items():
                    path = keep / str(number) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
    text = as_table(ends, slowest)
    kept = sum(map(len, exports.values()))
    text += f"\n\n{inputs:,} inputs of seed {seed}, made of {kept:,} exports; peak memory "
    text += f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB."
    for end, numbers in faults.items():
        text += f"\nfault: {end}: {len(numbers)} times, first in input {numbers[0]}"
    publish(save, "benchmarks.fuzz", text)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
