"""Upgrades: what a project gets anew, which stages run again, and that nothing is lost which is not in git."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from dvc.repo import Repo

from chatladder.cli.doctor.setup import code
from chatladder.cli.init.project import ProjectPlan, make
from chatladder.cli.status import gather, next_step, other_code
from chatladder.cli.upgrade import upgrade_command
from chatladder.io.code import hashes, part_of, project_files
from tests.conftest import ROOT

GIT = ["git", "-c", "user.name=Li", "-c", "user.email=li@example.org"]
PLAN = ProjectPlan(None, "UTC", "zh", "embedded", ())


@pytest.fixture(autouse=True)
def start_warm(monkeypatch, python):
    """Have processes started that need not load the large libraries; those of chatladder, too."""
    monkeypatch.setattr(sys, "executable", python)


def commit(folder):
    subprocess.run([*GIT, "add", "-A"], cwd=folder, check=True)
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "All"], cwd=folder, check=True)


def pretend_to_run(folder):
    """Have DVC take every stage for one that has run: its outs are there, and dvc.lock says so."""
    (folder / "data" / "raw" / "chat.txt").write_text("hello")
    with Repo(str(folder)) as repo:
        for out in (Path(out.fs_path) for stage in repo.index.stages for out in stage.outs):
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.suffix:
                out.write_text(out.name)
            else:
                out.mkdir(exist_ok=True)
                (out / "part").write_text(out.name)
        (folder / "data" / "predictions" / "out_of_fold").mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "dvc", "commit", "--force", "--quiet"], cwd=folder, check=True)
    assert stale(folder) == set()


def stale(folder, **environment):
    """The stages, without their instances, that DVC would run."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, env={**os.environ, **environment})
    return {name.partition("@")[0] for name in json.loads(done.stdout)}


def that_depend_on(*parts):
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = {name: {part_of(dep) for dep in stage.get("do", stage)["deps"]} for name, stage in graph.items()}
    return {name for name, all_parts in deps.items() if all_parts & {*parts}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A new project, in its folder."""
    monkeypatch.delenv("CHATLADDER_PRIVACY_KEY", raising=False)
    make(tmp_path / "project", PLAN)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def upgraded(code=0):
    result = CliRunner().invoke(upgrade_command, [])
    assert result.exit_code == code, result.output
    return result.output


def edit_code(folder, **parts):
    content = json.loads((folder / "code.json").read_text())
    (folder / "code.json").write_text(json.dumps({**content, "exact": "0", **parts}))
    commit(folder)


def test_a_project_of_the_installed_code_has_nothing_to_do(project):
    assert upgraded() == "Nothing to do: the project is that of the installed chatladder.\n"
    assert other_code(project) == ""
    assert list(code(project)) == []


def test_a_project_of_other_code_is_warned_of_and_renewed(project):
    edit_code(project, chat="0")
    assert next_step(gather(project)).command == "chatladder upgrade"
    assert next_step(gather(project)).why == "the installed chatladder differs from the project's: chat"
    assert list(code(project)) == ["the installed chatladder differs from the project's: chat. Run chatladder upgrade."]
    said = upgraded()
    assert said.startswith("Renewed: code.json; git diff shows how.\nRuns again: ingest, merge, ")
    assert json.loads((project / "code.json").read_text()) == hashes()


def test_only_stages_of_which_the_code_changed_run_again(project):
    pretend_to_run(project)
    edit_code(project, judges="0")
    # The old hash is what the lock has: as if it had run under that code.
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text().replace(hashes()["judges"], "'0'"))
    commit(project)
    assert stale(project) == set()
    assert "Runs again: score (2), pick_questions\n" in upgraded()
    assert stale(project) == that_depend_on("judges") == {"score", "pick_questions"}


def test_a_stage_whose_comments_changed_stays_to_the_byte_and_one_whose_code_changed_does_not(project):
    stages = {name: project / "stages" / f"{name}.py" for name in ("merge", "score")}
    stages["merge"].write_text(stages["merge"].read_text() + "# A comment.\n")
    stages["score"].write_text(stages["score"].read_text() + "print('mine')\n")
    before = stages["merge"].read_bytes()
    edit_code(project)
    upgraded()
    assert stages["merge"].read_bytes() == before
    assert stages["score"].read_bytes() == (ROOT / "stages" / "score.py").read_bytes()


def test_what_is_not_in_git_is_not_replaced(project):
    (project / "dvc.yaml").write_text((project / "dvc.yaml").read_text() + "# Mine.\n")
    before = (project / "dvc.yaml").read_bytes()
    assert "expected these in git as they are, for they are replaced. Commit first." in upgraded(code=1)
    assert (project / "dvc.yaml").read_bytes() == before


def test_a_clone_is_left_as_it_is(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "got a clone of chatladder" in upgraded(code=1)
    assert other_code(ROOT) == ""


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A project as earlier releases made them: with a copy of the code, which has been run."""
    folder = tmp_path / "copied"
    for name in project_files(ROOT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for name in (".dvc/config", "pyproject.toml", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "chatladder", folder / "chatladder", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("raw", "annotations/round_1"):
        (folder / "data" / name).mkdir(parents=True)
    (folder / "data" / "annotations" / "round_1" / "li.jsonl").write_text('{"theirs": 1}\n')
    with (folder / "chatladder" / "chat" / "turns.py").open("a") as module:
        module.write("# A comment, of an earlier release.\n")
    with (folder / "chatladder" / "judges" / "rules.py").open("a") as module:
        module.write("EARLIER = True\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    pretend_to_run(folder)
    commit(folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_a_project_with_a_copy_of_the_code_is_taken_over(copied):
    kept = [path for name in ("data", "metrics") for path in (copied / name).rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in [*kept, copied / "params.yaml"]}
    assert "has a copy of chatladder's code" in other_code(copied)
    said = upgraded()
    assert "Runs again: score (2), pick_questions\n" in said
    assert stale(copied) == that_depend_on("judges")
    assert {path: path.read_bytes() for path in before} == before
    names = {path.name for path in copied.iterdir()}
    assert not names & {"chatladder", "pyproject.toml", "LICENSE"}
    assert "code.json" in names
    assert other_code(copied) == ""


@pytest.mark.slow
def test_an_upgrade_of_the_wheel_runs_again_what_its_code_changed_and_nothing_else(tmp_path):
    """Two wheels, and no clone at hand: the second has another judge, and other comments everywhere."""
    clone = tmp_path / "clone"
    for name in ("chatladder", "stages"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*project_files(ROOT), "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clone / name)
    first = install(clone, tmp_path / "first")
    for path in clone.rglob("*.py"):
        if path.name != "setup.py":
            path.write_text(path.read_text(encoding="utf-8") + "# Another comment.\n", encoding="utf-8")
    with (clone / "chatladder" / "judges" / "rules.py").open("a") as module:
        module.write("LATER = True\n")
    second = install(clone, tmp_path / "second")
    shutil.rmtree(clone)

    project = tmp_path / "project"
    chatladder(first, tmp_path, "init", "project", "--yes", "--ladder", "embedded", "--language", "zh")
    assert "Next:      chatladder upgrade " in chatladder(second, project, "status")
    pretend_to_run(project)
    commit(project)
    assert chatladder(first, project, "upgrade").startswith("Nothing to do")
    merge = [sys.executable, "-m", "stages.merge", "--help"]
    assert run(first, project, *merge).returncode == 0
    assert "other code than this project (judges)" in run(second, project, *merge).stderr
    assert "Runs again: score (2), pick_questions\n" in chatladder(second, project, "upgrade")
    assert stale(project) == that_depend_on("judges")
    assert run(second, project, *merge).returncode == 0
    changed = subprocess.run(["git", "diff", "--name-only"], cwd=project, capture_output=True, text=True, check=True)
    assert changed.stdout.split() == ["code.json"]


def install(clone, folder):
    """Build a wheel of a clone, and install it alone into a folder."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    build = [
        *pip,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        f"{folder}_wheel",
        str(clone),
    ]
    subprocess.run(build, check=True)
    (wheel,) = Path(f"{folder}_wheel").glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(folder), str(wheel)], check=True
    )
    return folder


def run(installed, folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def chatladder(installed, folder, *arguments):
    done = run(installed, folder, sys.executable, installed / "bin" / "chatladder", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
