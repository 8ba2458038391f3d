"""What commands say of a stop, of the wrong folder and on a clean run: what to do, no traceback, no warning."""

import bz2
import gc
import gzip
import lzma
import warnings

import click
import pytest
from click.testing import CliRunner

import stages.merge
from chatladder.chat import turns
from chatladder.chat.source import Source
from chatladder.cli.app import Commands
from chatladder.cli.app import main as chatladder
from chatladder.io.console import DataError, stoppable


def stopped(*_given, **_options):
    raise KeyboardInterrupt


@click.command()
@click.option("--ask", is_flag=True)
@stoppable("Three rows are kept; the same command goes on.")
def command(ask):
    """Wait, or ask."""
    if ask:
        click.prompt("How many")
    stopped()


@pytest.mark.parametrize("arguments", [[], ["--ask"]], ids=["at work", "at a question"])
def test_a_command_that_is_stopped_says_what_is_kept_and_exits_with_130(arguments):
    result = CliRunner().invoke(command, arguments)  # a question gets the end of the input
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "Stopped. Three rows are kept; the same command goes on."
    assert "Abort" not in result.output


def test_what_is_said_of_a_stop_is_not_said_of_an_error():
    with pytest.raises(DataError, match=r"^bad$"), stoppable("kept"):
        raise DataError("bad")


def test_a_command_by_hand_that_says_nothing_of_a_stop_exits_with_130_too():
    group = Commands(commands=[click.Command("wait", callback=stopped), command])
    result = CliRunner().invoke(group, ["wait"])
    assert result.exit_code == 130
    assert result.stderr == "Stopped. No file is left incomplete; the same command starts over.\n"
    result = CliRunner().invoke(group, ["command"])
    assert (result.exit_code, result.stderr) == (130, "Stopped. Three rows are kept; the same command goes on.\n")


def test_a_stage_that_is_stopped_leaves_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "turns.parquet"
    out.write_bytes(b"old")
    (tmp_path / "messages.parquet").touch()
    monkeypatch.setattr(turns, "Rows", stopped)
    options = ["--messages", tmp_path / "messages.parquet", "--gap-seconds", "1"]
    options += ["--out", out, "--counts", tmp_path / "counts.json"]
    result = CliRunner().invoke(stages.merge.main, [str(option) for option in options])
    assert (result.exit_code, result.stderr) == (130, "Stopped. Nothing was written; the same command starts over.\n")
    assert out.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"turns.parquet", "messages.parquet"}


@pytest.mark.parametrize(
    ("arguments", "missing", "option"),
    [
        (["annotate", "--annotator", "li"], "data/questions.parquet", "--questions"),
        (["audit"], "data/raw", "--raw"),
    ],
    ids=["annotate", "audit"],
)
def test_a_command_in_the_wrong_folder_says_where_to_run_it(tmp_path, monkeypatch, arguments, missing, option):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(chatladder, arguments)
    assert result.exit_code == 1
    assert result.stderr == (
        f'Error: {missing}: expected here, got nothing. Run in the project\'s folder; "chatladder status" says there '
        f"what is to be run first. Or name another with {option}.\n"
    )
    given = CliRunner().invoke(chatladder, [*arguments, option, "elsewhere"])
    assert given.exit_code == 2
    assert f"Invalid value for '{option}'" in given.stderr


@pytest.mark.parametrize("command", ["doctor", "ladder"])
def test_a_command_that_needs_params_says_where_to_run_it(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(chatladder, [command, *(["embedded"] if command == "ladder" else [])])
    assert result.exit_code == 1
    assert "params.yaml: expected here, got nothing. Run in the project's folder" in result.stderr


@pytest.mark.parametrize("packed", [bz2.compress, gzip.compress, lzma.compress], ids=["bz2", "gz", "xz"])
def test_a_packed_export_is_read_without_a_warning(tmp_path, packed):
    path = tmp_path / "chat.jsonl.packed"
    path.write_bytes(packed(b"one\ntwo\n"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        source = Source(path)
        assert source.head() == b"one\ntwo\n"
        assert len(list(source.lines())) == 2
        gc.collect()
    assert [str(each.message) for each in warned] == []
