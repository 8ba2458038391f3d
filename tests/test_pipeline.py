"""The graph keeps its promises: commands parse, code is a dep, params are strings nowhere they should be numbers."""

import ast
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

#: Stages that say which labels are probably wrong.
JUDGING = ("out_of_fold", "word_baselines", "rank_labels")
GATHERING = ("rank_labels", "calibrate", "evaluate")


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
        for pair in (a for a in arguments if "=data/" in a):
            (tmp_path / pair.split("=")[1]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / pair.split("=")[1]).touch()
        command.make_context(stage.name, list(arguments))


def imported_modules(module, seen=None):
    """Every module of ours that a module imports, wherever in its code, and what those import."""
    seen = set() if seen is None else seen
    path = ROOT / (module.replace(".", "/") + ".py")
    path = path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    if module in seen or not path.exists():
        return seen
    seen.add(module)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("stages", "chatladder")):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith(("stages", "chatladder"))]
        for name in names:
            imported_modules(name, seen)
    return seen


#: What cannot change an out: how commands, errors and files are handled.
HANDLING = {"stages", "chatladder", "chatladder.io", "chatladder.io.console", "chatladder.io.files"}


def test_the_code_that_a_stage_imports_is_a_dep(stages):
    for stage in stages.values():
        module, _ = module_of(stage)
        deps = deps_of(stage)
        for imported in sorted(imported_modules(module) - HANDLING):
            path = imported.replace(".", "/")
            parents = {parent.as_posix() for parent in Path(path).parents}
            known = {f"{path}.py", f"{path}/__init__.py", path} | parents
            if (ROOT / path).is_dir():
                continue  # a package's own __init__ registers what its modules say
            assert known & deps, f"{stage.name}: {path}.py is imported and no dep"


def test_no_stage_writes_what_a_person_owns(stages):
    for stage in stages.values():
        for out in stage.outs:
            assert not out.def_path.startswith(("data/raw", "data/annotations")), stage.name


def test_every_rung_is_gathered_and_smallest_first(params, stages):
    rungs = list(params["ladder"])
    sizes = [rung["base"].get("hidden_size", 0) for rung in params["ladder"].values()]
    assert sizes == sorted(sizes)
    for name in GATHERING:
        named = re.findall(r"--rung (\S+)", stages[name].cmd)
        # Served rungs are never tuned, so there is nothing of them to evaluate.
        expected = rungs if name == "evaluate" else [*rungs, *params["served"]]
        assert named == expected, f"{name} in dvc.yaml and ladder in params.yaml name other rungs"
        predicted = {f"data/predictions/vanilla/{key}.parquet" for key in expected}
        assert predicted | {f"data/bases/{key}" for key in expected} <= deps_of(stages[name])
    assert {f"data/predictions/tuned/{rung}.parquet" for rung in rungs} <= deps_of(stages["evaluate"])


def test_the_rungs_that_judge_labels_are_those_of_the_ladder(params, stages):
    judging = params["review"]["rungs"]
    assert [key for key in params["ladder"] if key in judging] == list(judging)
    for key, rung in judging.items():
        assert rung == {"train": params["ladder"][key]["train"]}, f"review.rungs.{key} trains otherwise than the ladder"
    assert re.findall(r"--tuned-rung (\S+)", stages["rank_labels"].cmd) == list(judging)
    assert {name.partition("@")[2] for name in stages if name.startswith("out_of_fold@")} == {*judging}
    out_of_fold = {f"data/predictions/out_of_fold/{key}.parquet" for key in judging}
    assert out_of_fold == {dep for dep in deps_of(stages["rank_labels"]) if "out_of_fold/" in dep}


def test_labels_are_judged_by_nothing_that_was_trained_on_them_or_measures(stages):
    judging = [stage for name, stage in stages.items() if name.split("@")[0] in JUDGING]
    assert {stage.name.split("@")[0] for stage in judging} == {*JUDGING}
    for stage in judging:
        for kept_away in ("data/alpaca", "data/adapters", "data/predictions/tuned"):
            assert kept_away not in stage.cmd, stage.name
            assert not any(dep.startswith(kept_away) for dep in deps_of(stage)), stage.name


def test_every_judge_is_heard(params, stages):
    for judge in params["judges"]:
        assert f"{judge}=data/scores/{judge}.parquet" in stages["pick_questions"].cmd
        assert f"data/scores/{judge}.parquet" in deps_of(stages["pick_questions"])
        assert f"--threshold {judge}=" in stages["pick_questions"].cmd
        assert f"--cost {judge}=data/counts/score_{judge}.json" in stages["pick_questions"].cmd


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


def test_the_readme_names_every_stage_and_its_tree_is_true(stages):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in {name.split("@")[0] for name in stages}:
        assert f"`{name}`" in readme, name
    tree = readme.split("<!-- tree -->")[1]
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
    calibration = json.loads((ROOT / "metrics" / "calibration.json").read_text())
    for metric in ("precision", "macro_f1"):
        assert {"slope", "slope_lo", "slope_hi"} <= set(calibration[metric])
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
