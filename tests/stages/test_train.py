import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from model_fixtures import PROMPT, TINY, TRAINING, options, run
from safetensors.numpy import load_file
from sklearn.metrics import f1_score

from chatladder.io.console import DataError
from chatladder.io.rows import PREDICTIONS, read_rows
from chatladder.models.batches import Losses, batches_by_length, check_finite, cosine
from chatladder.models.encoding import Example
from chatladder.models.loading import adapters_of
from chatladder.models.prompts import read_alpaca
from chatladder.training import adapters, checkpoints, trainer
from chatladder.training.runs import ending
from chatladder.training.settings import TrainSettings
from chatladder.training.trainer import macro_f1
from stages.base import main as make_base
from stages.predict import main as predict
from stages.to_alpaca import main as to_alpaca
from stages.train import main
from tests.conftest import ROOT


@pytest.fixture
def train(tiny_base, tiny_alpaca, tmp_path):
    def call(name="a", alpaca=tiny_alpaca, **changes):
        settings = options({**TRAINING, **{key.replace("_", "-"): value for key, value in changes.items()}})
        folders = ["--out", tmp_path / name, "--curves", tmp_path / f"{name}-curves"]
        return run(main, "--base", tiny_base, "--alpaca", alpaca, *settings, *folders)

    return call


def curve(folder, name):
    lines = (folder / "plots" / "metrics" / f"{name}.tsv").read_text().splitlines()[1:]
    return {int(step): float(value) for step, value in (line.split("\t") for line in lines)}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_training_learns_and_says_so(train, tmp_path):
    result = train()
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{tmp_path / 'a'}: 12 rows, 24 steps, last loss ")
    loss = curve(tmp_path / "a-curves", "train/loss")
    assert list(loss) == list(range(1, 25))
    assert loss[24] < loss[1] - 0.5
    assert list(curve(tmp_path / "a-curves", "train/deciding_loss")) == list(loss)
    for name in ("loss", "deciding_loss", "macro_f1"):
        assert list(curve(tmp_path / "a-curves", f"validation/{name}")) == [3, 6, 9, 12, 15, 18, 21, 24]


def test_the_adapter_loads_in_plain_peft(tiny_base, tiny_adapter):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    tokens = torch.arange(20)[None]
    before = base(tokens).logits
    after = PeftModel.from_pretrained(base, tiny_adapter)(tokens).logits
    assert (before - after).abs().max() > 1e-3


def test_the_adapter_names_no_folder_of_this_machine(tiny_base, tiny_adapter):
    names = ["adapter_config.json", "adapter_model.safetensors", "training.json"]
    assert sorted(path.name for path in tiny_adapter.iterdir()) == names
    config = json.loads((tiny_adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["target_modules"] == sorted(config["target_modules"])
    assert len(config["target_modules"]) == 7
    assert all(str(tiny_base.parent) not in (tiny_adapter / name).read_text("latin-1") for name in names)


def test_equal_runs_give_equal_bytes(train, tmp_path):
    for name in ("a", "b"):
        assert train(name).exit_code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a-curves") == contents(tmp_path / "b-curves")
    train("c", seeds=1)
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


@pytest.mark.slow
def test_the_hash_seed_changes_nothing(train, tiny_base, tiny_alpaca, tmp_path, python, warm):
    assert train("a").exit_code == 0
    folders = ["--out", str(tmp_path / "b"), "--curves", str(tmp_path / "b-curves")]
    inputs = ["--base", str(tiny_base), "--alpaca", str(tiny_alpaca), *options(TRAINING)]
    command = [python, "-m", "stages.train", *inputs, *folders]
    subprocess.run(command, check=True, env={**os.environ, **warm}, cwd=ROOT)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a-curves") == contents(tmp_path / "b-curves")


def test_accumulated_parts_make_one_step(train, tmp_path):
    result = train(per_device_train_batch_size=2, gradient_accumulation_steps=4, num_train_epochs=1)
    assert result.exit_code == 0, result.output
    # 12 rows are 6 parts: a step of four parts and one of the two that are left.
    assert len(curve(tmp_path / "a-curves", "train/loss")) == 2


@pytest.mark.parametrize("rate", ["2e-3", "2.0e-3", 0.002])
def test_a_learning_rate_may_be_written_as_yaml_text(train, rate):
    assert train(learning_rate=rate, num_train_epochs=1).exit_code == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": "2e-4x"}, "'2e-4x' is not a valid float"),
        ({"learning_rate": "None"}, "'None' is not a valid float"),
        ({"learning_rate": 0}, "0.0 is not in the range"),
        ({"lora_r": 0}, "0 is not in the range"),
        ({"seeds": "0,0"}, "expected different whole numbers from 0 with commas between them, got '0,0'"),
        ({"seeds": "1,01"}, "expected different whole numbers from 0"),
        ({"seeds": "-1"}, "expected different whole numbers from 0"),
        ({"seeds": "0,"}, "expected different whole numbers from 0"),
    ],
)
def test_a_wrong_hyper_parameter_is_a_usage_error(train, tmp_path, change, message):
    result = train(**change)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "a").exists()


def test_layers_that_the_model_lacks_are_refused(train, tmp_path):
    result = train(target_modules="qkv_proj")
    assert result.exit_code == 1
    assert "target_modules: expected names of linear layers of tiny" in result.output
    assert not (tmp_path / "a").exists()


def test_one_kind_of_layer_can_be_chosen(train, tmp_path):
    train(target_modules="v_proj,q_proj", num_train_epochs=1)
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "v_proj"]


def test_a_diverged_loss_writes_nothing(train, tmp_path, monkeypatch):
    import torch

    lost = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr("chatladder.training.trainer.answer_losses", lambda *_: Losses(lost, lost))
    result = train()
    assert result.exit_code == 1
    assert "Error: a seed 0: step 1: expected a finite loss, got nan" in result.output
    assert "try learning_rate 2.0e-03" in result.output
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "a-curves").exists()


def test_nothing_to_learn_is_refused(train, labelled, tmp_path):
    run(to_alpaca, "--labelled", labelled, *PROMPT, "--out", tmp_path / "alpaca")
    (tmp_path / "alpaca" / "train.json").write_text("[]")
    result = train(alpaca=tmp_path / "alpaca")
    assert result.exit_code == 1
    assert "train.json: expected rows to learn, got none" in result.output


def test_no_validation_rows_leave_no_validation_curves(train, labelled, tmp_path):
    run(to_alpaca, "--labelled", labelled, *PROMPT, "--out", tmp_path / "alpaca")
    (tmp_path / "alpaca" / "validation.json").write_text("[]")
    assert train(alpaca=tmp_path / "alpaca", num_train_epochs=1).exit_code == 0
    assert not (tmp_path / "a-curves" / "plots" / "metrics" / "validation").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"instruction": "a"}', "expected a list of alpaca rows, got dict"),
        (
            '[{"instruction": "a", "output": "b"}]',
            "row 1: expected item_id, .*; missing item_id, options",
        ),
        (
            '[{"item_id": "q", "instruction": "a", "output": "b", "options": {"needed": "c"}}]',
            "row 1: expected the output to be one of the row's options",
        ),
        ('[\n{"item_id"', "train.json:2: expected JSON"),
    ],
)
def test_broken_alpaca_is_refused(tmp_path, text, message):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_alpaca(tmp_path / "train.json")


def test_macro_f1_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    references, answers = generator.integers(0, 2, 200), generator.integers(0, 3, 200)
    expected = f1_score(references, answers, labels=[0, 1], average="macro")
    assert macro_f1(references, answers) == pytest.approx(expected)


def test_the_schedule_warms_up_and_comes_down_to_zero():
    factor = cosine(steps=20, warmup_steps=4)
    assert [factor(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factor(12) == pytest.approx(0.5)
    assert factor(20) == pytest.approx(0)


def test_batches_hold_every_row_once_and_rows_of_like_length():
    from random import Random

    rows = [Example([0] * length, [1], 0) for length in Random(1).sample(range(1, 2000), 1000)]
    batches = list(batches_by_length(rows, 10, Random(0)))
    assert sorted(len(row.prompt) for batch in batches for row in batch) == sorted(len(row.prompt) for row in rows)
    padded = sum(max(len(row.prompt) for row in batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(len(row.prompt) for row in rows)
    again = list(batches_by_length(rows, 10, Random(0)))
    other = list(batches_by_length(rows, 10, Random(1)))
    assert batches == again
    assert batches != other


def test_all_weights_may_be_trained_and_then_answer(train, tiny_base, tmp_path, labelled):
    result = train(method="full", learning_rate="1e-3")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "training.json",
    ]
    asked = ["--questions", labelled, *PROMPT, "--max-length", "512"]
    for name, adapter in {"vanilla": (), "tuned": ("--adapter", tmp_path / "a")}.items():
        result = run(predict, "--base", tiny_base, *adapter, *asked, "--out", tmp_path / f"{name}.parquet")
        assert result.exit_code == 0, result.output
    vanilla, tuned = (read_rows(tmp_path / f"{name}.parquet", PREDICTIONS) for name in ("vanilla", "tuned"))
    assert vanilla["p_needed"] != tuned["p_needed"]


def test_a_run_that_was_killed_goes_on_and_ends_in_the_same_bytes(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("whole").exit_code == 0
    learn = trainer.Watch.see

    def killed(watch, step, loss):
        learn(watch, step, loss)
        if step == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Watch, "see", killed)
    assert train("part", checkpoint_seconds=0, seeds=7).exit_code == 130
    assert train("part", checkpoint_seconds=0).exit_code == 130
    assert not (tmp_path / "part").exists()
    kept = tmp_path / ".chatladder" / "checkpoints"
    assert len(list(kept.iterdir())) == 2
    other = kept / "part-of-another-out-0123.safetensors"
    other.touch()
    monkeypatch.setattr(trainer.Watch, "see", learn)
    steps = []
    step = trainer._Run.step
    monkeypatch.setattr(trainer._Run, "step", lambda *given: steps.append(given) or step(*given))
    assert train("part", checkpoint_seconds=0).exit_code == 0
    assert len(steps) == 24 - 10
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert contents(tmp_path / "part-curves") == contents(tmp_path / "whole-curves")
    assert list(kept.iterdir()) == [other]


def test_a_run_that_was_killed_while_it_wrote_has_nothing_to_learn_again(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("whole").exit_code == 0

    def full(*_):
        raise OSError(28, "No space left on device")

    write = adapters.write
    monkeypatch.setattr(adapters, "write", full)
    result = train("part", checkpoint_seconds=0)
    assert result.exit_code == 1
    assert "the disk is full; nothing was written" in result.output
    monkeypatch.setattr(adapters, "write", write)
    monkeypatch.setattr(trainer._Run, "step", lambda *_: pytest.fail("a step was taken again"))
    assert train("part", checkpoint_seconds=0).exit_code == 0
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert contents(tmp_path / "part-curves") == contents(tmp_path / "whole-curves")


def test_code_that_is_edited_during_a_training_does_not_lose_it(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "trainer.py"
    code.write_text("as it began")
    monkeypatch.setattr(checkpoints, "CODE", (code,))
    learn = trainer.Watch.see

    def edited(watch, step, loss):
        learn(watch, step, loss)
        code.write_text(f"edited at step {step}")

    monkeypatch.setattr(trainer.Watch, "see", edited)
    result = train(seeds="3,4", num_train_epochs=1)
    assert result.exit_code == 0, result.output
    assert set(adapters_of(tmp_path / "a")) == {3, 4}


def test_each_seed_has_an_adapter_that_stands_on_the_base_of_its_seed(tiny_base, tiny_alpaca, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "tiny")
    assert run(make_base, "--source", "embedded", *options(TINY), "--seeds", 5, "--out", base).exit_code == 0
    settings = options({**TRAINING, "seeds": "5,0,7", "num-train-epochs": 1})
    folders = ["--out", tmp_path / "a", "--curves", tmp_path / "c"]
    result = run(main, "--base", base, "--alpaca", tiny_alpaca, *settings, *folders)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{tmp_path / 'a'}: 12 rows, 3 steps, 3 seeds, last loss ")
    assert adapters_of(tmp_path / "a") == {
        5: tmp_path / "a",
        0: tmp_path / "a" / "seed_0",
        7: tmp_path / "a" / "seed_7",
    }
    for seed, folder in {5: "", 0: "seed_0", 7: "seed_7"}.items():
        assert json.loads((tmp_path / "a" / folder / "training.json").read_text())["seed"] == seed
        assert json.loads((tmp_path / "c" / folder / "settings.json").read_text())["seed"] == seed
        assert len(curve(tmp_path / "c" / folder, "train/loss")) == 3
    # The same as one that was trained on the seed's base alone; a seed that the base lacks stands on its first.
    for seed, own, folder in ((5, base / "seed_5", ""), (7, tiny_base, "seed_7")):
        alone = [*options({**TRAINING, "seeds": seed, "num-train-epochs": 1}), "--curves", tmp_path / f"c{seed}"]
        assert run(main, "--base", own, "--alpaca", tiny_alpaca, *alone, "--out", tmp_path / f"{seed}").exit_code == 0
        name = "adapter_model.safetensors"
        assert (tmp_path / f"{seed}" / name).read_bytes() == (tmp_path / "a" / folder / name).read_bytes()
    # One seed in their place leaves nothing of the others.
    alone = [*options({**TRAINING, "num-train-epochs": 1}), *folders]
    result = run(main, "--base", base, "--alpaca", tiny_alpaca, *alone)
    assert result.exit_code == 0, result.output
    assert adapters_of(tmp_path / "a") == {0: tmp_path / "a"}
    assert not (tmp_path / "c" / "seed_7").exists()


def test_a_folder_of_seeds_with_anything_else_in_it_is_kept(train, tmp_path):
    (tmp_path / "a" / "seed_1").mkdir(parents=True)
    (tmp_path / "a" / "seed_1" / "notes.txt").write_text("kept")
    result = train()
    assert result.exit_code == 1
    assert "got one with seed_1/notes.txt; it was left as it is" in result.output


def test_a_seed_that_was_done_is_not_trained_again(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("whole", seeds="3,4").exit_code == 0
    learn = trainer.Watch.see
    begun = []

    def killed(watch, step, loss):
        learn(watch, step, loss)
        begun.append(step)
        if begun.count(11) == 2:  # in the second seed
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Watch, "see", killed)
    result = train("part", seeds="3,4", checkpoint_seconds=0)
    assert result.exit_code == 130
    assert not (tmp_path / "part").exists()
    monkeypatch.setattr(trainer.Watch, "see", learn)
    steps = []
    step = trainer._Run.step
    monkeypatch.setattr(trainer._Run, "step", lambda *given: steps.append(given) or step(*given))
    assert train("part", seeds="3,4", checkpoint_seconds=0).exit_code == 0
    assert len(steps) == 24 - 10
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert contents(tmp_path / "part-curves") == contents(tmp_path / "whole-curves")
    assert list((tmp_path / ".chatladder" / "checkpoints").iterdir()) == []


def test_a_training_that_ends_as_a_coin_says_so_and_what_to_try(train, tiny_alpaca, tmp_path):
    known = shutil.copytree(tiny_alpaca, tmp_path / "alpaca")
    shutil.copyfile(known / "train.json", known / "validation.json")
    assert "coin" not in train(alpaca=known, method="full", num_train_epochs=30).output
    result = train("lost", alpaca=known, learning_rate=1e-6, num_train_epochs=1, seeds="0,1")
    assert result.exit_code == 0
    assert ". Seeds 0, 1 ended no better than a coin (" in result.output
    (known / "validation.json").write_text("[]")
    result = train("lost", alpaca=known, learning_rate=1e-6, num_train_epochs=1)
    assert "shortened to 512 tokens. It ended no better than a coin (" in result.output
    assert result.output.endswith(
        "nats for the deciding token over the last 10 steps, a coin 0.693): try another train.learning_rate, or more "
        "train.num_train_epochs\n"
    )


@pytest.mark.parametrize(
    ("validation", "patience", "expected"),
    [
        ([0.9, 0.6, 0.8], 0, {"validation_deciding_loss": 0.8}),
        ([0.9, 0.6, 0.8], 1, {"validation_deciding_loss": 0.6}),
        ([], 0, {"mean_deciding_loss": pytest.approx(0.75)}),
    ],
)
def test_the_end_of_a_training_is_that_of_the_weights_that_were_kept(validation, patience, expected):
    settings = read_settings(early_stopping_patience=patience)
    logged = [("train/deciding_loss", step, 5.0 if step < 3 else 0.75) for step in range(1, 13)]
    logged += [("train/loss", 12, 0.25)]
    logged += [("validation/deciding_loss", 12, loss) for loss in validation]
    assert ending(logged, settings) == {"steps": 12, "loss": 0.25, "deciding_loss": 0.75, **expected}


def read_settings(**changes):
    values = {name.replace("-", "_"): value for name, value in TRAINING.items()}
    return TrainSettings(**{**values, "seeds": (0,), **changes})


@pytest.fixture
def launched(tmp_path, python, warm):
    def run_train(command, name, launcher):
        environment = {**os.environ, **warm, "LAUNCHER": launcher, "PYTHON_EXEC": python}
        environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        folders = ["--out", str(tmp_path / name), "--curves", str(tmp_path / f"{name}-curves")]
        started = [python, "-m", "stages.train", *command, *folders]
        return subprocess.run(started, check=False, env=environment, cwd=ROOT, capture_output=True, text=True)

    return run_train


@pytest.mark.slow
def test_two_processes_train_the_adapter_of_one(tiny_base, tiny_alpaca, tmp_path, launched):
    settings = options({**TRAINING, "lora-dropout": 0, "num-train-epochs": 3, "seeds": "0,1"})
    command = ["--base", str(tiny_base), "--alpaca", str(tiny_alpaca), *settings]
    torchrun = "python -m torch.distributed.run --standalone --nproc-per-node 2"
    for name, launcher in {"one": "", "two": torchrun}.items():
        ended = launched(command, name, launcher)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("12 rows, 9 steps, 2 seeds, last loss") == 1
    for seed in ("", "seed_1"):
        one, two = (load_file(tmp_path / name / seed / "adapter_model.safetensors") for name in ("one", "two"))
        assert one.keys() == two.keys()
        for name, weight in one.items():
            np.testing.assert_allclose(weight, two[name], atol=1e-4)
    for name in ("train/loss", "train/deciding_loss", "validation/deciding_loss"):
        single, double = (curve(tmp_path / f"{run}-curves", name) for run in ("one", "two"))
        assert single == pytest.approx(double, abs=1e-4)


def test_a_launcher_that_is_not_there_is_a_usage_error(tiny_base, tiny_alpaca, launched):
    command = ["--base", str(tiny_base), "--alpaca", str(tiny_alpaca), *options(TRAINING)]
    ended = launched(command, "a", "no-such-launcher --num_processes 2")
    assert ended.returncode == 2
    assert "LAUNCHER: expected a command such as" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(loss):
    with pytest.raises(DataError, match="step 7: expected a finite loss"):
        check_finite(loss, 7)
