import json
import os
import shutil
import subprocess

import pytest
from folder_models import bytes_tokenizer, write_model
from model_fixtures import TINY, options, run

from chatladder.io.console import DataError
from chatladder.models.loading import load, replicates
from stages.base import main
from tests.conftest import ROOT

EMBEDDED = ["--source", "embedded", *options(TINY)]
TEXT = "它好用吗？ 1234  don't\n答案：\n需要"
COMMIT = "7ae557604adf67be50417f59c2c2f167def9a775"


def test_an_embedded_base_is_a_model_with_its_size(tiny_base):
    rung = json.loads((tiny_base / "rung.json").read_text())
    model, tokenizer = load(tiny_base)
    assert (rung["source"], rung["name"]) == ("embedded", "tiny")
    # The embedding is also the output layer: it counts once.
    assert rung["params"] == sum(weight.numel() for weight in model.parameters())
    assert model.config.model_type == "qwen2"
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert len(tokenizer) == model.config.vocab_size
    assert str(tiny_base.parent) not in (tiny_base / "config.json").read_text()


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_whatever_the_hash_seed(tiny_base, tmp_path, python, warm):
    again = tmp_path / "tiny"
    command = [python, "-m", "stages.base", *EMBEDDED, "--out", str(again)]
    subprocess.run(command, check=True, env={**os.environ, **warm}, cwd=ROOT)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (tiny_base, again))
    assert first == second


@pytest.fixture(scope="session")
def seeded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeded") / "tiny"
    result = run(main, *EMBEDDED, "--seeds", 2, "--out", folder)
    assert result.exit_code == 0, result.output
    assert f"{folder}: embedded model of" in result.output
    assert ", 2 seeds, last loss " in result.output
    return folder


def test_further_seeds_are_whole_base_folders_within_the_first(seeded, tiny_base):
    assert replicates(seeded) == {0: seeded, 2: seeded / "seed_2"}
    for seed, folder in replicates(seeded).items():
        rung = json.loads((folder / "rung.json").read_text())
        assert (rung["source"], rung["name"], rung["seed"]) == ("embedded", "tiny", seed)
        assert load(folder)[0].num_parameters() == rung["params"]
    same = [path.name for path in tiny_base.iterdir()]
    assert sorted(path.name for path in seeded.iterdir()) == sorted([*same, "seed_2"])
    assert all((seeded / name).read_bytes() == (tiny_base / name).read_bytes() for name in same)
    weights = [(folder / "model.safetensors").read_bytes() for folder in replicates(seeded).values()]
    assert weights[0] != weights[1]


def test_a_base_of_several_seeds_is_replaced_as_a_whole(seeded, tmp_path):
    out = shutil.copytree(seeded, tmp_path / "tiny")
    result = run(main, *EMBEDDED, "--out", out)
    assert result.exit_code == 0, result.output
    assert replicates(out) == {0: out}
    assert not (out / "seed_2").exists()


@pytest.mark.parametrize(
    "name", ["seed_2/notes.txt", "seed_2/more/rung.json", "seed_9/model.safetensors", "seed_a/rung.json"]
)
def test_a_base_folder_with_anything_else_in_it_is_kept(seeded, tmp_path, name):
    out = shutil.copytree(seeded, tmp_path / "tiny")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("kept")
    result = run(main, *EMBEDDED, "--out", out)
    assert result.exit_code == 1
    assert f"got one with {name}; it was left as it is" in result.output
    assert (out / name).read_text() == "kept"
    assert (out / "seed_2" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "rung.json").unlink(), "seed_2: expected a folder written by stages.base"),
        (lambda folder: (folder / "model.safetensors").unlink(), "seed_2: expected a model in safetensors"),
        (
            lambda folder: folder.rename(folder.with_name("seed_3")),
            "seed_3/rung.json: expected the seed that the folder",
        ),
        (
            lambda folder: (folder / "rung.json").write_text('{"source": "embedded", "name": "a", "seed": "2"}'),
            "whole number",
        ),
    ],
)
def test_a_damaged_seed_is_named(seeded, tmp_path, change, message):
    out = shutil.copytree(seeded, tmp_path / "tiny")
    change(out / "seed_2")
    with pytest.raises(DataError, match=message):
        replicates(out)


def test_a_folder_is_pointed_at(tiny_base, tmp_path):
    plain = ["--chat-template", "none"]
    result = run(main, "--source", "folder", "--path", tiny_base, *plain, "--out", tmp_path / "copy")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["rung.json"]
    sizes = [json.loads((base / "rung.json").read_text())["params"] for base in (tiny_base, tmp_path / "copy")]
    assert sizes[0] == sizes[1]
    assert replicates(tmp_path / "copy") == {0: tmp_path / "copy"}
    model, tokenizer = load(tmp_path / "copy")
    assert model.num_parameters() == sizes[0]
    # The same tokens as in the embedded base itself, though the auto class would split text otherwise.
    assert tokenizer(TEXT)["input_ids"] == load(tiny_base)[1](TEXT)["input_ids"]


def test_pickled_weights_are_refused(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    result = run(main, "--source", "folder", "--path", tmp_path / "model", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "expected a model in safetensors" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*EMBEDDED, "--path", "."], "--source embedded takes no --path"),
        (["--source", "folder", "--path", ".", "--hidden-size", "8"], "--source folder takes no --hidden-size"),
        (["--source", "hub", "--repo", "a/b"], "--source hub needs --revision"),
        ([*EMBEDDED, "--chat-template", "none"], "--source embedded takes no --chat-template"),
        ([*EMBEDDED, "--load-in-4bit"], "--source embedded takes no --load-in-4bit"),
        (["--source", "folder", "--path", ".", "--load-in-4bit", "--load-in-8bit"], "exclude each other"),
        ([*EMBEDDED, "--num-attention-heads", "3"], "even multiple of --num-attention-heads"),
        ([*EMBEDDED, "--seeds", "0"], "--seeds: expected different numbers from 0, got 0, 0"),
        ([*EMBEDDED, "--seeds", "-1"], "--seeds: expected different numbers from 0, got 0, -1"),
        ([*EMBEDDED, "--learning-rate", "2e-4x"], "'2e-4x' is not a valid float"),
    ],
)
def test_options_of_another_source_are_a_usage_error(tmp_path, arguments, message):
    result = run(main, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.output


def test_a_hub_model_needs_a_commit(tmp_path):
    result = run(main, "--source", "hub", "--repo", "a/b", "--revision", "main", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "expected a commit of 40 hexadecimal digits, got 'main'" in result.output


def test_a_hub_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    result = run(main, "--source", "hub", "--repo", "a/b", "--revision", COMMIT, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"a/b@{COMMIT}: expected a model on the hub, got: no route to host" in result.output


def test_a_mixture_of_experts_says_how_many_parameters_a_token_meets(tmp_path):
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    config = Qwen2MoeConfig(
        vocab_size=320,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        moe_intermediate_size=8,
        shared_expert_intermediate_size=24,
        num_experts=6,
        num_experts_per_tok=2,
    )
    model = Qwen2MoeForCausalLM(config)
    model.save_pretrained(tmp_path / "model")
    bytes_tokenizer(None).save_pretrained(tmp_path / "model")
    arguments = ["--source", "folder", "--path", tmp_path / "model", "--chat-template", "none"]
    result = run(main, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "out" / "rung.json").read_text())
    everything = sum(weight.numel() for weight in model.parameters())
    idle = 2 * (6 - 2) * 3 * 16 * 8  # layers, experts that a token does not meet, three matrices each
    assert said["params"] == everything
    assert said["active_params"] == everything - idle


def point_at(folder, *arguments, out):
    return run(main, "--source", "folder", "--path", folder, *arguments, "--out", out)


def test_a_chat_model_is_described_and_its_settings_kept(tmp_path):
    write_model(tmp_path / "model")
    for arguments, expected in (
        ([], {}),
        (["--chat-template", "auto", "--no-load-in-4bit"], {}),
        (["--chat-template", "none"], {"chat_template": "none"}),
    ):
        result = point_at(tmp_path / "model", *arguments, out=tmp_path / "out")
        assert result.exit_code == 0, result.output
        said = json.loads((tmp_path / "out" / "rung.json").read_text())
        described = {"source": "folder", "name": "out", "path": (tmp_path / "model").as_posix()}
        assert said == {**described, "params": said["params"], **expected}
    _, tokenizer = load(tmp_path / "out")
    assert tokenizer.chat_template is None


def test_a_model_without_a_chat_template_has_to_be_asked_in_plain_text(tmp_path):
    write_model(tmp_path / "model", tokenizer=bytes_tokenizer(None))
    result = point_at(tmp_path / "model", out=tmp_path / "out")
    assert result.exit_code == 1
    assert f"{tmp_path / 'model'}: expected a chat template, got a tokenizer without one" in result.output
    assert "base: {chat_template: none} (--chat-template none)" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('only systems may speak') }}", "one that refuses it: only systems may speak"),
        ("{{ messages[0].content", "one that refuses it: "),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_refused(tmp_path, template, message):
    write_model(tmp_path / "model", tokenizer=bytes_tokenizer(template))
    result = point_at(tmp_path / "model", out=tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert "expected a chat template for one message of a user, got " in result.output
    assert message in result.output


def test_a_model_without_an_end_is_refused(tmp_path):
    write_model(tmp_path / "model", tokenizer=bytes_tokenizer(None, eos_token=None), eos_token_id=None)
    result = point_at(tmp_path / "model", "--chat-template", "none", out=tmp_path / "out")
    assert result.exit_code == 1
    assert "expected a token that ends a text, got none in its tokenizer and configuration" in result.output


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    write_model(tmp_path / "model", vocab_size=200, eos_token_id=1)
    result = point_at(tmp_path / "model", out=tmp_path / "out")
    assert result.exit_code == 1
    assert "expected tokens below 200, the rows of the model's embedding" in result.output


def test_only_the_form_that_is_asked_for_has_to_be_writable(tmp_path):
    """Of options in Chinese this tokenizer makes one unknown token; those in English it knows."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "</s>", "needed", "complete", "no", "yes", "hard", "to", "tell", *"ABC:"]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="[UNK]")
    write_model(tmp_path / "model", tokenizer=tokenizer, eos_token_id=1)
    plain = ["--chat-template", "none"]
    english = point_at(tmp_path / "model", *plain, "--language", "en", "--answer", "text", out=tmp_path / "out")
    assert english.exit_code == 0, english.output
    for wanted in (["--language", "zh", "--answer", "text"], []):
        result = point_at(tmp_path / "model", *plain, *wanted, out=tmp_path / "other")
        assert result.exit_code == 1
        assert "expected different tokens, got ['[UNK]']" in result.output


@pytest.mark.parametrize("setting", ["load_in_4bit", "load_in_8bit"])
def test_quantizing_is_refused_where_it_cannot_be_done(tmp_path, monkeypatch, setting):
    write_model(tmp_path / "model")
    option = "--" + setting.replace("_", "-")
    result = point_at(tmp_path / "model", option, out=tmp_path / "out")
    assert result.exit_code == 1
    assert f"{setting}: expected a GPU and bitsandbytes" in result.output
    # Where it can be, the rung says so; a mixture's experts would stay as they are.
    monkeypatch.setattr("chatladder.models.bases.check_quantization", lambda setting: None)
    assert point_at(tmp_path / "model", option, out=tmp_path / "out").exit_code == 0
    assert json.loads((tmp_path / "out" / "rung.json").read_text())[setting] is True
    write_model(tmp_path / "mixture", "qwen3_moe")
    result = point_at(tmp_path / "mixture", option, out=tmp_path / "out")
    assert result.exit_code == 1
    assert f"expected a dense model for {setting}, got a mixture" in result.output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adapter_config.json", "expected a model, got a folder with an adapter"),
        ("config.json", "expected a model with a config.json, got none"),
        ("tokenizer.json", "expected a tokenizer that loads, got: "),
    ],
)
def test_folders_that_hold_no_whole_model(tmp_path, name, message):
    folder = write_model(tmp_path / "model")
    if name.startswith("adapter"):
        (folder / name).write_text("{}")
    else:
        (folder / name).unlink()
    result = point_at(folder, out=tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert f"{folder}: {message}" in result.output
