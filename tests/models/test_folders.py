"""A model folder from anybody: nothing in it leads elsewhere, runs code, hangs or ends the process."""

import json
import shutil
import struct
from pathlib import Path

import pytest
from folder_models import TEMPLATE, bytes_tokenizer, write_model
from model_fixtures import run

from chatladder.cli.export.merging import load_folder
from chatladder.cli.resolve import command as resolve
from chatladder.io.console import DataError
from chatladder.models import confined
from chatladder.models.confined import write_chats
from chatladder.models.encoding import encode_prompts
from chatladder.models.folders import check_adapter_config, check_folder, reading
from chatladder.models.loading import load
from chatladder.models.tokenizers import frame, load_tokenizer, turn_end
from stages.base import main

ASKED = [{"role": "user", "content": "它 it?"}]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("folders") / "model")


@pytest.fixture
def model(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


@pytest.fixture
def quick(monkeypatch):
    """A second of processor time, so that what never ends is refused soon."""
    monkeypatch.setattr(confined, "LIMITS", {"write": (1, 2**30), "split": (3, 2**30)})


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(model, out=None):
    """Why ``base`` takes no such folder."""
    out = out or model.parent / "base"
    result = run(main, "--source", "folder", "--path", model, "--out", out)
    assert result.exit_code == 1, result.output
    assert not out.exists()
    return result.output


def pointing_at(model):
    base = model.parent / "base"
    base.mkdir()
    (base / "rung.json").write_text(json.dumps({"source": "folder", "name": "b", "path": str(model), "params": 1}))
    return base


# Where a folder may lead.


def test_an_adapter_in_a_folder_leads_to_no_other_base(model, tmp_path, monkeypatch):
    """Transformers by itself would load what the adapter names as its base, or lay the adapter on the model."""
    elsewhere = write_model(tmp_path / "elsewhere")
    said = {"peft_type": "LORA", "base_model_name_or_path": str(elsewhere), "r": 4, "target_modules": ["q_proj"]}
    (model / "adapter_config.json").write_text(json.dumps(said))
    monkeypatch.chdir(tmp_path)
    Path("chat.jsonl").write_text('{"sender": "a", "text": "why?", "timestamp": 1}\n')
    settings = ["--gap-seconds", 1, "--min-characters", 1, "--rules-threshold", 1, "--window", 2, "--conversation-gap"]
    settings += [9, "--max-conversation-turns", 9, "--reply-reach", 0, "--language", "en", "--answer", "text"]
    settings += ["--seed", 0, "--max-length", 512]
    result = run(resolve.resolve_command, "chat.jsonl", "--model", model, *settings)
    assert result.exit_code == 1, result.output
    assert f"{model}: expected a model, got a folder with an adapter" in result.output
    for read in (lambda: load(pointing_at(model)), lambda: load_folder(model)):
        with pytest.raises(DataError, match="got a folder with an adapter"):
            read()


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "model.safetensors", "notes"])
def test_a_link_that_leads_out_of_the_folder_is_refused(model, tmp_path, name):
    (tmp_path / "secret").write_text("{}")
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(tmp_path / "secret")
    assert f"{model / name}: expected a file in the folder, got a link that leads out of it" in refused(model)


def test_links_within_a_folder_or_a_repository_of_the_hub_are_followed(model, tmp_path):
    (model / "config.json").rename(model / "config")
    (model / "config.json").symlink_to("config")
    assert check_folder(model, own=False)["model_type"] == "llama"
    snapshot = tmp_path / "models--some--one" / "snapshots" / ("a" * 40)
    shutil.copytree(model, snapshot)
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    (snapshot / "tokenizer.json").rename(blobs / "1")
    (snapshot / "tokenizer.json").symlink_to("../../blobs/1")
    assert check_folder(snapshot, own=False)["model_type"] == "llama"


def test_dvc_may_link_what_a_stage_wrote_to_its_cache(tiny_base, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "base")
    for path in sorted(base.iterdir()):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    assert load(base)[0].num_parameters() == load(tiny_base)[0].num_parameters()


@pytest.mark.parametrize("name", ["../other.safetensors", "/tmp/other.safetensors", 5])
def test_an_index_names_no_weights_outside_the_folder(model, tmp_path, name):
    shutil.copy(model / "model.safetensors", tmp_path / "other.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert f"index.json: expected names of files in this folder, got {name}" in refused(model)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ["adapter_model.bin", "sub/model.safetensors", 5])
def test_a_configuration_names_no_other_weights(model, name, nested):
    """Transformers would read the first of these, a pickle, in place of the safetensors."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "adapter_model.bin")
    said = {"transformers_weights": name}
    change(model / "config.json", **({"text_config": said} if nested else said))
    assert f"config.json: expected weights in model.safetensors, got {name}" in refused(model)
    with pytest.raises(DataError, match=r"expected weights in model\.safetensors"):
        load(pointing_at(model))


def test_code_of_a_folder_never_runs_and_its_readers_stay_off_the_hub(model, tmp_path, monkeypatch):
    from huggingface_hub import constants

    asked = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("httpx.HTTPTransport.handle_request", lambda *request: asked.append(request))
    ran = tmp_path / "ran"
    (model / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    named = {"AutoConfig": "code.Evil", "AutoModelForCausalLM": "code.Evil"}
    change(model / "config.json", auto_map=named, attn_implementation="some/kernel", _name_or_path="some/model")
    change(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Evil", "some/where--code.Evil"]})
    result = run(main, "--source", "folder", "--path", model, "--out", tmp_path / "base")
    assert not ran.exists()
    assert not asked
    # Transformers knows the type by itself.
    assert result.exit_code == 0, result.output
    assert type(load(tmp_path / "base")[0]).__name__ == "LlamaForCausalLM"
    assert not ran.exists()
    assert not asked
    with reading("x", "y"):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "XLORA", "adapters": {"0": "some/where"}},
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        {"target_modules": "(a|a)*b"},
        {"rank_pattern": {"(a|a)*b": 4}},
        {"init_lora_weights": "pissa"},
        {"r": 10**9},
        {"r": True},
    ],
)
def test_an_adapter_of_another_kind_is_refused(tiny_base, tiny_adapter, tmp_path, changes):
    load(tiny_base, tiny_adapter)
    adapter = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    change(adapter / "adapter_config.json", **changes)
    with pytest.raises(DataError, match=r"adapter_config.json: expected a LoRA adapter written by stages.train, got"):
        load(tiny_base, adapter)


def test_an_adapter_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(DataError, match="expected a LoRA adapter"):
        check_adapter_config(tmp_path / "adapter_config.json", 8)


# How much a folder may ask for.


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 99_999},
        {"num_labels": 10**9},
        {"vocab_size": 10**9},
        {"hidden_size": 2**22},
        {"intermediate_size": 10**9},
        {"head_dim": 2**24},
        {
            "model_type": "gpt_neo",
            "num_layers": 2,
            "attention_types": [[["global"], 2]],
            "max_position_embeddings": 2**20,
        },
        {"model_type": "qwen3_moe", "num_experts": 10**7, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
        {"text_config": {"num_hidden_layers": 10**9}},
    ],
    ids=str,
)
def test_a_configuration_asks_for_no_more_than_the_weights_hold(model, changes):
    """It is refused before anything of its size is made: a list, a table or a weight."""
    change(model / "config.json", **changes)
    output = refused(model)
    assert "of no more than 100,000" in output or "got one of a far larger model" in output
    with pytest.raises(DataError, match=r"of no more than 100,000|got one of a far larger model"):
        load(pointing_at(model))


def test_texts_of_no_model_s_size_are_refused(model):
    with (model / "tokenizer.json").open("r+b") as file:
        file.truncate(2**30)
    assert "tokenizer.json: expected no more than 67,108,864 bytes, got 1,073,741,824" in refused(model)


@pytest.mark.parametrize(
    "text", ["[]", "5", '{"model_type": "nope"}', '{"model_type": {}}', "{", '{"vocab_size": "x"}']
)
def test_a_configuration_of_another_kind_is_an_error(model, text):
    (model / "config.json").write_text(text)
    assert "expected" in refused(model)


def header(said, path):
    """Weights with the header's tensors as ``said`` makes them."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    tensors = json.loads(data[8 : 8 + length])
    text = said(tensors)
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data[8 + length :])


def with_tensor(**changes):
    def said(tensors):
        tensors["model.norm.weight"] |= changes
        return json.dumps(tensors)

    return said


@pytest.mark.parametrize(
    "said",
    [
        with_tensor(shape=[-1]),
        with_tensor(shape=[2**63] * 4),
        with_tensor(data_offsets=[0, 128]),
        with_tensor(data_offsets=[2**63, 2**64 - 1]),
        with_tensor(dtype="X"),
        lambda tensors: "[" * 5000,
        lambda tensors: '{"a": {}}',
    ],
)
def test_damaged_weights_are_an_error_that_names_the_file(model, said):
    header(said, model / "model.safetensors")
    assert f"{model / 'model.safetensors'}: expected weights in safetensors, got: " in refused(model)


# Tokenizers.

SECOND = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "B", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}
GROWING = {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"}] * 30}


def splitting(expression):
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "////" * 100}},
        {"normalizer": GROWING},
        {"pre_tokenizer": splitting(r"[\s\S]*[\s\S]*[\s\S]*[\s\S]*[^\s\S]")},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {"post_processor": SECOND},
        {
            "padding": {
                "strategy": {"Fixed": 10**12},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            }
        },
        {
            "model": {
                "type": "BPE",
                "vocab": {"a": 0, "b": 1},
                "merges": [["a", "b"]],
                "continuing_subword_prefix": "ab",
            }
        },
        {"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 5}},
        {"added_tokens": [{"id": "x"}]},
        {"model": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.usefixtures("quick")
def test_a_tokenizer_that_its_reader_cannot_cope_with_is_an_error(model, changes, capfd):
    """Some of these are panics, and some end the process that reads them."""
    change(model / "tokenizer.json", **changes)
    output = refused(model)
    assert str(model) in output
    assert "expected" in output
    with pytest.raises(DataError):
        load_folder(model)
    assert "panicked" not in capfd.readouterr().err


def test_a_panic_of_a_reader_is_an_error(model):
    """In training and prediction, too, which try no tokenizer out: base has done so."""
    base = pointing_at(model)
    change(model / "tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    with pytest.raises(DataError, match=r"model: expected a tokenizer that loads, got a file that its reader cannot"):
        load(base)


def test_a_panic_over_one_text_is_an_error(model):
    change(model / "tokenizer.json", pre_tokenizer=splitting("(x+x+)+y"))
    tokenizer = load_tokenizer(model, "none")
    with pytest.raises(DataError, match=r"tokenizer: expected one that splits every text, got"):
        encode_prompts(tokenizer, ["x" * 60], 500)


# Chat templates.

ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{% for i in range(9) %}{{ m(n) }}{% endfor %}{% endmacro %}{{ m(1) }}",
    "{{ 'a' * 10**12 }}",
    "{{ 'a' | center(10**12) }}",
    "{{ '%1000000000000d' % 1 }}",
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{{ 7 ** (7 ** (7 ** 7)) }}",
    "{{ lipsum(n=10**9) }}",
    "{% for i in range(99999) %}{{ 'a' * 99 }}{% endfor %}",
    "{{ '" + "a" * 2**18 + "' }}",
    "{{" + "(" * 9999 + ")" * 9999 + "}}",
]


@pytest.mark.parametrize("template", ENDLESS, ids=lambda template: template[:40])
@pytest.mark.usefixtures("quick")
def test_a_chat_template_that_never_ends_is_refused(model, template):
    (model / "chat_template.jinja").write_text(template)
    assert f"{model}: expected a chat template for one message of a user, got one that refuses it: " in refused(model)
    with pytest.raises(DataError, match="expected a chat template for one message of a user"):
        encode_prompts(load_tokenizer(model), ["why?"], 500)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['os'].system('id') }}",
        "{{ cycler.__init__.__globals__.os.environ }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ messages.append(1) }}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
        "{{ namespace(_x=1) }}",
        "{{ self._TemplateReference__context.environment }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_finds_no_way_out_of_its_sandbox(template, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "hunter2")
    (written,) = write_chats(template, {}, [ASKED])
    assert written.error or not written.text.strip()
    assert "hunter2" not in str(written)


#: What published templates are made of.
PUBLISHED = [
    TEMPLATE,
    "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}{% endfor %}",
    "{% generation %}{{ messages[0]['content'] }}{% set a = 1 %}{% endgeneration %}{{ a is defined }}",
    "{%- set ns = namespace(found=false, n=dict(a=1)) -%}\n  {% for m in messages %}\n    {%- if m.role == 'user' %}"
    "{%- set ns.found = true %}{{ m.content }}{% break %}{% endif %}\n{% endfor %}\n{{ ns.found }}{{ ns.n | tojson }}",
    "{{ {'q': '\"<&>é', 'a': [1, none]} | tojson(indent=2) }}{{ messages[0].content }}{% if tools %}x{% endif %}",
    "{% if enable_thinking is defined and not enable_thinking %}{{ messages[-1].content }}<think></think>{% endif %}",
    "{{ messages[0].content.rstrip('\\n') }}{{ documents is none }}{{ eos_token }}{{ nothing }}",
    "{% if strftime_now is defined %}today\n{% endif %}{{ messages[0].content.split('</think>')[-1].strip() }}",
]


@pytest.mark.parametrize("template", PUBLISHED, ids=lambda template: template[:40])
def test_a_template_writes_here_what_it_writes_in_transformers(template):
    tokenizer = bytes_tokenizer(template, bos_token="<|im_start|>")
    around = frame(tokenizer)
    for text in ("它 it?", 'two\nlines  of "it"', "<b> {{ x }} &amp;", "  spaces "):
        chat = [{"role": "user", "content": text}]
        told = {"add_generation_prompt": True, "enable_thinking": False}
        assert around.around(text) == tokenizer.apply_chat_template(chat, tokenize=False, **told)


def test_no_template_reads_a_message_of_the_chat():
    """One that waits for a word would hang at it alone, when nobody tries it out any more."""
    waiting = "{% if 'now' in messages[0].content %}" + ENDLESS[0] + "{% endif %}" + TEMPLATE
    tokenizer = bytes_tokenizer(waiting)
    (row,), _ = encode_prompts(tokenizer, ["now"], 500)
    (same,), _ = encode_prompts(bytes_tokenizer(TEMPLATE), ["now"], 500)
    assert row == same
    assert turn_end(tokenizer, []) == 258


@pytest.mark.parametrize("change_it", ["upper", "reverse", "replace('a', 'b') | urlize", "length"])
def test_a_template_that_changes_what_is_said_is_refused(model, change_it):
    (model / "chat_template.jinja").write_text("{{ messages[0].content | " + change_it + " }}")
    assert "expected a chat template that writes what a user says as it is" in refused(model)


def test_of_several_templates_the_default_counts(model):
    (model / "chat_template.jinja").unlink()
    named = [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": ENDLESS[0]}]
    change(model / "tokenizer_config.json", chat_template=named)
    assert frame(load_tokenizer(model)) == frame(bytes_tokenizer(TEMPLATE))
    change(model / "tokenizer_config.json", chat_template=named[1:])
    assert "expected one chat template, or a default one of several" in refused(model)
