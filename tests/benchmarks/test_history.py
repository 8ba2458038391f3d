"""Histories are exchanged as said, and what it costs is printed over all seeds of a rung."""

import json
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from benchmarks.history import main, turned, with_other_histories, with_partners_history
from chatladder.io.rows import LABELLED, write_rows
from tests.model_fixtures import write_questions


@pytest.fixture
def rows(tmp_path):
    """Twelve conversations of a contrast pair each, all of them test items."""
    rows = write_questions(tmp_path / "questions.parquet")
    for number, row in enumerate(rows):
        said = {"sender": "u1", "text": f"第{number}句", "timestamp": 1_700_000_000}
        row |= {"split": "test", "window": [said], "text": f"第{number // 2}版它好用吗？"}
    return rows


def test_nobody_keeps_a_history_of_the_own_conversation(rows):
    others = with_other_histories(rows, 0)
    owner = {row["window"][0]["text"]: row["conversation"] for row in rows}
    assert [row["text"] for row in others] == [row["text"] for row in rows]
    assert all(owner[row["window"][0]["text"]] != row["conversation"] for row in others)
    assert sorted(row["window"][0]["text"] for row in others) == sorted(owner)


def test_a_partner_asks_the_same_and_has_the_other_label(rows):
    rows[1]["text"] = "别的问题？"
    rows[2]["text"] = f"@u3 {rows[3]['text']}！"
    found = with_partners_history(rows)
    assert sorted(found) == list(range(2, 24))
    assert found[2]["window"] == rows[3]["window"]
    assert found[2]["item_id"] == rows[2]["item_id"]


def test_only_answers_that_were_right_before_can_turn():
    rows = [{"label": "needed"}] * 3 + [{"label": "not_needed"}]
    before, after = np.array([0, 0, 1, 1]), np.array([1, 0, 0, 0])
    assert turned(rows, [0, 1, 2, 3], before, after, "needed") == (2, 1)
    assert turned(rows, [0, 1, 2, 3], before, after, "not_needed") == (1, 1)


@pytest.fixture
def two_seeds(tiny_base, tiny_adapter, tmp_path):
    """A rung of two seeds, which are equal."""
    for source, folder in ((tiny_base, "bases"), (tiny_adapter, "adapters")):
        shutil.copytree(source, tmp_path / folder / "tiny")
        shutil.copytree(source, tmp_path / folder / "tiny" / "seed_1")
    for described in (tmp_path / "bases/tiny/seed_1/rung.json", tmp_path / "adapters/tiny/seed_1/training.json"):
        described.write_text(json.dumps({**json.loads(described.read_text()), "seed": 1}))
    return tmp_path


def test_all_seeds_answer_under_other_histories(two_seeds, rows):
    write_rows(two_seeds / "labelled.parquet", rows, LABELLED)
    content = {"prompt": {"language": "zh", "answer": "text", "seed": 0}, "max_length": 512, "predict": {"orders": 1}}
    (two_seeds / "params.yaml").write_text(yaml.safe_dump(content))
    places = {"labelled": "labelled.parquet", "params": "params.yaml", "bases": "bases", "adapters": "adapters"}
    given = [word for name, place in places.items() for word in (f"--{name}", str(two_seeds / place))]
    saved = two_seeds / "history.md"
    asked = ["--rung", "tiny", "--permutations", "1", "--draws", "100", "--save", str(saved)]
    done = CliRunner().invoke(main, [*given, *asked], catch_exceptions=False)
    assert "| tiny, tuned, 2 seed(s) | macro-F1, mean ± SD |" in done.output
    assert " ± 0.000 |" in done.output
    assert "24 test items, 12 needed; 24 have a contrast partner." in done.output
    assert "measured_on" not in saved.read_text()
