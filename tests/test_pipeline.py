"""The graph keeps its promises: commands parse, code is a dep, params are strings nowhere they should be numbers."""

import importlib
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml
from dvc.repo import Repo

from tests.conftest import ROOT
from tests.imports import all_imported, folder

#: Stages that say which labels are probably wrong.
JUDGING = ("out_of_fold", "word_baselines", "rank_labels")
GATHERING = ("rank_labels", "check_scaling", "evaluate")


@pytest.fixture(scope="module")
def stages():
    with Repo(str(ROOT)) as repo:
        return {stage.name: stage for stage in repo.index.stages if stage.name}


@pytest.fixture(scope="module")
def params():
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def module_of(stage):
    words = shlex.split(stage.cmd)
    assert words[:2] == ["python", "-m"], stage.cmd
    return words[2], words[3:]


def deps_of(stage):
    return {Path(dep.def_path).as_posix() for dep in stage.deps if not hasattr(dep, "params") or dep.def_path}


def make_inputs(command, arguments, folder):
    """Empty files and folders where the command expects its inputs to exist."""
    types = {name: param.type for param in command.params for name in param.opts}
    for option, value in pairwise(arguments):
        kind = types.get(option.replace("_", "-"))
        if isinstance(kind, click.Path) and kind.exists:
            path = folder / value
            (path if kind.dir_okay else path.parent).mkdir(parents=True, exist_ok=True)
            if not kind.dir_okay:
                path.touch()


def test_every_command_parses_with_its_stage(stages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stage in stages.values():
        module, arguments = module_of(stage)
        command = importlib.import_module(module).main
        make_inputs(command, arguments, tmp_path)
        command.make_context(stage.name, list(arguments))


#: Code whose change runs nothing again, and why.
NO_DEPS = {
    "io": "it reads and writes files, and a change of what stands in them is a change of the stage that fills them",
    "distributed": "it decides where work is done; tests hold the bytes of every engine to each other",
    "chatladder": "it holds a docstring",
}


def code_of(stage):
    """Deps that are code."""
    return {dep for dep in deps_of(stage) if dep.startswith(("chatladder", "stages"))}


def test_code_deps_are_the_folders_that_a_stage_imports(stages):
    for stage in stages.values():
        module, _ = module_of(stage)
        folders = {folder(name) for name in all_imported(module) if name.startswith("chatladder")} - {*NO_DEPS}
        paths = {f"chatladder/{name}" for name in folders}
        expected = {path if (ROOT / path).is_dir() else f"{path}.py" for path in paths}
        if "chatladder/vocabulary.py" in expected:  # which reads the task that is picked
            expected.add("chatladder/tasks/needs_history")
        assert code_of(stage) == expected | {f"{module.replace('.', '/')}.py"}, stage.name


def test_no_stage_writes_what_a_person_owns(stages):
    for stage in stages.values():
        for out in stage.outs:
            assert not out.def_path.startswith(("data/raw", "data/annotations")), stage.name


def test_the_graph_names_no_rung_and_no_judge(params):
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    for name in (*params["ladder"], *params["served"]):
        assert name not in text
    for judge in params["judges"]:
        assert not re.search(rf"\b{judge}\b", text)


def test_what_gathers_rungs_runs_again_when_the_ladder_changes(stages):
    for name in GATHERING:
        tracked = {key for dep in stages[name].deps if hasattr(dep, "params") for key in dep.params}
        assert {"ladder", "served"} <= tracked, name
        assert "data/bases" in deps_of(stages[name])


def test_rungs_are_smallest_first_and_those_that_judge_labels_are_among_them(params, stages):
    sizes = [rung["base"].get("hidden_size", 0) for rung in params["ladder"].values()]
    assert sizes == sorted(sizes)
    judging = params["review"]["rungs"]
    assert [key for key in params["ladder"] if key in judging] == list(judging)
    assert {name.partition("@")[2] for name in stages if name.startswith("out_of_fold@")} == {*judging}


def test_labels_are_judged_by_nothing_that_was_trained_on_them_or_measures(stages):
    judging = [stage for name, stage in stages.items() if name.split("@")[0] in JUDGING]
    assert {stage.name.split("@")[0] for stage in judging} == {*JUDGING}
    for stage in judging:
        for kept_away in ("data/alpaca", "data/adapters", "data/predictions/tuned"):
            assert kept_away not in stage.cmd, stage.name
            assert not any(dep.startswith(kept_away) for dep in deps_of(stage)), stage.name


def test_every_judge_is_heard(params):
    assert [judge.partition("=")[0] for judge in params["questions"]["judge"]] == list(params["judges"])


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaves(child, (*path, key))
    else:
        yield ".".join(path), value


def test_params_hold_no_number_written_as_text(params):
    texts = {name: value for name, value in leaves(params) if isinstance(value, str)}
    numbers = {name: value for name, value in texts.items() if re.fullmatch(r"[-+.\deE]+", value)}
    assert set(numbers) <= {"split.test_from"}, "YAML reads 2e-4 as text: write 2.0e-4"


def test_rung_keys_can_be_named_on_the_command_line(params):
    assert all(re.fullmatch(r"[A-Za-z]\w*", key) for key in params["ladder"])


def test_the_tree_of_contributing_is_true():
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("<!-- tree -->")[1]
    for path in re.findall(
        r"^\s*((?:stages|chatladder|data|metrics|tests|benchmarks|\.ci|\.dvc)/[\w./]*)", tree, flags=re.M
    ):
        assert (ROOT / path).exists() or path.startswith("data/"), path


def test_committed_metrics_have_the_promised_shape(params):
    models = json.loads((ROOT / "metrics" / "models.json").read_text())
    assert [key for key in models if key in params["ladder"]] == list(params["ladder"])
    for rung in params["ladder"]:
        assert isinstance(models[rung]["params"], int)
        for kind in ("vanilla", "tuned"):
            for metric in ("precision", "recall", "f1", "macro_f1", "balanced_accuracy", "mcc", "unknown"):
                scores = models[rung][kind]
                assert scores[f"{metric}_lo"] <= scores[metric] <= scores[f"{metric}_hi"]
    assert models["floor"]["recall"] == 1.0
    scaling = json.loads((ROOT / "metrics" / "scaling.json").read_text())
    for metric in ("auroc", "precision"):
        assert {"slope", "slope_lo", "slope_hi"} <= set(scaling[metric])
    annotation = json.loads((ROOT / "metrics" / "annotation.json").read_text())
    assert {
        "round",
        "items",
        "needed",
        "not_needed",
        "not_a_question",
        "unsure",
        "kappa",
        "flipped",
        "orphaned",
    } <= set(annotation)
    questions = json.loads((ROOT / "metrics" / "questions.json").read_text())
    dropped = sum(n for reason, n in questions["left_out"].items() if not reason.startswith("skipped"))
    assert questions["turns"] == questions["questions"] + dropped
