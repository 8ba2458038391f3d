r"""Damaged exports of every format, through ingest: rows, clear errors, and whatever is neither.

Example:
    python -m benchmarks.fuzz --inputs 20000 --seed 7

An input is one of the exports that the tests plant secrets in, or bytes without sense: cut, doubled, with bytes or
words of some format put in, packed or in a zip. It depends on the seed and its number alone: --first N --inputs 1 runs
the Nth again, and --keep writes those that are faults to a folder. What ends in neither rows nor a DataError is a
fault, and so is what takes more processor seconds than --seconds.
"""

import bz2
import gzip
import io
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

import click
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from chatladder.chat.formats import NAMES
from chatladder.chat.messages import ingest
from chatladder.chat.options import DATE_ORDERS, ExportOptions
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms
from tests.planted import EXPORTS

PSEUDONYMS = Pseudonyms("a key for benchmarks alone")
#: How often an input is changed, and about how many bytes at a time.
CHANGES, MOST_BYTES = (0, 1, 1, 1, 2, 2, 3, 5), 400
#: Beside those that a format has, names that tell it where its files go.
NAMED = ("users.json", "channels.json", "general/2016-01-14.json", "#rust.log", "_chat.txt", "2024-01-15.any.txt")
NAMED += ("realm.json", "group_info.json", "inbox/friends_1/message_1.json", "2013/01/25/#ubuntu-cn.txt")
#: What a format, a decoder or a clock may trip over.
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
    """A table of messages."""
    columns = {"sender": ["ann", "bob"] * 50, "text": [f"text {n}" for n in range(100)], "timestamp": [1] * 100}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=40)
    return out.getvalue()


SAMPLES = {**{name: make() for name, make in EXPORTS.items()}, "chat.parquet": parquet()}
PACKINGS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
)


def drawn(seed: int, number: int) -> tuple[dict[str, bytes], dict[str, str]]:
    """Files by name, and options of ingest."""
    draw = random.Random(f"{seed} {number}")
    files: dict[str, bytes] = {}
    for _ in range(draw.choice((1, 1, 1, 1, 2))):
        name = draw.choice(sorted(SAMPLES))
        content = bytearray(SAMPLES[name] if draw.random() < 0.85 else draw.randbytes(draw.randrange(MOST_BYTES)))
        for _ in range(draw.choice(CHANGES)):
            change(content, draw)
        name = draw.choice((name, name, draw.choice(NAMED)))
        if draw.random() < 0.15:
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
        "format": draw.choice(NAMES) if draw.random() < 0.1 else "auto",
        "timezone": draw.choice(("UTC", "Asia/Shanghai", "America/St_Johns")),
        "date_order": draw.choice(DATE_ORDERS) if draw.random() < 0.1 else "auto",
    }
    return files, options


def change(content: bytearray, draw: random.Random) -> None:
    """Damage some bytes in one place."""
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
    """An input that takes too long; no except clause is to catch it."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SlowError


def read(files: dict[str, bytes], options: dict[str, str], seconds: float) -> str:
    """How ingest ends: rows, a clear error, or the place of a fault."""
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


@click.command()
@click.option("--inputs", type=click.IntRange(1), required=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="Number of the first input.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=5, show_default=True)
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder for every input that is a fault."
)
def main(inputs: int, seed: int, first: int, seconds: float, keep: Path | None) -> None:
    """Print how many inputs end in rows, in a clear error and in a fault, the slowest, and the peak of memory."""
    signal.signal(signal.SIGPROF, _stop)
    ends: Counter[str] = Counter()
    faults: dict[str, int] = {}
    slowest = (0.0, 0)
    for number in tqdm(range(first, first + inputs), disable=None):
        files, options = drawn(seed, number)
        start = time.process_time()
        end = read(files, options, seconds)
        slowest = max(slowest, (time.process_time() - start, number))
        ends[end] += 1
        if end not in ("rows", "error True"):
            faults.setdefault(end, number)
            if keep is not None:
                for name, content in files.items():
                    path = keep / str(number) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
    bad = sum(count for end, count in ends.items() if end not in ("rows", "error True"))
    click.echo(
        f"{inputs:,} inputs of seed {seed}: {ends['rows']:,} rows, {ends['error True']:,} clear errors, {bad} faults"
    )
    click.echo(f"slowest: {slowest[0]:.2f} s of the processor, input {slowest[1]}")
    click.echo(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB")
    for end, number in faults.items():
        click.echo(f"fault: {end}: {ends[end]} times, first in input {number}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
