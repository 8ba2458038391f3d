"""Files are read as lines, whatever their compression, and told apart by content."""

import bz2
import gzip
import lzma

import pytest

from chatladder.chat.formats import find_format, irc, table, wechat
from chatladder.chat.source import Source
from chatladder.io.console import DataError

TEXT = "first\nsecond 第二\n".encode()


@pytest.mark.parametrize(
    ("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_lines_of_plain_and_compressed_files(tmp_path, suffix, compress):
    path = tmp_path / f"chat.txt{suffix}"
    path.write_bytes(compress(TEXT))
    source = Source(path)
    assert list(source.lines()) == [(1, b"first\n"), (2, "second 第二\n".encode())]
    assert source.head() == TEXT
    assert source.plain_name == "chat.txt"


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "chat.txt"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT)
    assert next(Source(path).lines()) == (1, b"first\n")


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_truncated_compressed_file_is_an_error_and_not_a_short_chat(tmp_path, suffix, compress):
    path = tmp_path / f"chat.txt{suffix}"
    path.write_bytes(compress(b"".join(b"line %d\n" % number for number in range(50_000)))[:-40])
    with pytest.raises(DataError, match=r"chat\.txt\.\w+:\d+: expected a whole file"):
        list(Source(path).lines())


def test_utf_16_is_named(tmp_path):
    (tmp_path / "chat.txt").write_bytes("[12:00] <a> b\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"chat\.txt:1: expected UTF-8, got UTF-16"):
        find_format(Source(tmp_path / "chat.txt"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{\n  "messageType": "80001",\n  "data": {}\n}\n', wechat),
        ('{"wcId": "w", "messageType": 5, "data": {"content": "x"}}\n', wechat),
        ('{\n  "groupId": "1@chatroom",\n  "answer": "x"\n}\n', wechat),
        ('{"group": "g", "sender": "s", "timestamp": 1, "text": "say \\"messageType\\": 5"}\n', table),
        ("text,sender,timestamp,group,more\n", table),
        ("=== a is now known as b\n[12:00] <a> b\n", irc),
        ("rust 2018-05-29 [21:20:37] <a> b\n", irc),
    ],
)
def test_formats_are_told_apart_by_content(tmp_path, content, expected):
    path = tmp_path / "any.name"
    path.write_text(content, encoding="utf-8")
    assert find_format(Source(path)) is expected


def test_unknown_content_is_an_error_that_lists_the_formats(tmp_path):
    (tmp_path / "notes.txt").write_text("some notes\nand more\n")
    with pytest.raises(DataError, match=r"notes\.txt: expected a chat export .* table, wechat, .*irc.*shape 'a a'"):
        find_format(Source(tmp_path / "notes.txt"))
    assert find_format(Source(tmp_path / "notes.txt"), "irc") is irc


def test_an_unknown_table_is_told_how_to_be_read(tmp_path):
    (tmp_path / "a.CSV").write_text("who,when,what\n")
    with pytest.raises(DataError, match=r"--format table --column sender=THEIRS"):
        find_format(Source(tmp_path / "a.CSV"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<!DOCTYPE html><p>Ann Smith", "a web page or XML"),
        (b"\x89PNG\x00\x01", "a binary file"),
        (b'{"Ann Smith": {"user_id": 2, "annsmith": {"messages": []}}}', "JSON with the fields messages, user_id."),
        (b'{"annsmith": 1}', "JSON without fields that are known"),
        (b'{"envelope": {"source": "Ann", "dataMessage": {}}}', "an export of signal-cli, which is not read"),
        (b'{"events": [{"origin_server_ts": 1, "event_id": "$a"}]}', "an export of Matrix, which is not read"),
        (b"[Ann] [9:20] hello\n", "the shape '[a] [9:99] a'"),
        (b"SQLite format 3\0Ann", "a database"),
        (b"15.01.24 // Ann Smith // hello\n", "the shape '99.99.99 // a a // a'"),
        (b"\x1b[2JAnn\n", "the shape"),
    ],
)
def test_an_unknown_file_is_described_without_a_word_of_it(tmp_path, content, expected):
    (tmp_path / "any").write_bytes(content)
    with pytest.raises(DataError) as raised:
        find_format(Source(tmp_path / "any"))
    assert expected in raised.value.message
    assert "ann" not in raised.value.message.lower().replace("channel", "")
    assert "with the columns sender, timestamp and text" in raised.value.message
    assert "\x1b" not in raised.value.message
