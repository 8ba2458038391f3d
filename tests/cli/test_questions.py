"""chatladder questions: what the filter left out, with its scores, and marks with the weights of their sample."""

import json

import pytest
from click.testing import CliRunner

from chatladder.cli.questions import questions_command, sample, scores_of
from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, SCORES, TURNS, Rows, write_rows
from chatladder.questions.marks import read_marks
from tests.turn_rows import turn


def said(number, text, kind="text"):
    return turn(number, text, kind, turn_id=f"t{number:02}", sender=f"u{number % 3}")


@pytest.fixture
def folder(tmp_path):
    rows = [said(number, f"is it {number}?" if number % 4 == 0 else f"no, {number}") for number in range(20)]
    rows[7] = said(7, "", "image")
    rows[9] = said(9, "red \x1b[31m and \u202egnorw\nsecond line")
    write_rows(tmp_path / "turns.parquet", rows, TURNS)
    picked = [
        {
            "item_id": row["turn_id"],
            "conversation": "c",
            "window": [],
            **{name: row[name] for name in QUESTIONS.names if name in row},
        }
        for row in rows[::4]
    ]
    write_rows(tmp_path / "questions.parquet", picked, QUESTIONS)
    scores = [{"turn_id": row["turn_id"], "score": 9.5 if row in rows[::4] else 1.25} for row in rows if row["text"]]
    write_rows(tmp_path / "scores" / "rules" / "scores.parquet", scores, SCORES)
    return tmp_path


def run(folder, *options, **more):
    files = ["--turns", folder / "turns.parquet", "--questions", folder / "questions.parquet"]
    arguments = [*files, "--scores", folder / "scores", *options]
    return CliRunner().invoke(questions_command, [str(each) for each in arguments], **more)


def test_rejected_turns_are_shown_with_their_scores_and_what_was_said_before(folder):
    result = run(folder, "--rejected", "--sample", 14)
    assert result.exit_code == 0, result.output
    assert result.output.count("left out: rules 1.2") == 14
    assert "picked:" not in result.output
    assert "  u0        no, 6\n" in result.output
    assert "  u1        [image]" in result.output
    assert "> u2        is it" not in result.output


def test_text_of_the_chat_cannot_control_the_terminal(folder):
    result = run(folder, "--rejected", "--sample", 14)
    assert "> u0        red \ufffd[31m and \ufffdgnorw\n>           second line" in result.output
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


def test_a_sample_is_drawn_from_both_kinds_and_weighted(folder):
    turns = Rows(folder / "turns.parquet", TURNS)
    drawn = sample(turns, {f"t{number:02}" for number in range(0, 20, 4)}, (True, False), 6, seed=1)
    assert sum(kind for kind, _ in drawn.values()) == 3
    assert {weight for kind, weight in drawn.values() if kind} == {round(5 / 3, 4)}
    assert {weight for kind, weight in drawn.values() if not kind} == {round(14 / 3, 4)}
    assert all((position % 4 == 0) == kind for position, (kind, _) in drawn.items())
    assert drawn == sample(turns, {f"t{number:02}" for number in range(0, 20, 4)}, (True, False), 6, seed=1)
    assert len(sample(turns, set(), (True, False), 50, seed=1)) == 19


def test_answers_are_appended_and_what_is_marked_is_not_asked_again(folder):
    marks = folder / "marks" / "me.jsonl"
    first = run(folder, "--sample", 6, "--mark", marks, input="y\nn\ns\nq\n")
    assert first.exit_code == 0, first.output
    assert "2 answers added" in first.output
    assert "rules" not in first.output  # blind
    rows = [json.loads(line) for line in marks.read_text().splitlines()]
    assert [row["question"] for row in rows] == [True, False]
    second = run(folder, "--sample", 6, "--mark", marks, input="y\n" * 4)
    assert "[1/4]" in second.output
    assert "4 answers added" in second.output
    assert len(marks.read_text().splitlines()) == 6
    assert read_marks(marks.parent).summary()["missing"] == 6  # nothing was looked at yet


def test_scores_of_other_turns_are_refused(folder):
    with pytest.raises(DataError, match="expected a score of every text turn; some have none"):
        scores_of(["t00", "t99"], Rows(folder / "scores" / "rules" / "scores.parquet", SCORES))


def test_a_damaged_file_of_marks_is_refused(folder):
    (folder / "me.jsonl").write_text("{")
    result = run(folder, "--mark", folder / "me.jsonl", input="q\n")
    assert result.exit_code == 1
    assert "me.jsonl: expected rows with a turn_id; the file is damaged" in result.output
