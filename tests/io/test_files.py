"""What is read between stages: rows, or one error that names the place and not what stands there; files made once."""

import os
import random
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatladder.cli.annotate import round_records
from chatladder.io.console import DataError
from chatladder.io.files import create_json, read_json, read_jsonl, share, whole_file, whole_folder
from chatladder.io.rows import SCORES, Rows, read_rows, write_rows
from tests.conftest import ROOT

DEEP = '{"a": ' + "[" * 200_000
MANY_DIGITS = '{"a": ' + "7" * 5_000 + "}"
#: SCORES as they should be, then with a column of another kind.
GOOD = {"turn_id": pa.array(["t1", "t2"]), "score": pa.array([1.0, 2.0], pa.float32())}


def refusal(read, *arguments):
    with pytest.raises(DataError) as refused:
        read(*arguments)
    return refused.value.message


@pytest.mark.parametrize(
    ("content", "came"),
    [(DEEP, "lists or objects nested too deep"), (MANY_DIGITS, "a number of thousands of digits")],
    ids=["deep", "digits"],
)
class TestJson:
    def test_json_that_python_cannot_hold_is_named(self, tmp_path, content, came):
        path = tmp_path / "metrics.json"
        path.write_text(content)
        assert refusal(read_json, path) == f"{path}: expected JSON, got {came}."

    def test_so_is_its_line(self, tmp_path, content, came):
        path = tmp_path / "queue.jsonl"
        path.write_text('{"item_id": "a"}\n\n' + content + "\n")
        rows = read_jsonl(path)
        assert next(rows) == (1, {"item_id": "a"})
        assert refusal(next, rows) == f"{path}:3: expected a JSON object, got {came}."


class TestRows:
    @pytest.mark.parametrize(
        ("name", "values", "kinds"),
        [
            ("turn_id", pa.array([{"a": 1}, None]), "turn_id as string, got struct<a: int64>"),
            ("turn_id", pa.array([[1], None]), "turn_id as string, got list<element: int64>"),
            ("score", pa.array(["told in private", "1"]), "score as float, got string"),
            ("turn_id", pa.array([b"\xff", b"t2"]), "turn_id as string, got binary"),
        ],
        ids=["struct", "list", "text", "bytes"],
    )
    def test_a_column_of_another_kind_is_named_and_not_quoted(self, tmp_path, name, values, kinds):
        path = tmp_path / "scores.parquet"
        pq.write_table(pa.table({**GOOD, name: values}), path)
        assert refusal(read_rows, path, SCORES) == f"{path}: expected {kinds}."

    def test_a_column_that_is_there_twice_is_named(self, tmp_path):
        path = tmp_path / "scores.parquet"
        pq.write_table(pa.Table.from_arrays([*GOOD.values(), GOOD["score"]], [*GOOD, "score"]), path)
        assert refusal(Rows, path, SCORES) == f"{path}: expected every column once, got score twice."

    def test_kinds_that_hold_the_same_are_taken(self, tmp_path):
        path = tmp_path / "scores.parquet"
        pq.write_table(pa.table({"turn_id": GOOD["turn_id"].dictionary_encode(), "score": pa.array([1, 2])}), path)
        assert read_rows(path, SCORES).to_pydict() == {"turn_id": ["t1", "t2"], "score": [1.0, 2.0]}

    def test_a_file_damaged_at_any_byte_is_read_or_refused_with_its_name(self, tmp_path):
        path = tmp_path / "scores.parquet"
        write_rows(path, [{"turn_id": "t1", "score": 1.0}], SCORES)
        whole = path.read_bytes()
        refused = []
        for at in range(len(whole)):
            for other in (whole[at] ^ 0xFF, whole[at] ^ 0x80):
                path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
                try:
                    read_rows(path, SCORES)
                except DataError as error:
                    refused.append(error.message)
        assert len(refused) > len(whole) // 2
        assert all(str(path) in message for message in refused)


def test_of_several_who_create_a_file_at_once_the_first_one_wins(tmp_path):
    path = tmp_path / "round_1" / "assignment.json"
    start = threading.Barrier(8)

    def create(number):
        start.wait()
        return create_json(path, {"number": number})

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(8)))
    assert sum(created) == 1
    assert read_json(path) == {"number": created.index(True)}
    assert [entry.name for entry in path.parent.iterdir()] == ["assignment.json"]


def settled_by(settle, path, values):
    """What each of several callers who settle something at the same moment is told, or their refusal."""
    start = threading.Barrier(len(values))

    def call(value):
        start.wait()
        try:
            return settle(path, value)
        except DataError:
            return "refused"

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(call, values))


def test_two_who_begin_a_round_at_once_follow_one_assignment_and_one_wording(tmp_path, monkeypatch):
    # Both find no record before either writes one: the moment between the two is made long.
    exists = Path.exists

    def slow(path, **options):
        found = exists(path, **options)
        if path.name in (round_records.ASSIGNMENT_FILE, round_records.GUIDELINES_FILE):
            time.sleep(0.05)
        return found

    monkeypatch.setattr(Path, "exists", slow)
    shared = settled_by(lambda folder, n: round_records.settle_assignment(folder, ["li", "wu"], n), tmp_path, [1, 2])
    assert sorted(map(str, shared)).count("refused") == 1
    wordings = ["a" * 12, "b" * 12]
    told = settled_by(
        lambda folder, version: round_records.settle_guidelines(folder, Path("g.md"), version, allow_changed=False),
        tmp_path,
        wordings,
    )
    assert sorted(map(str, told)) == ["None", "refused"]


#: Begins to write the out that it is given, says so, and waits.
WRITES = """
import sys, time
from pathlib import Path
from chatladder.io import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])):
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("way", [whole_file, whole_folder])
class TestLeftOver:
    def begin(self, way, out):
        command = [sys.executable, "-c", WRITES, way.__name__, str(out)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert writer.stdout.readline() == "begun\n"
        return writer

    def test_what_a_killed_process_left_is_gone_after_the_next_write(self, tmp_path, way):
        writer = self.begin(way, tmp_path / "out")
        writer.kill()
        writer.communicate()
        assert len(list(tmp_path.iterdir())) == 1
        with way(tmp_path / "other"):
            assert len(list(tmp_path.iterdir())) == 2
        with way(tmp_path / "out"):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]

    def test_what_a_living_process_writes_stays(self, tmp_path, way):
        writer = self.begin(way, tmp_path / "out")
        try:
            with way(tmp_path / "out"):
                pass
            assert len(list(tmp_path.iterdir())) == 2
        finally:
            writer.kill()
            writer.communicate()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The current folder, with an answer in it that nobody can give again."""
    folder = tmp_path / "project"
    log = folder / "data" / "annotations" / "round_1" / "li.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"item_id": "a"}\n')
    (folder / "notes.md").write_text("mine")
    monkeypatch.chdir(folder)
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestReplacedFolders:
    @pytest.mark.parametrize(
        "out", [".", "..", "../..", "/", "data", "data/annotations", "data/annotations/round_1", "notes.md", "link"]
    )
    def test_only_an_output_of_the_same_command_is_replaced(self, project, out):
        (project / "link").symlink_to("data", target_is_directory=True)
        before = contents(project.parent)
        with pytest.raises(DataError), whole_folder(Path(out), "train.json", "test.json") as folder:
            (folder / "train.json").write_text("[]")
        assert contents(project.parent) == before

    def test_the_message_names_the_file_that_is_in_the_way(self, project):
        message = refusal(whole_folder(Path("data"), "train.json").__enter__)
        assert "data: " in message
        assert "annotations/round_1/li.jsonl" in message

    @pytest.mark.parametrize(
        "there", [["notes.txt"], ["test.json"], ["train.json", "sub/train.json"], ["train.json", "x"]]
    )
    def test_one_foreign_file_or_the_lack_of_the_sign_is_enough(self, project, there):
        out = project / "out"
        for name in there:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text("kept")
        with pytest.raises(DataError), whole_folder(out, "train.json", "test.json"):
            pass
        assert sorted(contents(out)) == sorted(there)

    def test_a_file_that_appears_meanwhile_is_kept(self, project):
        out = project / "out"
        writing = whole_folder(out, "train.json")
        (writing.__enter__() / "train.json").write_text("[]")
        out.mkdir()
        (out / "mine").write_text("kept")
        assert "mine" in refusal(writing.__exit__, None, None, None)
        assert contents(out) == {"mine": b"kept"}

    def test_an_earlier_output_is_replaced_as_a_whole(self, project):
        out = project / "out"
        for text in ("old", "new"):
            with whole_folder(out, "train.json", "plots/*.tsv") as folder:
                (folder / "plots").mkdir()
                (folder / "plots" / f"{text}.tsv").write_text(text)
                (folder / "train.json").write_text(text)
        assert contents(out) == {"train.json": b"new", "plots/new.tsv": b"new"}
        assert sorted(path.name for path in project.iterdir()) == ["data", "notes.md", "out"]

    def test_the_folder_that_an_earlier_kill_left_aside_comes_back(self, project):
        aside = project / ".out.replaced"
        aside.mkdir()
        (aside / "train.json").write_text("old")
        with pytest.raises(ZeroDivisionError), whole_folder(project / "out", "train.json"):
            raise ZeroDivisionError
        assert contents(project / "out") == {"train.json": b"old"}


class TestAnswers:
    @pytest.mark.parametrize("name", ["li.jsonl", "review.json", "new/x.json", "adjudication/wu.jsonl"])
    @pytest.mark.parametrize("folder", ["data/annotations/round_1", "data/annotations/ROUND_2", "linked"])
    def test_no_file_of_a_round_is_written_by_a_stage(self, project, folder, name):
        (project / "linked").symlink_to("data/annotations/round_1", target_is_directory=True)
        before = contents(project)
        with pytest.raises(DataError, match="annotations"), whole_file(Path(folder) / name) as temporary:
            temporary.write_text("rows")
        assert contents(project) == before


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_the_umask_decides_who_can_read_what_is_written(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        with whole_file(tmp_path / "file") as temporary:
            temporary.chmod(0o600)  # as safetensors leaves it
        with whole_folder(tmp_path / "folder") as temporary:
            (temporary / "weights").touch(0o600)
            share(temporary)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "folder", "folder/weights")]
    assert modes == [file, folder, file]


#: Replaces an output again and again; the file in it says which one it is, twice.
REPLACES = """
import sys
from pathlib import Path
from chatladder.io import files
if sys.argv[2] == "aside":
    files.ctypes.CDLL = lambda *names, **options: None  # no system call: by way of a third name
for number in range(1_000_000):
    with files.whole_folder(Path(sys.argv[1]), "a.json", "b.json") as folder:
        for name in ("a.json", "b.json"):
            (folder / name).write_text(str(number))
    if not number:
        print("begun", flush=True)
"""


@pytest.mark.parametrize("way", ["exchange", "aside"])
def test_a_kill_at_any_moment_leaves_the_old_folder_or_the_new_one(tmp_path, way):
    out = tmp_path / "out"
    for kill in range(25):
        command = [sys.executable, "-c", REPLACES, str(out), way]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert writer.stdout.readline() == "begun\n"
        time.sleep(random.Random(kill).random() / 50)
        writer.kill()
        writer.communicate()
        if way == "aside":  # the next command brings back what it finds under the third name
            with suppress(ZeroDivisionError), whole_folder(out, "a.json", "b.json"):
                raise ZeroDivisionError
        assert sorted(contents(out)) == ["a.json", "b.json"]
        assert len(set(contents(out).values())) == 1
