"""Models of any source: where they run, in which numbers, how much they read, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from folder_models import bytes_tokenizer, random_weights, write_model
from model_fixtures import run

from chatladder.io.console import DataError
from chatladder.models import devices
from chatladder.models.devices import attention, best_dtype, check_map, check_quantization, device_map, placement
from chatladder.models.folders import count_parameters, weight_files
from chatladder.models.loading import fetch, load, within_context
from chatladder.models.prompts import PromptSettings, render
from chatladder.models.scoring import score
from stages.base import main

COMMIT = "7ae557604adf67be50417f59c2c2f167def9a775"
GB = 10**9


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("loading") / "model")


@pytest.fixture
def base(model, tmp_path):
    """A base folder that points at ``model``."""
    assert run(main, "--source", "folder", "--path", model, "--out", tmp_path / "base").exit_code == 0
    return tmp_path / "base"


def describe(base, **changes):
    said = json.loads((base / "rung.json").read_text())
    (base / "rung.json").write_text(json.dumps(said | changes))
    return base


def prompt(lines=1):
    return render([("a", "hello")] * lines, "b", "why?", "1", PromptSettings("en", "text", 0))


def test_numbers_are_those_of_the_machine_or_of_the_environment(monkeypatch):
    import torch

    monkeypatch.delenv(devices.DTYPE, raising=False)
    for able, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda able=able, **_: able)
        assert best_dtype("cuda") is dtype
    for name in devices.DTYPES:
        monkeypatch.setenv(devices.DTYPE, name)
        assert best_dtype("cuda") is best_dtype("cpu") is getattr(torch, name)
    monkeypatch.setenv(devices.DTYPE, "int8")
    with pytest.raises(DataError, match="CHATLADDER_DTYPE: expected one of float32, bfloat16, float16, got 'int8'"):
        best_dtype("cpu")


@pytest.mark.parametrize(
    ("able", "library", "name"),
    [
        (("avx2", "avx512_f", "amx_tile"), True, "float32"),
        (("avx512_bf16",), True, "bfloat16"),
        (("amx_bf16",), True, "bfloat16"),
        (("neon", "bf16"), True, "bfloat16"),
        (("neon", "bf16"), False, "float32"),  # it would multiply number by number
    ],
)
def test_numbers_on_a_cpu_are_those_that_it_multiplies_itself(monkeypatch, able, library, name):
    import torch

    monkeypatch.delenv(devices.DTYPE, raising=False)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": False, **dict.fromkeys(able, True)})
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: library)
    assert best_dtype("cpu") is getattr(torch, name)
    monkeypatch.setenv(devices.DTYPE, "float32")
    assert best_dtype("cpu") is torch.float32


def test_what_is_asked_of_the_cpu_is_what_torch_says_of_it():
    import torch

    says = torch.cpu.get_capabilities()
    x86, arm = devices.NATIVE_BFLOAT16[:2], devices.NATIVE_BFLOAT16[2:]
    assert {*(x86 if says["architecture"] == "x86_64" else arm)} <= {*says}


def test_a_model_in_the_numbers_of_the_environment_answers_alike(base, tiny_base, monkeypatch):
    import torch

    exact = score(*load(base), [prompt()], 2000)[0]
    monkeypatch.setenv(devices.DTYPE, "bfloat16")
    model, tokenizer = load(base)
    assert model.dtype is torch.bfloat16
    rounded = score(model, tokenizer, [prompt()], 2000)[0]
    assert 0 < np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()
    assert load(tiny_base)[0].dtype is torch.float32  # embedded models are the same everywhere


def test_attention_is_left_to_transformers_or_named(base, monkeypatch):
    monkeypatch.delenv(devices.ATTENTION, raising=False)
    assert attention("cuda") is None
    exact = score(*load(base), [prompt()], 2000)[0]
    monkeypatch.setenv(devices.ATTENTION, "eager")
    model, tokenizer = load(base)
    assert model.config._attn_implementation == "eager"
    np.testing.assert_allclose(score(model, tokenizer, [prompt()], 2000)[0], exact, atol=1e-4)
    for wanted, device, message in (
        ("fast", "cuda", "expected one of sdpa, eager, flash_attention_2, got 'fast'"),
        ("flash_attention_2", "cpu", "expected a GPU and the package flash_attn for flash_attention_2, got no GPU"),
        ("flash_attention_2", "mps", "expected a GPU and the package flash_attn for flash_attention_2, got Apple's"),
        ("flash_attention_2", "cuda", "got no flash_attn"),
    ):
        monkeypatch.setattr(devices, "_installed", lambda package: False)
        monkeypatch.setenv(devices.ATTENTION, wanted)
        with pytest.raises(DataError, match=f"CHATLADDER_ATTENTION: .*{message}"):
            attention(device)


def test_weights_go_to_the_first_gpu_that_holds_them_or_to_several():
    assert device_map(7 * GB, [24 * GB, 80 * GB]) == {"device_map": {"": 0}}
    assert device_map(30 * GB, [24 * GB, 80 * GB]) == {"device_map": {"": 1}}
    assert device_map(70 * GB, [50 * GB, 50 * GB]) == {"device_map": "auto", "max_memory": {0: 40 * GB, 1: 40 * GB}}
    with pytest.raises(DataError, match=r"expected 70.0 GB of GPU memory for the weights, got 40.0 GB on 1 .*4bit"):
        device_map(70 * GB, [50 * GB])


def test_no_part_of_a_model_is_left_outside_the_gpus():
    class Placed:
        hf_device_map = {"model.embed_tokens": 0, "model.layers.1": "cpu", "model.layers.2": "disk"}  # noqa: RUF012

    with pytest.raises(DataError, match=r"got no room for model.layers.1 and 1 more parts"):
        check_map(Placed)
    check_map(random_weights("llama"))


@pytest.mark.parametrize(("gpu", "package"), [(False, True), (True, False), (False, False)])
def test_what_quantizing_needs(monkeypatch, gpu, package):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(devices, "_installed", lambda name: package)
    with pytest.raises(DataError, match="load_in_4bit: expected a GPU and bitsandbytes") as caught:
        check_quantization("load_in_4bit")
    assert ("no GPU" in caught.value.message) == (not gpu)
    assert ("no bitsandbytes (pip install bitsandbytes)" in caught.value.message) == (not package)


def test_how_a_quantized_model_is_loaded(monkeypatch):
    import torch

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.delenv(devices.DTYPE, raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda number: (10 * GB, 12 * GB))
    monkeypatch.setattr(devices, "check_quantization", lambda setting: None)
    chosen = placement(7 * GB, {"load_in_4bit": True})
    assert chosen["device_map"] == {"": 0}  # 4 GB; in 16 bits it would be 14
    quantized = chosen["quantization_config"]
    assert (quantized.load_in_4bit, quantized.bnb_4bit_quant_type) == (True, "nf4")
    assert quantized.bnb_4bit_compute_dtype is torch.bfloat16
    assert placement(7 * GB, {"load_in_8bit": True})["quantization_config"].load_in_8bit
    with pytest.raises(DataError, match=r"expected 14.0 GB of GPU memory"):
        placement(7 * GB, {})
    # One process of several has its own GPU, which is the current one.
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert "device_map" not in placement(7 * GB, {})


def test_a_quantized_rung_can_be_loaded_whole_to_merge_it(base):
    quantized = describe(base, load_in_4bit=True)
    with pytest.raises(DataError, match="load_in_4bit: expected a GPU and bitsandbytes"):
        load(quantized)
    model, _ = load(quantized, quantized=False)
    assert not hasattr(model.config, "quantization_config")


def test_frozen_output_weights_are_not_repeated_for_each_row_of_a_batch(base):
    import torch

    model, _ = load(base)
    model.requires_grad_(False)
    with torch.profiler.profile(record_shapes=True) as profile:
        logits = model(input_ids=torch.ones(4, 9, dtype=torch.long), logits_to_keep=2).logits
    batched = [event.input_shapes for event in profile.events() if event.name == "aten::bmm"]
    assert logits.shape == (4, 2, model.config.vocab_size)
    assert not any(model.config.vocab_size in shapes[1] for shapes in batched)


def test_a_prompt_is_no_longer_than_the_model_reads(tmp_path):
    write_model(tmp_path / "model", max_position_embeddings=700)
    run(main, "--source", "folder", "--path", tmp_path / "model", "--out", tmp_path / "base")
    model, tokenizer = load(tmp_path / "base")
    assert [within_context(model, length) for length in (300, 1400)] == [300, 700]
    assert within_context(random_weights("bloom", n_layer=1, n_head=2, hidden_size=32), 1400) == 1400
    found, shortened = score(model, tokenizer, [prompt(), prompt(40)], 1400)
    assert shortened == 1
    again, _ = score(model, tokenizer, [prompt(), prompt(40)], 700)
    np.testing.assert_array_equal(found, again)


def test_whoever_generates_stops_at_the_end_of_the_turn(base, model, tmp_path):
    loaded, tokenizer = load(base)
    assert tokenizer.eos_token == "<|im_end|>"
    assert loaded.generation_config.eos_token_id == [258, 256]
    plain = describe(base, chat_template="none")
    loaded, tokenizer = load(plain)
    assert (tokenizer.chat_template, tokenizer.eos_token) == (None, "<|endoftext|>")
    assert loaded.generation_config.eos_token_id == 256


def test_all_weights_that_were_trained_take_the_place_of_the_base(base, tmp_path):
    model, _ = load(base)
    for weight in model.parameters():
        weight.data.mul_(0.5)
    model.save_pretrained(tmp_path / "tuned")
    tuned, tokenizer = load(base, tmp_path / "tuned")
    np.testing.assert_array_equal(
        score(tuned, tokenizer, [prompt()], 2000)[0], score(model, tokenizer, [prompt()], 2000)[0]
    )


def test_all_weights_of_an_embedded_model_too(tiny_base, tmp_path):
    model, _ = load(tiny_base)
    model.get_input_embeddings().weight.data.mul_(0.5)
    model.save_pretrained(tmp_path / "tuned")
    tuned, _ = load(tiny_base, tmp_path / "tuned")
    assert bool((tuned.get_input_embeddings().weight == model.get_input_embeddings().weight).all())


def test_a_model_with_weights_missing_is_refused(model, base, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, tmp_path / "torn")
    weights = load_file(tmp_path / "torn" / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, tmp_path / "torn" / "model.safetensors", metadata={"format": "pt"})
    torn = describe(base, path=str(tmp_path / "torn"))
    with pytest.raises(DataError, match=r"expected all weights of the model, got none of model.layers.1.mlp.up_proj"):
        load(torn)


def test_a_folder_that_is_gone_is_not_looked_for_on_the_hub(base):
    with pytest.raises(DataError, match=r"rung.json: expected a model in the folder no/such, got no such folder"):
        load(describe(base, path="no/such"))


def test_a_tokenizer_that_needs_a_package_is_an_error_and_no_traceback(base, monkeypatch):
    def refuse(*_, **__):
        raise ImportError("this needs sentencepiece")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", refuse)
    with pytest.raises(DataError, match="expected a tokenizer that loads, got: this needs sentencepiece"):
        load(base)


def test_only_the_weights_of_the_model_are_counted(model, tmp_path):
    for name in ("consolidated.safetensors", "adapter_model.safetensors"):
        shutil.copytree(model, tmp_path / "model", dirs_exist_ok=True)
        shutil.copy(model / "model.safetensors", tmp_path / "model" / name)
    assert count_parameters(tmp_path / "model") == count_parameters(model) == random_weights("llama").num_parameters()
    random_weights("llama").save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(weight_files(tmp_path / "shards")) > 2
    assert count_parameters(tmp_path / "shards") == count_parameters(model)
    weight_files(tmp_path / "shards")[1].unlink()
    with pytest.raises(DataError, match=r"expected a model in safetensors, got no model-00002-of-0"):
        count_parameters(tmp_path / "shards")
    (tmp_path / "shards" / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(DataError, match=r"index.json: expected a weight_map from weights to files, got none"):
        count_parameters(tmp_path / "shards")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(DataError, match=r"model.safetensors: expected weights in safetensors, got: "):
        count_parameters(tmp_path / "model")


def test_a_hub_model_in_the_cache_is_loaded_without_the_hub(model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--some--one" / "snapshots" / COMMIT
    shutil.copytree(model, snapshot)
    assert fetch("some/one", COMMIT) == snapshot
    out = tmp_path / "bases" / "one"
    result = run(main, "--source", "hub", "--repo", "some/one", "--revision", COMMIT, "--out", out)
    assert result.exit_code == 0, result.output
    said = json.loads((out / "rung.json").read_text())
    expected = {"source": "hub", "name": "one", "repo": "some/one", "revision": COMMIT}
    assert said == {**expected, "params": count_parameters(model)}
    loaded, tokenizer = load(out)
    assert tokenizer.chat_template == bytes_tokenizer().chat_template
    assert loaded.num_parameters() == said["params"]
    # Half of it is none of it: the hub is asked, which cannot be reached from here.
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"expected a model in safetensors, got no model.safetensors"):
        load(out)
    shutil.rmtree(snapshot.parents[1])
    with pytest.raises(DataError, match=rf"some/one@{COMMIT}: expected a model on the hub, got: "):
        load(out)
