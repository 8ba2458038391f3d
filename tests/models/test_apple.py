"""Apple's GPUs (torch's mps), on machines that have none: what is asked of torch, and what it is not asked for."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from folder_models import bytes_tokenizer, random_weights, write_model
from model_fixtures import run

from chatladder.cli.doctor import memory
from chatladder.cli.doctor.command import machine_lines
from chatladder.io.console import DataError
from chatladder.models import devices
from chatladder.models.batches import reproducible
from chatladder.models.devices import best_dtype, check_quantization, device, need_of_model, placement
from chatladder.models.encoding import Encoded, Example
from chatladder.models.loading import load
from chatladder.models.prompts import PromptSettings, render
from chatladder.models.scoring import score
from chatladder.training.adapters import trainable
from chatladder.training.checkpoints import Checkpoints, TrainingProgress
from chatladder.training.settings import TrainSettings
from chatladder.training.trainer import fit
from stages.base import main

GB = 10**9


@pytest.fixture
def apple(monkeypatch):
    """A Mac of 16 GB, 9 of them free, whose GPU may take 11 and holds 1 already."""
    for variable in (devices.DTYPE, devices.USE_CPU, devices.LAUNCHED, devices.ATTENTION):
        monkeypatch.delenv(variable, raising=False)
    has = {
        "backends.mps.is_available": True,
        "backends.mps.is_macos_or_newer": True,
        "backends.mps.get_name": "Apple M2",
        "mps.recommended_max_memory": 11 * GB,
        "mps.driver_allocated_memory": GB,
    }
    for name, value in has.items():
        monkeypatch.setattr(f"torch.{name}", lambda *_, value=value: value)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=9 * GB, total=16 * GB))


@pytest.fixture
def no_float64(monkeypatch):
    """Let tensors of every model be as those of such a GPU: float64 is an error until they are on the CPU."""

    class Apple(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            if function is torch.Tensor.cpu:
                return arguments[0].as_subclass(torch.Tensor)
            if function is torch.Tensor.double or any(given is torch.float64 for given in arguments):
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
            return super().__torch_function__(function, types, arguments, options or {})

    def shown(model):
        model.register_forward_hook(lambda *seen: setattr(seen[-1], "logits", seen[-1].logits.as_subclass(Apple)))
        return model

    return shown


def test_models_compute_on_it_unless_told_to_leave_it_alone(apple, monkeypatch):
    assert device() == "mps"
    assert need_of_model(10, embedded=False) == need_of_model(10, embedded=False)._replace(gpu=True, small=False)
    assert need_of_model(10, embedded=True).small
    monkeypatch.setenv(devices.USE_CPU, "true")
    assert device() == "cpu"
    monkeypatch.setenv(devices.USE_CPU, "false")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device() == "cuda"


def test_it_computes_in_bfloat16_from_macos_14(apple, monkeypatch):
    asked = []
    monkeypatch.setattr("torch.backends.mps.is_macos_or_newer", lambda *version: asked.append(version))
    assert best_dtype("mps") is torch.float16
    assert asked == [(14, 0)]
    monkeypatch.setattr("torch.backends.mps.is_macos_or_newer", lambda *_: True)
    assert best_dtype("mps") is torch.bfloat16


def test_its_memory_is_what_is_free_of_the_machines(apple, monkeypatch):
    assert devices.free_memory("mps") == (9 * GB,)
    monkeypatch.setattr("torch.mps.recommended_max_memory", lambda: 6 * GB)
    assert devices.free_memory("mps") == (5 * GB,)
    monkeypatch.setattr("torch.mps.recommended_max_memory", lambda: 0)
    assert devices.free_memory("mps") == (0,)
    assert devices.free_memory("cpu") == ()


def test_a_model_is_loaded_whole_or_refused(apple):
    assert placement(3 * GB, {}) == {"dtype": torch.bfloat16, "attn_implementation": None}
    with pytest.raises(DataError, match=r"expected 8.0 GB of GPU memory .*, got 7.2 GB on 1 .*ACCELERATE_USE_CPU=true"):
        placement(4 * GB, {})


def test_it_moves_there(apple, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model")
    assert run(main, "--source", "folder", "--path", folder, "--out", tmp_path / "base").exit_code == 0
    went = []
    monkeypatch.setattr("transformers.PreTrainedModel.to", lambda model, place: (went.append(place), model)[1])
    assert load(tmp_path / "base")[0].dtype is torch.bfloat16
    assert went == ["mps"]


def test_an_embedded_model_stays_on_the_cpu(apple, tiny_base):
    model, _ = load(tiny_base)
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)


def test_nothing_is_quantized_on_it(apple):
    with pytest.raises(DataError, match="expected a GPU and bitsandbytes, which quantizes on it, got Apple's"):
        check_quantization("load_in_4bit")


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])  # read once, and once for each option
def test_answers_are_added_up_where_there_is_float64(kind, no_float64):
    prompt = render([("a", "hello")], "b", "why?", "1", PromptSettings("en", "text", 0))
    model, tokenizer = random_weights(kind).eval(), bytes_tokenizer(pad_token="<|endoftext|>")
    exact, _ = score(model, tokenizer, [prompt], 2000)
    np.testing.assert_array_equal(score(no_float64(model), tokenizer, [prompt], 2000)[0], exact)


def test_so_are_losses(no_float64):
    settings = TrainSettings(
        learning_rate=0.01, num_train_epochs=1, per_device_train_batch_size=2, gradient_accumulation_steps=1,
        warmup_steps=0, weight_decay=0.0, lora_r=2, lora_alpha=2.0, lora_dropout=0.0, target_modules=("q_proj",),
        max_length=99, seeds=(0,),
    )  # fmt: skip
    rows = Encoded([Example([3, 4], [5], 0)] * 2, [[[5], [6], [7]]] * 2, [0, 0], 0)
    logged = []
    model = trainable(no_float64(random_weights("llama")), settings, "tiny")
    fit(model, 0, rows, Encoded([], [], [], 0), settings, lambda *value: logged.append(value))
    assert [name for name, *_ in logged] == ["train/loss", "train/deciding_loss"]


def test_a_kernel_that_is_not_deterministic_is_no_error(apple):
    # Of the gradient of a choice of rows, torch has no other for this GPU.
    reproducible(0)
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_a_run_goes_on_with_the_random_numbers_of_the_gpu(apple, tmp_path, monkeypatch):
    state, restored = torch.arange(5, dtype=torch.uint8), []
    monkeypatch.setattr("torch.mps.get_rng_state", lambda: state)
    monkeypatch.setattr("torch.mps.set_rng_state", restored.append)
    weight = torch.zeros(2, requires_grad=True)
    kept, optimizer = Checkpoints(tmp_path / "run.safetensors"), torch.optim.AdamW([weight])
    kept.write(TrainingProgress(step=3), {"a": weight}, optimizer)
    assert kept.read({"a": weight}, optimizer).step == 3
    assert torch.equal(restored[0], state)


def test_doctor_counts_it(apple, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "matmul_speed", lambda *given: asked.append(given) or 1e12)
    here = memory.this_machine()
    assert (here.device, here.gpus, here.gpu_names, here.dtype) == ("mps", (9 * GB,), ("Apple M2",), "bfloat16")
    assert asked == [(torch.bfloat16, "mps")]
    assert "GPUs: Apple M2 8.4G free, of the same memory." in machine_lines(here, 100)[0]
    refused = memory._refusals("load_in_4bit", memory.MemoryNeed("hub"), memory.training_of({}, 100), here)
    assert "load_in_4bit needs a GPU, and bitsandbytes does not support Apple's" in list(refused)
