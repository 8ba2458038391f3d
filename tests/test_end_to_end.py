"""The real ``dvc repro``, on a small chat and two tiny rungs, in a copy of the repository."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

#: Small enough for seconds, large enough for both labels in every split.
LINES, SEED = "4000", "11"
TINY = {
    "source": "embedded",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 16,
    "learning_rate": 8.0e-3,
}
LADDER = {
    "small": {"base": TINY, "train": {}},
    "large": {"base": {**TINY, "hidden_size": 16}, "train": {"learning_rate": 1.0e-2}},
}
#: The rung that judges labels it was not trained on.
JUDGE = "small"


class Project:
    """A copy of the repository that runs commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, hash_seed: str = "0") -> str:
        binaries = Path(sys.executable).parent
        environment = os.environ | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": str(self.folder),
        }
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def repro(self, *arguments: str, hash_seed: str = "0") -> set[str]:
        """Run ``dvc repro`` and name the stages that really ran (not those that the run cache restored)."""
        output = self.run("dvc", "repro", *arguments, hash_seed=hash_seed)
        return set(re.findall(r"Running stage '([^']+)'", output))

    def edit(self, name: str, change) -> None:
        path = self.folder / name
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def tuned(self) -> dict[str, pd.DataFrame]:
        files = sorted((self.folder / "data" / "predictions" / "tuned").rglob("*.parquet"))
        return {str(file.relative_to(self.folder)): pd.read_parquet(file) for file in files}

    def digests(self, *names: str) -> dict[str, str]:
        files = [file for name in names for file in sorted((self.folder / name).rglob("*")) if file.is_file()]
        return {str(f.relative_to(self.folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def two_rungs(graph: dict) -> None:
    """Let the stages that gather all rungs gather these two."""
    for name in ("rank_labels", "calibrate", "evaluate"):
        stage = graph["stages"][name]
        stage["cmd"] = re.sub(r"--(tuned-)?rung \S+\s*", "", stage["cmd"]) + " --rung small --rung large"
        kept = [dep for dep in stage["deps"] if not re.match(r"data/(bases|predictions)/", dep)]
        kinds = ("vanilla", "tuned") if name == "evaluate" else ("vanilla",)
        made = [f"data/bases/{rung}" for rung in LADDER]
        made += [f"data/predictions/{kind}/{rung}.parquet" for kind in kinds for rung in LADDER]
        stage["deps"] = kept + made
    ranking = graph["stages"]["rank_labels"]
    ranking["cmd"] += f" --tuned-rung {JUDGE}"
    ranking["deps"] += ["data/predictions/words", f"data/predictions/out_of_fold/{JUDGE}.parquet"]
    graph.pop("plots")


def small_params(params: dict) -> None:
    params["ladder"] = LADDER
    params["pretraining"]["dialogues"] = 256
    params["train"].update(num_train_epochs=1, learning_rate=1.6e-2)
    params["evaluation"]["draws"] = 200
    params["review"]["rungs"] = {JUDGE: {"train": LADDER[JUDGE]["train"]}}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
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
    project = Project(folder)
    project.run("git", "init", "-q")
    project.edit("dvc.yaml", two_rungs)
    project.edit("params.yaml", small_params)
    simulate = [sys.executable, "-m", "stages.app"]
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
    allowed |= {"out_of_fold@small", "rank_labels"}
    assert ran <= allowed, ran - allowed
    assert built.digests("metrics") != before
    built.edit("params.yaml", lambda params: params["train"].update(learning_rate=1.6e-2))
    assert not {name for name in built.repro() if name.startswith(("train", "predict", "base"))}
    assert built.digests("metrics") == before


def test_one_round_less_leaves_bases_and_vanilla_predictions_alone(built):
    built.edit("params.yaml", lambda params: params["annotation"].update(round=1))
    ran = built.repro()
    assert "label" in ran
    assert not {name for name in ran if name.startswith(("base", "predict_vanilla", "ingest", "score"))}
    built.edit("params.yaml", lambda params: params["annotation"].update(round=2))
    built.repro()


def test_another_hash_seed_gives_the_same_bytes(built):
    kinds = ("data/messages.parquet", "data/turns.parquet", "data/questions.parquet", "data/labelled.parquet")
    folders = (
        "data/scores",
        "data/counts",
        "data/alpaca",
        "data/bases",
        "data/adapters",
        "data/predictions/vanilla",
        "data/predictions/out_of_fold",
        "data/predictions/words",
        "data/review",
        "metrics",
    )
    before = built.digests(*folders) | {kind: built.digests(str(Path(kind).parent))[kind] for kind in kinds}
    predicted = built.tuned()
    built.run("dvc", "repro", "--force", "--no-run-cache", hash_seed="4242")
    after = built.digests(*folders) | {kind: built.digests(str(Path(kind).parent))[kind] for kind in kinds}
    assert after == before
    # Not byte for byte: one run of two on a busy machine wrote another file for one rung, from an equal adapter and
    # with equal metrics. Why is not known.
    again = built.tuned()
    assert len(again) == len(LADDER)
    assert again.keys() == predicted.keys()
    for path, rows in predicted.items():
        pd.testing.assert_frame_equal(again[path], rows, rtol=0, atol=1e-6, obj=path)
