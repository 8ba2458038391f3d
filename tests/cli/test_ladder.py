"""Catalogues into params.yaml and back: nothing else moves, and DVC takes what comes out."""

import http.server
import json
import re
import shlex
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from dvc.repo import Repo

from chatladder.cli.doctor.memory import Machine
from chatladder.cli.ladder import ladder_command
from chatladder.presets import COMMIT, names, read
from chatladder.training.settings import TrainSettings
from stages import base, train
from tests.conftest import ROOT

HUB = sorted({*names()} - {"embedded"})
A, B = "a" * 40, "b" * 40
#: What arXiv 2405.02817 trained each size with: batch, rank.
PUBLISHED = {
    "qwen1_5_0_5b": (16, 64),
    "qwen1_5_1_8b": (16, 64),
    "qwen1_5_4b": (32, 64),
    "qwen1_5_7b": (16, 16),
    "qwen1_5_14b": (8, 64),
    "qwen1_5_moe_a2_7b": (16, 64),
    "qwen1_5_32b": (4, 64),
}
OWN = """\
title: ours
params:
  train: {lora_r: 8}
ladder:
  ours_a:
    base:
      source: hub
      repo: us/ours-a
    train: {}
"""


#: Two cores, 22 GiB, the processor's own bfloat16.
CORES = Machine(22 * 2**30, (), (), 2**40, Path("cache"), cores=2, dtype="bfloat16", speed=400e9)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr("chatladder.cli.ladder.this_machine", lambda: CORES)
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(ladder_command, [str(argument) for argument in arguments])


def swap(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def contents(project):
    return [(project / name).read_bytes() for name in ("params.yaml", "dvc.yaml")]


def params_of(project):
    return yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))


def resolved(project):
    """Command and deps of each stage, as DVC resolves them."""
    if not (project / ".dvc").exists():
        Repo.init(str(project), no_scm=True).close()
        settings = (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
        with (project / ".dvc" / "config").open("a", encoding="utf-8") as config:
            config.write(settings[settings.index("[parsing]") :])
    with Repo(str(project)) as repo:
        return {stage.name: (stage.cmd, {dep.def_path for dep in stage.deps}) for stage in repo.index.stages}


@contextmanager
def hub(answers):
    """A hub on this machine: what each repo's page of the API says; status 404 for others. Yields it and its log."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.extend([self.path] if self.path.startswith("/api/models/") else [])
            repo = self.path.removeprefix("/api/models/").split("?")[0]
            body = json.dumps(answers.get(repo, {"error": "Repository not found"})).encode()
            self.send_response(200 if repo in answers else 404)
            if repo not in answers:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ask(monkeypatch):
    """Send questions for the hub to an address on this machine."""

    def to(address):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)

    return to


@pytest.mark.parametrize("name", HUB)
def test_there_and_back_gives_the_same_bytes(project, name):
    before = contents(project)
    swap(name)
    assert contents(project) != before
    swap("embedded")
    assert contents(project) == before


def test_from_one_catalogue_to_another_is_the_same_as_straight_there(project):
    swap("qwen3")
    straight = contents(project)
    swap("qwen1_5", "--only", "qwen1_5_4b")
    swap("qwen2_5")
    swap("qwen3")
    assert contents(project) == straight


def test_the_committed_project_is_the_embedded_catalogue(project):
    before = contents(project)
    assert "nothing to change" in swap("embedded")
    assert contents(project) == before


@pytest.mark.parametrize("name", names())
def test_what_is_written_is_a_graph_of_dvc_with_the_stages_of_every_rung(project, name):
    swap(name)
    params, stages = params_of(project), resolved(project)
    rungs, catalogue = list(params["ladder"]), read(name)
    assert rungs == list(catalogue.rungs)
    assert list(params["review"]["rungs"]) == (["embedded_331k"] if name == "embedded" else [])
    for stage in ("base", "predict_vanilla", "train", "predict_tuned"):
        assert {key.partition("@")[2] for key in stages if key.startswith(f"{stage}@")} == {*rungs}


@pytest.mark.parametrize("name", HUB)
def test_the_commands_of_a_hub_ladder_parse(project, name):
    swap(name)
    for stage, (command, _) in resolved(project).items():
        words = shlex.split(command)
        if stage.startswith("base@"):
            given = base.main.make_context("base", words[3:]).params
            assert given["source"] == "hub"
            assert given["repo"] == params_of(project)["ladder"][stage.removeprefix("base@")]["base"]["repo"]
            assert COMMIT.fullmatch(given["revision"])
        if stage.startswith("train@"):
            for option in ("--base", "--alpaca"):
                Path(words[words.index(option) + 1]).mkdir(parents=True, exist_ok=True)
            assert train.main.make_context("train", words[3:]).params["warmup_steps"] == 10


def test_the_published_ladder_has_the_published_settings():
    catalogue = read("qwen1_5")
    shared = catalogue.params["train"]
    assert {*shared} <= {*TrainSettings.__dataclass_fields__}
    for key, rung in catalogue.rungs.items():
        train = {**shared, **rung["train"]}
        assert (int(train["per_device_train_batch_size"]), int(train["lora_r"])) == PUBLISHED[key]
    assert catalogue.params["max_length"] == 1400
    assert shared == {
        "learning_rate": 2.0e-4,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "lora_r": 64,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "target_modules": "all-linear",
        "seeds": "0",
        "optim": "paged_adamw_8bit",
        "early_stopping_patience": 0,
        "gradient_checkpointing": True,
        "tokens_per_forward": 4096,
    }


def test_a_ladder_leaves_no_setting_of_the_one_before_it(project):
    before = params_of(project)["train"]
    swap("qwen1_5")
    assert params_of(project)["train"]["optim"] == "paged_adamw_8bit"
    swap("embedded")
    assert params_of(project)["train"] == before
    assert len({tuple(read(name).params["train"]) for name in names()}) == 1


@pytest.mark.parametrize("name", HUB)
def test_the_rungs_of_a_catalogue_rise_in_size_and_are_known(name):
    catalogue = read(name)
    repos = [rung["base"]["repo"] for rung in catalogue.rungs.values()]
    sizes = [catalogue.models[repo]["params"] for repo in repos]
    assert sizes == sorted(sizes)
    assert [*catalogue.models] == repos
    assert all(COMMIT.fullmatch(rung["base"]["revision"]) for rung in catalogue.rungs.values())


def test_comments_and_values_of_ones_own_stay(project):
    text = (project / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("gap_seconds: 18 ", "gap_seconds: 25 ").replace("train:  ", "# ours: keep\ntrain:  ", 1)
    text = text.replace("  learning_rate: 4.0e-3\n  num", "  learning_rate: 4.0e-3  # tuned by us\n  num")
    (project / "params.yaml").write_text(text + "\n# the end\n", encoding="utf-8")
    swap("smollm2")
    after = (project / "params.yaml").read_text(encoding="utf-8")
    assert "gap_seconds: 25 " in after
    assert "# ours: keep\n" in after
    assert "  learning_rate: 4.0e-4  # tuned by us\n" in after
    assert after.endswith("    train: {}\n\n# the end\n")
    assert params_of(project)["ladder"]["smollm2_135m"]["base"]["repo"] == "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_line_ends_are_kept(project):
    params = project / "params.yaml"
    params.write_bytes(before := params.read_bytes().replace(b"\n", b"\r\n"))
    swap("qwen2_5")
    assert params.read_bytes().count(b"\n") == params.read_bytes().count(b"\r\n")
    swap("embedded")
    assert params.read_bytes() == before


def test_comments_behind_the_ladder_stay(project):
    params = project / "params.yaml"
    end = "    train: {}  # of the largest\n\n# of ours\nours: 1\n"
    params.write_text(params.read_text("utf-8").removesuffix("    train: {}\n") + end, "utf-8")
    swap("qwen2_5")
    assert params.read_text("utf-8").endswith("      per_device_train_batch_size: 4\n\n# of ours\nours: 1\n")
    swap("embedded")
    assert params.read_text("utf-8").endswith("    train: {}\n\n# of ours\nours: 1\n")


def test_what_was_made_for_rungs_that_are_gone_is_named_and_kept(project):
    made = ["data/bases/embedded_150k", "data/adapters/embedded_700k", "data/predictions/tuned/embedded_700k.parquet"]
    for path in (*made, "data/bases/embedded_331k", "data/bases/else"):
        (project / path).mkdir(parents=True)
    said = swap("embedded", "--only", "embedded_331k")
    assert f"remove them before dvc repro: rm -r {' '.join(made)}\n" in said
    assert all((project / path).exists() for path in made)
    assert "rm -r" not in swap("embedded")


def test_what_a_rung_said_that_judges_labels_no_more_is_named(project):
    params = (project / "params.yaml").read_text("utf-8")
    (project / "params.yaml").write_text(params.replace("[embedded_331k]", "[embedded_700k]"), "utf-8")
    (project / "data/predictions/out_of_fold/embedded_700k.parquet").mkdir(parents=True)
    (project / "data/bases/embedded_700k").mkdir(parents=True)
    assert "rm -r data/predictions/out_of_fold/embedded_700k.parquet\n" in swap("embedded")


def test_a_choice_keeps_the_catalogues_order_and_only_its_own_judges(project):
    said = swap("qwen2_5", "--only", "qwen2_5_7b", "--only", "qwen2_5_0_5b")
    params = params_of(project)
    assert list(params["ladder"]) == ["qwen2_5_0_5b", "qwen2_5_7b"]
    assert list(params["review"]["rungs"]) == []
    assert "review.rungs: ['embedded_331k'] -> []" in said
    text = (project / "params.yaml").read_text("utf-8").replace("rungs: []", "rungs: [qwen2_5_7b]")
    (project / "params.yaml").write_text(text, "utf-8")
    swap("qwen2_5", "--only", "qwen2_5_7b")
    assert list(params_of(project)["review"]["rungs"]) == ["qwen2_5_7b"]


def test_a_dry_run_shows_the_lines_and_writes_nothing(project):
    before = contents(project)
    said = swap("qwen3", "--dry-run")
    assert contents(project) == before
    assert "-  embedded_150k:\n" in said
    assert "+      repo: Qwen/Qwen3-0.6B\n" in said
    assert said.endswith("Nothing was written.\n")


def test_without_a_name_the_catalogues_are_listed(project):
    swap("qwen3")
    said = swap().split("\n\n")[1]
    assert re.findall(r"^(.) (\w+)  ", said, flags=re.M) == [("*" if n == "qwen3" else " ", n) for n in names()]


def test_without_a_name_what_suits_comes_first_with_minutes(project):
    before = contents(project)
    said = swap().split("\n\n")[0]
    assert said.startswith("Models of qwen2_5 for a chat in Chinese on 2 cores, 22G of memory, bfloat16; 500 questions")
    assert re.search(r"^  qwen2_5_0_5b +494M  about [\d.]+ (min|h)$", said, flags=re.M)
    assert re.search(r"^  total about [\d.]+ min, without downloads of 3.8G$", said, flags=re.M)
    assert said.endswith("  recommended: chatladder ladder recommended")
    assert "Models of qwen2_5 for a chat in English" in swap("--language", "en")
    assert "Models of qwen3 for a chat in another language" in (said := swap("--language", "other"))
    assert "  recommended: chatladder ladder recommended --language other\n" in said
    assert contents(project) == before


def test_what_suits_is_written_so_that_it_fits(project, monkeypatch):
    said = swap("recommended")
    params = params_of(project)
    assert [*params["ladder"]] == ["qwen2_5_0_5b", "qwen2_5_1_5b"]
    assert "  qwen2_5_1_5b  1.54B  about " in said
    assert "demo" not in said
    swap("recommended", "--only", "qwen2_5_0_5b")
    assert [*params_of(project)["ladder"]] == ["qwen2_5_0_5b"]
    small = replace(CORES, memory=4 * 2**30)
    monkeypatch.setattr("chatladder.cli.ladder.this_machine", lambda: small)
    swap("recommended")
    assert params_of(project)["ladder"]["qwen2_5_0_5b"]["train"] == {"gradient_checkpointing": True}


def test_whoever_takes_models_that_know_another_chat_is_told(project):
    swap("qwen2_5")
    (project / "data" / "raw").mkdir(parents=True)
    (project / "data" / "raw" / "demo.txt").touch()
    assert "for the demo" not in swap("embedded")
    (project / "data" / "raw" / "ours.txt").touch()
    swap("qwen2_5")
    assert 'For your own chat: "chatladder ladder recommended".' in swap("embedded")
    said = swap("smollm2")
    assert "smollm2_1_7b: know English, and prompt.language is zh" in said


def test_a_commit_that_is_given_or_there_goes_before_the_record(project):
    swap("qwen2_5", "--revision", f"qwen2_5_3b={A}")
    bases = {key: rung["base"] for key, rung in params_of(project)["ladder"].items()}
    assert bases["qwen2_5_3b"]["revision"] == A
    assert bases["qwen2_5_7b"]["revision"] == read("qwen2_5").rungs["qwen2_5_7b"]["base"]["revision"]
    said = swap("qwen2_5", "--only", "qwen2_5_3b")
    assert f"qwen2_5_3b: {A} (unchanged)" in said


def test_a_commit_of_digits_stays_text(project):
    swap("qwen2_5", "--revision", f"qwen2_5_3b={'1' * 40}", "--revision", f"qwen2_5_7b={'1' * 38}e9")
    assert [params_of(project)["ladder"][key]["base"]["revision"] for key in ("qwen2_5_3b", "qwen2_5_7b")] == [
        "1" * 40,
        "1" * 38 + "e9",
    ]


def test_the_hub_is_asked_for_its_newest_commits(project, ask):
    with hub({repo: {"id": repo, "sha": sha} for repo, sha in (("Qwen/Qwen3-0.6B", A), ("Qwen/Qwen3-8B", B))}) as (
        address,
        asked,
    ):
        ask(address)
        said = swap("qwen3", "--latest", "--only", "qwen3_0_6b", "--only", "qwen3_8b")
    ladder = params_of(project)["ladder"]
    assert [rung["base"]["revision"] for rung in ladder.values()] == [A, B]
    assert f"qwen3_8b: {B} (the hub's newest)" in said
    assert asked == ["/api/models/Qwen/Qwen3-0.6B", "/api/models/Qwen/Qwen3-8B"]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "Qwen/Qwen3-0.6B: the hub has no such model, or none that you may see."),
        (
            {"Qwen/Qwen3-0.6B": {"id": "Qwen/Qwen3-0.6B", "sha": "main"}},
            "expected the hub to name a commit of 40 hexadecimal digits, got 'main'",
        ),
    ],
)
def test_a_hub_without_an_answer_changes_nothing(project, ask, answers, message):
    before = contents(project)
    with hub(answers) as (address, _):
        ask(address)
        result = run("qwen3", "--latest", "--only", "qwen3_0_6b")
    assert result.exit_code == 1
    assert message in result.output
    assert "--revision qwen3_0_6b=COMMIT" in result.output
    assert contents(project) == before


def test_no_network_is_said_with_what_to_do(project, ask):
    with hub({}) as (address, _):
        pass  # nobody listens at this address any more
    ask(address)
    result = run("qwen3", "--latest")
    assert result.exit_code == 1
    assert "Qwen/Qwen3-0.6B: the hub does not answer as expected" in result.output
    assert "give it with --revision qwen3_0_6b=COMMIT" in result.output


def test_a_catalogue_of_ones_own_takes_the_commit_of_the_hub(project, ask):
    (project / "ours.yaml").write_text(OWN, encoding="utf-8")
    with hub({"us/ours-a": {"id": "us/ours-a", "sha": B}}) as (address, _):
        ask(address)
        swap("ours.yaml")
    assert params_of(project)["ladder"]["ours_a"]["base"]["revision"] == B
    assert params_of(project)["train"]["lora_r"] == 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["llama"], 1, "expected embedded, qwen1_5, qwen2_5, qwen3, smollm2 or a catalogue's .yaml file"),
        (["qwen3", "--only", "qwen2_5_3b"], 1, "--only: expected rungs of qwen3"),
        (["qwen3", "--revision", "qwen3_8b=main"], 2, "expected KEY=COMMIT"),
        (["qwen3", "--revision", f"embedded_150k={A}"], 2, "expected a rung that is written"),
    ],
)
def test_mistakes_on_the_command_line(project, arguments, code, message):
    before = contents(project)
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.output
    assert contents(project) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ladder:  ", "rungs:  ", "params.yaml: expected the section ladder, got no ladder in the file"),
        ("review:  ", "reviews:  ", "params.yaml: expected the section review, got no review in the file"),
        ("  lora_r: 16\n", "", "expected a value train.lora_r, got none"),
        ("  lora_r: 16\n", "  lora_r: {a: 1}\n", "expected a value train.lora_r, got a section"),
        ("merge:", "merge: [", "expected YAML"),
        ("merge:", "ingest:", "expected YAML"),
        ("  embedded_331k:\n    base:", "  embedded_331k:\n    bases:", "expected rungs with a section base"),
    ],
)
def test_params_of_another_shape_are_refused(project, old, new, message):
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new), encoding="utf-8")
    before = contents(project)
    result = run("qwen2_5")
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert re.match(r"Error: params.yaml(:\d+)?: ", result.output)
    assert contents(project) == before


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"- 1\n", b"a: &a [*a]\n", b"[" * 400, b"? {a: 1}: 2\n", b"ladder: 3\n"]
)
def test_any_bytes_are_an_error_and_no_traceback(project, content):
    (project / "params.yaml").write_bytes(content)
    result = run("qwen2_5")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert (project / "params.yaml").read_bytes() == content


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ours_a:\n", "ours.a:\n", "expected a rung's key of letters, digits and _"),
        ("source: hub", "source: ftp", "expected sections base (with a source, embedded, folder, hub) and train"),
        ("repo: us/ours-a", "repo: '../x y'", "expected a repo, owner/name"),
        ("    train: {}\n", "", "expected sections base"),
    ],
)
def test_a_catalogue_of_another_form_is_refused(project, old, new, message):
    (project / "ours.yaml").write_text(OWN.replace(old, new), encoding="utf-8")
    result = run("ours.yaml")
    assert result.exit_code == 1, result.output
    assert message in result.output


def test_a_full_disk_changes_nothing(project, monkeypatch):
    before = contents(project)

    def refuse(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    result = run("qwen2_5")
    assert result.exit_code == 1
    assert "the disk is full" in result.output
    assert contents(project) == before
    assert sorted(path.name for path in project.iterdir()) == ["dvc.yaml", "params.yaml"]
