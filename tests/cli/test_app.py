"""The command line: what it lists it has, and nothing happens when the code is merely imported."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from chatladder.cli.app import COMMANDS
from chatladder.cli.app import main as chatladder
from tests.conftest import ROOT

#: What an import may change, and what it may bring along.
STATE = """
import importlib, json, os, signal, sys
def state():
    handlers = [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())]
    return [repr(sys.excepthook), repr(sys.unraisablehook), dict(os.environ), handlers, sys.path[:], os.getcwd()]
before = state()
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([state() == before, sorted({"torch", "pandas", "click", "numpy", "pyarrow"} & set(sys.modules))]))
"""
#: Subpackages are for importing from; of these the folder alone brings nothing along.
BARE = ("chatladder", "stages", "chatladder.io", "chatladder.privacy", "chatladder.cli", "chatladder.cli.forget")


@pytest.mark.parametrize("name", BARE)
def test_an_import_changes_nothing_and_brings_no_library(name):
    done = subprocess.run(
        [sys.executable, "-c", STATE, name], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert json.loads(done.stdout) == [True, []]


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys; from chatladder.cli.app import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith('chatladder.') and 'io' not in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *lines, imported = done.stdout.splitlines()
    assert imported == "['chatladder.cli', 'chatladder.cli.app']"
    for name, (_, line) in COMMANDS.items():
        assert any(each.split() == [name, *line.split()] for each in lines), name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_listed_command_is_there_and_goes_by_its_name(name):
    result = CliRunner().invoke(chatladder, [name, "--help"], prog_name="chatladder")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: chatladder {name} ")


def test_a_command_that_is_not_listed_is_a_usage_error():
    result = CliRunner().invoke(chatladder, ["nothing"])
    assert result.exit_code == 2
    assert "No such command 'nothing'" in result.stderr


def test_a_command_that_is_stopped_while_it_is_imported_shows_no_traceback(tmp_path):
    (tmp_path / "slow.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(30)\n")
    code = "from chatladder.cli.app import COMMANDS, main; COMMANDS['slow'] = ('slow:command', ''); main(['slow'])"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "begun\n"
    time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert said == "Stopped. No file is left incomplete; the same command starts over.\n"
    assert child.returncode == 130
