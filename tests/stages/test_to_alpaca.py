import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_fixtures import run, write_questions

from chatladder.io.rows import LABELLED, write_rows
from stages.to_alpaca import main


@pytest.mark.parametrize(("answer", "output"), [("text", "需要"), ("lettered", ": 需要")])
def test_each_split_is_an_alpaca_file(labelled, tmp_path, answer, output):
    result = run(
        main, "--labelled", labelled, "--language", "zh", "--answer", answer, "--seed", 0, "--out", tmp_path / "out"
    )
    assert result.output == f"{tmp_path / 'out'}: 12 train, 6 validation, 6 test\n"
    rows = json.loads((tmp_path / "out" / "test.json").read_text(encoding="utf-8"))
    assert [row["item_id"] for row in rows] == ["q6", "q7", "q14", "q15", "q22", "q23"]
    assert rows[1]["output"].endswith(output)
    assert rows[1]["output"] == rows[1]["options"]["needed"]
    assert rows[1]["input"] == ""
    assert "它的第7版好用吗？" in rows[1]["instruction"]
    assert all(row["options"][name] in row["instruction"] for row in rows for name in row["options"])


def test_a_row_does_not_depend_on_the_rows_around_it(tmp_path):
    rows = write_questions(tmp_path / "all.parquet")
    write_rows(tmp_path / "some.parquet", list(reversed(rows))[:8], LABELLED)
    found = {}
    for name in ("all", "some"):
        source = tmp_path / f"{name}.parquet"
        run(main, "--labelled", source, "--language", "en", "--answer", "text", "--seed", 3, "--out", tmp_path / name)
        parts = [json.loads((tmp_path / name / f"{split}.json").read_text()) for split in ("train", "test")]
        found[name] = {row["item_id"]: row for part in parts for row in part}
    assert len(found["some"]) > 2
    assert all(found["all"][item_id] == row for item_id, row in found["some"].items())


def test_questions_without_labels_are_refused(tmp_path):
    pq.write_table(pa.table({"item_id": ["q1"]}), tmp_path / "questions.parquet")
    result = run(
        main,
        *("--labelled", tmp_path / "questions.parquet", "--language", "zh"),
        *("--answer", "text", "--seed", 0, "--out", tmp_path / "out"),
    )
    assert result.exit_code == 1
    assert "questions.parquet: expected columns" in result.output
    assert not (tmp_path / "out").exists()


def test_a_mistyped_out_erases_nothing(labelled, tmp_path, monkeypatch):
    log = tmp_path / "project" / "data" / "annotations" / "round_1" / "li.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("an answer")
    monkeypatch.chdir(tmp_path / "project")
    for out in (".", "..", "data", "data/annotations", "data/annotations/round_1"):
        result = run(main, "--labelled", labelled, "--language", "zh", "--answer", "text", "--seed", 0, "--out", out)
        assert result.exit_code == 1
        assert f"{out}: expected " in result.output
    assert log.read_text() == "an answer"


def test_questions_of_other_chats_are_learned_whatever_their_split(labelled, tmp_path):
    rows = [
        {**row, "item_id": f"other {row['item_id']}", "timestamp": row["timestamp"] + 1}
        for row in write_questions(tmp_path / "theirs.parquet")
    ]
    others = tmp_path / "others"
    others.mkdir()
    write_rows(others / "b.parquet", rows[:4], LABELLED)
    write_rows(others / "a.parquet", rows[4:], LABELLED)
    (others / "README.md").write_text("not a chat")
    given = ("--labelled", labelled, "--language", "zh", "--answer", "text", "--seed", 0)
    assert run(main, *given, "--out", tmp_path / "own").exit_code == 0
    result = run(main, *given, "--others", others, "--out", tmp_path / "out")
    assert "36 train, 6 validation, 6 test" in result.output
    assert "24 of train are from other chats" in result.output
    own, out = (
        {
            split: json.loads((tmp_path / name / f"{split}.json").read_text())
            for split in ("train", "validation", "test")
        }
        for name in ("own", "out")
    )
    assert out["train"][:12] == own["train"]
    assert [row["item_id"] for row in out["train"][12:]] == [row["item_id"] for row in rows[4:] + rows[:4]]
    assert (out["validation"], out["test"]) == (own["validation"], own["test"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "got 24 of this one"),
        ({"item_id": "of another key"}, "got 24 of this one"),
        ({"item_id": "x", "timestamp": None, "label": "reply"}, "among needed, not_needed, got reply"),
    ],
)
def test_own_questions_and_other_labels_are_not_learned_as_another_chats(labelled, tmp_path, change, message):
    rows = [{**row, **change} for row in write_questions(tmp_path / "theirs.parquet")]
    (tmp_path / "others").mkdir()
    write_rows(tmp_path / "others" / "a.parquet", rows, LABELLED)
    given = ("--labelled", labelled, "--language", "zh", "--answer", "text", "--seed", 0)
    result = run(main, *given, "--others", tmp_path / "others", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "a.parquet: expected" in result.output
    assert message in result.output
    assert not (tmp_path / "out").exists()
