"""What other systems lack, taken away here: modules, locks and moves of open files, limits, UTF-8, line feeds."""

import ast
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chatladder.io import console, files
from chatladder.io.console import DataError
from chatladder.io.files import create_json, read_json, whole_file, whole_folder, write_json
from chatladder.labels import log
from chatladder.labels.answer import Answer
from chatladder.labels.log import HeldError, LogWriter, held, replay
from chatladder.models import confined
from chatladder.models.confined import write_chats
from tests.conftest import ROOT
from tests.imports import modules


def test_every_module_is_imported_where_modules_of_posix_are_not(python):
    subprocess.run([python, "-m", "tests.without_posix", *modules()], check=True, cwd=ROOT)


@pytest.fixture
def windows(monkeypatch):
    """A system on which nothing that is open can be moved or removed, and no folder opened."""
    monkeypatch.setattr(files, "OPEN_FILES_MOVE", False)
    monkeypatch.setattr(log, "OPEN_FILES_MOVE", False)
    monkeypatch.setattr(files, "fcntl", None)
    if os.name == "nt":
        return
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not say what is open")
    opens = os.open

    def is_open(path):
        place = os.path.realpath(path)
        handles = [os.path.realpath(handle) for handle in Path("/proc/self/fd").iterdir()]
        return any(handle == place or handle.startswith(f"{place}{os.sep}") for handle in handles)

    def closed_only(name):
        plain = getattr(os, name)

        def checked(*paths, **options):
            if "dir_fd" not in options and any(map(is_open, paths)):
                raise PermissionError(13, "The process cannot access the file because it is being used", str(paths[0]))
            if name == "rename" and os.path.lexists(paths[1]):
                raise FileExistsError(17, "Cannot create a file when that file already exists", str(paths[1]))
            return plain(*paths, **options)

        monkeypatch.setattr(os, name, checked)

    def no_folder(path, flags, *rest, **options):
        if Path(path).is_dir() and sys._getframe(1).f_globals["__name__"].startswith("chatladder"):
            raise PermissionError(13, "Permission denied", str(path))
        return opens(path, flags, *rest, **options)

    for name in ("rename", "replace", "unlink", "rmdir"):
        closed_only(name)
    monkeypatch.setattr(os, "open", no_folder)


class TestWindows:
    def test_a_file_is_written_whole_or_not_at_all(self, windows, tmp_path):
        path = tmp_path / "a.json"
        for value in (1, 2):
            write_json(path, value)
        with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
            temporary.write_text(str(1 / 0))
        assert read_json(path) == 2
        assert [*tmp_path.iterdir()] == [path]

    def test_a_library_may_put_another_file_in_the_place_of_the_temporary_one(self, windows, tmp_path):
        with whole_file(tmp_path / "weights") as temporary:
            (tmp_path / "other").write_text("weights")
            (tmp_path / "other").replace(temporary)
        assert (tmp_path / "weights").read_text() == "weights"

    def test_a_folder_takes_the_place_of_another(self, windows, tmp_path):
        for value in ("1", "2"):
            with whole_folder(tmp_path / "out", "a.json") as folder:
                (folder / "a.json").write_text(value)
        assert (tmp_path / "out" / "a.json").read_text() == "2"
        assert [*tmp_path.iterdir()] == [tmp_path / "out"]

    def test_of_two_who_create_a_file_the_first_wins(self, windows, tmp_path):
        assert create_json(tmp_path / "round_1" / "a.json", 1)
        assert not create_json(tmp_path / "round_1" / "a.json", 2)
        assert read_json(tmp_path / "round_1" / "a.json") == 1

    def test_answers_go_into_a_log_that_one_process_holds(self, windows, tmp_path):
        path = tmp_path / "round_1" / "li.jsonl"
        answers = [Answer(item_id, "li", 1, "needed", f"2024-01-01T00:00:0{item_id}Z") for item_id in "123"]
        with LogWriter(path):
            assert (path.parent / ".li.begun").exists()
        assert not (path.parent / ".li.begun").exists()
        with LogWriter(path) as writer:
            with pytest.raises(HeldError, match="another process is writing this log"):
                LogWriter(path)
            writer.append(answers[0])
            writer.append(answers[1])
        with LogWriter(path) as writer:
            writer.append(answers[2])
        assert list(replay(path).answers.values()) == answers
        assert b"\r" not in path.read_bytes()

    def test_a_log_is_replaced_while_nobody_may_write_it(self, windows, tmp_path):
        path = tmp_path / "round_1" / "li.jsonl"
        with LogWriter(path) as writer:
            writer.append(Answer("1", "li", 1, "needed", "2024-01-01T00:00:00Z"))
            with pytest.raises(HeldError), held(path):
                pass
        with held(path):
            with pytest.raises(HeldError):
                LogWriter(path)
            with whole_file(path, answers=True) as temporary:
                temporary.write_bytes(path.read_bytes().replace(b'"1"', b'"2"'))
        assert [*replay(path).answers] == ["2"]

    def test_an_error_is_told_though_what_failed_is_open_still(self, windows, tmp_path):
        left = []

        def write():
            with whole_file(tmp_path / "a") as temporary:
                left.append(temporary.open("wb"))
                raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(DataError, match="the disk is full"):
            write()
        left[0].close()

    def test_a_line_that_was_cut_short_is_set_aside(self, windows, tmp_path):
        path = tmp_path / "round_1" / "li.jsonl"
        path.parent.mkdir()
        path.write_text('{"item_id": "1", "annot')
        with LogWriter(path) as writer:
            assert writer.set_aside == 23
            writer.append(Answer("1", "li", 1, "needed", "2024-01-01T00:00:00Z"))
        assert [*replay(path).answers] == ["1"]


@pytest.mark.parametrize(
    "template",
    ["{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{{ 'a' * 3 * 10**9 }}"],
)
def test_a_template_is_held_to_its_limits_where_the_system_does_not(monkeypatch, template):
    monkeypatch.setattr(confined, "SYSTEM_LIMITS", False)
    monkeypatch.setattr(confined, "LIMITS", {"write": (1, 2**28)})
    (written,) = write_chats(template, {}, [[{"role": "user", "content": "a"}]])
    assert written == ("", "it takes more than 1 processor seconds or 256 MiB")


def test_one_that_keeps_to_them_is_written(monkeypatch):
    monkeypatch.setattr(confined, "SYSTEM_LIMITS", False)
    (written,) = write_chats("{{ messages[0].content }}, watched", {}, [[{"role": "user", "content": "它"}]])
    assert written == ("它, watched", "")


def test_windows_writes_utf_8_into_files_and_other_programs(monkeypatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="cp1252")
    with monkeypatch.context() as windows:
        windows.setattr("sys.stdout", stream)
        windows.setattr("sys.platform", "win32")
        console.write_utf8()
    stream.write("它")
    stream.flush()
    assert written.getvalue() == "它".encode()


@pytest.mark.parametrize("path", modules().values(), ids=modules())
def test_text_is_written_with_the_same_line_feeds_everywhere(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            modes = {argument.value for argument in node.args if isinstance(argument, ast.Constant)} & {"w", "a", "x"}
            if called == "write_text" or (called in ("open", "fdopen") and modes):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert "newline" in {given.arg for given in node.keywords}, f'{place}: expected newline="\\n"'


def test_ci_runs_the_test_command_on_all_systems():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]["tests"]
    assert job["strategy"]["matrix"]["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert job["strategy"]["matrix"]["python"][0] == "3.11"
    install, test = (step["run"] for step in job["steps"] if "run" in step)
    assert f"{install} && {test}" in (ROOT / "README.md").read_text(encoding="utf-8")
