"""GGUF files: every quantization is read, tied embeddings stay tied, and what would be read wrong is refused."""

import json
from hashlib import sha256

import numpy as np
import pytest
from folder_models import write_model
from gguf import GGMLQuantizationType, quants
from gguf_files import write_gguf
from model_fixtures import run
from safetensors.torch import load_file

from chatladder.io.console import DataError
from chatladder.models.gguf import convert
from chatladder.models.loading import load
from stages.base import main


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A Qwen2 model in a folder."""
    return write_model(tmp_path_factory.mktemp("gguf") / "model", "qwen2")


@pytest.fixture(scope="module")
def gguf(model):
    return write_gguf(model, model.parent / "tiny.gguf").read_bytes()


#: transformers' own reader refuses those of 5 bits.
@pytest.mark.parametrize("kind", ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_a_file_is_a_source_whatever_its_quantization(model, tmp_path, kind):
    path = write_gguf(model, tmp_path / "tiny.gguf", quantized=kind)
    result = run(main, "--source", "gguf", "--gguf", path, "--language", "en", "--out", tmp_path / "tiny")
    assert result.exit_code == 0, result.output
    theirs = {name: values.float().numpy() for name, values in load_file(model / "model.safetensors").items()}
    number = GGMLQuantizationType[kind]
    for name, values in load_file(tmp_path / "tiny" / "model.safetensors").items():
        stored = quants.dequantize(quants.quantize(theirs[name], number), number) if values.ndim == 2 else theirs[name]
        np.testing.assert_array_equal(values.float().numpy(), stored)
    described = json.loads((tmp_path / "tiny" / "rung.json").read_text())
    assert (described["source"], described["gguf_sha256"]) == ("gguf", sha256(path.read_bytes()).hexdigest())
    loaded, _ = load(tmp_path / "tiny")
    assert described["params"] == loaded.num_parameters()


def test_a_model_is_as_large_as_without_the_output_layer_that_repeats_its_embeddings(tmp_path):
    tied = write_model(tmp_path / "model", "qwen2", tie_word_embeddings=True)
    sizes = {}
    for name, output in (("once", None), ("twice", "Q8_0")):
        path = write_gguf(tied, tmp_path / f"{name}.gguf", quantized="Q4_0", output=output)
        result = run(main, "--source", "gguf", "--gguf", path, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        sizes[name] = json.loads((tmp_path / name / "rung.json").read_text())["params"]
        assert json.loads((tmp_path / name / "config.json").read_text())["tie_word_embeddings"]
    assert sizes["once"] == sizes["twice"]
    # The finer of the two stands for both.
    once, twice, real = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "once", tmp_path / "twice", tied)
    )
    name = "model.embed_tokens.weight"
    assert (twice[name] - real[name]).abs().max() < (once[name] - real[name]).abs().max() / 4


def test_an_output_layer_of_its_own_is_kept(model, tmp_path):
    path = write_gguf(model, tmp_path / "tiny.gguf")
    run(main, "--source", "gguf", "--gguf", path, "--out", tmp_path / "tiny")
    assert not json.loads((tmp_path / "tiny" / "config.json").read_text())["tie_word_embeddings"]


def test_another_file_than_the_pinned_one_is_refused(gguf, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(gguf)
    pinned = ["--source", "gguf", "--gguf", tmp_path / "tiny.gguf", "--gguf-sha256", "0" * 64]
    result = run(main, *pinned, "--out", tmp_path / "tiny")
    assert result.exit_code == 1
    assert f"tiny.gguf: expected the SHA-256 {'0' * 64}, got {sha256(gguf).hexdigest()}" in result.output


@pytest.mark.parametrize("architecture", ["clip", "none"])
def test_an_architecture_without_a_table_of_names_is_refused(model, tmp_path, architecture):
    path = write_gguf(model, tmp_path / "tiny.gguf", architecture=architecture)
    with pytest.raises(
        DataError, match=rf"tiny.gguf: expected an architecture .* got '{architecture}'\. Take .* source: hub"
    ):
        convert(path, tmp_path)


def test_a_model_that_lacks_a_weight_is_refused(model, tmp_path):
    name = "model.layers.0.mlp.up_proj.weight"
    path = write_gguf(model, tmp_path / "tiny.gguf", left_out=[name])
    with pytest.raises(DataError, match=rf"tiny.gguf: expected all weights of the model, got none of {name}"):
        convert(path, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "gpt-5"}, "expected a known way to split text, got 'gpt-5'; tokens would be wrong"),
        ({"extra": ["rope_freqs.weight"]}, "expected plain rotary positions, got scaled ones"),
    ],
)
def test_what_would_be_read_wrong_is_refused(model, tmp_path, changes, message):
    path = write_gguf(model, tmp_path / "tiny.gguf", **changes)
    with pytest.raises(DataError, match=message):
        convert(path, tmp_path)


def test_a_torn_model_is_refused(gguf, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(gguf[:-5000])
    with pytest.raises(DataError, match=r"tiny.gguf: expected a model in GGUF, got: "):
        convert(tmp_path / "tiny.gguf", tmp_path)


def with_number(data, key, value, after):
    """The file with another number, so many bytes after a key."""
    at = data.index(key) + len(key) + after
    return data[:at] + value.to_bytes(4, "little") + data[at + 4 :]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        # A setting is its key, four bytes of its type, and its value; a list has its length after two types.
        ((b"qwen2.block_count", 10**9, 4), "got: 1,000,000,000 layers, of at most 27"),
        ((b"qwen2.feed_forward_length", 2**31, 4), "got one of a far larger model"),
        ((b"qwen2.embedding_length", 2**31, 4), "got one of a far larger model"),
        ((b"tokenizer.ggml.tokens", 2**31, 8), "got: 2,147,483,648 elements in lists, of at most 4,000,000"),
        # A tensor is its name, its number of dimensions, and their sizes.
        ((b"token_embd.weight", 2**30, 0), "got: 1,073,741,824 dimensions, of at most 8"),
        ((b"token_embd.weight", 2**31, 4), r"got: [\d,]{15} weights, of at most"),
        # Of the file: its magic and its version, its tensors, its settings.
        ((b"GGUF", 2**31, 4), "got: 2,147,483,648 tensors, of at most 100,000"),
        ((b"GGUF", 2**31, 12), "got: 2,147,483,648 settings, of at most 10,000"),
    ],
)
def test_counts_that_no_model_has_are_refused_before_they_are_read(gguf, tmp_path, place, message):
    key, value, after = place
    (tmp_path / "tiny.gguf").write_bytes(with_number(gguf, key, value, after))
    with pytest.raises(DataError, match=rf"tiny.gguf: expected .*{message}"):
        convert(tmp_path / "tiny.gguf", tmp_path)


def test_the_reader_of_gguf_has_to_be_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"expected the package gguf, .* pip install gguf"):
        convert(tmp_path / "tiny.gguf", tmp_path)
