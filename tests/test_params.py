"""From params.yaml to a command: what a rung says reaches its own command alone, and mistakes stop there."""

import re
import shlex

import pytest
import yaml
from click.testing import CliRunner
from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages import train
from tests.conftest import ROOT

#: What differs between the train commands of any two rungs: which model, and where it goes.
OWN = {"base", "out", "curves"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with our dvc.yaml, in which a changed params.yaml can be resolved and no stage runs."""
    Repo.init(str(tmp_path), no_scm=True).close()
    settings = (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    with (tmp_path / ".dvc" / "config").open("a", encoding="utf-8") as config:
        config.write(settings[settings.index("[parsing]") :])
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    (tmp_path / "data" / "alpaca").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def committed():
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def train_arguments(project, params):
    """Arguments of the train command of each rung, as DVC resolves them from these params."""
    text = params if isinstance(params, str) else yaml.safe_dump(params, sort_keys=False)
    (project / "params.yaml").write_text(text, encoding="utf-8")
    with Repo(str(project)) as repo:
        commands = {stage.name: stage.cmd for stage in repo.index.stages}
    found = {}
    for name, command in commands.items():
        stage, _, rung = name.partition("@")
        if stage == "train":
            found[rung] = shlex.split(command)[3:]
            (project / "data" / "bases" / rung).mkdir(parents=True, exist_ok=True)
    return found


def train_options(project, params):
    """The options that each rung is trained with, as click reads them."""
    arguments = train_arguments(project, params)
    return {rung: train.main.make_context("train", given).params for rung, given in arguments.items()}


def differing(first, second):
    return {name for name in first if first[name] != second[name]}


def test_fault_9_rungs_are_trained_alike_but_for_what_their_own_section_says(project):
    params = committed()
    options = train_options(project, params)
    first, *others = params["ladder"]
    batches = {each["per_device_train_batch_size"] * each["gradient_accumulation_steps"] for each in options.values()}
    assert len(batches) == 1, "rungs trained at different batch sizes cannot be compared"
    for rung in others:
        said = {*params["ladder"][first]["train"], *params["ladder"][rung]["train"]}
        assert differing(options[first], options[rung]) <= OWN | said


def test_fault_9_another_learning_rate_of_one_rung_changes_nothing_else(project):
    params = committed()
    before = train_options(project, params)
    rung, *others = params["ladder"]
    params["ladder"][rung]["train"] |= {"learning_rate": 2.0e-5}
    after = train_options(project, params)
    assert differing(before[rung], after[rung]) == {"learning_rate"}
    assert after[rung]["learning_rate"] == 2.0e-5
    assert {other: after[other] for other in others} == {other: before[other] for other in others}


def test_a_rung_written_twice_is_refused_with_its_line(project):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    rung = next(iter(committed()["ladder"]))
    with pytest.raises(DvcException, match=r"params\.yaml") as refused:
        train_arguments(project, f"{text}  {rung}:\n    train: {{}}\n")
    assert f'found duplicate key "{rung}"' in str(refused.value.__cause__)
    assert re.search(rf"line {text.count(chr(10)) + 1}\b", str(refused.value.__cause__))


def test_a_learning_rate_that_is_no_number_is_refused_and_nothing_is_written(project):
    params = committed()
    rung = next(iter(params["ladder"]))
    params["ladder"][rung]["train"] |= {"learning_rate": "2e-4x"}
    result = CliRunner().invoke(train.main, train_arguments(project, params)[rung])
    assert result.exit_code == 2
    assert "Invalid value for '--learning-rate': '2e-4x' is not a valid float" in result.output
    assert not (project / "data" / "adapters").exists()
    assert not (project / "data" / "curves").exists()


def test_a_learning_rate_without_a_decimal_point_is_the_number_it_looks_like(project):
    params = committed()
    rung = next(iter(params["ladder"]))
    params["ladder"][rung]["train"] |= {"learning_rate": "RATE"}
    arguments = train_arguments(project, yaml.safe_dump(params, sort_keys=False).replace("RATE", "2e-4"))
    assert train.main.make_context("train", arguments[rung]).params["learning_rate"] == 2.0e-4


def test_a_rung_replaces_the_default_layers(project):
    params = committed()
    first, second, *_ = params["ladder"]
    params["ladder"][first]["train"] = {"target_modules": "q_proj,v_proj"}
    options = train_options(project, params)
    assert options[first]["target_modules"] == ("q_proj", "v_proj")
    assert options[second]["target_modules"] == ("all-linear",)
