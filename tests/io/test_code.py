"""The hash of a part of the package: what counts in it, and what does not."""

import json
import os
import subprocess
import sys

import pytest

from chatladder.io import code
from chatladder.io.code import hashes, meaning, other_parts, part_hash
from tests.conftest import ROOT

SOURCE = '''"""Say it."""

class Thing:
    """A thing."""

def double(number):
    """Twice the number."""
    # Addition would do.
    if number:
        return number * 2
    return f"{number:>{4}}"
'''


def same(text):
    return meaning("m.py", text.encode()) == meaning("m.py", SOURCE.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Say it.", "Say it in other words."),
        ("Twice the number.", "Double."),
        ("    # Addition would do.\n", ""),
        ("number * 2", "(number  *  2)"),
        ('\n\nclass Thing:\n    """A thing."""\n', '\n\nclass Thing:\n    """Another."""\n'),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(old, new):
    assert old in SOURCE
    assert same(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("number * 2", "number * 3"),
        ("number * 2", "number + 2"),
        ("double", "twice"),
        ('    return f"', '        return f"'),
        (">{4}", "<{4}"),
        ("2\n", "2.0\n"),
    ],
)
def test_what_is_computed_counts(old, new):
    assert old in SOURCE
    assert not same(SOURCE.replace(old, new))


def test_a_comment_in_yaml_does_not_count():
    assert meaning("a.yaml", b"a: 1 # one\n") == meaning("a.yaml", b"a: 1\n") != meaning("a.yaml", b"a: 2\n")


def test_every_file_of_a_part_counts(tmp_path):
    (tmp_path / "part" / "deep").mkdir(parents=True)
    (tmp_path / "part" / "deep" / "a.py").write_text("a = 1\n")
    first = part_hash("part", tmp_path)
    (tmp_path / "part" / "deep" / "__pycache__").mkdir()
    (tmp_path / "part" / "deep" / "__pycache__" / "a.pyc").write_text("cached")
    assert part_hash("part", tmp_path) == first
    (tmp_path / "part" / "words.toml").write_text("a = 1\n")
    assert part_hash("part", tmp_path) != first


def test_the_parts_are_what_stages_depend_on():
    assert [*hashes()][:2] == ["exact", "stages"]
    assert {"chat", "privacy", "models", "vocabulary"} <= {*hashes()}
    assert not {"cli", "io", "distributed", "presets"} & {*hashes()}


def test_a_folder_without_hashes_is_of_any_code(tmp_path):
    assert other_parts(tmp_path) == []


def test_other_bytes_are_no_other_code_and_other_code_is_named(tmp_path):
    content = hashes()
    (tmp_path / "code.json").write_text(json.dumps({**content, "exact": "0"}))
    assert other_parts(tmp_path) == []
    (tmp_path / "code.json").write_text(json.dumps({**content, "exact": "0", "chat": "0", "gone": "0"}))
    assert other_parts(tmp_path) == ["chat", "gone"]
    (tmp_path / "code.json").write_text("<<<<<<< HEAD\n")
    assert other_parts(tmp_path) == ["code.json"]


def test_equal_bytes_are_not_parsed(tmp_path, monkeypatch):
    (tmp_path / "code.json").write_text(json.dumps(hashes()))
    monkeypatch.setattr(code, "hashes", lambda: pytest.fail("parsed"))
    assert other_parts(tmp_path) == []


def test_stages_refuse_other_code_in_one_line(tmp_path):
    (tmp_path / "stages").mkdir()
    for name in ("__init__.py", "merge.py"):
        (tmp_path / "stages" / name).write_bytes((ROOT / "stages" / name).read_bytes())

    def merge():
        command = [sys.executable, "-m", "stages.merge", "--help"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    (tmp_path / "code.json").write_text(json.dumps(hashes()))
    assert merge().stdout.startswith("Usage: ")
    (tmp_path / "code.json").write_text(json.dumps({**hashes(), "exact": "0", "privacy": "0"}))
    done = merge()
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: the installed chatladder has other code than this project (privacy). Run ")
    assert done.stderr.count("\n") == 1
