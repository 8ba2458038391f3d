"""The benchmark of names finds what it planted, in people never seen before, and writes its table into a page."""

import json
from collections import Counter

import pytest
from click.testing import CliRunner

from benchmarks import names
from benchmarks.names import FORMATS, THREE


@pytest.mark.parametrize("name", [*FORMATS, THREE])
def test_whole_names_of_people_never_seen_are_gone_and_words_are_left(name):
    misses = []
    counts = names.measure(name, 90_210, misses)
    assert counts["whole"] > 300
    assert counts["harmless"] > 150
    assert counts["whole right"] / counts["whole"] > 0.97, misses
    assert counts["part right"] >= 0.95 * counts["part"], misses
    assert counts["harmless right"] / counts["harmless"] > 0.97, misses


def test_a_name_that_stays_is_counted(monkeypatch):
    monkeypatch.setattr(names, "texts_after", lambda files: [[each.text for each in said]])
    said = names.conversation(names.people(1), 1)
    counts = names.measure("table", 1, [])
    assert counts["whole right"] == counts["part right"] == 0
    assert counts["harmless right"] == counts["harmless"] > 0


def test_the_table_goes_between_the_marks_of_a_page(tmp_path, monkeypatch):
    counts = Counter({"whole": 4, "whole right": 3, "part": 1, "harmless": 2, "harmless right": 2})
    monkeypatch.setattr(names, "measure", lambda *_: counts)
    page, out = tmp_path / "page.md", tmp_path / "out.json"
    page.write_text("above\n<!-- names: start -->\nold\n<!-- names: end -->\nbelow\n")
    before = {"formats": {"IRC": {"whole": 4, "whole right": 1}}, "shares": {}}
    (tmp_path / "before.json").write_text(json.dumps(before))
    options = ["--seed", 3, "--out", out, "--write", page, "--before", tmp_path / "before.json"]
    result = CliRunner().invoke(names.main, [str(option) for option in options])
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("<!-- names: end -->\nbelow\n")
    assert "old" not in text
    assert "| IRC | 25.0 → 75.0 " in text
    assert set(json.loads(out.read_text())["formats"]) == {*FORMATS, THREE}
    page.write_text("no marks")
    assert CliRunner().invoke(names.main, [str(option) for option in options]).exit_code == 1
