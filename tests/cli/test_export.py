import getpass
import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from model_fixtures import run

from chatladder.cli.export import hub, merging
from chatladder.cli.export.command import export_command
from chatladder.cli.export.record import Lock, checked, locked_settings, locked_training, md5_of
from chatladder.models.loading import load
from chatladder.models.prompts import Prompt, wording_of
from chatladder.models.scoring import score
from tests.conftest import ROOT
from tests.export_project import RUNG, lock, make_project, train_adapter

TOKEN = "hf_" + "s3cret" * 5


@pytest.fixture(scope="module")
def adapter(tiny_base, tiny_alpaca, tmp_path_factory):
    return train_adapter(tiny_base, tiny_alpaca, tmp_path_factory.mktemp("adapters") / RUNG)


@pytest.fixture
def project(tiny_base, adapter, tiny_alpaca, tmp_path, monkeypatch):
    root = make_project(tmp_path / "project", tiny_base, adapter, tiny_alpaca)
    monkeypatch.chdir(root)
    return root


def export(*options, out="exported"):
    return run(export_command, RUNG, "--out", out, *options), Path(out)


def files(folder):
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def fixture_prompts(project):
    parts = [json.loads((project / "data" / "alpaca" / f"{split}.json").read_text()) for split in ("test", "train")]
    return [Prompt(row["instruction"], row["options"]) for part in parts for row in part]


def scores(project, model, tokenizer):
    return score(model, tokenizer, fixture_prompts(project), 512)[0]


def by_auto_classes(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("shard_size", ["5GB", "100KB"])
def test_the_merged_model_answers_as_the_adapter_on_its_base(project, tiny_base, adapter, shard_size, monkeypatch):
    monkeypatch.setattr(merging, "SHARD_SIZE", shard_size)
    result, out = export()
    assert result.output == f"{out}: merged model and adapter of {RUNG}\n"
    weights = sorted(path.name for path in out.glob("*.safetensors"))
    assert len(weights) == (2 if shard_size == "100KB" else 1)
    expected = scores(project, *load(tiny_base, adapter))
    untouched = scores(project, *load(tiny_base))
    found = scores(project, *by_auto_classes(out))
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert set(expected.argmax(axis=1)) == {0, 1}
    assert np.abs(found - untouched).max() > 0.1


def test_the_tokenizer_is_the_base_s_own_by_the_classes_of_a_stranger(project, tiny_base):
    _, out = export()
    texts = [prompt.instruction + "\n" for prompt in fixture_prompts(project)] + ["a  b。c？ Ⅳ\n\n它10 GB"]
    own, theirs = load(tiny_base)[1], by_auto_classes(out)[1]
    assert theirs(texts)["input_ids"] == own(texts)["input_ids"]
    assert theirs.eos_token_id == by_auto_classes(out)[0].config.eos_token_id == own.eos_token_id


@pytest.mark.parametrize(("option", "inner"), [((), "adapter"), (("--adapter-only",), ".")])
def test_the_adapter_loads_in_plain_peft(project, tiny_base, adapter, option, inner):
    from peft import PeftModel
    from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

    _, out = export(*option)
    if option:
        expected = {"README.md", "adapter_config.json", "adapter_model.safetensors", "chatladder.json"}
        assert set(files(out)) == expected
        assert "library_name: peft" in (out / "README.md").read_text()
    model = PeftModel.from_pretrained(Qwen2ForCausalLM.from_pretrained(tiny_base), out / inner).eval()
    expected = scores(project, *load(tiny_base, adapter))
    np.testing.assert_allclose(scores(project, model, load(tiny_base)[1]), expected, atol=1e-5)


def test_the_adapter_of_a_hub_model_names_the_model_and_its_commit(project):
    rung = project / "data" / "bases" / RUNG / "rung.json"
    described = {"source": "hub", "name": RUNG, "repo": "some/model", "revision": "a" * 40, "params": 1}
    rung.write_text(json.dumps(described))
    merging.write_adapter(project / "data" / "adapters" / RUNG, rung.parent, project / "adapter")
    config = json.loads((project / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("some/model", "a" * 40)


@pytest.fixture
def elsewhere(project, tiny_base):
    """Have the project's base point at a folder, into which the function given writes its model in a type."""
    base, folder = project / "data" / "bases" / RUNG, project / "elsewhere"
    model, tokenizer = load(tiny_base)

    def point(dtype):
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        shutil.rmtree(base)
        base.mkdir()
        rung = {"source": "folder", "name": RUNG, "path": str(folder), "params": 1}
        (base / "rung.json").write_text(json.dumps(rung))
        lock(project)
        return base

    return point


def test_weights_keep_the_type_that_the_base_stores(project, elsewhere):
    import torch

    elsewhere(torch.bfloat16)
    result, out = export()
    assert result.exit_code == 0, result.output
    merged = by_auto_classes(out)[0]
    assert merged.dtype == torch.bfloat16
    assert "weights (bfloat16)" in (out / "README.md").read_text()
    assert str(project) not in (out / "README.md").read_text()


def test_weights_that_are_stored_whole_are_merged_whole_on_a_machine_that_rounds(
    project, elsewhere, adapter, monkeypatch
):
    import torch

    base = elsewhere(torch.float32)
    expected = scores(project, *load(base, adapter))
    monkeypatch.setenv("CHATLADDER_DTYPE", "bfloat16")
    result, out = export()
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(scores(project, *merging.load_folder(out, torch.float32)), expected, atol=1e-4, rtol=0)


def test_a_merge_that_answers_otherwise_is_refused(project, monkeypatch):
    def spoil(model, as_llama=merging._as_llama):
        model = as_llama(model)
        model.model.norm.weight.data *= 1.01
        return model

    monkeypatch.setattr(merging, "_as_llama", spoil)
    result, out = export()
    assert result.exit_code == 1
    assert "data/adapters/tiny: expected the merged model to answer as the adapter on its base does" in result.output
    assert not out.exists()


def test_the_card_says_what_it_is_how_to_ask_how_good_and_whence(project):
    _, out = export()
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlanguage: zh\nlibrary_name: transformers\nlicense: apache-2.0\n")
    for said in (
        wording_of("definition", "zh").text,
        "| needed | 需要 |",
        "| lora_r | 8 |",
        "| learning_rate | 0.02 |",
        "after 1 round(s) of 2 annotator(s)",
        "Agreement on 26 questions of round 1: kappa 0.846, alpha 0.848.",
        "6 test items, of conversations that no model was trained on, 3 of them needed",
        "| macro-F1 | 0.500 [0.450, 0.550] | 0.900 [0.850, 0.950] | 0.330 |",
        "**inconclusive**, by 9 models of 3 rungs",
        f"| adapter (MD5 in dvc.lock) | `{md5_of(project / 'data' / 'adapters' / RUNG)}` |",
        f"| labelled (MD5 in dvc.lock) | `{md5_of(project / 'data' / 'labelled.parquet')}` |",
        "| git commit | outside of git |",
    ):
        assert said in card, said
    assert "petra" not in card
    record = json.loads((out / "chatladder.json").read_text())
    assert record["settings"] == {
        "gap_seconds": 18,
        "min_characters": 4,
        "rules_threshold": 5.0,
        "window": 3,
        "conversation_gap": 600,
        "max_conversation_turns": 50,
        "reply_reach": 3600,
        "language": "zh",
        "answer": "text",
        "seed": 0,
        "max_length": 512,
        "wording": "definition",
        "turns": None,
        "orders": 6,
        "threshold": None,
    }


def test_the_card_s_own_lines_of_python_answer_a_question(project, capsys):
    _, out = export()
    (block,) = re.findall(r"^```python\n(.*?)^```$", (out / "README.md").read_text(), flags=re.M | re.S)
    exec(block.replace("FOLDER", str(out)), {})
    needed, share = capsys.readouterr().out.split()
    assert needed in ("True", "False")
    assert 0 < float(share) < 1


def test_a_folder_opened_in_python_answers_as_serve_reads_a_question(project):
    from chatladder.cli.answering import Gate, ModelOptions, load_model, settings_of
    from chatladder.cli.asking import open_folder
    from chatladder.cli.serve.messages import Asked, Reader

    decide_at(project, -0.75)
    _, out = export()
    options = ModelOptions(folder=out)
    settings = settings_of(None, options, {})
    said = [{"sender": "li", "text": "我买了把雨伞3号"}, {"sender": "wu", "text": "@li 它好用吗？"}]
    row = Reader(settings).row(Asked.model_validate({"history": said[:1], "question": said[1]}))
    ((expected,), _) = Gate(*load_model(None, options), settings).answer([row])
    history, question = [(each["sender"], each["text"]) for each in said[:1]], ("wu", "@li 它好用吗？")
    ask = open_folder(str(out))
    assert ask(history, question) == expected
    with pytest.raises(ValueError, match="expected text, got none"):
        ask(history, ("wu", " "))


@pytest.mark.parametrize(("option", "inner"), [((), "adapter/"), (("--adapter-only",), "")])
def test_the_adapter_is_there_for_llama_cpp_where_that_can_load_it(project, elsewhere, option, inner):
    import torch

    _, embedded = export(*option, out="embedded")
    assert not (embedded / inner / "adapter.gguf").exists()
    said = "There is no file of the adapter for llama.cpp, since its base is an embedded model"
    assert said in (embedded / "README.md").read_text()
    elsewhere(torch.float32)
    _, out = export(*option)
    assert (out / inner / "adapter.gguf").is_file()
    assert f"llama-server -m BASE.gguf --lora FOLDER/{inner}adapter.gguf" in (out / "README.md").read_text()


def decide_at(project, threshold, orders=2):
    """Write down that evaluate chose a threshold on answers over so many orders."""
    path = project / "metrics" / "models.json"
    models = json.loads(path.read_text())
    models[RUNG]["tuned"] |= {"thresholds": {"0": threshold, "1": 9.0}, "macro_f1_argmax": 0.364}
    path.write_text(json.dumps(models))
    lock(project, orders)


def test_the_card_and_the_record_hold_the_threshold_of_the_adapter_that_is_exported(project):
    _, plain = export("--adapter-only", out="plain")
    card = (plain / "README.md").read_text()
    assert "The most probable one is the answer." in card
    assert "threshold" not in card
    decide_at(project, -0.75)
    _, out = export("--adapter-only")
    card = (out / "README.md").read_text()
    assert "its mean over 2 order(s)" in card
    assert "log(p(needed) / p(not_needed)) is above **-0.75**" in card
    assert "by the most probable text alone macro-F1 would be 0.364." in card
    settings = json.loads((out / "chatladder.json").read_text())["settings"]
    assert (settings["threshold"], settings["orders"]) == (-0.75, 2)


def test_the_commit_is_named_and_changes_to_it_are_told(project):
    for words in (
        ["init", "-q"],
        ["add", "metrics"],
        ["-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "-qm", "m"],
    ):
        subprocess.run(["git", *words], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    _, out = export("--adapter-only")
    assert f"| git commit | {commit} |" in (out / "README.md").read_text()
    (project / "metrics" / "annotation.json").chmod(0o755)
    _, changed = export("--adapter-only", out="changed")
    assert f"| git commit | {commit}, with changes that were not committed |" in (changed / "README.md").read_text()


def test_a_rung_that_was_not_measured_has_a_card_that_says_so(project):
    (project / "metrics" / "models.json").unlink()
    (project / "metrics" / "scaling.json").unlink()
    result, out = export("--adapter-only", "--license", "mit")
    assert result.exit_code == 0, result.output
    card = (out / "README.md").read_text()
    assert "Not measured." in card
    assert "The labels were not checked by the scaling law." in card
    assert "license: mit" in card


def test_a_rung_that_words_do_as_well_has_a_card_that_says_so(project):
    _, out = export("--adapter-only")
    assert "is not above" not in (out / "README.md").read_text()
    path = project / "metrics" / "models.json"
    models = json.loads(path.read_text())
    models[RUNG]["tuned"]["seeds"] = 3
    models[RUNG]["above_baselines"] = {"best": "line", "macro_f1": 0.01, "macro_f1_lo": -0.02, "macro_f1_hi": 0.04}
    path.write_text(json.dumps(models))
    lock(project)
    result, out = export("--adapter-only", out="again")
    assert result.exit_code == 0, result.output
    card = (out / "README.md").read_text()
    assert "\n\n**Its macro-F1 is not above that of a baseline without a model (words: line)**" in card
    assert "Figures are means over adapters of 3 seeds, and these files are one of them." in card


def test_equal_inputs_give_equal_bytes_and_nothing_of_this_machine(project):
    _, first = export("--with-data")
    _, second = export("--with-data", out="again/second")
    assert {name: path.read_bytes() for name, path in files(first).items()} == {
        name: path.read_bytes() for name, path in files(second).items()
    }
    for name, path in files(first).items():
        assert path.stat().st_mode & 0o777 == 0o644
        for found in (str(project), str(project.parent), str(Path.home()) + "/"):
            assert found.encode() not in path.read_bytes(), f"{name} holds {found}"
        if path.suffix in (".md", ".json") and name != "tokenizer.json":  # its vocabulary holds every short word
            for found in (socket.gethostname(), getpass.getuser()):
                assert not re.search(rf"\b{re.escape(found)}\b", path.read_text()), f"{name} holds {found}"


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_hash_seed(project, python, warm):
    _, here = export()
    command = [python, "-m", "chatladder.cli.export.command", RUNG, "--out", "there"]
    environment = {**os.environ, **warm, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    first, second = ({name: path.read_bytes() for name, path in files(out).items()} for out in (here, Path("there")))
    assert first == second


def test_text_of_the_chat_is_there_only_when_asked_for(project):
    _, without = export()
    assert not (without / "dataset").exists()
    assert not any("雨伞".encode() in path.read_bytes() for name, path in files(without).items())
    result, out = export("--with-data", out="with")
    assert "dataset/ holds text of the chat" in result.output
    for split in ("train", "validation", "test"):
        assert (out / "dataset" / f"{split}.json").read_bytes() == (project / f"data/alpaca/{split}.json").read_bytes()
    card = (out / "dataset" / "README.md").read_text()
    assert "These files hold text of a chat." in card
    assert "| train | 12 |" in card


def test_the_dataset_loads_as_the_hub_s_library_loads_it(project, tmp_path):
    from datasets import load_dataset

    _, out = export("--with-data", "--adapter-only")
    loaded = load_dataset(str(out / "dataset"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 12, "validation": 6, "test": 6}
    expected = json.loads((project / "data" / "alpaca" / "test.json").read_text())
    assert [loaded["test"][number] for number in range(6)] == expected


def without_adapter(project):
    shutil.rmtree(project / "data" / "adapters" / RUNG)


def of_another_base(project):
    path = project / "data" / "adapters" / RUNG / "adapter_config.json"
    path.write_text(path.read_text().replace('"tiny"', '"other"'))
    lock(project)


def trained_again(project):
    path = project / "data" / "adapters" / RUNG / "adapter_config.json"
    path.write_text(path.read_text() + "\n")


def other_base_weights(project):
    path = project / "data" / "bases" / RUNG / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0")


def other_rows(project):
    (project / "data" / "alpaca" / "train.json").write_text("[]")


def metrics_of_another_adapter(project):
    (project / "metrics" / "models.json").write_text("{}")


def labels_of_another_round(project):
    (project / "metrics" / "annotation.json").write_text("{}")


def without_lock(project):
    (project / "dvc.lock").write_text("stages: {}")


def damaged_lock(project):
    (project / "dvc.lock").write_bytes(b"stages: [\xff")


def taken(project):
    (project / "exported").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            without_adapter,
            "data/adapters/tiny: expected an adapter that stages.train wrote, got no adapter_config.json",
        ),
        (of_another_base, "data/adapters/tiny: expected an adapter of tiny, got one of another base"),
        (trained_again, "data/adapters/tiny: expected the state that dvc.lock records for train@tiny, got another"),
        (other_base_weights, "data/bases/tiny: expected the state that dvc.lock records for train@tiny, got another"),
        (other_rows, "data/alpaca: expected the state that dvc.lock records for train@tiny, got another"),
        (metrics_of_another_adapter, "metrics/models.json: expected the state that dvc.lock records for evaluate"),
        (labels_of_another_round, "metrics/annotation.json: expected the state that dvc.lock records for label"),
        (without_lock, "dvc.lock: expected a run of stage train@tiny, got none"),
        (damaged_lock, "dvc.lock: expected a lock file of DVC, got no YAML"),
        (taken, "exported: expected no such folder yet, got one"),
    ],
)
def test_what_does_not_belong_together_is_refused(project, spoil, message):
    spoil(project)
    result, out = export("--adapter-only")
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--push", "nobody"), "expected OWNER/NAME"),
        (("--push", "me/rows/more"), "expected OWNER/NAME"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(project, options, message):
    result, out = export(*options)
    assert result.exit_code == 2
    assert message in result.output
    assert not out.exists()


def test_a_push_needs_the_token_of_the_environment(project, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    result, out = export("--adapter-only", "--push", "me/model")
    assert result.exit_code == 1
    assert "HF_TOKEN: expected a token" in result.output
    assert not out.exists()


def test_nothing_goes_to_a_hub_whose_address_is_not_encrypted(project, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://user:{TOKEN}@127.0.0.1:1")
    result, out = export("--adapter-only", "--push", "me/model")
    assert result.exit_code == 1
    assert "HF_ENDPOINT: expected an address that begins with https://" in result.output
    assert TOKEN not in result.output
    assert not out.exists()


def test_without_a_network_the_folder_stays_and_the_token_is_not_told(project, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    result, out = export("--adapter-only", "--push", "me/model")
    assert result.exit_code == 1
    assert "me/model: expected the hub to take the model, got:" in result.output
    assert f"hf upload me/model {out} --repo-type model" in result.output
    assert TOKEN not in result.output
    assert (out / "README.md").is_file()


class FakeHub:
    def __init__(self, secret, calls):
        self.secret, self.calls = secret, calls

    def create_repo(self, repo, **given):
        self.calls.append(("create", repo, given["repo_type"], given["private"]))

    def upload_folder(self, **given):
        kept = (given["repo_id"], given["repo_type"], Path(given["folder_path"]).as_posix(), given["ignore_patterns"])
        self.calls.append(("upload", *kept))


def test_only_what_was_asked_for_is_uploaded_and_to_private_repositories(project, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    calls = []
    monkeypatch.setattr(hub, "_api", lambda secret: FakeHub(secret, calls))
    export("--adapter-only", out="quiet")
    assert calls == []
    result, _ = export("--adapter-only", "--with-data", "--push", "me/model", out="model")
    assert result.output.endswith("https://huggingface.co/me/model: uploaded\n")
    assert calls == [
        ("create", "me/model", "model", True),
        ("upload", "me/model", "model", "model", ["dataset/*"]),
    ]


def test_an_error_of_the_hub_that_repeats_the_token_does_not_show_it(project, monkeypatch):
    def refuse(secret):
        raise ValueError(f"bad header Bearer {secret}")

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub, "_api", refuse)
    result, _ = export("--adapter-only", "--push", "me/model")
    assert "got: bad header Bearer ***." in result.output
    assert TOKEN not in result.output


def test_md5_is_dvc_s_own(tmp_path, monkeypatch):
    from dvc.repo import Repo

    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "inner/é.bin", "inner.txt", "Z"):
        (tmp_path / "folder" / name).write_bytes(name.encode() * 3)
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        recorded = [repo.add(name)[0].outs[0].hash_info.value for name in ("folder", "file")]
    assert [md5_of(Path("folder")), md5_of(Path("file"))] == recorded


def test_the_demo_s_record_is_read_as_dvc_wrote_it():
    recorded = Lock(ROOT / "dvc.lock")
    if "judge" not in recorded.section("pick_questions", "questions"):
        pytest.skip("dvc.lock is of a run before the judges were named in questions.judge")
    settings = checked(locked_settings(recorded, "embedded_331k"), "dvc.lock")
    assert (settings.window, settings.language, settings.rules_threshold) == (12, "zh", 5.0)
    assert locked_training(recorded, "embedded_331k")["lora_r"] == 16
