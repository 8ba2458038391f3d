"""The grid of ablations: one setting at a time, commands that DVC takes, and a table of what came out."""

import json
import shlex
import subprocess
from copy import deepcopy

import pytest
import yaml
from click.testing import CliRunner
from ruamel.yaml import YAML

from benchmarks import table3
from benchmarks.table3 import FACTORS, commands_text, grid, main, overrides, settings_of, table, value_text
from chatladder.io.console import DataError
from chatladder.presets import FOLDER

PAPER = {"learning_rate": 2e-4, "lora_r": 64, "num_train_epochs": 1}
TRAIN = {**PAPER, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "weight_decay": 0.0}
RUNG = "qwen1_5_4b"
BASE = yaml.safe_load((FOLDER / "qwen1_5.yaml").read_text("utf-8"))["ladder"][RUNG]["base"]
PARAMS = {
    "train": TRAIN,
    "ladder": {
        RUNG: {"base": BASE, "train": {"per_device_train_batch_size": 32}},
        "own": {
            "base": {
                "source": "embedded",
                "hidden_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "intermediate_size": 16,
            },
            "train": {"learning_rate": 1e-3, "lora_r": 8},
        },
    },
}


def rows(full=True):
    return grid(RUNG, PAPER, full=full)


def differing(first, second):
    return {name for name in first if first[name] != second[name]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False), encoding="utf-8")
    return tmp_path


def said(*words):
    return CliRunner().invoke(main, ["--rung", *words])


@pytest.mark.parametrize("start", [PAPER, {"learning_rate": 4e-3, "lora_r": 16, "num_train_epochs": 4}])
def test_fault_9_each_experiment_differs_from_its_parent_in_one_setting(start):
    found = grid("rung", start, full=True)
    settings = {row.name: row.settings for row in found}
    assert len(settings) == len(found)
    assert found[0].parent is None
    for row in found[1:]:
        assert len(differing(row.settings, settings[row.parent])) == 1, row
        assert [each.name for each in found].index(row.parent) < found.index(row)
    assert len({json.dumps(each, sort_keys=True) for each in settings.values()}) == len(found)


def test_the_papers_rows_are_all_there():
    def has(**wanted):
        wanted = {**FACTORS, **PAPER, **wanted}
        return any(row.settings == wanted for row in rows(full=False))

    assert all(has(learning_rate=rate) for rate in (2e-4, 2e-5))
    assert all(has(lora_r=rank) for rank in (16, 32, 64, 128))
    assert all(has(learning_rate=5e-5, loraplus_lr_ratio=16, num_train_epochs=epochs) for epochs in (1, 2, 4))
    # What LoRA+ is compared with, and all weights, are ours.
    assert has(learning_rate=5e-5)
    assert len(rows(full=False)) == 9
    assert [row.name for row in rows()[9:]] == [f"{RUNG}-full-lr-2e-5"]


def test_names_are_experiments_of_dvc():
    from dvc.repo.experiments.refs import ExpRefInfo
    from dvc.repo.experiments.utils import check_ref_format
    from dvc.scm import Git

    from tests.conftest import ROOT

    git = Git(str(ROOT))
    for row in [*rows(), *grid("own", {"learning_rate": 3.75e-3, "lora_r": 5, "num_train_epochs": 3}, full=True)]:
        check_ref_format(git, ExpRefInfo("0" * 40, row.name))
    git.close()


@pytest.mark.parametrize("rung", PARAMS["ladder"])
def test_dvc_sets_just_what_the_experiment_names(rung, tmp_path):
    from dvc.utils.hydra import apply_overrides

    path = tmp_path / "params.yaml"
    for row in grid(rung, PAPER, full=True):
        path.write_text(yaml.safe_dump(PARAMS), encoding="utf-8")
        wanted = overrides(rung, row.settings, settings_of(PARAMS, rung))
        if wanted:
            apply_overrides(path, wanted)
        changed = YAML(typ="safe", pure=True).load(path)  # as DVC reads it
        assert {name: settings_of(changed, rung)[name] for name in FACTORS} == row.settings
        expected = deepcopy(PARAMS)
        expected["ladder"][rung]["train"] = changed["ladder"][rung]["train"]
        assert changed == expected
        batch = ("per_device_train_batch_size", "gradient_accumulation_steps")
        assert [settings_of(changed, rung)[name] for name in batch] == [
            settings_of(PARAMS, rung)[name] for name in batch
        ]


def test_dvc_parses_every_command():
    from dvc.cli import parse_args

    text = commands_text(RUNG, rows(), settings_of(PARAMS, RUNG)).splitlines()
    commands = [shlex.split(line) for line in text if not line.startswith("#")]
    assert len(commands) == len(rows()) == len(text) / 2
    for words, row in zip(commands, rows(), strict=True):
        parsed = parse_args(words[1:])
        assert words[:3] == ["dvc", "exp", "run"]
        assert (parsed.func.__name__, parsed.queue, parsed.name) == ("CmdExperimentsRun", True, row.name)
        assert parsed.targets == ["evaluate"]
        assert all(each.startswith(f"++ladder.{RUNG}.train.") for each in parsed.set_param or [])


def test_the_target_is_a_stage():
    from dvc.repo import Repo

    from tests.conftest import ROOT

    with Repo(str(ROOT)) as repo:
        assert table3.TARGET in {stage.name for stage in repo.index.stages}


def test_at_4b_the_printed_commands_set_the_papers_values(project):
    result = said(RUNG)
    assert result.exit_code == 0, result.output
    assert f"# {RUNG}-start with learning_rate 2.0e-5 for 2.0e-4\n" in result.output
    set_rate = f"-S ++ladder.{RUNG}.train.learning_rate=2.0e-5"
    assert f"dvc exp run --queue -n {RUNG}-lr-2e-5 {set_rate} evaluate\n" in result.output
    assert f"dvc exp run --queue -n {RUNG}-start evaluate\n" in result.output
    assert "full" not in result.output


def test_all_weights_are_trained_of_small_rungs_or_if_asked(project):
    assert "own-full-lr-2e-5" in said("own").output
    assert "own-full" not in said("own", "--no-full").output
    assert f"{RUNG}-full-lr-2e-5" in said(RUNG, "--full").output


def test_an_unknown_rung_is_refused_with_those_there_are(project):
    result = said("nope")
    assert result.exit_code == 1
    assert f"--rung: expected one of {RUNG}, own, got nope." in result.output


def test_queue_and_show_are_one_or_the_other(project):
    result = said("own", "--queue", "--show")
    assert result.exit_code == 2
    assert "--queue and --show: expected one of them, got both." in result.output


def test_where_dvc_refuses_its_words_are_shown(project):
    result = said("own", "--show")
    assert result.exit_code == 1
    assert "dvc exp show --json exited with" in result.output
    assert "you are not inside of a DVC repository" in result.output


@pytest.mark.parametrize(
    ("value", "text"),
    [(2e-5, "2.0e-5"), (2e-4 / 10, "2.0e-5"), (1.25e-4, "1.25e-4"), (0.05, "5.0e-2"), (64, "64"), ("full", "full")],
)
def test_values_are_written_as_params_are(value, text):
    assert value_text(value) == text
    assert isinstance(yaml.safe_load(text), type(value))


def scores(value):
    return {
        key: each
        for name, at in (("macro_f1", value), ("f1", value + 0.1))
        for key, each in ((name, at), (f"{name}_lo", at - 0.05), (f"{name}_hi", at + 0.05))
    }


def experiment(name, state, timestamp, train, tuned=None):
    params = deepcopy(PARAMS)
    params["ladder"][RUNG]["train"] |= train
    after = scores(tuned or 0) | {"validation": {"macro_f1": 1 - (tuned or 0), "items": 9}}
    metrics = {RUNG: {"vanilla": scores(0.3), "tuned": after} if tuned else {}, "floor": {}, "test_items": 9}
    data = {
        "timestamp": timestamp,
        "params": {"params.yaml": {"data": params}},
        "metrics": {"metrics/models.json": {"data": metrics}},
    }
    error = {"msg": "Experiment run failed", "type": ""} if state == "failed" else None
    executor = {"state": state, "name": "dvc-task"} if state else None
    revision = {"rev": "0" * 40, "name": name, "data": data, "error": error}
    return {"revs": [revision], "executor": executor, "name": name}


def shown(*found):
    return [{"rev": "workspace", "name": None, "data": {}}, {"rev": "1" * 40, "name": "main", "experiments": [*found]}]


def test_the_table_has_a_row_an_experiment_and_what_differs():
    found = shown(
        experiment(f"{RUNG}-lr-2e-5", None, "2026-01-02", {"learning_rate": 2e-5}, 0.5),
        experiment(f"{RUNG}-start", "success", "2026-01-01", {}, 0.4),
        experiment(f"{RUNG}-loraplus-epochs-1", "failed", "2026-01-03", {"loraplus_lr_ratio": 16}, 0.4),
        experiment(f"{RUNG}-r-16", "queued", "2026-01-04", {"lora_r": 16}),
        experiment("another-start", "success", "2026-01-01", {}, 0.9),
    )
    assert table(found, RUNG, [f"{RUNG}-start"]).splitlines() == [
        "| experiment | learning_rate | lora_r | loraplus_lr_ratio | validation macro-F1 | test macro-F1 [95 %] | "
        "test F1 [95 %] |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| qwen1_5_4b-start | 2.0e-4 | 64 | 0 | **0.600** | 0.400 [0.350, 0.450] | 0.500 [0.450, 0.550] |",
        "| qwen1_5_4b-lr-2e-5 | 2.0e-5 | 64 | 0 | 0.500 | 0.500 [0.450, 0.550] | 0.600 [0.550, 0.650] |",
        "| qwen1_5_4b-loraplus-epochs-1 | 2.0e-4 | 64 | 16 | failed |  |  |",
        "| qwen1_5_4b-r-16 | 2.0e-4 | 16 | 0 | queued |  |  |",
        "| untouched |  |  |  |  | 0.300 [0.250, 0.350] | 0.400 [0.350, 0.450] |",
    ]


def test_a_table_of_nothing_is_refused():
    with pytest.raises(DataError, match=f"names begin with {RUNG}-, got none"):
        table(shown(experiment("own-start", "success", "2026-01-01", {}, 0.9)), RUNG)


@pytest.mark.slow
def test_queued_once_run_and_shown(project, monkeypatch, warm):
    """Two rows of the grid in a real repository, whose evaluation is a line of Python."""
    code = (
        "import json, sys; value = float(sys.argv[1]); "
        "print(json.dumps({'own': {kind: dict(macro_f1=value, macro_f1_lo=0, macro_f1_hi=1, f1=1, f1_lo=1, f1_hi=1)"
        " for kind in ('vanilla', 'tuned')}}))"
    )
    (project / "evaluate.py").write_text(code, encoding="utf-8")
    stage = {
        "cmd": "mkdir -p metrics && python evaluate.py ${ladder.own.train.learning_rate} > metrics/models.json",
        "params": ["ladder.own.train"],
        "metrics": [{"metrics/models.json": {"cache": False}}],
    }
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}), encoding="utf-8")
    monkeypatch.setenv("PATH", warm["PATH"])  # DVC starts its worker by name, and without one it would wait for ever
    for words in (
        "git init -q",
        "dvc init -q",
        "dvc repro -q",
        "git add -A",
        "git -c user.name=t -c user.email=t@localhost commit -qm start",
    ):
        subprocess.run(shlex.split(words), check=True)
    whole = table3.grid
    monkeypatch.setattr(table3, "grid", lambda *given, **options: whole(*given, **options)[:2])
    start = ["own", "--learning-rate", "1.0e-3", "--lora-r", "8"]
    first = said(*start, "--queue")
    assert first.exit_code == 0, first.output
    assert first.output.count("dvc exp run --queue -n own-") == 2
    again = said(*start, "--queue")
    assert "dvc exp run" not in again.output
    assert "# own-start is there already: queued" in again.output
    subprocess.run(["dvc", "exp", "run", "--run-all", "-q"], check=True)
    assert said(*start, "--show").output.splitlines() == [
        "| experiment | learning_rate | validation macro-F1 | test macro-F1 [95 %] | test F1 [95 %] |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| own-start | 1.0e-3 |  | 0.001 [0.000, 1.000] | 1.000 [1.000, 1.000] |",
        "| own-lr-1e-4 | 1.0e-4 |  | 0.000 [0.000, 1.000] | 1.000 [1.000, 1.000] |",
        "| untouched |  |  | 0.001 [0.000, 1.000] | 1.000 [1.000, 1.000] |",
    ]
