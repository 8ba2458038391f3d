"""Any architecture: loaded from a folder, scored, adapted, saved, and read again by plain peft."""

import json
from dataclasses import replace

import numpy as np
import pytest
from folder_models import ARCHITECTURES, random_weights, write_model
from model_fixtures import run

from chatladder.cli.export.merging import load_folder, write_merged
from chatladder.io.console import DataError
from chatladder.models import scoring
from chatladder.models.devices import DTYPE
from chatladder.models.encoding import encode_options, encode_prompts
from chatladder.models.loading import load
from chatladder.models.prompts import PromptSettings, render
from chatladder.training.adapters import expert_weights, wrap, write
from chatladder.training.settings import TrainSettings
from stages.base import main

SETTINGS = TrainSettings(
    learning_rate=0.02,
    num_train_epochs=1,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=1,
    warmup_steps=0,
    weight_decay=0.0,
    lora_r=4,
    lora_alpha=8,
    lora_dropout=0.0,
    target_modules=("all-linear",),
    max_length=2000,
    seeds=(0,),
)
MIXTURES = [name for name, sizes in ARCHITECTURES.items() if "num_experts" in sizes]
PROMPTS = [
    render([("a", "I bought it")] * lines, "b", "is it any good?", str(lines), PromptSettings("en", form, 0))
    for lines in range(3)
    for form in ("text", "lettered")
]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request, tmp_path_factory):
    """A base folder of one architecture, as ``stages.base`` writes it."""
    folder = tmp_path_factory.mktemp(request.param)
    write_model(folder / "model", request.param)
    result = run(main, "--source", "folder", "--path", folder / "model", "--out", folder / request.param)
    assert result.exit_code == 0, result.output
    return folder / request.param


def plain(model, prompt, option):
    """The plain way: one row, no padding, no mask of ours."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + option])).logits[0].double().log_softmax(-1)
    return sum(logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(option))


def test_a_batch_scores_as_one_row_at_a_time(base):
    model, tokenizer = load(base)
    found, shortened = scoring.score(model, tokenizer, PROMPTS, 2000)
    rows, _ = encode_prompts(tokenizer, [prompt.instruction for prompt in PROMPTS], 2000)
    options = encode_options(tokenizer, [prompt.options for prompt in PROMPTS])
    expected = [[plain(model, row, ids) for ids in texts.values()] for row, texts in zip(rows, options, strict=True)]
    assert shortened == 0
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_windows_are_read_one_option_at_a_time_and_the_rest_at_once(base):
    model, _ = load(base)
    assert scoring.takes_blocks(model.config) == (base.name != "gemma3_text")
    model.config._attn_implementation = "flash_attention_2"
    assert not scoring.takes_blocks(model.config)


def step(adapted, tokenizer):
    """One gradient step on the first option of two prompts."""
    import torch

    rows, _ = encode_prompts(tokenizer, [prompt.instruction for prompt in PROMPTS[:2]], 2000)
    (ids, _) = encode_options(tokenizer, [prompt.options for prompt in PROMPTS[:2]])
    optimizer = torch.optim.AdamW([w for w in adapted.parameters() if w.requires_grad], lr=0.02)
    adapted.train()
    for row in rows * 2:
        answer = ids["needed"]
        logits = adapted(input_ids=torch.tensor([row + answer])).logits[0, len(row) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(answer)).backward()
        optimizer.step()
        grads = {name: w.grad.abs().sum().item() for name, w in adapted.named_parameters() if w.requires_grad}
        optimizer.zero_grad()
    adapted.eval()
    return grads


def test_an_adapter_learns_and_plain_peft_reads_it(base, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, tokenizer = load(base)
    before, _ = scoring.score(model, tokenizer, PROMPTS, 2000)
    adapted = wrap(model, SETTINGS, base.name)
    untrained, _ = scoring.score(adapted, tokenizer, PROMPTS, 2000)
    np.testing.assert_allclose(untrained, before, atol=1e-5)
    grads = step(adapted, tokenizer)
    assert all(size > 0 for size in grads.values()), [name for name, size in grads.items() if not size]
    after, _ = scoring.score(adapted, tokenizer, PROMPTS, 2000)
    assert np.abs(after - before).max() > 0.1
    (tmp_path / "adapter").mkdir()
    write(adapted, tmp_path / "adapter")

    where = json.loads((base / "rung.json").read_text())["path"]
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(where), str(tmp_path / "adapter")).eval()
    ours, _ = load(base, tmp_path / "adapter")
    for again in (theirs, ours):
        np.testing.assert_allclose(scoring.score(again, tokenizer, PROMPTS, 2000)[0], after, atol=1e-5)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_all_linear_means_the_experts_and_not_the_router(architecture):
    model = random_weights(architecture)
    assert expert_weights(model) == ["experts.down_proj", "experts.gate_up_proj"]
    adapted = wrap(model, SETTINGS, "mixture")
    trained = sorted({name.split(".lora_")[0] for name, w in adapted.named_parameters() if w.requires_grad})
    layer = "base_model.model.model.layers.0."
    inside = {name.removeprefix(layer) for name in trained if name.startswith(layer)}
    shared = {f"mlp.shared_expert.{part}_proj" for part in ("gate", "up", "down")}
    attention = {f"self_attn.{part}_proj" for part in "qkvo"}
    # peft nests the two: the inner one is of gate_up_proj, the outer of down_proj.
    experts = {"mlp.experts", "mlp.experts.base_layer"}
    assert inside == attention | experts | (shared if architecture == "qwen2_moe" else set())
    saved = adapted.peft_config["default"]
    assert saved.target_parameters == ["experts.down_proj", "experts.gate_up_proj"]
    assert not any("gate" in name.split(".")[-1] and "gate_proj" not in name for name in saved.target_modules)


def test_experts_take_no_dropout():
    with pytest.raises(DataError, match=r"lora_dropout: expected 0 for mixture, got 0.05: .* Set lora_dropout: 0.0"):
        wrap(random_weights("qwen2_moe"), replace(SETTINGS, lora_dropout=0.05), "mixture")
    # Layers that are named are adapted as ever, with it.
    named = replace(SETTINGS, lora_dropout=0.05, target_modules=("q_proj", "v_proj"))
    wrapped = wrap(random_weights("qwen2_moe"), named, "mixture")
    assert wrapped.peft_config["default"].target_modules == ["q_proj", "v_proj"]


def test_a_dense_model_has_no_experts():
    assert expert_weights(random_weights("llama")) == []
    assert expert_weights(random_weights("lfm2", layer_types=["conv", "full_attention"])) == []


def test_an_adapter_of_a_rounded_base_is_learned_and_written_in_float32(base, tmp_path, monkeypatch):
    import torch
    from safetensors.torch import load_file

    monkeypatch.setenv(DTYPE, "bfloat16")
    model, tokenizer = load(base)
    adapted = wrap(model, SETTINGS, base.name)
    assert all(step(adapted, tokenizer).values())
    numbers = {(weight.requires_grad, weight.dtype) for weight in adapted.parameters()}
    assert numbers == {(True, torch.float32), (False, torch.bfloat16)}
    write(adapted, tmp_path)
    assert {weight.dtype for weight in load_file(tmp_path / "adapter_model.safetensors").values()} == {torch.float32}
    expected, _ = scoring.score(adapted, tokenizer, PROMPTS, 2000)
    found, _ = scoring.score(*load(base, tmp_path), PROMPTS, 2000)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_a_mixture_is_merged_with_its_experts(architecture, tmp_path):
    write_model(tmp_path / "model", architecture)
    run(main, "--source", "folder", "--path", tmp_path / "model", "--out", tmp_path / "mixture")
    model, tokenizer = load(tmp_path / "mixture")
    adapted = wrap(model, SETTINGS, "mixture")
    step(adapted, tokenizer)
    expected, _ = scoring.score(adapted, tokenizer, PROMPTS, 2000)
    for folder in ("adapter", "merged"):
        (tmp_path / folder).mkdir()
    write(adapted, tmp_path / "adapter")
    write_merged(tmp_path / "mixture", tmp_path / "adapter", tmp_path / "merged", PROMPTS, 2000)
    found, _ = scoring.score(*load_folder(tmp_path / "merged"), PROMPTS, 2000)
    np.testing.assert_allclose(found, expected, atol=1e-3)
