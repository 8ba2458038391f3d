"""Folders and zips of exports: what is read, what is passed over, and what is refused."""

import bz2
import gzip
import io
import json
import os
import stat
import zipfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from chatladder.chat.exports import find_exports, listed_names
from chatladder.chat.external_sort import HiddenFile, sort_rows
from chatladder.chat.file_names import DENY, KEEP
from chatladder.chat.source import LIMITS, LONGEST_LINE, Source
from chatladder.io.console import DataError, printable


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def found(folder):
    counts = Counter()
    return [source.name for source in find_exports(folder, counts)], counts["files_passed_over"]


def test_files_in_folders_and_zips_are_found_by_name_and_media_are_passed_over(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "chat.txt").write_text("x")
    (tmp_path / "b" / "IMG-1.JPG").write_bytes(b"\xff\xd8")
    (tmp_path / "a.txt").write_text("x")
    for note in (".hidden", "README.md", "chat.json.dvc", "people.deny", "words.keep"):
        (tmp_path / note).write_text("x")
    zipped(tmp_path / "c.zip", **{"in/one.txt": "x", "in/.x": "x", "in/film.mp4": "x", "__MACOSX/in/one.txt": "x"})
    assert found(tmp_path) == (["a.txt", "b/chat.txt", "c.zip/in/one.txt"], 2)


LOG = "[30/01/2023, 14:05:06] Ann: hi\n"


@pytest.mark.parametrize(
    ("name", "members", "read"),
    [
        ("WhatsApp Chat - Team.zip", ["_chat.txt", "00000003-notes.txt", "00000004-x.zip"], ["_chat.txt"]),
        ("WhatsApp Chat with T.zip", ["WhatsApp Chat with T.txt", "notes.txt", "x.zip"], ["WhatsApp Chat with T.txt"]),
        (
            "ChatExport.zip",
            ["in/result.json", "in/files/notes.txt", "in/chats/chat_01/files/a.csv"],
            ["in/result.json"],
        ),
        ("d.zip", ["help.json", "help.json_Files/notes-1A2B3.txt"], ["help.json"]),
        ("s.zip", ["Ann/data.json", "Ann/media/notes.txt"], ["Ann/data.json"]),
        ("z.zip", ["e/realm.json", "e/uploads/2/a/notes.txt", "e/m.json"], ["e/m.json", "e/realm.json"]),
        ("g.zip", ["Space A/messages.json", "Space A/File-notes.txt"], ["Space A/messages.json"]),
        # Whoever zips exports of several apps wants all of them read.
        ("all.zip", ["WhatsApp Chat with T.txt", "notes.txt", "result.json"], None),
        ("WhatsApp.zip", ["WhatsApp Chat with A.txt", "WhatsApp Chat with B.txt", "notes.txt"], None),
        ("t.zip", ["result.json", "chats/notes.txt", "more/files/notes.txt"], None),
    ],
)
def test_files_that_people_sent_are_passed_over(tmp_path, name, members, read):
    zipped(tmp_path / name, **dict.fromkeys(members, "some notes"))
    wanted = sorted(members) if read is None else read
    assert found(tmp_path) == ([f"{name}/{each}" for each in wanted], len(members) - len(wanted))


def test_files_that_people_sent_lie_beside_chats_in_folders_too(tmp_path):
    for name in ("t/_chat.txt", "t/00000003-notes.txt", "t/other.txt", "u/result.json", "u/files/x.zip", "u/my/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("PK\3\4" if name.endswith("zip") else "x")
    assert found(tmp_path) == (["t/_chat.txt", "t/other.txt", "u/my/x.txt", "u/result.json"], 2)


def test_files_that_a_chat_tool_saved_beside_its_export_are_passed_over(tmp_path):
    for name in ("chat.csv", "resources/files/notes.txt", "club/media/files/2024/list.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not a chat\n")
    assert found(tmp_path) == (["chat.csv"], 2)


def test_an_export_where_attachments_lie_is_read(tmp_path):
    zipped(tmp_path / "WhatsApp T.zip", **{"_chat.txt": LOG, "2013-01-05.x.txt": "[21:20] <ann> hi\n", "n.txt": "n"})
    (tmp_path / "result.json").write_text("x")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "WhatsApp Chat with B.txt").write_text(LOG)
    (tmp_path / "files" / "latin.txt").write_bytes(b"\xff\xfe\x00")
    names = ["WhatsApp T.zip/2013-01-05.x.txt", "WhatsApp T.zip/_chat.txt", "files/WhatsApp Chat with B.txt"]
    assert found(tmp_path) == ([*names, "result.json"], 2)


def test_a_folder_of_web_pages_says_what_to_do(tmp_path):
    (tmp_path / "messages.html").write_text("<html>")
    with pytest.raises(DataError, match=r"got only 1 files of kinds that are passed over .* as JSON, CSV or text"):
        find_exports(tmp_path, Counter())


def test_lists_of_names(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.deny").write_text("\ufeffAnn Smith # left\n\n# nobody\n项目\n", encoding="utf-8")
    (tmp_path / "in" / "b.deny").write_text("Bob", encoding="utf-8")
    assert listed_names(tmp_path, DENY) == ["Ann Smith", "项目", "Bob"]
    assert listed_names(tmp_path, KEEP) == []
    (tmp_path / "c.keep").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"c\.keep: expected UTF-8, got byte 0xff"):
        listed_names(tmp_path, KEEP)


def test_a_file_in_a_zip_is_read_like_any_other(tmp_path):
    content = b"\xef\xbb\xbffirst\nsecond\n"
    zipped(tmp_path / "c.zip", **{"room/1.txt": content, "room/2.txt.gz": gzip.compress(content), "users.json": "[]"})
    one, two, _ = find_exports(tmp_path, Counter())
    for source in (one, two, one):
        assert list(source.lines()) == [(1, b"first\n"), (2, b"second\n")]
        assert source.head() == b"first\nsecond\n"
        assert source.folder == "room"
    assert two.plain_name == "2.txt"
    assert one.where(2) == f"{tmp_path}/c.zip/room/1.txt:2"
    assert one.above("users.json").head() == b"[]"
    assert one.above("nothing.json") is None
    assert one.above("users.json").above("passwd") is None


def test_files_beside_a_file_on_disk(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "1.txt").write_text("x")
    (tmp_path / "users.json").write_text("[]")
    (tmp_path.parent / "outside.json").write_text("secret")
    (tmp_path / "link.json").symlink_to(tmp_path.parent / "outside.json")
    source = Source(tmp_path / "room" / "1.txt", "room/1.txt")
    assert source.above("users.json").head() == b"[]"
    assert source.above("users.json").above("outside.json") is None
    assert source.above("link.json") is None


@pytest.mark.parametrize("name", ["../up.txt", "/etc/passwd", "a/../../b", "C:/x.txt", "a\\..\\b.txt", "a//b.txt"])
def test_zip_slip_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, "x")
    with pytest.raises(DataError, match=r"expected a name inside the zip, got one that leads out of it"):
        find_exports(tmp_path, Counter())


def test_a_zip_with_a_name_that_no_system_takes_is_refused(tmp_path):
    zipped(tmp_path / "c.zip", **{f"WhatsApp Chat with {' ' * 60_000}x.txt": "x"})
    with pytest.raises(DataError, match=r"expected a name of at most 4,096 characters, got 60,024") as caught:
        find_exports(tmp_path, Counter())
    assert len(caught.value.message) < 1000


def test_links_devices_and_encrypted_files_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("chat.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="got a link or a device"):
        find_exports(tmp_path, Counter())
    path = zipped(tmp_path / "c.zip", **{"chat.txt": "x"})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="got an encrypted file"):
        find_exports(tmp_path, Counter())


def test_a_damaged_zip_and_a_zip_in_a_zip_are_refused(tmp_path):
    whole = zipped(tmp_path / "c.zip", **{"chat.txt": "x" * 1000}).read_bytes()
    (tmp_path / "c.zip").write_bytes(whole[:-30])
    with pytest.raises(DataError, match="expected a whole zip"):
        find_exports(tmp_path, Counter())
    zipped(tmp_path / "c.zip", **{"inner.zip": whole})
    with pytest.raises(DataError, match="got a zip inside a zip"):
        find_exports(tmp_path, Counter())


def test_a_member_whose_data_is_damaged_is_named(tmp_path):
    path = zipped(tmp_path / "c.zip", **{"chat.txt": os.urandom(5000)})
    data = bytearray(path.read_bytes())
    data[2000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"c\.zip/chat\.txt"):
        list(find_exports(tmp_path, Counter())[0].lines())


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2"])
def test_a_bomb_is_refused_before_it_fills_the_machine(tmp_path, kind, monkeypatch):
    monkeypatch.setitem(LIMITS, "bytes", LIMITS["bytes"]._replace(free=100_000))
    zeros = (b"0" * 99 + b"\n") * 50_000
    if kind == "zip":
        zipped(tmp_path / "c.zip", **{"chat.txt": zeros})
    else:
        compress = {"gz": gzip.compress, "bz2": bz2.compress}[kind]
        (tmp_path / f"c.{kind}").write_bytes(compress(zeros))
    (source,) = find_exports(tmp_path, Counter())
    read = []
    with pytest.raises(DataError, match="unpacks to more than 250 bytes for each of its bytes"):
        read.extend(len(line) for _, line in source.lines())
    assert sum(read) < len(zeros)


def test_an_endless_line_is_refused_without_being_held(tmp_path):
    with (tmp_path / "chat.txt").open("wb") as out:
        out.truncate(2**30)  # sparse: a line of 1 GiB
    source = Source(tmp_path / "chat.txt")
    with pytest.raises(DataError, match=rf"chat\.txt:1: expected lines of at most {LONGEST_LINE // 2**20} MiB"):
        list(source.lines())


def test_a_link_is_refused_unless_it_leads_into_a_dvc_cache(tmp_path):
    folder, cache = tmp_path / "raw", tmp_path / "cache" / "files" / "md5" / "ab"
    folder.mkdir()
    cache.mkdir(parents=True)
    (cache / "cdef").write_text("x")
    (tmp_path / "private.txt").write_text("x")
    (folder / "chat.txt").symlink_to(cache / "cdef")
    assert found(folder) == (["chat.txt"], 0)
    (folder / "other.txt").symlink_to(tmp_path / "private.txt")
    with pytest.raises(DataError, match=r"other\.txt: expected a file, got a link"):
        find_exports(folder, Counter())


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "chat.txt")
    with pytest.raises(DataError, match=r"chat\.txt: expected a file, got something else"):
        find_exports(tmp_path, Counter())


def test_names_in_a_zip_cannot_control_the_terminal(tmp_path):
    zipped(tmp_path / "c.zip", **{"\x1b[2Jchat\u202e.txt": "x"})
    (source,) = find_exports(tmp_path, Counter())
    assert source.name == "c.zip/\ufffd[2Jchat\ufffd.txt"
    assert printable("a\u0007b\udc80") == "a\ufffdb\ufffd"


SCHEMA = pa.schema([("value", pa.int64()), ("text", pa.string())])


@pytest.mark.parametrize(("rows", "size"), [(0, 7), (1, 7), (500, 7), (500, 1000)])
def test_rows_come_into_order_on_disk(tmp_path, monkeypatch, rows, size):
    monkeypatch.setattr("chatladder.chat.external_sort.PART_ROWS", size)
    draw = np.random.default_rng(0)
    position = draw.permutation(rows)
    position[draw.random(rows) < 0.2] = -1
    kept = np.sort(position[position >= 0])
    position = np.where(position >= 0, np.searchsorted(kept, position), -1)
    hidden = HiddenFile(SCHEMA, tmp_path)
    for start in range(0, rows, 64):
        some = position[start : start + 64]
        hidden.write(pa.record_batch([pa.array(some), pa.array([f"row {each}" for each in some])], schema=SCHEMA))
    tables = list(sort_rows(hidden.read(), position, SCHEMA, tmp_path))
    values = [value for table in tables for value in table["value"].to_pylist()]
    assert values == list(range(len(kept)))
    assert list(tmp_path.iterdir()) == []  # nothing that anybody could find


@pytest.mark.parametrize("most", [1, 3_000, 40_000])
def test_rows_of_long_texts_come_into_order_a_part_of_their_bytes_at_a_time(tmp_path, monkeypatch, most):
    monkeypatch.setattr("chatladder.chat.external_sort.PART_BYTES", most)
    position = np.random.default_rng(0).permutation(300)
    hidden = HiddenFile(SCHEMA, tmp_path)
    for start in range(0, 300, 60):
        some = position[start : start + 60]
        # Nearly all of the bytes are in a few rows.
        texts = ["x" * (1000 if each % 50 < 3 else 1) for each in some]
        hidden.write(pa.record_batch([pa.array(some), pa.array(texts)], schema=SCHEMA))
    tables = list(sort_rows(hidden.read(), position, SCHEMA, tmp_path))
    assert [value for table in tables for value in table["value"].to_pylist()] == list(range(300))
    assert max(table.nbytes for table in tables) < most + 2_000
    assert list(tmp_path.iterdir()) == []


def test_json_survives_the_way_through_a_zip(tmp_path):
    rows = [{"text": "第二" * number} for number in range(50)]
    buffer = io.BytesIO(json.dumps(rows, ensure_ascii=False, indent=1).encode())
    zipped(tmp_path / "c.zip", **{"r.json": buffer.getvalue()})
    (source,) = find_exports(tmp_path, Counter())
    assert json.loads(b"".join(line for _, line in source.lines())) == rows
