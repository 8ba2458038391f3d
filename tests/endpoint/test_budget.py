"""Packed exports that are made to fill the machine end soon, in little memory and one error; those of chats pass."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatladder.chat.exports import find_exports
from chatladder.chat.formats import qq, table, wechat, whatsapp, with_formats
from chatladder.chat.message import Context
from chatladder.chat.source import LIMITS, Budget, BudgetError, Source
from chatladder.cli.audit import UnreadableError, texts
from chatladder.cli.forget.exports import read_exports
from chatladder.cli.resolve.reading import _parquet_columns
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms
from tests.conftest import ROOT

IRC = b"rust 2018-05-29 [21:20:37] <a> b\n"
TELEGRAM = b'{"name": "a", "type": "private_group", "id": 1, '
WHATSAPP = b"30/01/19, 20:49 - Ann: text\n"
BLANK = b"\n" * (50 * 2**20)
MANY = 6_000_000


def one(name, content):
    return lambda folder: (folder / name).write_bytes(content())


def rows_of_parquet():
    columns = {"sender": ["a"], "timestamp": [1], "text": ["b"]}
    table = pa.table({name: pa.chunked_array([pa.array(values * 65_536)] * 100) for name, values in columns.items()})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=table.num_rows)
    return out.getvalue()


def many_members(folder):
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for number in range(200):
            out.writestr(f"{number:03}.txt", IRC * 20 + b"\n" * 200_000)


def many_files(folder):
    content = gzip.compress(IRC * 20_000)
    for number in range(200):
        (folder / f"{number:03}.gz").write_bytes(content)


#: How each is made, and what is said of it.
BOMBS = {
    "blank lines of whatsapp": (one("a.gz", lambda: gzip.compress(WHATSAPP + BLANK)), "lines or values"),
    "blank lines of irc": (one("a.gz", lambda: gzip.compress(IRC * 20 + BLANK)), "lines or values"),
    "one message of irc": (one("a.xz", lambda: lzma.compress(IRC * (len(BLANK) // len(IRC)))), "for each of its bytes"),
    "rows of csv": (one("a.xz", lambda: lzma.compress(b"sender,timestamp,text\n" + b"a,,\n" * MANY)), "messages"),
    "a row of csv": (
        one("a.xz", lambda: lzma.compress(b'sender,timestamp,text\n"' + b'abcdefghijk\n","' * MANY)),
        "4 MiB",
    ),
    "rows of parquet": (one("a.parquet", rows_of_parquet), "messages"),
    "entries": (one("a.xz", lambda: lzma.compress(TELEGRAM + b'"messages": [' + b"{}," * MANY)), "messages"),
    "values": (one("a.xz", lambda: lzma.compress(TELEGRAM + b'"messages": 1, "x": [' + b"[]," * MANY)), "values"),
    "an entry": (one("a.xz", lambda: lzma.compress(TELEGRAM + b'"messages": [[' + b"{}," * MANY)), "4 MiB"),
    "members of a zip": (many_members, "lines or values"),
    "files": (many_files, "messages"),
}
RUN = r"""
import json, re, sys
from pathlib import Path
from chatladder.chat.messages import ingest
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms
for line in sys.stdin:
    raw, out = map(Path, json.loads(line))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    message = ""
    try:
        ingest(raw, Pseudonyms("a key for tests alone"), out)
    except DataError as error:
        message = error.message
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps([message, int(peak[1]) // 1024]), flush=True)
"""


@pytest.fixture(scope="module")
def reader():
    """A process that reads folder after folder: what it says, and the megabytes that it had at most."""
    command = [sys.executable, "-c", RUN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:

        def read(raw, out):
            process.stdin.write(json.dumps([str(raw), str(out)]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield read
        process.stdin.close()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_in_one_error_and_little_memory(tmp_path, reader, name):
    make, told = BOMBS[name]
    raw, out = tmp_path / "raw", tmp_path / "messages.parquet"
    raw.mkdir()
    make(raw)
    assert sum(path.stat().st_size for path in raw.iterdir()) < 2**20
    message, megabytes = reader(raw, out)
    assert message.startswith(f"{raw}/")
    assert told in message
    assert megabytes < 300
    assert not out.exists()


@pytest.mark.parametrize(
    ("format_", "start", "line", "told"),
    [
        (whatsapp, WHATSAPP, b"\n", r"a:1: expected messages of at most 65536 characters"),
        (qq, "2024-01-01 10:00:00 阿明(12345678)\n".encode(), b"=" * 32 + b"\n", r"a:1: expected entries of at most"),
        (wechat, b'{\n"messageType": "80001",\n', b" " * 2**18 + b"\n", r"a:1: expected records of at most 4 MiB"),
        (table, b'sender,timestamp,text\n"', b'b\n","', r"a:\d+: expected rows of at most 4 MiB"),
    ],
    ids=lambda value: getattr(value, "NAME", ""),
)
def test_what_one_record_gathers_is_bounded_though_no_line_is_long(tmp_path, format_, start, line, told):
    (tmp_path / "a").write_bytes(start + line * max(32, min(900_000, 6 * 2**20 // len(line))))
    tracemalloc.start()
    with pytest.raises(DataError, match=told):
        list(format_.parse(Source(tmp_path / "a"), Context(Pseudonyms("a key"))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Of CSV, cells of one character each.
    assert peak < 100 * 2**20


def drawn(folder):
    """What a folder of exports takes of its budget."""
    (folder / "out").mkdir(exist_ok=True)
    sources = find_exports(folder / "raw", Counter())
    for source, format_ in with_formats(sources, "auto", Counter()):
        assert any(source.counted(format_.parse(source, Context(Pseudonyms("a key")))))
    return sources[0].budget.drawn


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_day_of_a_bot_that_says_the_same_every_second_takes_nothing_of_the_budget(tmp_path, pack):
    (tmp_path / "raw").mkdir()
    clock = (f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" for second in range(86_400))
    log = "".join(f"rust 2018-05-29 [{time}] <bot> all is well\n" for time in clock)
    (tmp_path / "raw" / "a").write_bytes(pack(log.encode()))
    assert drawn(tmp_path) == {}


def test_an_unpacked_file_takes_nothing_of_the_budget(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "lines.txt").write_bytes(WHATSAPP * 20 + b"\n" * 10_000)
    (tmp_path / "raw" / "values.json").write_bytes(TELEGRAM + b'"messages": [' + b"0," * 300_000 + b"0]}")
    assert drawn(tmp_path) == {}


def test_a_file_takes_of_the_budget_once_however_often_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(LIMITS, "lines", LIMITS["lines"]._replace(free=5_000))
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"\n" * 4_000, mtime=0))
    budget = Budget()
    for _ in range(3):
        assert sum(1 for _ in Source(path, budget=budget).lines()) == 4_000
    assert budget.drawn == {(str(path), "lines"): 4_000 - 8 * path.stat().st_size}
    other = tmp_path / "b.gz"
    other.write_bytes(path.read_bytes())
    with pytest.raises(BudgetError, match=r"b\.gz: expected a chat, got a file that unpacks to more than 8 lines"):
        list(Source(other, budget=budget).lines())
    assert sum(1 for _ in Source(other).lines()) == 4_000  # a folder of its own


def test_budgets_add_up_in_whole_or_not_at_all():
    free = LIMITS["records"].free
    budget = Budget()
    assert budget.take({("a", "records"): free - 1, ("a", "bytes"): 7})
    assert not budget.take({("b", "records"): 2, ("b", "bytes"): 1})
    assert budget.take({("a", "records"): free, ("b", "bytes"): 1})
    assert budget.drawn == {("a", "records"): free, ("a", "bytes"): 7, ("b", "bytes"): 1}


def test_a_compressed_file_that_its_zip_compresses_again_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("once.gz", gzip.compress(IRC * 100))
        out.writestr("twice.gz", gzip.compress(b"") * 100_000)  # it unpacks to nothing, for long
    with pytest.raises(DataError, match=r"a\.zip/twice\.gz: expected a chat, got a compressed file that its zip"):
        find_exports(tmp_path, Counter())


def test_a_zip_whose_files_lie_over_each_other_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.txt", IRC * 10_000)
        (info,) = out.infolist()
        for name in ("b.txt", "c.txt"):
            twin = zipfile.ZipInfo(name)
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(twin, field, getattr(info, field))
            out.filelist.append(twin)
            out.NameToInfo[name] = twin
    with pytest.raises(DataError, match=r"a\.zip: expected files that lie apart in the zip"):
        find_exports(tmp_path, Counter())


def test_the_audit_does_not_unpack_a_bomb(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(json.dumps("hello").encode() + BLANK))
    with pytest.raises(UnreadableError):
        for _ in texts(path, "text"):
            pass


def test_the_audit_learns_no_names_from_a_bomb(tmp_path):
    content = b"sender,timestamp,text\n" + b"a,,\n" * (LIMITS["records"].free + 10_000)
    (tmp_path / "a.csv").write_bytes(content)
    read_exports(tmp_path, None, Pseudonyms("a key"))
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(content))
    with pytest.raises(BudgetError, match=r"a\.csv\.xz: .* more than 4 messages"):
        read_exports(tmp_path, None, Pseudonyms("a key"))


def test_memory_that_a_file_asks_for_and_does_not_get_is_an_error_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(IRC))

    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(lzma.LZMAFile, "read", refuse)
    with pytest.raises(DataError, match=r"a\.xz:1: expected a whole file, but reading stopped here: MemoryError"):
        list(Source(path).lines())


def test_resolve_does_not_read_a_table_that_claims_to_be_gigantic(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(rows_of_parquet())
    with pytest.raises(BudgetError, match=r"a\.parquet: expected a chat, got a file that unpacks to more than 4"):
        _parquet_columns(path)
