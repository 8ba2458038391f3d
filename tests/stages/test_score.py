"""The score stage: one judge's scores of the text turns, whole or not at all."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from chatladder.distributed import LocalWorkers
from chatladder.io.console import DataError
from chatladder.io.rows import SCORES, TURNS, Rows, read_rows, write_rows
from chatladder.judges import scoring
from chatladder.judges.texts import TextTurns
from stages import score
from tests.turn_rows import turn


@pytest.fixture
def turns(tmp_path):
    path = tmp_path / "turns.parquet"
    rows = [
        turn(0, "新版本的显卡驱动怎么安装？"),
        turn(1, "", "image"),
        turn(2, "重启一下。"),
        turn(3, "what?", "system"),
    ]
    write_rows(path, rows, TURNS)
    return path


def run(turns, out, judge="rules"):
    options = ["--judge", judge, "--kind", judge, "--seed", "0", "--turns", str(turns), "--out", str(out)]
    return CliRunner().invoke(score.main, options)


def test_scores_of_text_turns_are_written(turns, tmp_path):
    out = tmp_path / "scores" / "rules"
    result = run(turns, out)
    assert result.exit_code == 0, result.output
    assert f"{out}: 2 of 4 turns scored by rules" in result.output
    rows = read_rows(out / "scores.parquet", SCORES).to_pylist()
    assert rows == [{"turn_id": "t0", "score": 10}, {"turn_id": "t2", "score": 0}]
    assert json.loads((out / "counts.json").read_text()) == {"scored": 2}
    assert sorted(path.name for path in out.iterdir()) == ["counts.json", "scores.parquet"]


def test_a_chat_without_marks_is_refused_by_the_judge_that_learns_from_them(turns, tmp_path):
    out = tmp_path / "punctuation"
    result = run(turns, out, "punctuation")
    assert result.exit_code == 1
    assert f"punctuation, {turns}: expected at least 50 sentences with a question mark" in result.output
    assert not out.exists()


def test_turns_without_text_are_refused(tmp_path):
    turns = tmp_path / "turns.parquet"
    write_rows(turns, [turn(0, "", "image")], TURNS)
    result = run(turns, tmp_path / "out")
    assert result.exit_code == 1
    assert "expected text turns to score, got none." in result.output


def test_a_judge_that_does_not_answer_is_a_bug_and_never_a_score(turns, monkeypatch):
    class Silent:
        @staticmethod
        def score(turns, seed):
            return [float("nan")] * turns.num_rows

    monkeypatch.setitem(scoring.JUDGES, "silent", Silent)
    with pytest.raises(ValueError, match="expected 2 scores from 0 to 10"):
        scoring.score_turns(TextTurns(Rows(turns, TURNS), LocalWorkers()), "silent", {"seed": 0}, print)


def fails_after_one(error):
    """A judge that scores the first turn and then fails."""

    def scores():
        yield 9.0
        raise error

    return lambda turns, seed: list(scores())


@pytest.mark.parametrize(
    "failing",
    [
        fails_after_one(DataError("the judge gave up")),
        fails_after_one(ConnectionError("no route to host")),
        lambda turns, seed: [9.0, "error: timed out"],
        lambda turns, seed: [9.0, None],
        lambda turns, seed: [9.0],
        lambda turns, seed: [9.0, 11.0],
    ],
    ids=["refuses", "breaks", "answers with an error", "stays silent", "stops early", "out of range"],
)
def test_fault_4_a_failed_judge_never_counts_as_a_score(turns, tmp_path, monkeypatch, failing):
    out = tmp_path / "scores" / "rules"
    assert run(turns, out).exit_code == 0
    before = (out / "scores.parquet").read_bytes()
    monkeypatch.setitem(scoring.JUDGES, "rules", SimpleNamespace(score=failing))
    for path in (out, tmp_path / "new"):
        result = run(turns, path)
        assert result.exit_code == 1
        assert "turns scored" not in result.output
    assert (out / "scores.parquet").read_bytes() == before
    assert not (tmp_path / "new").exists()


def test_an_unknown_judge_is_a_usage_error(turns, tmp_path):
    result = run(turns, tmp_path / "out", "oracle")
    assert result.exit_code == 2
    assert "oracle" in result.output
