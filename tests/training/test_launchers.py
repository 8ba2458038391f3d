"""The launchers' files are what accelerate and DeepSpeed take, and under them several processes train as one does."""

import json
import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from benchmarks.shards import lines, rung_of, share
from chatladder.models.memory import RUNTIME, parameters, training_bytes
from chatladder.presets import read
from chatladder.training.trainer import MAX_GRADIENT
from tests.conftest import ROOT
from tests.model_fixtures import TRAINING, options

FOLDER = ROOT / "chatladder" / "training" / "launchers"
FSDP = ("fsdp_14b", "fsdp_32b")
DEEPSPEED = ("deepspeed_14b", "deepspeed_32b")
ZERO = FOLDER / "deepspeed_zero3.json"
TRAIN = ["-m", "stages.train", "--base", "b", "--gradient-checkpointing"]
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def launched(name, *words):
    """Arguments of the launcher as it understands them, this file's values filled in."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    given = ["--config_file", str(path_of(name)), *words, *TRAIN]
    return _validate_launch_command(launch_command_parser().parse_args(given))[0]


def under(monkeypatch, environment):
    """Give this process the environment that the launcher gives to those that it starts."""
    for key, value in environment.items():
        if key.startswith(("ACCELERATE_", "FSDP_")):
            monkeypatch.setenv(key, value)


def fsdp_plugin(name, monkeypatch):
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments = launched(name)
    under(monkeypatch, prepare_multi_gpu_env(arguments))
    plugin = FullyShardedDataParallelPlugin()
    plugin.set_mixed_precision(arguments.mixed_precision)
    return plugin


def deepspeed_plugin(name, monkeypatch):
    from accelerate.utils import DeepSpeedPlugin
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    monkeypatch.chdir(ROOT)
    arguments = launched(name)
    # As accelerate.commands.launch.launch_command does before it asks for DeepSpeed itself.
    arguments.deepspeed_fields_from_accelerate_config = ",".join(
        yaml.safe_load(path_of(name).read_text(encoding="utf-8"))["deepspeed_config"]
    )
    under(monkeypatch, prepare_deepspeed_cmd_env(arguments)[1])
    plugin = DeepSpeedPlugin()
    plugin.set_mixed_precision(arguments.mixed_precision)
    return plugin


@pytest.mark.parametrize("name", FSDP + DEEPSPEED)
def test_accelerate_knows_every_key(name):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(path_of(name)))  # refuses what it does not know at the top
    # Below the top it takes anything, and would pass over a word that is misspelled.
    options = vars(launch_command_parser().parse_args(["script"]))
    for section in (config.fsdp_config, config.deepspeed_config):
        assert set(section) <= set(options)


@pytest.mark.parametrize("name", FSDP + DEEPSPEED)
def test_the_launcher_takes_the_file_and_leaves_the_stage_its_own_options(name):
    arguments = launched(name)
    assert (arguments.use_fsdp, arguments.use_deepspeed) == (name in FSDP, name in DEEPSPEED)
    assert arguments.module
    assert [arguments.training_script, *arguments.training_script_args] == TRAIN[1:]
    assert arguments.num_processes == (2 if name.endswith("14b") else 4)
    assert launched(name, "--num_processes", "8").num_processes == 8


@pytest.mark.parametrize("name", FSDP)
def test_fsdp_is_what_the_file_says(name, monkeypatch):
    import torch
    from torch.distributed.fsdp import OffloadPolicy
    from torch.distributed.fsdp.fully_sharded_data_parallel import StateDictType
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

    plugin = fsdp_plugin(name, monkeypatch)
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert type(plugin.cpu_offload) is OffloadPolicy  # which leaves weights where they are
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy
    assert plugin.cpu_ram_efficient_loading
    assert plugin.state_dict_type is StateDictType.FULL_STATE_DICT
    assert plugin.mixed_precision_policy.param_dtype is torch.bfloat16
    assert not plugin.activation_checkpointing


@pytest.mark.parametrize("name", DEEPSPEED)
def test_deepspeed_is_what_the_files_say(name, monkeypatch):
    plugin = deepspeed_plugin(name, monkeypatch)
    config = plugin.deepspeed_config
    assert plugin.zero_stage == 3
    assert plugin.zero3_init_flag
    assert config["bf16"]["enabled"]
    assert not config["fp16"]["enabled"]
    assert config["gradient_clipping"] == MAX_GRADIENT
    # The training loop has no data loader that accelerate could read it from.
    assert not plugin.is_auto("train_micro_batch_size_per_gpu")
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]


@needs_deepspeed
def test_deepspeed_knows_every_key():
    from deepspeed.runtime.config import DeepSpeedConfig

    config = json.loads(ZERO.read_text(encoding="utf-8"))
    parsed = DeepSpeedConfig(config)  # its sections refuse what they do not know
    assert {*config} <= {*vars(parsed), "bf16", "zero_optimization", "train_micro_batch_size_per_gpu"}
    assert parsed.zero_config.stage == 3
    assert parsed.zero_config.param_persistence_threshold == 0


def gradients(change):
    """Gradients of a tiny adapter with dropout, one and the same draw of it, after a change to its model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=32, intermediate_size=32, **shape))
    adapted = get_peft_model(model, LoraConfig(r=4, lora_dropout=0.2, target_modules="all-linear"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.train()
    change(adapted, model)
    rows = torch.arange(24).view(2, 12)
    torch.manual_seed(1)
    adapted(input_ids=rows, labels=rows).loss.backward()
    return torch.cat([weight.grad.flatten() for weight in adapted.parameters() if weight.requires_grad])


def test_checkpointing_of_accelerate_would_draw_other_dropout_and_that_of_transformers_does_not():
    """Why the files leave ``fsdp_activation_checkpointing`` out; if this fails, accelerate may have been mended."""
    from types import SimpleNamespace

    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_apply_ac

    def by_accelerate(_, model):
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", activation_checkpointing=True
        )
        plugin.set_auto_wrap_policy(model)
        fsdp2_apply_ac(SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)), model)

    plain = gradients(lambda *_: None)
    kept = gradients(lambda adapted, _: adapted.activation_checkpointing_enable({"use_reentrant": False}))
    drawn = gradients(by_accelerate)
    assert (kept - plain).norm() < 1e-6 * plain.norm()
    assert (drawn - plain).norm() > 0.1 * plain.norm()


@pytest.mark.parametrize("name", FSDP + DEEPSPEED)
def test_the_memory_at_the_head_is_what_is_counted(name):
    text = path_of(name).read_text(encoding="utf-8")
    rung = f"qwen1_5_{name.rpartition('_')[2]}"
    assert f"train@{rung}" in text
    assert f"--config_file chatladder/training/launchers/{name}.yaml" in text
    rows = re.findall(rf"^#   (\| {rung} \| (\d+) \|.*)$", text, flags=re.M)
    assert [row for row, _ in rows] == lines(read("qwen1_5"), rung, tuple(int(count) for _, count in rows), 4096)
    count = yaml.safe_load(text)["num_processes"]
    assert any(int(each) == count for _, each in rows)


def test_one_gpu_holds_what_needs_counts():
    shape, training = rung_of(read("qwen1_5"), "qwen1_5_14b")
    alone = share(shape, training, 1, training.rows * training.length)
    assert alone.total == RUNTIME + training_bytes(shape, parameters(shape) * 2, training, 2)


def test_more_gpus_hold_less_each_and_the_same_together():
    shape, training = rung_of(read("qwen1_5"), "qwen1_5_32b")
    shares = [share(shape, training, count, 4096) for count in (2, 4, 8)]
    assert sorted((each.total for each in shares), reverse=True) == [each.total for each in shares]
    for each, count in zip(shares, (2, 4, 8), strict=True):
        assert each.weights == parameters(shape) * 2 // count
        assert each.gathered == shares[0].gathered


@pytest.fixture
def launch(tmp_path, python):
    """Train under the launcher; gives how the weights were spread."""

    def train(config: Path, arguments: list) -> dict:
        told = tmp_path / "told.json"
        environment = {**os.environ, "PYTHON_EXEC": python, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        start = [python, "-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "2"]
        script = ["--module", "tests.launched_training", str(told)]
        done = subprocess.run(
            [*start, *script, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(told.read_text(encoding="utf-8"))

    return train


@pytest.fixture
def trained(tmp_path, tiny_base, tiny_alpaca):
    """Arguments of a short training, by where it writes, and the folder of one that a single process has written."""
    from stages.train import main
    from tests.model_fixtures import run

    settings = {**TRAINING, "num-train-epochs": 2, "lora-dropout": 0, "seeds": "0,1"}

    def arguments(name):
        given = ["--base", tiny_base, "--alpaca", tiny_alpaca, *options(settings), "--gradient-checkpointing"]
        return [*given, "--out", tmp_path / name, "--curves", tmp_path / f"{name}_curves"]

    result = run(main, *arguments("one"))
    assert result.exit_code == 0, result.output
    return arguments, tmp_path / "one"


def adapter(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def curve(folder):
    text = (folder / "plots" / "metrics" / "train" / "loss.tsv").read_text(encoding="utf-8")
    return [float(line.split("\t")[1]) for line in text.splitlines()[1:]]


def in_float32(name, tmp_path):
    """The same file, less bfloat16: on so few rows only exact sums can be compared."""
    text = path_of(name).read_text(encoding="utf-8").replace("mixed_precision: bf16", "mixed_precision: 'no'")
    zero = json.loads(ZERO.read_text(encoding="utf-8")) | {"bf16": {"enabled": False}}
    (tmp_path / "zero.json").write_text(json.dumps(zero), encoding="utf-8")
    changed = tmp_path / "float32.yaml"
    changed.write_text(text.replace("chatladder/training/launchers/deepspeed_zero3.json", str(tmp_path / "zero.json")))
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp_14b", pytest.param("deepspeed_14b", marks=needs_deepspeed)])
def test_two_processes_train_the_adapter_that_one_trains(name, trained, launch, tmp_path):
    arguments, one = trained
    told = launch(in_float32(name, tmp_path), arguments("two"))
    assert told["processes"] == 2
    assert told["share"] == pytest.approx(0.5, abs=0.01)
    assert (told["kind"], told["layers"]) == (("FSDP", 1) if name in FSDP else ("DEEPSPEED", 0))
    expected, got = adapter(one), adapter(tmp_path / "two")
    assert list(got) == list(expected)
    for key, weight in expected.items():
        assert (got[key] - weight).abs().max() < 1e-5, key
    further = adapter(tmp_path / "two" / "seed_1")
    assert all((further[key] - weight).abs().max() < 1e-5 for key, weight in adapter(one / "seed_1").items())
    assert curve(tmp_path / "two_curves") == pytest.approx(curve(tmp_path / "one_curves"), abs=1e-4)
    assert (tmp_path / "two" / "adapter_config.json").read_bytes() == (one / "adapter_config.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp_32b", pytest.param("deepspeed_32b", marks=needs_deepspeed)])
def test_in_bfloat16_the_losses_are_the_same_but_for_rounding(name, trained, launch, tmp_path):
    arguments, _ = trained
    launch(path_of(name), arguments("two"))
    assert curve(tmp_path / "two_curves") == pytest.approx(curve(tmp_path / "one_curves"), rel=0.01)
