"""The --help of every command ends with an example, and its options are the command's own."""

import importlib
import shlex

import click
import pytest
from click.testing import CliRunner

from chatladder.cli.app import main as chatladder
from tests.conftest import ROOT

MODULES = sorted(
    path.stem
    for path in (ROOT / "stages").glob("*.py")
    if "def main(" in path.read_text("utf-8") and path.stem != "app"
)


def examples(command):
    """The argument lists in a command's example, by program: "stages.merge", or "chatladder import"."""
    help_text = CliRunner().invoke(command, ["--help"]).output
    lines = help_text.partition("Example:\n")[2].replace("\\\n", " ").splitlines()
    for words in (shlex.split(line) for line in lines if line.strip()):
        program = words[2] if words[0] == "python" else " ".join(words[:2])
        yield program, words[3 if words[0] == "python" else 2 :]


def unknown_options(command, arguments):
    if isinstance(command, click.Group):
        return unknown_options(command.commands[arguments[0]], arguments[1:])
    known = {name for option in command.params for name in option.opts}
    return [word for word in arguments if word.startswith("--") and word not in known]


def missing_options(command, arguments):
    return [option.opts[0] for option in command.params if option.required and option.opts[0] not in arguments]


@pytest.mark.parametrize("module", MODULES)
def test_the_help_of_a_stage_ends_with_an_example_that_is_complete(module):
    command = importlib.import_module(f"stages.{module}").main
    own = [arguments for program, arguments in examples(command) if program == f"stages.{module}"]
    assert own, f"{module} --help shows no example of its own"
    for arguments in own:
        assert unknown_options(command, arguments) == []
        assert missing_options(command, arguments) == []


@pytest.mark.parametrize("name", sorted(chatladder.commands))
def test_the_help_of_a_command_by_hand_ends_with_an_example(name):
    command = chatladder.commands[name]
    own = [arguments for program, arguments in examples(command) if program == f"chatladder {name}"]
    assert own, f"chatladder {name} --help shows no example of its own"
    for arguments in own:
        assert unknown_options(command, arguments) == []


def test_no_formatting_mark_shows_in_any_help():
    for command in chatladder.commands.values():
        assert "\\b" not in CliRunner().invoke(command, ["--help"]).output
