"""What is read between stages: rows, or one error that names the place and not what stands there; files made once."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.annotation import assignment, guidelines
from stages.cli import DataError
from stages.files import create_json, read_json, read_jsonl, whole_file, whole_folder
from stages.rows import SCORES, Rows, read_rows, write_rows

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
        if path.name in (assignment.FILE, guidelines.FILE):
            time.sleep(0.05)
        return found

    monkeypatch.setattr(Path, "exists", slow)
    shared = settled_by(lambda folder, n: assignment.settle(folder, ["li", "wu"], n), tmp_path, [1, 2])
    assert sorted(map(str, shared)).count("refused") == 1
    wordings = ["a" * 12, "b" * 12]
    told = settled_by(
        lambda folder, version: guidelines.settle(folder, Path("g.md"), version, allow_changed=False),
        tmp_path,
        wordings,
    )
    assert sorted(map(str, told)) == ["None", "refused"]


#: Begins to write the out that it is given, says so, and waits.
WRITES = """
import sys, time
from pathlib import Path
from stages import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])):
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("way", [whole_file, whole_folder])
class TestLeftOver:
    def begin(self, way, out):
        command = [sys.executable, "-c", WRITES, way.__name__, str(out)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
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
