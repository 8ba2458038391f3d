"""Models over Ray: the bytes of one process, whatever the parts and the workers that die; and rungs side by side."""

import importlib.util
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from model_fixtures import PROMPT, run, write_params, write_questions

from chatladder import distributed as engine
from chatladder.distributed import Need, check_seen
from chatladder.distributed.ray_workers import GPUS, RayWorkers
from chatladder.io.console import DataError
from chatladder.models import scoring
from chatladder.training import runs
from chatladder.training.checkpoints import FOLDS
from stages import out_of_fold, predict
from tests.conftest import ROOT, copy_code

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: chatladder[ray]")
#: Enough for batches of several lengths.
QUESTIONS = 400
#: What a worker waits at most for another one, or for this process.
PATIENCE = 300


class Here:
    """Workers that are this process and finish the last item first; all is pickled, as over Ray."""

    def __init__(self, parts):
        self._parts = parts

    def parts(self, need):
        return self._parts

    def as_done(self, function, items, *shared, need):
        function, shared = pickle.loads(pickle.dumps((function, shared)))
        for number, item in reversed(list(enumerate(items))):
            yield number, pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(item)), *shared)))


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "labelled.parquet"
    write_questions(path, QUESTIONS)
    return path


def answer(base, questions, out, *more):
    files = ["--base", base, "--questions", questions, "--splits", "validation", "--splits", "test", "--out", out]
    return run(predict.main, *files, *PROMPT, "--max-length", 512, *more)


@pytest.fixture(scope="module")
def here(tiny_base, tiny_adapter, questions, tmp_path_factory):
    """What one process answers: vanilla and tuned; a folder with both."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CHATLADDER_ENGINE", raising=False)
        for name, more in (("vanilla", ()), ("tuned", ("--adapter", tiny_adapter))):
            result = answer(tiny_base, questions, folder / name, *more)
            assert result.exit_code == 0, result.output
    return folder


# Parts


@pytest.mark.parametrize("parts", [1, 3, 1000])
def test_any_number_of_parts_answers_as_one_process(tiny_base, questions, here, tmp_path, monkeypatch, parts):
    class Pool:
        def __enter__(self):
            return Here(parts)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(predict, "workers", Pool)
    result = answer(tiny_base, questions, tmp_path / "p")
    assert result.output == f"{tmp_path}/p: 200 answers, 0 prompts shortened to 512 tokens\n"
    assert (tmp_path / "p").read_bytes() == (here / "vanilla").read_bytes()


def test_a_scorer_travels_without_its_model(tiny_base):
    scorer = scoring.PromptScorer(tiny_base, None, [], 512)
    assert len(pickle.dumps(scorer)) < 1000


def test_a_machine_with_other_releases_is_refused(tiny_base, monkeypatch):
    place = pickle.loads(pickle.dumps(scoring.WorkerCheck(tiny_base)))
    place.check()
    real = scoring.version
    monkeypatch.setattr(scoring, "version", lambda name: "9.9+cu999" if name == "torch" else real(name))
    with pytest.raises(DataError, match=r": expected torch \d+\.\d+\.\d+ as where the stage runs, got 9\.9\. Install"):
        place.check()
    monkeypatch.setattr(scoring, "version", lambda name: f"{real(name).partition('+')[0]}+cu999")
    place.check()  # built for other devices


def test_a_file_that_a_node_does_not_see_is_told(tmp_path):
    check_seen(tmp_path)
    with pytest.raises(DataError, match=r"gone: not there on .*storage that they share"):
        check_seen(tmp_path / "gone")


# What a call takes


class Nodes:
    """Of Ray what says which nodes there are."""

    def __init__(self, *nodes):
        self._nodes = nodes

    def nodes(self):
        return [{"Alive": True, "Resources": node} for node in self._nodes] + [{"Alive": False, "Resources": {}}]


def workers_of(*nodes):
    pool = RayWorkers()
    pool._ray = Nodes(*nodes)
    return pool


@pytest.mark.parametrize(
    ("nodes", "need", "resources", "parts"),
    [
        ([{"CPU": 4.0}], Need(4, False), {"num_cpus": 4}, 4),
        ([{"CPU": 4.0}], Need(1, True), {"num_cpus": 1}, 16),
        ([{"CPU": 4.0}, {"CPU": 6.0}], Need(3, True), {"num_cpus": 3}, 12),
        ([{"CPU": 2.0}, {"CPU": 1.0}], Need(8, True), {"num_cpus": 2}, 4),
        ([{}, {"CPU": 2.0}], Need(2, True), {"num_cpus": 2}, 4),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], Need(8, True), {"num_cpus": 1, "num_gpus": 1}, 3),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}], Need(8, False), {"num_cpus": 8}, 8),
        ([{"CPU": 1.0, "GPU": 4.0}], Need(8, True), {"num_cpus": 1, "num_gpus": 1}, 1),
    ],
)
def test_a_call_takes_a_gpu_where_there_are_some_and_else_a_processor_for_each_thread(
    nodes, need, resources, parts, monkeypatch
):
    monkeypatch.delenv(GPUS, raising=False)
    assert workers_of(*nodes)._resources(need) == resources
    assert workers_of(*nodes).parts(need) == parts


@pytest.mark.parametrize(
    ("said", "resources", "parts"),
    [
        ("0", {"num_cpus": 4}, 16),
        ("0.5", {"num_cpus": 1, "num_gpus": 0.5}, 8),
        ("2", {"num_cpus": 1, "num_gpus": 2}, 2),
    ],
)
def test_the_environment_may_say_how_many_gpus(said, resources, parts, monkeypatch):
    monkeypatch.setenv(GPUS, said)
    pool = workers_of({"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 2.0})
    assert pool._resources(Need(4, True)) == resources
    assert pool.parts(Need(4, True)) == parts


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("4", "CHATLADDER_TASK_GPUS=4: expected a node with so many GPUs, got 2 on the one that has most."),
        ("1.5", "CHATLADDER_TASK_GPUS: expected 0, a share of a GPU such as 0.5, or a whole number of them, got '1.5'"),
        ("-1", "got '-1'"),
        ("all", "got 'all'"),
        ("nan", "got 'nan'"),
        ("inf", "got 'inf'"),
    ],
)
def test_gpus_that_no_node_has_are_refused(said, message, monkeypatch):
    monkeypatch.setenv(GPUS, said)
    with pytest.raises(DataError) as raised:
        workers_of({"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0})._resources(Need(4, True))
    assert message in raised.value.message


def test_ray_is_imported_when_there_is_work_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("CHATLADDER_ENGINE", "ray")
    with engine.workers() as pool:
        pass
    for ask in (lambda: pool.parts(Need(1, False)), lambda: next(pool.map(str, [1]))):
        with pytest.raises(DataError, match=r"Ray is not installed\. Run pip install ray"):
            ask()


# Over a real cluster


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes, each with one processor, and one of them with two GPUs that Ray takes our word for."""
    from chatladder.distributed.ray_workers import QUIET, _connect

    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        started = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        started.add_node(**node, num_gpus=2)
        _connect(ray, started.address)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
        yield started.address
        ray.shutdown()
        started.shutdown()


@pytest.fixture
def over_ray(cluster, monkeypatch):
    """This process's stages run over the cluster."""
    monkeypatch.setenv("CHATLADDER_ENGINE", "ray")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    return cluster


def torch_threads(_):
    import torch

    return torch.get_num_threads()


def no_weights(*_):
    raise AssertionError("expected workers alone to load weights")


@pytest.mark.slow
@needs_ray
def test_two_nodes_answer_with_the_bytes_of_one_process(
    over_ray, tiny_base, tiny_adapter, questions, here, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring, "load", no_weights)
    for name, more in (("vanilla", ()), ("tuned", ("--adapter", tiny_adapter))):
        result = answer(tiny_base, questions, tmp_path / name, *more)
        assert result.output == f"{tmp_path / name}: 200 answers, 0 prompts shortened to 512 tokens\n"
        assert (tmp_path / name).read_bytes() == (here / name).read_bytes()
    with engine.workers() as pool:
        [(_, threads)] = pool.as_done(torch_threads, [0], need=scoring.need_of(tiny_base))
    assert threads == torch_threads(0)  # Ray alone would give one, as a node has processors


def score_or_die_once(marker):
    def score_part(number, scorer, parts):
        if number == 1 and not marker.exists():
            scorer.part(number, parts)  # in mid-work: the model is loaded
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return scorer.part(number, parts)

    return score_part


@pytest.mark.slow
@needs_ray
def test_a_worker_that_is_killed_changes_no_byte(over_ray, tiny_base, questions, here, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "score_part", score_or_die_once(tmp_path / "died"))
    result = answer(tiny_base, questions, tmp_path / "p")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "died").exists()
    assert (tmp_path / "p").read_bytes() == (here / "vanilla").read_bytes()


@pytest.mark.slow
@needs_ray
def test_a_base_that_a_node_does_not_see_is_told(over_ray, tiny_base, questions, tmp_path, monkeypatch):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    found = scoring.need_of(base)

    def need_of(_):
        base.rename(tmp_path / "elsewhere")
        return found

    monkeypatch.setattr(scoring, "need_of", need_of)
    result = answer(base, questions, tmp_path / "p")
    assert result.exit_code == 1
    assert f"Error: {base}: not there on " in result.output
    assert not (tmp_path / "p").exists()


# Folds


def folds(base, labelled, out):
    params = write_params(out.parent / "params.yaml", {"num-train-epochs": 1})
    settings = ["--params", params, "--rung", "tiny", "--folds", 3, "--max-length", 512, *PROMPT]
    return run(out_of_fold.main, "--base", base, "--labelled", labelled, *settings, "--out", out)


def fold_or_refuse(kept, marks):
    """As ``answer_on_worker``, but the third fold fails once the others are kept; ``marks`` says which were trained."""

    def answer_on_worker(fold, *shared):
        if fold.number == 3 and not (marks / "failed").exists():
            wait_for(lambda: len(list(kept.glob("*.parquet"))) == 2)
            (marks / "failed").touch()
            raise DataError("step 3: expected a finite loss, got nan.")
        (marks / f"fold-{fold.number}-{time.time_ns()}").touch()
        return original(fold, *shared)

    original = runs.answer_on_worker
    return answer_on_worker


def wait_for(there):
    until = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@needs_ray
def test_folds_over_ray_are_kept_and_end_in_the_bytes_of_one_process(
    over_ray, tiny_base, labelled, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.delenv("CHATLADDER_ENGINE")
        assert folds(tiny_base, labelled, tmp_path / "here").exit_code == 0
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setattr(runs, "answer_on_worker", fold_or_refuse(tmp_path / FOLDS, marks))
    result = folds(tiny_base, labelled, tmp_path / "over")
    assert result.exit_code == 1
    assert result.output.endswith("Error: step 3: expected a finite loss, got nan.\n")
    assert not (tmp_path / "over").exists()
    result = folds(tiny_base, labelled, tmp_path / "over")
    assert result.exit_code == 0, result.output
    said = [line.rpartition(", ")[2] for line in result.output.splitlines()[:3]]
    assert said == ["kept from a run that was stopped"] * 2 + ["done"]
    assert sorted(path.name[:6] for path in marks.iterdir()) == ["failed", "fold-1", "fold-2", "fold-3"]
    assert (tmp_path / "over").read_bytes() == (tmp_path / "here").read_bytes()
    assert list(FOLDS.iterdir()) == []


# What a worker sees


def environment(_):
    return {name: os.environ.get(name) for name in ("CHATLADDER_DTYPE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}


@pytest.mark.slow
@needs_ray
def test_a_worker_has_the_settings_of_this_process_and_no_gpu_of_others(over_ray, monkeypatch):
    monkeypatch.setenv("CHATLADDER_DTYPE", "bfloat16")
    with engine.workers() as pool:
        [(_, seen)] = pool.as_done(environment, [0], need=Need(3, False))
    assert seen == {"CHATLADDER_DTYPE": "bfloat16", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "3"}


def own_gpu(number, folder):
    """Wait for the other call, so that both are at work at once."""
    (folder / str(number)).touch()
    wait_for(lambda: len(list(folder.iterdir())) == 2)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.slow
@needs_ray
def test_calls_at_work_at_once_have_a_gpu_each(over_ray, tmp_path, monkeypatch):
    with engine.workers() as pool:
        # The node has no whole processor for each.
        monkeypatch.setattr(pool, "_resources", lambda need: {"num_cpus": 0.5, "num_gpus": 1})
        found = dict(pool.as_done(own_gpu, range(2), tmp_path, need=Need(1, True)))
    assert {gpu for _, gpu in found.values()} == {"0", "1"}
    assert found[0][0] != found[1][0]


# Rungs side by side


@pytest.fixture
def project(tiny_base, tmp_path):
    """A project of two rungs; each one's command waits until the other's is at work."""
    folder = tmp_path / "project"
    copy_code(folder, ".dvc/config", ".dvcignore", "params.yaml")
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["predict_vanilla"]
    meeting = "touch at_work_${key}; timeout 300 sh -c 'until [ -e at_work_a ] && [ -e at_work_b ]; do sleep 0.1; done'"
    stage["foreach"] = {"a": {}, "b": {}}
    stage["do"]["cmd"] = [meeting, stage["do"]["cmd"]]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"predict_vanilla": stage}}), encoding="utf-8")
    write_questions(folder / "questions.parquet")
    for name in "ab":
        shutil.copytree(tiny_base, folder / "data" / "bases" / name)
    shutil.move(folder / "questions.parquet", folder / "data" / "questions.parquet")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.mark.slow
def test_rungs_run_side_by_side_in_one_checkout(project):
    words = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(project)}

    def shell(command):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=project,
            env=os.environ | words,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    shell("dvc stage list --name-only | grep ^predict_vanilla@ | xargs -P 2 -I{} dvc --wait-for-lock repro -s {}")
    assert shell("dvc status") == "Data and pipelines are up to date.\n"
    locked = yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert sorted(locked) == ["predict_vanilla@a", "predict_vanilla@b"]
    outs = [project / f"data/predictions/vanilla/{name}.parquet" for name in "ab"]
    assert outs[0].read_bytes() == outs[1].read_bytes()
