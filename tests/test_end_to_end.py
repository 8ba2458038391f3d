"""The real ``dvc repro``, on a small chat and two tiny rungs, in a copy of the repository."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT
from tests.warm_python import warm_commands

pytestmark = pytest.mark.slow

#: Small enough for seconds, large enough for both labels in every split.
LINES, SEED = "4000", "11"
TINY = {
    "source": "embedded",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 16,
}
LADDER = {
    "small": {"base": TINY, "train": {}},
    "large": {"base": {**TINY, "hidden_size": 16}, "train": {"learning_rate": 1.0e-2}},
}
#: What is equal to the byte in every run: all data, and all metrics.
EQUAL = (
    "data/messages.parquet",
    "data/turns.parquet",
    "data/scores",
    "data/counts",
    "data/questions.parquet",
    "data/labelled.parquet",
    "data/alpaca",
    "data/predictions/words",
    "data/predictions/baselines",
    "data/review/queue.jsonl",
    "metrics",
)
#: How far the probabilities of two runs may be apart. Two of some ten pairs of runs differed in the last digits of a
#: model's weights, and on another machine no pair of many did; which sum is added in another order is not known.
CLOSE = 1e-4
#: The rung that judges labels it was not trained on.
JUDGE = "small"


class Project:
    """A copy of the repository that runs commands in it.

    Attributes:
        folder: Where it is.
        environment: Of its commands; those of Python are warm.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def run(self, *command: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=environment or self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def repro(self, *arguments: str) -> set[str]:
        """Run ``dvc repro`` and name the stages that really ran (not those that the run cache restored)."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *arguments)))

    def edit(self, name: str, change) -> None:
        path = self.folder / name
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def predictions(self) -> dict[str, pd.DataFrame]:
        """What models and classifiers say of each item, and what the ranking makes of it."""
        files = [
            *(self.folder / "data" / "predictions").rglob("*.parquet"),
            self.folder / "data/review/ranking.parquet",
        ]
        return {
            str(file.relative_to(self.folder)): pd.read_parquet(file).set_index("item_id").sort_index()
            for file in sorted(files)
        }

    def digests(self, *names: str) -> dict[str, str]:
        roots = [self.folder / name for name in names]
        files = [file for root in roots for file in ([root] if root.is_file() else sorted(root.rglob("*")))]
        files = [file for file in files if file.is_file()]
        return {str(f.relative_to(self.folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def small_params(params: dict) -> None:
    params["ladder"] = LADDER
    params["predict"]["orders"] = 2
    params["pretraining"].update(dialogues=128, seeds=[0, 1], learning_rate=8.0e-3)
    params["train"].update(num_train_epochs=1, learning_rate=1.6e-2, seeds="0,1")
    params["evaluation"]["draws"] = 150
    params["review"].update(rungs=[JUDGE], folds=2, words={"folds": 3, "repeats": 1, "seed": 0})


def environment_of(hash_seed: str) -> dict[str, str]:
    """The environment of a project's commands, each of which takes its code from where it runs."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONHASHSEED": hash_seed}


@pytest.fixture(scope="module")
def project(tmp_path_factory, warm):
    folder = tmp_path_factory.mktemp("project")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, tracked):
        if (ROOT / name).is_file() and not name.startswith(
            ("metrics/", "dvc.lock", "data/annotations", "data/raw/demo")
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder, environment_of("1") | warm)
    project.run("git", "init", "-q")
    project.edit("params.yaml", small_params)
    simulate = ["python", "-m", "chatladder.cli.app"]
    made = ["--seed", SEED, "--truth", "truth.jsonl"]
    (folder / "data" / "annotations").mkdir(parents=True, exist_ok=True)
    project.run(*simulate, "simulate", "--lines", LINES, *made, "--out", "data/raw/chat.txt")
    project.repro("pick_questions")
    questions = ["--questions", "data/questions.parquet", "--out", "data/annotations"]
    project.run(*simulate, "simulate-answers", *made, *questions)
    return project


@pytest.fixture(scope="module")
def built(project):
    ran = project.repro()
    assert {"train@small", "train@large", "predict_tuned@small", "evaluate", "summarize"} <= ran
    assert {"out_of_fold@small", "word_baselines", "rank_labels"} <= ran
    return project


def test_a_second_run_has_nothing_to_do(built):
    assert built.repro() == set()
    assert "up to date" in built.run("dvc", "status")


def test_a_learning_rate_reruns_what_depends_on_it_and_going_back_retrains_nothing(built):
    before = built.digests("metrics")
    built.edit("params.yaml", lambda params: params["train"].update(learning_rate=8.0e-3))
    # "large" has its own rate, so only its params section is read again and found unchanged in what it runs.
    ran = built.repro()
    assert {"train@small", "predict_tuned@small", "evaluate", "summarize"} <= ran
    allowed = {"train@small", "predict_tuned@small", "train@large", "evaluate", "summarize"}
    allowed |= {"out_of_fold@small", "rank_labels", "check_scaling"}
    assert ran <= allowed, ran - allowed
    assert built.digests("metrics") != before
    built.edit("params.yaml", lambda params: params["train"].update(learning_rate=1.6e-2))
    assert not {name for name in built.repro() if name.startswith(("train", "predict", "base"))}
    assert built.digests("metrics") == before


def test_one_round_less_leaves_bases_and_vanilla_predictions_alone(built):
    built.edit("params.yaml", lambda params: params["annotation"].update(round=1))
    stages = ("label", "base", "predict_vanilla")  # with all that they depend on; not what is trained on labels
    assert built.repro(*stages) == {"label"}
    built.edit("params.yaml", lambda params: params["annotation"].update(round=2))
    built.repro(*stages)


@pytest.fixture
def shared(tmp_path):
    """Address of an empty WebDAV server on loopback."""
    pytest.importorskip("wsgidav", reason="the server of a remote needs wsgidav and cheroot")
    pytest.importorskip("dvc_webdav", reason="DVC reaches it by dvc-webdav")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "wsgidav.server.server_cli", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--root", str(tmp_path), "--auth", "anonymous", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        until = time.monotonic() + 30
        while time.monotonic() < until and server.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"webdav://127.0.0.1:{port}/"
        server.kill()


def commit(project: Project, message: str) -> None:
    project.run("git", "add", "--all")
    person = ("-c", "user.name=Li", "-c", "user.email=li@example.org")
    project.run("git", *person, "commit", "--quiet", "--allow-empty", "--message", message)


@pytest.fixture
def clone(built, tmp_path):
    """A clone of the project as it is now."""
    commit(built, "All done")
    built.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    return Project(tmp_path / "clone", built.environment)


def test_a_colleague_pulls_from_a_server_and_goes_on_without_computing_anything_again(built, shared, clone):
    for project in (built, clone):
        project.run("dvc", "remote", "add", "--local", "--default", "team", shared)
    built.run("dvc", "push")
    clone.run("dvc", "pull")
    assert clone.repro() == set()
    assert clone.digests("metrics", "data/adapters", "data/predictions") == built.digests(
        "metrics", "data/adapters", "data/predictions"
    )
    clone.edit("params.yaml", lambda params: params["evaluation"].update(draws=100))
    assert clone.repro() <= {"check_scaling", "evaluate", "summarize"}


def test_two_people_annotate_on_branches_that_merge(clone):
    answers = sorted((clone.folder / "data" / "annotations").glob("round_1/*.jsonl"))[0].read_text(encoding="utf-8")
    for who in ("li", "wu"):
        clone.run("git", "switch", "--quiet", "--create", who, "HEAD" if who == "li" else "li~1")
        lines = [{**json.loads(line), "annotator": who, "round": 3} for line in answers.splitlines()[:20]]
        log = clone.folder / "data" / "annotations" / "round_3" / f"{who}.jsonl"
        log.parent.mkdir(exist_ok=True)
        log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        commit(clone, f"Answers of {who}")
    clone.run("git", "-c", "user.name=Li", "-c", "user.email=li@example.org", "merge", "--quiet", "--no-edit", "li")
    assert sorted(path.name for path in (clone.folder / "data/annotations/round_3").iterdir()) == [
        "li.jsonl",
        "wu.jsonl",
    ]


def test_another_hash_seed_gives_the_same_data_metrics_and_predictions(built):
    before, predicted = built.digests(*EQUAL), built.predictions()
    assert before.keys() >= {"data/questions.parquet", "data/labelled.parquet", "metrics/models.json"}
    with warm_commands(ROOT, environment_of("4242")) as environment:
        built.run("dvc", "repro", "--force", "--no-run-cache", environment=environment)
    assert built.digests(*EQUAL) == before
    again = built.predictions()
    assert again.keys() == predicted.keys()
    assert len(again) == 2 * len(LADDER) + 8
    for path, rows in predicted.items():
        pd.testing.assert_frame_equal(again[path], rows, rtol=0, atol=CLOSE, obj=path)
