"""Exports that workers read: the bytes, counts and errors of one process, however the files are cut into portions."""

import gzip
import json
import pickle
import zipfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.chat import collect
from chatladder.chat.exports import find_exports
from chatladder.chat.messages import Reading
from chatladder.chat.options import ExportOptions
from chatladder.chat.source import LIMITS
from chatladder.distributed import LocalWorkers
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms
from tests.workers_here import Here

KEY = "a key for tests only"
PEOPLE = ["ann", "Bob Stone", "carl_77", "张伟", "Dora", "eve", "alice", "assistant"]


@pytest.fixture(autouse=True)
def own_key(monkeypatch):
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", KEY)


def read(raw, folder, pool):
    """All that is known once the files are read, or the error's words."""
    pseudonyms = Pseudonyms()
    reading = Reading(pseudonyms, ExportOptions(), None, folder)
    try:
        reading.read(find_exports(raw, reading.counts), pool)
    except DataError as error:
        return error.message
    texts = list(reading._texts.read())
    index = [np.asarray(each).tolist() for each in (*reading._collector.index(), reading._collector._senders)]
    people = {name: list(values.items()) for name, values in vars(reading._names).items() if isinstance(values, dict)}
    known = [list(each.items()) for each in pseudonyms.known.values()]
    return {
        "counts": +reading.counts,
        "masked": +reading.masked,
        "texts": texts,
        "index": index,
        "people": people,
        "known": known,
        "collisions": pseudonyms.collisions,
    }


def assert_same(raw, folder, pool=None):
    here = read(raw, folder, LocalWorkers())
    assert read(raw, folder, pool or Here()) == here
    return here


def line(group, sender, at, text, **more):
    row = {"group": group, "sender": sender, "timestamp": at, "text": text}
    return json.dumps({**row, **more}, ensure_ascii=False) + "\n"


@st.composite
def exports(draw):
    """Files of tables that share people, groups, ids and whole messages, with answers from one to another."""
    files = []
    for number in range(draw(st.integers(1, 5))):
        lines, at = [], 0
        for _ in range(draw(st.integers(0, 8))):
            at += draw(st.integers(0, 3))
            own = str(draw(st.integers(0, 9)))
            more = {}
            if draw(st.booleans()):
                # The same id is the same message, so that files that overlap agree.
                more = {"id": own, "reply_to": str(draw(st.integers(0, 9)))}
                sender, stamp = PEOPLE[int(own) % len(PEOPLE)], 1000 + int(own)
            else:
                sender, stamp = draw(st.sampled_from(PEOPLE)), 1000 + at
            text = draw(st.sampled_from(["ann: so?", "hi Bob Stone 13912345678", "张伟在吗", "", "carl_77 and Dora"]))
            lines.append(line(draw(st.sampled_from(["one", "two"])), sender, stamp, text, **more))
        files.append((f"{number}.jsonl", "".join(sorted(lines, key=lambda each: json.loads(each)["timestamp"]))))
    return files


@settings(deadline=None, max_examples=150)
@given(
    files=exports(),
    size=st.integers(1, 2000),
    most=st.integers(1, 2000),
    kept=st.integers(1, 4000),
    digits=st.sampled_from([1, 2, 64]),
)
def test_any_cut_reads_as_one_process(tmp_path_factory, files, size, most, kept, digits):
    folder = tmp_path_factory.mktemp("portions")
    (folder / "raw").mkdir()
    for name, content in files:
        (folder / "raw" / name).write_text(content, encoding="utf-8")
    digits_of = Pseudonyms._digits
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLADDER_PRIVACY_KEY", KEY)
        patch.setattr(collect, "PORTION_BYTES", size)
        patch.setattr(Here, "most_bytes", most)
        patch.setattr(collect, "KEPT_BYTES", kept)
        # Few digits: names meet in one pseudonym, which the files before decide.
        patch.setattr(Pseudonyms, "_digits", lambda self, name: digits_of(self, name)[:digits].zfill(8) + name)
        assert_same(folder / "raw", folder)


def test_names_that_meet_across_files_have_their_portion_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "PORTION_BYTES", 1)
    monkeypatch.setattr(Pseudonyms, "_digits", lambda self, name: "0" * 8 + name)
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, name in enumerate(("ann", "bob", "ann")):
        (raw / f"{number}.jsonl").write_text(line("g", name, number, f"{name} is here"), encoding="utf-8")
    found = assert_same(raw, tmp_path)
    assert found["known"][0] == [("ann", "u00000000"), ("bob", "u00000000bob")]
    assert found["collisions"] == 3  # a person, and two of the three files


def test_every_kind_of_file_and_archive(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_text(line("g", "ann", 1, "hello bob"), encoding="utf-8")
    (raw / "b.jsonl.gz").write_bytes(gzip.compress(line("g", "bob", 2, "hello ann").encode()))
    (raw / "empty.jsonl").write_text("\n", encoding="utf-8")
    day = [{"type": "message", "user": "U1", "ts": f"170000000{n}.000100", "text": "<@U2> hi Zoe"} for n in range(3)]
    with zipfile.ZipFile(raw / "slack.zip", "w") as archive:
        archive.writestr("channels.json", json.dumps([{"id": "C1", "name": "general", "creator": "U1", "members": []}]))
        archive.writestr("users.json", json.dumps([{"id": "U2", "name": "zoe", "team_id": "T", "profile": {}}]))
        for date in ("2023-11-14", "2023-11-15"):
            archive.writestr(f"general/{date}.json", json.dumps(day))
            day = [{**each, "ts": f"18{each['ts'][2:]}"} for each in day]
        archive.writestr("general/photo.png", b"\x89PNG")
    for size in (1, 700, 10**9):
        monkeypatch.setattr(collect, "PORTION_BYTES", size)
        counts = assert_same(raw, tmp_path)["counts"]
        assert (counts["raw_lines"], counts["empty_files"], counts["files_passed_over"]) == (10, 1, 1)


def test_the_real_exports_are_read_alike(shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "PORTION_BYTES", 2000)
    found = [each for each in sorted((shared_data / "exports").iterdir()) if each.is_dir()]
    assert found
    for raw in found:
        assert_same(raw, tmp_path)


@pytest.mark.parametrize("size", [1, 10**9])
def test_the_first_file_that_is_refused_is_told_as_by_one_process(tmp_path, monkeypatch, size):
    monkeypatch.setattr(collect, "PORTION_BYTES", size)
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(4):
        damaged = '{"group": ' if number > 1 else ""
        content = line("g", "ann", 1, "hi") * 2 + damaged
        (raw / f"{number}.jsonl").write_text(content, encoding="utf-8")
    relative = raw.relative_to(tmp_path)
    error = assert_same(relative, tmp_path)
    assert error.startswith("raw/2.jsonl:3: ")


def test_large_files_are_read_by_the_command_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "PORTION_BYTES", 300)
    monkeypatch.setattr(Here, "most_bytes", 501)
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [line("g", "ann", n, "hi") for n in range(40)]
    for name, lines in (("a", rows[:2]), ("b", rows[2:4]), ("c", rows[4:30]), ("d", rows[30:])):
        (raw / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    sources = find_exports(raw, Counter())
    assert [[each.name[0] for each in portion] for portion in collect.cut(sources, 500)] == [["a", "b"], ["c"], ["d"]]
    pool = Here()
    assert_same(raw, tmp_path, pool)
    assert pool.items == 1  # the other two are too large


def test_a_file_that_unpacks_to_more_than_a_worker_may_hold_is_read_by_the_command(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = "".join(line("g", "ann", n, "hi " * 200) for n in range(300))
    (raw / "a.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    given = []

    class Watched(Here):
        def map(self, function, items, *shared):
            for found in super().map(function, items, *shared):
                given.append(found)
                yield found

    monkeypatch.setattr(collect, "KEPT_BYTES", 2 * len(rows))
    assert assert_same(raw, tmp_path, Watched())["counts"]["raw_lines"] == 300
    monkeypatch.setattr(collect, "KEPT_BYTES", len(rows) // 2)
    assert assert_same(raw, tmp_path, Watched())["counts"]["raw_lines"] == 300
    assert [each is None for each in given] == [False, True]


@pytest.mark.parametrize("size", [1, 2000, 10**9])
@pytest.mark.parametrize("free", [0, 50, 150, 10**6])
def test_the_budget_of_a_folder_holds_over_all_portions(tmp_path, monkeypatch, size, free):
    monkeypatch.setattr(collect, "PORTION_BYTES", size)
    monkeypatch.setitem(LIMITS, "records", LIMITS["records"]._replace(per_byte=0, free=free))
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(4):
        rows = "".join(line("g", "ann", 100 * number + n, "hi") for n in range(40))
        (raw / f"{number}.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    refused = {0: "0.jsonl.gz: ", 50: "1.jsonl.gz: ", 150: "3.jsonl.gz: "}
    pool = Here()
    found = assert_same(raw, tmp_path, pool)
    if free in refused:
        assert f"{refused[free]}expected a chat, got a file that unpacks to more than 0 messages" in found
    else:
        assert found["counts"]["raw_lines"] == 160


def test_sizes_of_what_is_packed_are_guessed_and_of_what_is_in_a_zip_known(tmp_path):
    (tmp_path / "a.jsonl.GZ").write_bytes(b"x" * 7)
    (tmp_path / "b.jsonl").write_bytes(b"x" * 7)
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.jsonl", "x" * 1000)
    assert [each.size for each in find_exports(tmp_path, Counter())] == [70, 7, 1000]


@pytest.mark.parametrize(("there", "got"), [(None, "none"), ("another key, long enough", "another")])
def test_a_worker_without_the_key_of_the_command_is_refused(tmp_path, monkeypatch, there, got):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_text(line("g", "ann", 1, "hi"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    class Elsewhere(Here):
        def map(self, function, items, *shared):
            if there is None:
                monkeypatch.delenv("CHATLADDER_PRIVACY_KEY")
            else:
                monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", there)
            assert KEY.encode() not in pickle.dumps(shared)
            return super().map(function, items, *shared)

    error = read(raw, tmp_path, Elsewhere())
    assert error.startswith("CHATLADDER_PRIVACY_KEY: expected the command's key on ")
    assert f"got {got}. Set it there before ray start" in error
    assert there is None or there not in error


def test_a_worker_that_does_not_see_the_files_says_so(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_text(line("g", "ann", 1, "hi"), encoding="utf-8")

    class Elsewhere(Here):
        def map(self, function, items, *shared):
            items = list(items)
            (raw / "a.jsonl").unlink()
            return super().map(function, items, *shared)

    error = read(raw, tmp_path, Elsewhere())
    assert "a.jsonl: not there on " in error
    assert "storage that they share" in error


def test_the_check_of_a_key_is_not_the_key_and_no_pseudonym():
    names = Pseudonyms(KEY)
    assert names.check == Pseudonyms(KEY).check != Pseudonyms(KEY + "2").check
    assert KEY not in names.check
    assert names.known == {"u": {}, "g": {}, "f": {}}
    assert np.unique([names.check[:8], names.person("check")[1:], names.person("")[1:]]).size == 3
