"""Bad input of the demo's form, and disks that fill up, through the real commands: one error, nothing half-written."""

import bz2
import errno
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatladder.cli.simulate import read_truth
from chatladder.io.console import DataError
from chatladder.io.files import read_json, whole_file, whole_folder, write_json
from stages.ingest import main as ingest
from stages.to_alpaca import main as to_alpaca

START = 1_672_531_200


def record(text="hello", at=START):
    data = {"fromGroup": "1@chatroom", "fromUser": "wxid_a", "timestamp": at, "content": text}
    return json.dumps({"messageType": "80001", "data": data}, indent=2, ensure_ascii=False) + "\n"


#: Lines of one record: a second one starts on the line after.
LINES = record().count("\n")
#: Line of a record that holds its text.
TEXT_LINE = record().split("hello")[0].count("\n") + 1


def read(folder, content, name="chat.json"):
    (folder / "raw").mkdir()
    if content is not None:
        (folder / "raw" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    options = [
        "--raw",
        folder / "raw",
        "--format",
        "auto",
        "--timezone",
        "UTC",
        "--date-order",
        "auto",
        "--out",
        folder / "out" / "messages.parquet",
    ]
    options += ["--counts", folder / "out" / "counts.json"]
    return CliRunner().invoke(ingest, [str(option) for option in options])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"raw: expected at least one chat export, got none"),
        (record() + record()[:-20], r"chat\.json:\d+: expected whole JSON, but the file ends"),
        (
            record().encode() + record("怎么装").encode("gb18030"),
            rf"chat\.json:{LINES + TEXT_LINE}: expected UTF-8, got byte 0xd4\. Convert the file",
        ),
        (record() + record(at=START - 61), rf"chat\.json:{LINES + 1}: expected messages in the order of time"),
        (record() + record(at=START * 1000), rf"chat\.json:{LINES + 1}: .* looks like milliseconds"),
    ],
    ids=["empty folder", "truncated", "wrong encoding", "out of order", "milliseconds"],
)
def test_a_callback_dump_that_cannot_be_used_is_named_by_line(tmp_path, content, message):
    result = read(tmp_path, content)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)  # an error for people, no traceback
    assert re.search(message, result.output)
    assert "hello" not in result.output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


NASTY = "a\x1b[2J\u202eb\nError: c.txt"


@pytest.mark.parametrize("content", [b"what is this", b"\xff\xfea", record()[:-20].encode()])
def test_no_name_on_the_disk_reaches_the_terminal_as_it_is(tmp_path, content):
    result = read(tmp_path, content, NASTY)
    assert result.exit_code == 1
    assert "raw/a\ufffd[2J\ufffdb Error: c.txt" in result.output
    assert len(result.output.splitlines()) == 1


def fail_after(calls, monkeypatch):
    """The disk fills up at the write after so many of text."""
    write = Path.write_text
    left = iter(range(calls))

    def full(path, text, **options):
        if next(left, None) is None:
            write(path, text[:5], **options)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)


def test_a_disk_that_fills_up_within_a_folder_leaves_the_old_folder(labelled, tmp_path, monkeypatch):
    out = tmp_path / "out" / "alpaca"
    options = ["--labelled", labelled, "--language", "zh", "--seed", "0", "--out", out]
    options = [str(option) for option in options]
    assert CliRunner().invoke(to_alpaca, [*options, "--answer", "text"]).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    fail_after(1, monkeypatch)
    result = CliRunner().invoke(to_alpaca, [*options, "--answer", "lettered"])
    assert result.exit_code == 1
    assert "the disk is full; nothing was written. Free some space and run again." in result.output
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["alpaca"]


def test_a_disk_that_fills_up_within_json_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"f1": 0.5})
    fail_after(0, monkeypatch)
    with pytest.raises(Exception, match=r"metrics\.json: the disk is full; nothing was written"):
        write_json(path, {"f1": 0.6})
    assert json.loads(path.read_bytes()) == {"f1": 0.5}
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_place_that_cannot_be_written_is_named(tmp_path, whole):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/out: cannot be written"), whole(tmp_path / "file" / "out"):
        pytest.fail("nothing can be written there")


@pytest.mark.parametrize(("whole", "name"), [(whole_file, "open"), (whole_folder, "mkdir")])
def test_a_disk_that_is_full_from_the_start_is_named(tmp_path, monkeypatch, whole, name):
    make = getattr(os, name)

    def full(path, *options, **named):
        if Path(path).name.startswith(".out."):
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(path, *options, **named)

    monkeypatch.setattr(os, name, full)
    with pytest.raises(DataError, match=r"out: the disk is full; nothing was written"), whole(tmp_path / "out"):
        pytest.fail("nothing can be written there")


def test_weights_that_do_not_fit_on_the_disk_leave_nothing(tmp_path):
    from safetensors import SafetensorError

    def write_half():
        with whole_folder(tmp_path / "base") as folder:
            (folder / "model.safetensors").write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(DataError, match=r"base: the disk is full; nothing was written"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_json_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"train\.json: cannot be read: No such file"):
        read_json(tmp_path / "train.json")


TRUTH = json.dumps(
    {"sender": "wxid_a", "timestamp": START, "form": "named", "label": "needed", "hardness": 0.5, "rewrite": ""}
)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("truth.jsonl", f"{TRUTH}\n".encode() + '{"sender": "问"}'.encode("gb18030"), 2),
        ("truth.jsonl.bz2", bz2.compress(f"{TRUTH}\n".encode())[:20], 1),
        ("truth.jsonl.bz2", TRUTH.encode(), 1),
        ("truth.jsonl", b"[" * 100_000, 1),
        ("truth.jsonl", f"{TRUTH}\n[1]".encode(), 2),
        ("truth.jsonl", TRUTH.replace('"wxid_a"', "[]").encode(), 1),
        ("truth.jsonl", TRUTH.replace('"needed"', '"maybe"').encode(), 1),
        ("truth.jsonl", TRUTH.replace("0.5", "9" * 400).encode(), 1),
        ("truth.jsonl", TRUTH.replace('""', "7").encode(), 1),
        ("truth.jsonl", TRUTH.replace(', "rewrite": ""', "").encode(), 1),
    ],
    ids=[
        "wrong encoding",
        "truncated",
        "not compressed",
        "deep",
        "a list",
        "no name",
        "no label",
        "too hard",
        "no text",
        "of another release",
    ],
)
def test_a_truth_that_cannot_be_read_is_named(tmp_path, name, content, line):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}:{line}: expected a row of the simulator's truth"):
        read_truth(path)
