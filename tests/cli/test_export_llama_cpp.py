"""An adapter as a file of llama.cpp's: a real llama.cpp with it says what the adapter on its base says here."""

import json
from urllib.request import Request, urlopen

import numpy as np
import pytest
from folder_models import write_model
from gguf_files import write_gguf as write_base

from benchmarks.llama_cpp import server
from chatladder.cli.export.llama_cpp import ARCHITECTURES, FILE, write_gguf
from chatladder.models.loading import load

#: The letter a among the tokens.
A = 64


def make_base(folder, architecture, **sizes):
    """A base folder as stages.base writes it, of a model of random weights beside it."""
    write_model(folder / "model", architecture, **sizes)
    base = folder / "base"
    base.mkdir()
    rung = {"source": "folder", "name": "tiny", "path": str(folder / "model"), "params": 1}
    (base / "rung.json").write_text(json.dumps(rung))
    return base


def make_adapter(base, folder, **settings):
    """An adapter of random weights that changes a lot."""
    import torch
    from peft import LoraConfig, get_peft_model

    model, _ = load(base)
    given = {"r": 6, "lora_alpha": 9, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **settings}
    adapted = get_peft_model(model, LoraConfig(**given))
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": "tiny"}
    path.write_text(json.dumps(config | {"target_modules": sorted(config["target_modules"])}))
    return folder


def log_probabilities(base, adapter, texts):
    import torch

    model, _ = load(base, adapter)
    with torch.inference_mode():
        return np.stack([model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).numpy() for ids in texts])


def of_llama_cpp(gguf, adapters, texts, vocabulary):
    """Log-probabilities of the next token, shape (texts, vocabulary)."""
    found = np.full((len(texts), vocabulary), -np.inf)
    with server(gguf, 1, 1, 512, adapters) as (address, _):
        for row, ids in enumerate(texts):
            # It tells probabilities, of the unbiased model, of nothing that is no text: so it must say the letter a.
            asked = {"prompt": ids, "n_predict": 1, "n_probs": vocabulary, "temperature": 0, "logit_bias": [[A, 1e3]]}
            body = json.dumps(asked).encode()
            with urlopen(Request(f"{address}/completion", body, {"Content-Type": "application/json"})) as reply:
                for each in json.load(reply)["completion_probabilities"][0]["top_logprobs"]:
                    found[row, each["id"]] = each["logprob"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}], ids=["lora", "rslora"])
def test_llama_cpp_with_the_file_says_what_the_adapter_on_its_base_says(tmp_path, architecture, settings):
    pytest.importorskip("xllamacpp", reason="xllamacpp, which runs llama.cpp, is not installed")
    base = make_base(tmp_path, architecture)
    adapter = make_adapter(base, tmp_path / "adapter", **settings)
    assert write_gguf(adapter, base, tmp_path / FILE) is None
    gguf = write_base(tmp_path / "model", tmp_path / "base.gguf", architecture=ARCHITECTURES[architecture])
    texts = [np.random.default_rng(seed).integers(0, 256, 40 + seed).tolist() for seed in range(4)]
    expected, untouched = log_probabilities(base, adapter, texts), log_probabilities(base, None, texts)
    assert np.abs(expected - untouched).max() > 1
    # llama.cpp keeps keys and values in half precision.
    found = of_llama_cpp(gguf, [tmp_path / FILE], texts, expected.shape[1])
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize(
    ("architecture", "settings", "reason"),
    [
        ("qwen2", {"use_dora": True}, "DoRA"),
        ("gpt_neox", {}, "its base is of the type gpt_neox"),
        ("qwen2", {"target_modules": ["q_proj", "lm_head"]}, "it changes more than the linear layers"),
    ],
)
def test_what_llama_cpp_cannot_load_is_not_written(tmp_path, architecture, settings, reason):
    base = make_base(tmp_path, architecture)
    adapter = make_adapter(base, tmp_path / "adapter", **settings)
    assert reason in write_gguf(adapter, base, tmp_path / FILE)
    assert not (tmp_path / FILE).exists()


def test_the_file_names_its_kind_and_folds_the_scale_in(tmp_path):
    from gguf import GGUFReader

    base = make_base(tmp_path, "qwen2")
    adapter = make_adapter(base, tmp_path / "adapter", r=4, lora_alpha=8, use_rslora=True)
    write_gguf(adapter, base, tmp_path / FILE)
    reader = GGUFReader(tmp_path / FILE)
    names = ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha")
    assert [reader.get_field(name).contents() for name in names] == ["qwen2", "adapter", "lora", 16.0]
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert len(shapes) == 2 * 7 * 2
    assert (shapes["blk.1.ffn_down.weight.lora_a"], shapes["blk.1.ffn_down.weight.lora_b"]) == ([64, 4], [4, 32])
