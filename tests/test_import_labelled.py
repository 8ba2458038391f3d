import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from stages.annotation.log import Label, replay
from stages.import_labelled import conversation_of, import_command
from stages.label import main as label_main

LABELLED = Path(__file__).parents[2] / "shared" / "data" / "labelled"


def row(**changes):
    history = [{"sender": "anna", "text": "bo: which card do you have?", "timestamp": 1_367_893_320}]
    question = {
        "id": "x:1_1",
        "history": history,
        "sender": "bo",
        "text": "does it matter?",
        "needs_context": True,
    }
    return {**question, **changes}


def run(tmp_path, rows, *options):
    source = tmp_path / "labelled.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")
    return CliRunner().invoke(import_command, [str(source), "--out", str(tmp_path / "out"), *options])


@pytest.mark.parametrize(
    ("item_id", "conversation"),
    [
        ("camrest:354_1", "camrest:354"),
        ("irc:2013-05-07.train-a:1065", "irc:2013-05-07.train-a"),
        ("cast2022:140_2-3", "cast2022:140"),
        ("17", "17"),
        ("_1", "_1"),
    ],
)
def test_the_conversation_is_the_id_up_to_its_last_part(item_id, conversation):
    assert conversation_of(item_id) == conversation


def test_import_writes_questions_and_a_log_without_names(tmp_path):
    rows = [row(), row(id="x:1_0", history=[], needs_context=False), row(id="y", conversation="z")]
    result = run(tmp_path, rows)
    assert result.exit_code == 0, result.output
    assert "out: 3 questions (2 needed) of 2 conversations" in result.output
    questions = pq.read_table(tmp_path / "out" / "questions.parquet").to_pylist()
    assert [question["item_id"] for question in questions] == ["x:1_1", "x:1_0", "y"]
    assert [question["conversation"] for question in questions] == ["x:1", "x:1", "z"]
    bo = questions[0]["sender"]
    assert questions[0]["window"][0]["text"] == f"@{bo} which card do you have?"
    assert "anna" not in json.dumps(questions)
    assert '"bo' not in json.dumps(questions)
    answers = replay(tmp_path / "out" / "annotations" / "round_1" / "imported.jsonl").answers
    assert [answer.label for answer in answers.values()] == [Label.NEEDED, Label.NOT_NEEDED, Label.NEEDED]


def test_questions_without_history_can_be_left_out_and_are_counted(tmp_path):
    result = run(tmp_path, [row(), row(id="x:1_0", history=[])], "--only-with-history")
    assert "1 questions (1 needed) of 1 conversations, 1 without history left out" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"needs_context": "yes"}, "expected \"needs_context\" to be true or false, got 'yes'"),
        ({"id": "x:1_1"}, 'expected an "id" not used before, got the one of line 1'),
        ({"id": None}, 'expected "id" to be text, got NoneType'),
        ({"text": ""}, 'expected "text" to be text'),
        ({"history": "none"}, 'expected "history" to be a list of objects, got str'),
        (
            {"timestamp": 1_367_893_320_000},
            'expected "timestamp" in seconds, got 1367893320000: milliseconds?',
        ),
        ({"timestamp": "noon"}, "expected \"timestamp\" in UTC seconds or null, got 'noon'"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(tmp_path, change, message):
    result = run(tmp_path, [row(), row(**{"id": "x:1_2", **change})])
    assert result.exit_code == 1
    assert f"labelled.jsonl:2: {message}" in result.output
    assert not (tmp_path / "out").exists()


def test_annotations_are_never_overwritten(tmp_path):
    run(tmp_path, [row()])
    log = tmp_path / "out" / "annotations" / "round_1" / "imported.jsonl"
    before = log.read_bytes()
    result = run(tmp_path, [row(needs_context=False)])
    assert result.exit_code == 1
    assert "expected a new or empty folder" in result.output
    assert log.read_bytes() == before


def test_an_empty_file_is_an_error(tmp_path):
    assert "the file is empty" in run(tmp_path, []).output


@pytest.mark.skipif(not LABELLED.is_dir(), reason="real labelled data is not on this machine")
@pytest.mark.parametrize("name", ["irc-replylink-weak", "gecor-camrest", "trec-cast"])
def test_public_sets_become_labelled_questions(tmp_path, name):
    rows = [json.loads(line) for line in (LABELLED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    needed = [row["needs_context"] for row in rows if row["history"]]
    out = tmp_path / "out"
    source = str(LABELLED / f"{name}.jsonl")
    assert CliRunner().invoke(import_command, [source, "--out", str(out), "--only-with-history"]).exit_code == 0
    arguments = [
        "--questions", out / "questions.parquet", "--annotations", out / "annotations", "--round", 1,
        "--validation", 0.05, "--test", 0.25, "--orphans", "refuse",
        "--out", out / "labelled.parquet", "--metrics", out / "annotation.json",
    ]  # fmt: skip
    result = CliRunner().invoke(label_main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "annotation.json").read_text())
    assert (metrics["items"], metrics["needed"]) == (len(needed), sum(needed))
    assert metrics["test"] / len(needed) == pytest.approx(0.25, abs=0.06)
