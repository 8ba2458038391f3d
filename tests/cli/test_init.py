"""A new project: what it has, what is asked, that all but the chat is committed, and nothing half made."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

from chatladder.cli.annotate.round_records import settle_assignment
from chatladder.cli.doctor.memory import Machine
from chatladder.cli.init import command as init
from chatladder.cli.init import project
from chatladder.cli.init.project import OWN_FILES, ProjectPlan, adapt_params, fitting, rungs_here
from chatladder.cli.simulate import write_chat
from chatladder.cli.status import Standing, next_step, staleness
from chatladder.io import code
from chatladder.io.code import project_files
from chatladder.io.console import UNPRINTABLE, DataError
from chatladder.io.params import read_yaml
from chatladder.presets import as_text, read
from chatladder.presets import names as catalogues
from tests.conftest import ROOT

PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
SMALL = Machine(2**34, (), (), 2**40, Path("cache"), cores=2, speed=200e9)
LARGE = Machine(2**38, (80 * 10**9,), ("card",), 2**42, Path("cache"), device="cuda", dtype="bfloat16", speed=600e12)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to work in, on a machine without a GPU, with nobody's key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHATLADDER_PRIVACY_KEY", raising=False)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    monkeypatch.setattr(project, "this_machine", lambda: SMALL)
    return tmp_path


def run(*arguments, **more):
    return CliRunner().invoke(init.init_command, [str(argument) for argument in arguments], **more)


def made(*arguments, **more):
    result = run(*arguments, **more)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments, code=1, **more):
    result = run(*arguments, **more)
    assert result.exit_code == code, result.output
    assert not UNPRINTABLE.search(result.output.replace("\n", ""))
    return result.output


def params_of(folder):
    return yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))


def files_of(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(".git/")}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_project_has_the_graph_and_neither_the_code_nor_the_demo(here):
    said = made("friends", "--yes")
    files = files_of(here / "friends")
    stages = {f"stages/{path.name}" for path in (ROOT / "stages").glob("*.py")}
    assert {
        "dvc.yaml",
        "params.yaml",
        "code.json",
        ".dvc/config",
        ".dvcignore",
        ".dvc/plots/loss.json",
    } | stages <= files
    assert len(files) <= 46
    assert {name.split("/")[0] for name in files if "/" in name} == {".chatladder", ".dvc", "data", "stages", "tasks"}
    assert {name for name in files if name.startswith("data/")} == {
        *(f"data/{name}/README.md" for name in ("raw", "annotations", "marks", "other_chats")),
        *(f"data/{name}.gitignore" for name in ("", "raw/", "predictions/out_of_fold/")),
    }
    for note in ("README.md", "data/raw/README.md", "data/annotations/README.md"):
        assert "simulate" not in (here / "friends" / note).read_text(encoding="utf-8")
    assert f"friends: {len(files) - 2} files in a git and DVC repository" in said
    assert said.splitlines()[-1] == "Next: cd friends && cp EXPORT data/raw/   # there is no export of a chat yet"


def test_all_but_the_chat_and_the_key_is_committed(here):
    (here / "chat.txt").write_text("hello")
    made("friends", "--yes", "--export", "chat.txt", "--annotators", "li,wu")
    assert git(here / "friends", "status", "--porcelain") == ""
    files = {*git(here / "friends", "ls-files").split()}
    own = {"data/raw/chat.txt", ".chatladder/privacy_key", ".chatladder/.gitignore"}
    assert files == files_of(here / "friends") - own
    assert "data/annotations/round_1/assignment.json" in files
    (here / "friends/data/other_chats/theirs.parquet").write_text("another chat")
    assert git(here / "friends", "status", "--porcelain") == ""


def test_who_git_knows_is_the_author_of_the_commit_and_nobody_need_be_known(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    made("a", "--yes")
    assert git(here / "a", "log", "--format=%an").split() == ["chatladder"]
    (here / ".gitconfig").write_text("[user]\n name = Li\n email = li@example.org\n[commit]\n gpgsign = true\n")
    made("b", "--yes")
    assert git(here / "b", "log", "--format=%an").split() == ["Li"]


def test_what_stages_write_is_not_for_git(here):
    made("friends", "--yes")
    outs = [
        (key if isinstance(out, dict) else out).replace("${key}", "rung").replace("${item}", "rung")
        for stage in yaml.safe_load((here / "friends" / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
        for out in stage.get("do", stage).get("outs", [])
        for key in (out if isinstance(out, dict) else [out])
    ]
    cached = [out for out in outs if out.startswith("data/")]
    assert cached
    assert git(here / "friends", "check-ignore", *cached).split() == cached


def test_params_are_the_new_chats(here):
    made("friends", "--yes", "--timezone", "Asia/Shanghai", "--language", "en")
    before, params = yaml.safe_load(PARAMS), params_of(here / "friends")
    assert params["ingest"]["timezone"] == "Asia/Shanghai"
    assert params["prompt"]["language"] == "en"
    assert params["annotation"]["round"] == 1
    assert "test_from" not in params["split"]
    assert params["split"] == {name: value for name, value in before["split"].items() if name != "test_from"}
    assert [*params["ladder"]] == ["qwen2_5_0_5b"]
    # Annotators see more than models do: what was measured on real chats.
    assert (params["questions"]["window"], params["prompt"]["turns"], params["predict"]["orders"]) == (12, 4, 1)


def test_defaults_are_the_machines_zone_and_no_annotators(here):
    said = made("friends", "--yes")
    assert "timezone Europe/Berlin, language zh, ladder qwen2_5_0_5b\n" in said
    assert params_of(here / "friends")["ingest"]["timezone"] == "Europe/Berlin"
    assert not (here / "friends" / "data" / "annotations" / "round_1").exists()


def adapted(timezone, text=PARAMS):
    Path("params.yaml").write_text(text, encoding="utf-8")
    params = read_yaml(Path("params.yaml"))
    adapt_params(params, ProjectPlan(None, timezone, "zh", "embedded", ()))
    return as_text(params)


def test_comments_and_all_other_lines_stay():
    new = adapted("Asia/Shanghai")
    changed = [(a, b) for a, b in zip(PARAMS.split("\n"), new.split("\n"), strict=True) if a != b]
    assert [old.split(":")[0].strip() for old, _ in changed] == ["timezone", "sample", "round", "test_from"]
    (dated,) = [line for line in new.split("\n") if "test_from" in line]
    with_date = yaml.safe_load(new.replace(dated, dated.replace("# ", "", 1)))
    assert with_date["split"] == {"test_from": "YYYY-MM-DD", **yaml.safe_load(new)["split"]}
    for old, line in changed:
        assert "test_from" in old or old.partition("#")[2] in line
    assert new.count("Asia/Shanghai ") == 1
    column = [line.index("#") for line in new.split("\n") if line.startswith(("  format:", "  date_order:"))]
    assert [line.index("#") for line in new.split("\n") if line.startswith("  timezone:")] == column[:1]
    assert adapted("Asia/Shanghai", new) == new


def test_a_long_zone_keeps_its_comment_apart():
    line = next(line for line in adapted("America/Argentina/Buenos_Aires").split("\n") if "timezone:" in line)
    assert line.startswith("  timezone: America/Argentina/Buenos_Aires # of exports")


def test_params_of_another_form_are_refused():
    with pytest.raises(DataError, match=r"params\.yaml: expected the section prompt, got no prompt"):
        adapted("UTC", PARAMS.replace("prompt:\n", "prompts:\n"))


def test_the_secret_is_random_and_its_owners_alone(here):
    made("a", "--yes")
    made("b", "--yes")
    keys = [(here / name / ".chatladder" / "privacy_key") for name in "ab"]
    assert len({key.read_text() for key in keys}) == 2
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)


def small_clone(folder):
    """A clone of no more than a project has, and a remote that is somebody's own."""
    for name in project_files(ROOT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / ".dvc" / "config").write_text("['remote \"ours\"']\n    url = s3://ours\n    password = hunter2\n")
    (folder / "data" / "raw").mkdir()
    (folder / "data" / "raw" / "chat.txt").write_text("theirs")
    return folder


def test_settings_and_data_of_a_clone_stay_behind(here, monkeypatch):
    monkeypatch.setattr(code, "PACKAGE", small_clone(here / "clone") / "chatladder")
    made("friends", "--yes")
    config = (here / "friends" / ".dvc" / "config").read_text()
    assert config == (ROOT / ".dvc" / "config").read_text(encoding="utf-8") == OWN_FILES[".dvc/config"]
    assert not (here / "friends" / "data" / "raw" / "chat.txt").exists()


def test_a_project_in_the_clone_is_told_to_move_out(here, monkeypatch):
    monkeypatch.setattr(init, "PACKAGE", here / "clone" / "chatladder")
    told = "is in the clone of chatladder"
    assert f"clone/friends {told}" in made("clone/friends", "--yes")
    assert told not in made("friends", "--yes")


def test_a_clone_that_lacks_a_file_of_projects_is_named(here, monkeypatch):
    clone = small_clone(here / "clone")
    monkeypatch.setattr(code, "PACKAGE", clone / "chatladder")
    (clone / "params.yaml").unlink()
    assert "No such file" in refused("friends", "--yes")
    assert not (here / "friends").exists()


def test_the_export_is_copied_and_stays(here):
    (here / "chat" / "part").mkdir(parents=True)
    (here / "chat" / "part" / "a.txt").write_text("hello")
    (here / "chat" / "photo.jpg").write_bytes(b"\xff")
    said = made("friends", "--yes", "--export", "chat")
    assert (here / "friends" / "data" / "raw" / "chat" / "part" / "a.txt").read_text() == "hello"
    assert (here / "chat" / "part" / "a.txt").read_text() == "hello"
    assert "data/raw: 1 file of the export; the original is unchanged." in said
    assert said.splitlines()[-1].startswith("Next: cd friends && dvc repro pick_questions ")


def test_annotators_share_the_first_round(here):
    said = made("friends", "--yes", "--annotators", "wu,li,chen")
    assert "Round 1: shared by wu, li, chen; 2 get each question." in said
    assert settle_assignment(here / "friends" / "data" / "annotations" / "round_1") == (["chen", "li", "wu"], 2)


def test_one_annotator_leaves_the_round_open(here):
    made("friends", "--yes", "--annotators", "li")
    assert not (here / "friends" / "data" / "annotations" / "round_1").exists()


def test_an_empty_folder_will_do(here):
    (here / "friends").mkdir()
    made("friends", "--yes")
    assert (here / "friends" / "dvc.yaml").is_file()
    assert names_in(here) == ["friends"]


def test_the_current_folder_is_filled_unless_another_is_given(here, monkeypatch):
    export = here / "chat.txt"
    export.write_text("hello")
    (here / "friends").mkdir(mode=0o700)
    monkeypatch.chdir(here / "friends")
    inode = (here / "friends").stat().st_ino
    said = made("--yes", "--export", export)
    assert said.startswith("friends: ")
    # A shell that is in it goes on in it, and nobody else is let in.
    assert (here / "friends").stat().st_ino == inode
    assert stat.S_IMODE((here / "friends").stat().st_mode) == 0o700
    assert said.splitlines()[-1].startswith("Next: dvc repro pick_questions ")
    assert {".git", ".dvc", ".chatladder", "dvc.yaml", "stages", "data"} <= {*names_in(here / "friends")}
    assert not [name for name in names_in(here / "friends") if "being_made" in name]
    assert "got a project, which is unchanged. Run chatladder status" in refused("--yes")


@pytest.mark.parametrize("step", ["write_files", "create", "commit"])
def test_whatever_fails_the_current_folder_stays_empty(here, monkeypatch, step):
    def fail(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(project, step, fail)
    assert "the disk is full; nothing was written" in refused("--yes")
    assert names_in(here) == []


def test_a_move_that_fails_is_taken_back(here, monkeypatch):
    rename = Path.rename

    def fail(path, target):
        if path.name == "params.yaml":
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    assert "cannot be written: Permission denied" in refused("--yes")
    assert names_in(here) == []


def test_what_a_killed_try_left_holds_nobody_up(here):
    (here / "..being_made.a1b2c3d4" / "stages").mkdir(parents=True)
    made("--yes")
    assert "..being_made.a1b2c3d4" not in names_in(here)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (".", "got one with file, full, which is unchanged. Name another"),
        ("..", "expected a new or an empty folder, got one with"),
        ("full", "got one with .hidden, a, b, c and 2 more, which is unchanged"),
        ("file", "expected a new or an empty folder, got a file"),
    ],
)
def test_a_folder_that_is_taken_is_refused_and_left(here, folder, message):
    (here / "full").mkdir()
    for name in (".hidden", "a", "b", "c", "d", "e"):
        (here / "full" / name).write_text("theirs")
    (here / "file").write_text("theirs")
    before = files_of(here)
    assert message in refused(folder, "--yes")
    assert files_of(here) == before


def test_hostile_names_of_what_is_in_the_way_are_cut_and_not_printed_raw(here):
    (here / "full").mkdir()
    (here / "full" / ("\x1b[2J\u202e" + "x" * 200)).touch()
    said = refused("full", "--yes")
    assert "with \ufffd[2J\ufffdxxx" in said
    assert "x" * 50 not in said


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda here: "none.txt", "expected an export of a chat, a file or a folder, got nothing"),
        (lambda here: (here / "link").symlink_to("/etc/passwd") or "link", "got a link"),
        (lambda here: ".", "expected an export outside of the new project"),
        (lambda here: (here / "README.md").write_text("x") and "README.md", "another name: data/raw has a README.md"),
        (lambda here: (here / ".hidden").write_text("x") and ".hidden", "expected at least one chat export, got none"),
        (lambda here: (here / "photo.jpg").write_text("x") and "photo.jpg", "only 1 files of kinds that are passed"),
        (lambda here: (here / "a.zip").write_bytes(b"PK\x03\x04") and "a.zip", "expected a whole zip"),
    ],
)
def test_an_export_that_no_stage_would_read_is_refused_and_nothing_is_made(here, make, message):
    export = make(here)
    before = names_in(here)
    said = refused("friends", "--yes", "--export", export)
    assert message in said
    # It names the export, never the copy that is gone.
    assert ".friends." not in said
    assert names_in(here) == before


def test_a_link_within_an_export_is_not_followed(here):
    (here / "chat").mkdir()
    (here / "chat" / "a.txt").symlink_to("/etc/passwd")
    said = refused("friends", "--yes", "--export", "chat")
    assert f"{here / 'chat' / 'a.txt'}: expected a file, got a link" in said
    assert not (here / "friends").exists()


def test_a_hostile_name_is_never_printed_raw(here):
    evil = "\x1b[2J\u202echat.txt"
    (here / evil).write_text("hello")
    assert not UNPRINTABLE.search(made("friends", "--yes", "--export", evil).replace("\n", ""))
    assert "got a file" in refused(evil, "--yes")
    assert not UNPRINTABLE.search(made("\x1b[2Jnew", "--yes").replace("\n", ""))


@pytest.mark.parametrize(
    "step", ["write_files", "adapt_params", "create", "_copy_export", "settle_assignment", "commit"]
)
def test_whatever_fails_nothing_is_half_made(here, monkeypatch, step):
    (here / "chat.txt").write_text("hello")

    def fail(*_arguments, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(project, step, fail)
    said = refused("friends", "--yes", "--export", "chat.txt", "--annotators", "li,wu")
    assert "the disk is full; nothing was written" in said
    assert names_in(here) == ["chat.txt"]


def test_what_somebody_puts_there_meanwhile_is_kept(here, monkeypatch):
    (here / "friends").mkdir()

    def meddle(*_arguments):
        (here / "friends" / "theirs.txt").write_text("theirs")

    monkeypatch.setattr(project, "commit", meddle)
    assert "got one with theirs.txt, which is unchanged" in refused("friends", "--yes")
    assert names_in(here) == ["friends"]
    assert files_of(here / "friends") == {"theirs.txt"}


def test_without_a_terminal_and_options_it_says_which_are_lacking(here):
    said = refused("friends", code=2)
    assert "there is no terminal to ask in: give --export, --timezone, --language, --ladder, --annotators" in said
    assert "--yes to use the defaults" in said
    assert "give --export, --annotators," in refused(
        "friends", "--timezone", "UTC", "--language", "zh", "--ladder", "embedded", code=2
    )
    assert names_in(here) == []


def on_a_terminal(monkeypatch):
    monkeypatch.setattr(init, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))


def test_at_most_five_questions_are_asked(here, monkeypatch):
    on_a_terminal(monkeypatch)
    (here / "chat.txt").write_text("hello")
    said = made("friends", input="chat.txt\nAsia/Tokyo\nen\n\nli,wu\n")
    assert "[Europe/Berlin]" in said
    assert "[recommended]" in said
    params = params_of(here / "friends")
    assert (params["ingest"]["timezone"], params["prompt"]["language"]) == ("Asia/Tokyo", "en")
    assert (here / "friends" / "data" / "raw" / "chat.txt").is_file()
    assert (here / "friends" / "data" / "annotations" / "round_1" / "assignment.json").is_file()


def test_only_what_is_not_given_is_asked_and_mistakes_are_asked_again(here, monkeypatch):
    on_a_terminal(monkeypatch)
    said = made(
        "friends", "--language", "zh", "--ladder", "embedded", input="none.txt\n\nMars/Base\nUTC\nli,../wu\nli\n"
    )
    assert "a file or a folder, got nothing" in said
    assert "expected a time zone such as Asia/Shanghai, got 'Mars/Base'" in said
    assert "expected letters, digits, dots, dashes and underscores" in said
    assert "Language" not in said
    assert "Models" not in said


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--timezone", "Mars/Base", "expected a time zone"),
        ("--timezone", "../../etc/passwd", "expected a time zone"),
        ("--language", "fr", "is not one of"),
        ("--ladder", "llama", "expected recommended, embedded, qwen1_5, qwen2_5, "),
        ("--annotators", "li,li", "expected different names"),
    ],
)
def test_mistakes_on_the_command_line(here, option, value, message):
    assert message in refused("friends", "--yes", option, value, code=2)
    assert names_in(here) == []


def test_an_annotator_whose_name_leads_elsewhere_is_refused(here):
    assert "since it names a file" in refused("friends", "--yes", "--annotators", "li,../wu")
    assert names_in(here) == []


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("Asia/Tokyo", "Asia/Tokyo"), (":Asia/Tokyo", "Asia/Tokyo")],
)
def test_the_zone_of_the_machine(monkeypatch, zone, expected):
    monkeypatch.setenv("TZ", zone)
    assert init.local_zone() == expected


def test_a_zone_that_is_no_name_is_passed_over(monkeypatch):
    monkeypatch.setenv("TZ", "Nowhere/Land")
    monkeypatch.setattr(Path, "is_symlink", lambda self: False)
    assert init.local_zone() == "UTC"


@pytest.mark.parametrize(
    ("language", "machine", "rungs"),
    [
        ("zh", SMALL, ["qwen2_5_0_5b"]),
        ("en", SMALL, ["qwen2_5_0_5b"]),
        ("other", SMALL, ["qwen3_0_6b"]),
        ("zh", LARGE, ["qwen2_5_0_5b", "qwen2_5_1_5b", "qwen2_5_3b", "qwen2_5_7b", "qwen2_5_14b"]),
    ],
)
def test_models_suit_the_language_and_the_machine(here, monkeypatch, language, machine, rungs):
    monkeypatch.setattr(project, "this_machine", lambda: machine)
    said = made("friends", "--yes", "--language", language)
    params = params_of(here / "friends")
    assert [*params["ladder"]][: len(rungs)] == rungs
    assert {*params["review"]["rungs"]} <= {*rungs}
    assert params["prompt"]["language"] == ("zh" if language == "zh" else "en")
    assert not [rung for rung in params["ladder"].values() if rung["base"]["source"] == "embedded"]
    for key in rungs:
        assert re.search(rf"^  {key} .* (about [\d.]+|under 1) (min|h)", said, flags=re.M), said
    assert "600 questions (estimated)" in said
    other = " --language other" if language == "other" else ""
    assert f"Others: chatladder ladder{other} lists them, chatladder ladder NAME chooses one.\n" in said


def test_embedded_models_come_by_name_alone_and_are_said_to_be_the_demos(here):
    said = made("friends", "--yes", "--ladder", "embedded")
    assert [*params_of(here / "friends")["ladder"]] == [*read("embedded").rungs]
    assert "embedded is for the demo" in said
    assert "embedded is for the demo" not in made("others", "--yes")


@pytest.mark.parametrize(("name", "language"), [("embedded", "en"), ("embedded", "other"), ("smollm2", "zh")])
def test_models_that_do_not_know_the_language_are_refused(here, name, language):
    said = refused("friends", "--yes", "--ladder", name, "--language", language)
    assert f"--ladder {name}: expected models for a chat in" in said
    assert names_in(here) == []


def test_a_named_ladder_has_what_fits(monkeypatch):
    monkeypatch.setattr(project, "this_machine", lambda: LARGE)
    fit = rungs_here("qwen2_5")
    assert fit == fitting(read("qwen2_5"), LARGE)
    assert 3 <= len(fit) < len(read("qwen2_5").rungs)
    monkeypatch.setattr(project, "this_machine", lambda: SMALL)
    # Who asks for a ladder here all the same runs it elsewhere.
    assert rungs_here("qwen2_5") == [*read("qwen2_5").rungs]


@pytest.mark.parametrize("name", catalogues())
def test_every_ladder_goes_into_params(here, name):
    made("friends", "--yes", "--ladder", name, "--language", read(name).languages[0])
    params = params_of(here / "friends")
    assert [*params["ladder"]] == [*read(name).rungs]
    assert [*params["review"]["rungs"]] == (["embedded_331k"] if name == "embedded" else [])
    for rung in params["ladder"].values():
        assert rung["base"]["source"] != "hub" or len(rung["base"]["revision"]) == 40


@pytest.mark.slow
def test_a_new_project_reads_its_chat(here, warm, python, monkeypatch):
    monkeypatch.setattr("sys.executable", python)
    write_chat(200, 7, here / "demo.txt", here / "truth.jsonl")
    export = here / "friends.txt"
    # Another group than the demo's: it is read under the project's own key alone.
    export.write_text((here / "demo.txt").read_text(encoding="utf-8").replace("20231018001@", "7@"), encoding="utf-8")
    made("friends", "--yes", "--export", export)
    folder = here / "friends"
    environment = {**os.environ, **warm, "DVC_NO_ANALYTICS": "1"}

    def dvc(*arguments):
        done = subprocess.run(["dvc", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "ingest" in (staleness(folder).stale or ())
    assert "200 messages of" in dvc("repro", "ingest", "merge")
    assert (folder / "data" / "turns.parquet").is_file()
    assert dvc("repro", "ingest", "merge").count("didn't change, skipping") == 2
    assert not {"ingest", "merge"} & {*(staleness(folder).stale or ("ingest",))}
    assert "Data and pipelines are up to date" in dvc("status", "ingest", "merge")
    step = next_step(Standing(exports=1, private=1, has_secret=True, stale=staleness(folder).stale))
    assert step.command == "dvc repro pick_questions"


def test_a_copied_export_is_its_owners_alone(here):
    (here / "chat").mkdir(mode=0o755)
    (here / "chat" / "day.txt").write_text("hello")
    (here / "chat" / "day.txt").chmod(0o644)
    made("friends", "--export", here / "chat", "--yes")
    copied = here / "friends" / "data" / "raw" / "chat"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (copied, copied / "day.txt")] == [0o700, 0o600]


def test_a_project_may_ask_another_task(here):
    made("friends", "--yes", "--task", "bot_reply", "--language", "en")
    params = yaml.safe_load((here / "friends" / "params.yaml").read_text(encoding="utf-8"))
    assert (params["task"], params["prompt"]["wording"]) == ("bot_reply", "question")
    assert [*params["judges"]] == ["unaddressed"]
    assert params["questions"]["judge"] == ["unaddressed=5"]
    graph = yaml.safe_load((here / "friends" / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["label"]
    assert "tasks" in graph["deps"]
    assert "tasks" in json.loads((here / "friends" / "code.json").read_text(encoding="utf-8"))
