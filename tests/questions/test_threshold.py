"""A judge's threshold on the command line, as docs/how-to/judges.md has it."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from chatladder.questions.picking import Judge
from stages import pick_questions
from tests.conftest import ROOT

PIPELINE = """
stages:
  pick_questions:
    cmd: echo ${questions} > options.txt
    params: [questions]
    outs: [options.txt]
"""


def judges_of(words):
    """The judges that the stage's command takes from its options."""
    option = next(each for each in pick_questions.main.params if each.name == "judge")
    context = click.Context(pick_questions.main)
    given = [words[place + 1] for place, word in enumerate(words) if word == "--judge"]
    return [option.type.convert(each, option, context) for each in given]


@pytest.fixture
def project(tmp_path, monkeypatch, warm):
    """A DVC project with the params of the demo."""
    monkeypatch.setenv("PATH", warm["PATH"])
    questions = yaml.safe_load((ROOT / "params.yaml").read_text())["questions"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"questions": questions}))
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    run(tmp_path, "git init -q")
    run(tmp_path, "dvc init -q")
    (tmp_path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    run(tmp_path, "git add -A")
    run(tmp_path, "git -c user.name=a -c user.email=a@example.org commit -qm start")
    return tmp_path


def run(folder, command):
    words = shlex.split(command)
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_params_are_the_options_of_the_stage(project):
    run(project, "dvc repro")
    words = shlex.split((project / "options.txt").read_text())
    assert judges_of(words) == [Judge("rules", 5), Judge("punctuation", 5)]


def test_the_documented_command_changes_a_threshold(project):
    page = (ROOT / Path("docs/how-to/judges.md")).read_text(encoding="utf-8")
    (command,) = re.findall(r"^dvc exp run -S .*questions\.judge.*$", page, flags=re.M)
    run(project, command)
    words = shlex.split((project / "options.txt").read_text())
    assert judges_of(words) == [Judge("rules", 6), Judge("punctuation", 5)]
