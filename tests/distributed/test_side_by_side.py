"""Processes beside each other: the results of one process, one error, and none that outlives its command."""

import os
import signal
import subprocess
import sys
import time

import pytest
from model_fixtures import PROMPT, TINY, TRAINING, options, run, write_params

from chatladder.distributed import LocalWorkers, Need
from chatladder.distributed.side_by_side import cores
from chatladder.io.console import DataError
from chatladder.models.devices import SMALL, need_of_model
from stages.base import main as base
from stages.out_of_fold import main as out_of_fold
from stages.predict import main as predict
from stages.train import main as train
from tests.conftest import ROOT

BESIDE = Need(threads=1, gpu=False, small=True)


def who(item, *more):
    import torch

    time.sleep(0.2)
    return os.getpid(), torch.get_num_threads(), (item, *more)


def variable(name):
    return os.environ.get(name)


def fail(item, error):
    if item:
        raise error
    time.sleep(60)


def vanish(item):
    os._exit(3)


def contents(path):
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return [(each.relative_to(path).as_posix(), each.read_bytes()) for each in files]


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


class TestCalls:
    def test_small_ones_are_made_beside_each_other_with_one_thread_each(self, two):
        found = dict(LocalWorkers().as_done(who, "abc", 7, need=BESIDE))
        assert [found[number][2] for number in range(3)] == [("a", 7), ("b", 7), ("c", 7)]
        processes = {process for process, _, _ in found.values()}
        assert len(processes) > 1
        assert os.getpid() not in processes
        assert {threads for _, threads, _ in found.values()} == {1}

    @pytest.mark.parametrize(("calls", "processes"), [("ab", 2), ("abc", 3), ("abcd", 2), ("abcde", 2)])
    def test_no_processor_waits_for_the_last_of_a_few_calls(self, two, calls, processes):
        found = LocalWorkers().as_done(who, calls, need=BESIDE)
        assert len({process for _, (process, _, _) in found}) == processes

    def test_they_see_no_gpu_and_this_process_still_does(self, two, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert dict(LocalWorkers().as_done(variable, ["CUDA_VISIBLE_DEVICES"] * 2, need=BESIDE)) == {0: "", 1: ""}
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"

    def test_where_none_can_be_forked_each_is_started_by_itself(self, two, monkeypatch):
        monkeypatch.setattr(sys.modules["chatladder.distributed.side_by_side"], "METHOD", "spawn")
        names = ["CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU"]
        assert dict(LocalWorkers().as_done(variable, names, need=BESIDE)) == {0: "", 1: "true"}
        with pytest.raises(DataError, match=r"^step 7: expected less$"):
            list(LocalWorkers().as_done(fail, [0, 1], DataError("step 7: expected less"), need=BESIDE))

    @pytest.mark.parametrize(("need", "processors"), [(BESIDE, "1"), (Need(1, gpu=False), "2")])
    def test_others_are_made_here_in_order(self, monkeypatch, need, processors):
        monkeypatch.setenv("OMP_NUM_THREADS", processors)
        found = list(LocalWorkers().as_done(who, "ab", need=need))
        assert [number for number, _ in found] == [0, 1]
        assert {process for _, (process, _, _) in found} == {os.getpid()}

    def test_the_first_error_comes_through_and_ends_the_others(self, two):
        begun = time.monotonic()
        with pytest.raises(DataError, match=r"^step 7: expected less$"):
            list(LocalWorkers().as_done(fail, [0, 1], DataError("step 7: expected less"), need=BESIDE))
        assert time.monotonic() - begun < 30

    def test_a_process_that_is_lost_is_an_error_with_a_way_out(self, two):
        with pytest.raises(DataError, match="Set OMP_NUM_THREADS=1 to compute in one process"):
            list(LocalWorkers().as_done(vanish, [0, 1], need=BESIDE))

    def test_processors_are_counted_as_the_environment_says(self, monkeypatch):
        for said, expected in {"3": 3, "5,2": 5}.items():
            monkeypatch.setenv("OMP_NUM_THREADS", said)
            assert cores() == expected
        for said in ("", "0", "many"):
            monkeypatch.setenv("OMP_NUM_THREADS", said)
            assert cores() == len(os.sched_getaffinity(0))


def test_only_small_models_are_computed_beside_each_other():
    assert need_of_model(SMALL, embedded=True) == BESIDE
    for params in (SMALL + 1, None):
        for embedded in (True, False):
            assert not need_of_model(params, embedded=embedded).small


class TestStages:
    """Each stage writes the same bytes in two processes as in one, in which torch would take two threads."""

    def outs(self, monkeypatch, folder, call):
        """What a stage writes below two folders, with one processor and with two."""
        import torch

        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # so that this many are set again
        torch.set_num_threads(2)
        found = []
        for processors in ("1", "2"):
            monkeypatch.setenv("OMP_NUM_THREADS", processors)
            place = folder / processors / "tiny"
            place.mkdir(parents=True)
            result = call(place)
            assert result.exit_code == 0, result.output
            found.append(contents(place))
        torch.set_num_threads(1)
        assert len(found[0]) > 0
        return found

    @pytest.fixture
    def seeded(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("bases") / "tiny"
        result = run(base, "--source", "embedded", *options(TINY), "--seeds", 1, "--seeds", 2, "--out", folder)
        assert result.exit_code == 0, result.output
        return folder

    def test_base(self, monkeypatch, tmp_path):
        given = ["--source", "embedded", *options(TINY), "--seeds", 1, "--seeds", 2]
        one, two = self.outs(monkeypatch, tmp_path, lambda place: run(base, *given, "--out", place))
        assert one == two

    def test_train_and_predict(self, monkeypatch, tmp_path, seeded, tiny_alpaca, labelled):
        settings = options({**TRAINING, "seeds": "0,2,5", "num-train-epochs": 2})

        def call(place):
            folders = ["--out", place / "adapter", "--curves", place / "curves"]
            return run(train, "--base", seeded, "--alpaca", tiny_alpaca, *settings, *folders)

        one, two = self.outs(monkeypatch, tmp_path, call)
        assert one == two
        names = {name for name, _ in one}
        for kind, file in (("adapter", "adapter_model.safetensors"), ("curves", "settings.json")):
            assert {f"{kind}/{file}", f"{kind}/seed_2/{file}", f"{kind}/seed_5/{file}"} <= names

        asked = ["--base", seeded, "--questions", labelled, *PROMPT, "--orders", 3, "--max-length", 512]
        tuned = ["--adapter", tmp_path / "1" / "tiny" / "adapter"]
        for name, more in {"vanilla": [], "tuned": tuned}.items():
            out = lambda place: ["--out", place / "p.parquet"]  # noqa: E731
            one, two = self.outs(monkeypatch, tmp_path / name, lambda place: run(predict, *asked, *more, *out(place)))  # noqa: B023
            assert one == two

    def test_out_of_fold(self, monkeypatch, tmp_path, tiny_base, labelled):
        monkeypatch.chdir(tmp_path)
        params = write_params(tmp_path / "params.yaml", {"num_train_epochs": 1})
        given = ["--params", params, "--rung", "tiny", "--base", tiny_base, "--labelled", labelled, *PROMPT]
        given += ["--folds", 3, "--max-length", 512]
        one, two = self.outs(
            monkeypatch, tmp_path, lambda place: run(out_of_fold, *given, "--out", place / "p.parquet")
        )
        assert one == two


def processes_of(group):
    """Ids of the processes of a group that still run."""
    shown = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in shown.splitlines()]
    return [int(pid) for pid, own, state in rows if int(own) == group and not state.startswith("Z")]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_command_that_is_stopped_leaves_no_process_and_its_checkpoints(tmp_path, tiny_base, tiny_alpaca, number):
    settings = options({**TRAINING, "seeds": "0,1", "num-train-epochs": 5000, "checkpoint-seconds": 0})
    folders = ["--out", "part", "--curves", "part-curves"]
    command = ["--base", str(tiny_base), "--alpaca", str(tiny_alpaca), *settings, *folders]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "stages.train", *command],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        try:
            until = time.monotonic() + 120
            while len(list(tmp_path.glob(".chatladder/checkpoints/part-*.safetensors"))) < 2:
                assert started.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            # Ctrl+C goes to all of a terminal's processes, a kill to one.
            (os.killpg if number == signal.SIGINT else os.kill)(started.pid, number)
            said = started.stderr.read()
            assert started.wait(30) == (130 if number == signal.SIGINT else -number)
            until = time.monotonic() + 30
            while processes_of(started.pid):
                assert time.monotonic() < until
                time.sleep(0.05)
        finally:
            for left in processes_of(started.pid):
                os.kill(left, signal.SIGKILL)
    if number == signal.SIGINT:
        assert said.startswith("Stopped. The same command resumes from the last checkpoints")
        assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".chatladder"]
