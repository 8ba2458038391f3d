"""Stages over Ray: the bytes of one process, whatever the ranges, the nodes, and the workers that die on the way."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder import distributed as engine
from chatladder.chat import collect
from chatladder.chat import turns as chat_turns
from chatladder.cli import simulate
from chatladder.distributed import LocalWorkers, RowRange, cut_evenly
from chatladder.io.console import DataError
from chatladder.io.rows import MESSAGES, SCORES, TURNS, Rows, write_rows
from chatladder.judges import punctuation, rules
from chatladder.judges.texts import TextTurns
from chatladder.privacy.secret import DEMO_GROUP
from stages import ingest, merge, pick_questions, score
from tests.conftest import ROOT
from tests.workers_here import Here

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: chatladder[ray]")
LINES, GROUPS = 3000, 3
KEY = "a key for tests alone"


def bytes_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Ranges


@given(rows=st.integers(0, 60), size=st.integers(1, 20))
def test_ranges_hold_every_row_once(rows, size):
    ranges = cut_evenly(rows, size)
    assert [row for part in ranges for row in range(*part)] == list(range(rows))
    assert all(part.start < part.stop <= part.start + size for part in ranges)


@given(start=st.integers(0, 70), length=st.integers(0, 70), rows=st.integers(1, 30))
def test_a_range_reads_its_rows_from_groups_of_any_size(tmp_path_factory, start, length, rows):
    path = tmp_path_factory.mktemp("range") / "scores.parquet"
    whole = pa.table({"turn_id": [f"t{number}" for number in range(60)], "score": np.arange(60)}).cast(SCORES)
    with pq.ParquetWriter(path, SCORES) as writer:
        for begin, end in ((0, 7), (7, 8), (8, 30), (30, 60)):
            writer.write_table(whole.slice(begin, end - begin))
    found = RowRange(path, SCORES, start, start + length)
    expected = whole.slice(min(start, 60), length)
    assert found.table() == expected
    assert found.num_rows == expected.num_rows
    assert sum(part.num_rows for part in found.parts(["score"], rows)) == expected.num_rows
    assert RowRange(path, SCORES, start).table(["score"]) == whole.slice(min(start, 60)).select(["score"])


def test_a_file_that_a_node_does_not_see_is_told(tmp_path):
    with pytest.raises(DataError, match=r"gone\.parquet: not there on .*storage that they share"):
        RowRange(tmp_path / "gone.parquet", TURNS, 0)


# Ranges of stages: any cut gives the rows of one process


@st.composite
def chats(draw):
    """Messages of a few groups in which neighbours often join, answer, repeat, lack a time or are notices."""
    rows = []
    for group in range(draw(st.integers(1, 3))):
        at = 0
        for _ in range(draw(st.integers(1, 25))):
            at += draw(st.sampled_from([0, 0, 5, 5, 40, 100]))
            own = [row["message_id"] for row in rows if row["group"] == f"g{group}"]
            rows.append(
                {
                    "message_id": f"{len(rows):016x}",
                    "group": f"g{group}",
                    "sender": draw(st.sampled_from(["u1", "u1", "u2"])),
                    "timestamp": None if draw(st.integers(0, 19)) == 0 else at,
                    "resolution_seconds": 1,
                    "kind": draw(st.sampled_from(["text", "text", "text", "text", "system", "image", "other"])),
                    "text": draw(st.sampled_from(["is it so?", "is it not so?", "yes it is"])),
                    "reply_to": draw(st.sampled_from(own)) if own and draw(st.integers(0, 7)) == 0 else None,
                    "source": "f1:1",
                }
            )
    return rows


def merged(messages, gap, out, pool):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_turns, "workers", lambda: nullcontext(pool))
        counts = chat_turns.merge_file(messages, gap, out)
    return out.read_bytes(), counts


@settings(deadline=None)
@given(rows=chats(), size=st.integers(1, 12), looked_at=st.integers(1, 4))
def test_turns_of_ranges_are_those_of_the_whole(tmp_path_factory, rows, size, looked_at):
    folder = tmp_path_factory.mktemp("merge")
    write_rows(folder / "messages", rows, MESSAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_turns, "RANGE_ROWS", size)
        patch.setattr(chat_turns, "LOOKED_AT", looked_at)
        over = merged(folder / "messages", 18, folder / "over", Here())
    assert over == merged(folder / "messages", 18, folder / "here", LocalWorkers())


def test_one_turn_of_many_messages_is_one_range(tmp_path, monkeypatch):
    rows = [
        {"message_id": f"{n}", "group": "g", "sender": "u", "timestamp": n, "kind": "text", "text": "on and on"}
        for n in range(50)
    ]
    write_rows(tmp_path / "messages", rows, MESSAGES)
    monkeypatch.setattr(chat_turns, "RANGE_ROWS", 10)
    pool = Here()
    assert merged(tmp_path / "messages", 18, tmp_path / "turns", pool)[1]["turns"] == 1
    assert pool.items == 5


@pytest.mark.slow
def test_judges_score_parts_as_one_process_does(tmp_path, monkeypatch):
    """More turns than a part, and than punctuation learns from: sums by part, and texts drawn from several."""
    monkeypatch.setattr(punctuation, "LEARN_FROM_TURNS", 2000)
    monkeypatch.setattr(punctuation, "STEPS", 20_000)
    asks = [
        "how do i mount a disk?",
        "is the driver loaded?",
        "the driver is loaded",
        "mount the disk, then restart",
        "how",
    ]
    draw = np.random.default_rng(1).integers(5, size=140_000)
    texts = pa.array(asks).take(pa.array(draw))
    ids = pa.array([f"t{n}" for n in range(len(draw))])
    kinds = pa.array(["image" if n % 5 == 0 else "text" for n in range(len(draw))])
    columns = {name: pa.nulls(len(draw), TURNS.field(name).type) for name in TURNS.names}
    write_rows(
        tmp_path / "turns", pa.table({**columns, "turn_id": ids, "text": texts, "kind": kinds}).cast(TURNS), TURNS
    )
    here, over = (TextTurns(Rows(tmp_path / "turns", TURNS), pool) for pool in (LocalWorkers(), Here()))
    assert here.num_rows == over.num_rows == 112_000
    for judge in (rules, punctuation):
        assert judge.score(here, 0).tobytes() == judge.score(over, 0).tobytes()


# Which engine


def run_merge(folder, **environment):
    arguments = ["--messages", str(folder / "messages"), "--gap-seconds", "18", "--out", str(folder / "out.parquet")]
    return CliRunner().invoke(merge.main, [*arguments, "--counts", str(folder / "out.json")], env=environment)


@pytest.fixture
def messages(tmp_path):
    row = {"message_id": "1", "group": "g", "sender": "u", "timestamp": 1, "kind": "text", "text": "hi"}
    write_rows(tmp_path / "messages", [row], MESSAGES)
    return tmp_path


def test_another_engine_is_refused(messages):
    result = run_merge(messages, CHATLADDER_ENGINE="spark")
    assert result.exit_code == 1
    assert result.output == "Error: CHATLADDER_ENGINE: expected local or ray, got 'spark'.\n"
    assert not (messages / "out.parquet").exists()


def test_without_ray_it_says_what_to_install(messages, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run_merge(messages, CHATLADDER_ENGINE="ray")
    assert result.exit_code == 1
    assert "Ray is not installed. Run pip install ray" in result.output
    assert not (messages / "out.parquet").exists()
    assert run_merge(messages).exit_code == 0


def test_one_process_alone_imports_no_ray(messages):
    code = (
        "import sys\nsys.modules['ray'] = None\nfrom stages import ingest, merge, pick_questions, score\n"
        "merge.main(sys.argv[1:], standalone_mode=False)\n"
    )
    arguments = ["--messages", "messages", "--gap-seconds", "18", "--out", "o", "--counts", "c"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CHATLADDER_ENGINE": "local"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=messages, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr


# Over a real cluster


NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}  # one processor, the smallest object store


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes, joined by this process."""
    from chatladder.distributed.ray_workers import QUIET, _connect

    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        patch.setenv("CHATLADDER_PRIVACY_KEY", KEY)  # nodes have their own
        import ray
        from ray.cluster_utils import Cluster

        started = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        started.add_node(**NODE)
        _connect(ray, started.address)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
        yield started
        ray.shutdown()
        started.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes):
    """The address of a cluster of two nodes."""
    return nodes.address


@pytest.fixture
def over_ray(cluster, monkeypatch):
    """This process's stages run over the cluster, in small ranges."""
    monkeypatch.setenv("CHATLADDER_ENGINE", "ray")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    monkeypatch.setattr(collect, "PORTION_BYTES", 1)
    monkeypatch.setattr(chat_turns, "RANGE_ROWS", 500)
    return cluster


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """Exports of three groups of different size."""
    raw = tmp_path_factory.mktemp("raw")
    for number in range(GROUPS):
        path = raw / f"{number}.txt"
        simulate.write_chat(LINES // (number + 1), number, path, raw.parent / "truth.jsonl")
        path.write_text(path.read_text(encoding="utf-8").replace(DEMO_GROUP, f"{number}@chatroom"), encoding="utf-8")
    return raw


def commands(raw, out):
    """Every data stage with its arguments, in order."""
    turns, judges = f"{out}/turns.parquet", ("rules", "punctuation")
    reading = ["--raw", str(raw), "--format", "auto", "--timezone", "UTC", "--date-order", "auto"]
    yield ingest, [*reading, "--out", f"{out}/messages.parquet", "--counts", f"{out}/counts/ingest.json"]
    merging = ["--messages", f"{out}/messages.parquet", "--gap-seconds", "18"]
    yield merge, [*merging, "--out", turns, "--counts", f"{out}/counts/merge.json"]
    for judge in judges:
        kind = ["--judge", judge, "--kind", judge, "--seed", "0", "--turns", turns]
        yield score, [*kind, "--out", f"{out}/scores/{judge}"]
    options = ["--turns", turns, "--join", "all", "--min-characters", "7", "--window", "12"]
    options += ["--conversation-gap", "1800", "--max-conversation-turns", "500", "--reply-reach", "86400"]
    options += ["--scores", f"{out}/scores", "--counts", f"{out}/counts"]
    options += [word for judge in judges for word in ("--judge", f"{judge}=5")]
    yield pick_questions, [*options, "--out", f"{out}/questions.parquet", "--metrics", f"{out}/questions.json"]


def run_all(raw, out):
    for stage, arguments in commands(raw, out):
        result = CliRunner().invoke(stage.main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return bytes_below(out)


@pytest.fixture(scope="module")
def here(chat, tmp_path_factory):
    """What one process makes of the chat: path -> bytes, and the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATLADDER_PRIVACY_KEY", KEY)
        patch.delenv("CHATLADDER_ENGINE", raising=False)
        out = tmp_path_factory.mktemp("here")
        return run_all(chat, out), out


@pytest.mark.slow
@needs_ray
def test_every_data_stage_over_two_nodes_makes_the_bytes_of_one_process(over_ray, chat, here, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", KEY)
    assert run_all(chat, tmp_path) == here[0]


@pytest.mark.slow
@needs_ray
def test_nodes_with_another_key_than_the_command_are_told(over_ray, chat, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", "a key of the command's own")
    stage, arguments = next(commands(chat, tmp_path))
    result = CliRunner().invoke(stage.main, arguments)
    assert result.exit_code == 1, result.output
    assert "CHATLADDER_PRIVACY_KEY: expected the command's key on " in result.output
    assert "got another" in result.output
    assert KEY not in result.output
    assert "Unhandled" not in caplog.text
    assert bytes_below(tmp_path) == {}


@pytest.mark.slow
@needs_ray
def test_stages_as_dvc_runs_them_whatever_the_hash_seed(cluster, here, tmp_path):
    """As processes of their own, so that what workers call is of a module that runs as __main__."""
    made, folder = here
    arguments = dict(commands(None, folder))
    for seed, stage in (("1", merge), ("2", pick_questions)):
        words = [word.replace(f"{folder}/questions", f"{tmp_path}/questions") for word in arguments[stage]]
        out = f"{folder}/turns" if stage is merge else ""
        words = [word.replace(out, f"{tmp_path}/turns") if out else word for word in words]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "CHATLADDER_ENGINE": "ray", "RAY_ADDRESS": cluster}
        done = run_module(stage, words, environment)
        assert done.returncode == 0, done.stderr
        quiet = [line for line in done.stderr.splitlines() if "ray" in line.lower()]
        assert quiet == []
    for name in ("turns.parquet", "questions.parquet", "questions.json"):
        assert (tmp_path / name).read_bytes() == made[Path(name)]


def run_module(stage, words, environment):
    command = [sys.executable, "-m", stage.__name__, *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


#: In the environment of the one test that starts a cluster and has to stop it.
MARKER = "CHATLADDER_TEST_STARTS_A_CLUSTER"


def raylets(marker):
    """The schedulers of a process with this in its environment; other tests may start theirs meanwhile."""
    found = set()
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            if process.info["name"] == "raylet" and marker in process.environ():
                found.add(process.pid)
    return found


@pytest.mark.slow
@needs_ray
def test_without_an_address_a_cluster_is_started_and_stopped(here, tmp_path):
    made, folder = here
    words = [word.replace(f"{folder}/turns", f"{tmp_path}/turns") for word in dict(commands(None, folder))[merge]]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = run_module(merge, words, {**environment, "CHATLADDER_ENGINE": "ray", MARKER: "1"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "turns.parquet").read_bytes() == made[Path("turns.parquet")]
    assert raylets(MARKER) == set()


def merge_and_die_once(own, messages, gap_seconds):
    """As ``chat_turns.merge_range``, but the first worker to come to the second range is killed there."""
    marker = messages.with_name("died")
    if own.start == 500 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return chat_turns.merge_range(own, messages, gap_seconds)


def die(own, *shared):
    os.kill(os.getpid(), signal.SIGKILL)


def merge_of(folder, tmp_path):
    (tmp_path / "messages").write_bytes((folder / "messages.parquet").read_bytes())
    return run_merge(tmp_path)


@pytest.mark.slow
@needs_ray
def test_a_worker_that_is_killed_in_mid_stage_changes_no_byte(over_ray, here, tmp_path, monkeypatch):
    monkeypatch.setattr(chat_turns, "merge_range", merge_and_die_once)
    result = merge_of(here[1], tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "died").exists()
    assert (tmp_path / "out.parquet").read_bytes() == here[0][Path("turns.parquet")]


@pytest.mark.slow
@needs_ray
def test_workers_that_are_killed_again_and_again_leave_an_error_and_no_out(over_ray, here, tmp_path, monkeypatch):
    monkeypatch.setattr(chat_turns, "merge_range", die)
    result = merge_of(here[1], tmp_path)
    assert result.exit_code == 1
    assert "Ray: a task was lost and 3 further tries failed too" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["messages"]


def merge_until_the_node_goes(own, messages, gap_seconds):
    """As ``merge_range``, but on the node that is to go a worker says that it is there, and waits for its end."""
    import ray

    if ray.get_runtime_context().get_node_id() == messages.with_name("going").read_text():
        messages.with_name("reached").touch()
        time.sleep(600)
    return chat_turns.merge_range(own, messages, gap_seconds)


def remove_once_reached(nodes, node, folder):
    """Take a node out of the cluster while a worker of it is busy."""
    until = time.monotonic() + 400  # on starved cores a worker takes minutes to come
    while not (folder / "reached").exists() and time.monotonic() < until:
        time.sleep(0.05)
    nodes.remove_node(node, allow_graceful=False)


@pytest.mark.slow
@needs_ray
def test_a_node_that_goes_in_mid_stage_changes_no_byte(over_ray, nodes, here, tmp_path, monkeypatch):
    node = nodes.add_node(**NODE)
    (tmp_path / "going").write_text(node.node_id)
    monkeypatch.setattr(chat_turns, "merge_range", merge_until_the_node_goes)
    with ThreadPoolExecutor() as beside:
        removed = beside.submit(remove_once_reached, nodes, node, tmp_path)
        result = merge_of(here[1], tmp_path)
        removed.result()
    assert result.exit_code == 0, result.output
    assert (tmp_path / "reached").exists()
    assert (tmp_path / "out.parquet").read_bytes() == here[0][Path("turns.parquet")]


@pytest.mark.slow
@needs_ray
def test_a_day_of_a_real_chat_makes_the_bytes_of_one_process(over_ray, shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", KEY)
    for name in ("raw", "over", "here"):
        (tmp_path / name).mkdir()
    day = max((shared_data / "irc" / "ubuntu-zh").iterdir(), key=lambda path: path.stat().st_size)
    shutil.copy(day, tmp_path / "raw")
    over = run_all(tmp_path / "raw", tmp_path / "over")
    monkeypatch.setenv("CHATLADDER_ENGINE", "local")
    assert over == run_all(tmp_path / "raw", tmp_path / "here")
    assert pq.read_metadata(tmp_path / "over" / "messages.parquet").num_rows > 3 * chat_turns.RANGE_ROWS
    assert pq.read_metadata(tmp_path / "over" / "questions.parquet").num_rows > 0


def big(number):
    return number, np.full(2**20, number)


@pytest.mark.slow
@needs_ray
def test_results_larger_than_the_object_store_come_in_order(over_ray):
    with engine.workers() as pool:
        found = list(map(first_and_sum, pool.map(big, range(40))))
    assert found == [(number, number * 2**20) for number in range(40)]  # 320 MiB through two stores of 80


def first_and_sum(result):
    return result[0], int(result[1].sum())


def refuse(number, word):
    if number == 2:
        raise DataError(f"chat.txt:{number}: expected {word}")
    return number


@pytest.mark.slow
@needs_ray
def test_an_error_of_a_worker_is_that_of_the_stage(over_ray):
    with engine.workers() as pool, pytest.raises(DataError) as raised:
        list(pool.map(refuse, range(5), "a question"))
    assert raised.value.message == "chat.txt:2: expected a question"


@pytest.mark.slow
@needs_ray
def test_an_address_where_nothing_answers_is_told(messages):
    environment = {**os.environ, "CHATLADDER_ENGINE": "ray", "RAY_ADDRESS": "127.0.0.1:1"}
    arguments = ["--messages", str(messages / "messages"), "--gap-seconds", "18", "--out", str(messages / "o")]
    done = run_module(merge, [*arguments, "--counts", str(messages / "c")], environment)
    assert done.returncode == 1, done.stderr
    assert "RAY_ADDRESS=127.0.0.1:1: expected a Ray cluster of this Ray" in done.stderr
    assert not (messages / "o").exists()
