"""Picking questions: windows, conversations, ids, and an account of every turn."""

import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from stages import pick_questions
from stages.cli import DataError
from stages.pick_questions import Limits, pick, split_conversations
from stages.rows import QUESTIONS, SCORES, TURNS, read_rows, write_rows

LIMITS = Limits(min_score=5, min_characters=7, window=12, conversation_gap=1800, max_conversation_turns=500)


def turn(number, text, *, at=None, kind="text", sender="u1", group="g1"):
    return {
        "turn_id": f"t{group}{number}",
        "group": group,
        "sender": sender,
        "timestamp": number * 10 if at is None else at,
        "kind": kind,
        "text": text,
        "message_ids": [f"m{number}"],
    }


def asks(text):
    return text.endswith("?")


def picked(rows, limits=LIMITS, judges=None):
    """Pick by judges that are functions of the text; by default one that goes by the mark."""
    turns = pa.Table.from_pylist(rows, schema=TURNS)
    return pick(turns, {name: scores(rows, judge) for name, judge in (judges or {"mark": asks}).items()}, limits)


def scores(rows, judge):
    given = [{"turn_id": row["turn_id"], "score": 10.0 * judge(row["text"])} for row in rows if row["kind"] == "text"]
    return pa.Table.from_pylist(given, schema=SCORES)


def questions(rows, limits=LIMITS):
    return picked(rows, limits).questions.to_pylist()


def test_fault_2_earlier_questions_stay_in_later_windows_and_12_yields_12():
    rows = [turn(number, f"is this question {number}?") for number in range(20)]
    found = questions(rows)
    assert len(found) == 20
    assert [said["text"] for said in found[15]["window"]] == [f"is this question {number}?" for number in range(3, 15)]
    assert [len(question["window"]) for question in found] == [*range(12), *[12] * 8]


def test_fault_8_the_same_text_at_two_times_stays_two_items():
    found = questions([turn(0, "does it work?"), turn(1, "no, it does not"), turn(2, "does it work?")])
    assert [question["timestamp"] for question in found] == [0, 20]
    assert found[0]["item_id"] != found[1]["item_id"]


def test_a_repetition_within_one_tick_of_the_clock_has_an_id_of_its_own_and_keeps_the_first_ones():
    first, second = turn(0, "does it work?", at=60), turn(1, "does it work?", at=60)
    one = questions([first])
    both = questions([first, second])
    assert both[0]["item_id"] == one[0]["item_id"]
    assert both[1]["item_id"] != one[0]["item_id"]
    # Whether the first of them is picked does not matter to the second.
    rows = [first, second]
    turns = pa.Table.from_pylist(rows, schema=TURNS)
    only_second = pa.Table.from_pylist([{"turn_id": row["turn_id"], "score": row is second} for row in rows], SCORES)
    kept = pick(turns, {"one": only_second}, LIMITS._replace(min_score=1)).questions.to_pylist()
    assert [question["item_id"] for question in kept] == [both[1]["item_id"]]


def test_an_item_id_depends_on_group_sender_time_and_text_alone():
    question = turn(5, "does it work?")
    (alone,) = questions([question])
    (later,) = questions([turn(1, "an earlier turn"), question], LIMITS._replace(window=3, max_conversation_turns=2))
    assert alone["item_id"] == later["item_id"]
    assert len(alone["item_id"]) == 16
    assert int(alone["item_id"], 16) >= 0
    others = [
        questions([{**question, **change}])[0]["item_id"]
        for change in ({"group": "g2"}, {"sender": "u2"}, {"timestamp": 51}, {"text": "does it work??"})
    ]
    assert len({alone["item_id"], *others}) == 5


def test_windows_hold_images_and_files_but_no_notices_and_no_stickers():
    rows = [
        turn(0, "look at this"),
        turn(1, "", kind="image"),
        turn(2, "u9 joined", kind="system"),
        turn(3, "report.pdf", kind="file"),
        turn(4, "", kind="other"),
        turn(5, "is it broken?", sender="u2"),
    ]
    (question,) = questions(rows)
    assert question["window"] == [
        {"sender": "u1", "text": "look at this", "timestamp": 0},
        {"sender": "u1", "text": "[image]", "timestamp": 10},
        {"sender": "u1", "text": "[file] report.pdf", "timestamp": 30},
    ]


def test_windows_stay_inside_the_conversation_and_the_group():
    rows = [
        turn(0, "before the silence"),
        turn(1, "is this the first?", at=1801),
        turn(2, "is this the second?", at=3601),
        turn(0, "is this another group?", at=1802, group="g2"),
    ]
    first, second, other = questions(rows)
    assert first["window"] == []
    assert [said["text"] for said in second["window"]] == ["is this the first?"]
    assert other["window"] == []
    assert first["conversation"] == second["conversation"] != other["conversation"]


def test_turns_out_of_order_and_turns_without_a_time_keep_their_place():
    rows = [turn(0, "first of all", at=100), turn(1, "and is it so?", at=None), turn(2, "is it early?", at=50)]
    rows[1]["timestamp"] = None
    early, untimed = questions(rows)
    assert early["text"] == "is it early?"
    assert [said["text"] for said in untimed["window"]] == ["is it early?", "first of all"]
    assert untimed["timestamp"] is None


def test_a_long_conversation_is_cut_at_the_longest_silence_in_its_second_half():
    at = np.array([0, 900, 901, 902, 903, 910, 911, 912, 913])
    starts = split_conversations(np.zeros(9, int), at, gap=1000, most=8)
    # The silence of 899 s is in the first half; that of 7 s before position 5 is the longest in the second.
    assert starts.tolist() == [0] * 5 + [5] * 4


def test_no_conversation_is_longer_than_the_most_even_without_any_silence():
    starts = split_conversations(np.zeros(1000, int), np.zeros(1000, int), gap=10, most=7)
    assert np.unique(starts, return_counts=True)[1].max() <= 7
    assert (starts <= np.arange(1000)).all()


def test_cuts_never_move_when_later_turns_are_added():
    draw = np.random.default_rng(0)
    at = np.cumsum(draw.integers(0, 40, 400))
    group = np.repeat([0, 1], 200)
    whole = split_conversations(group, at, gap=35, most=9)
    for turns in range(1, 400, 7):
        begun = split_conversations(group[:turns], at[:turns], gap=35, most=9)
        settled = begun < begun[-1]
        assert (begun[settled] == whole[:turns][settled]).all()
        assert set(begun.tolist()) <= set(whole.tolist())


def test_each_turn_left_out_is_counted_once_under_its_first_reason():
    rows = [
        turn(0, "is it longer?"),
        turn(1, "", kind="image"),
        turn(2, "short?"),
        turn(3, "@u1a2b3c4d short?"),
        turn(4, "nobody asks"),
        turn(5, "only one judge?"),
        turn(6, "no"),
    ]
    result = picked(rows, judges={"mark": asks, "other": lambda text: asks(text) and "judge" not in text})
    assert result.left_out == {"not_text": 1, "too_short": 3, "below_mark": 1, "below_other": 1}
    assert len(rows) == result.questions.num_rows + sum(result.left_out.values())
    assert result.judges["mark"] == {"passed": 4}
    assert result.judges["other"] == {"passed": 3}


def test_kappa_between_judges_is_that_of_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    draw = np.random.default_rng(1)
    one, other = draw.random(50) < 0.4, draw.random(50) < 0.6
    assert pick_questions._kappa([one, other]) == pytest.approx(cohen_kappa_score(one, other))


@pytest.mark.parametrize("change", ["missing", "of another chat"])
def test_scores_of_other_turns_are_refused(change):
    rows = [turn(0, "is it longer?"), turn(1, "is it shorter?")]
    others = rows[:1] if change == "missing" else [*rows, turn(2, "is it new?")]
    with pytest.raises(DataError, match=r"scores of mark: expected one for each text turn.*Score these turns again"):
        pick(pa.Table.from_pylist(rows, schema=TURNS), {"mark": scores(others, asks)}, LIMITS)


@pytest.fixture
def folder(tmp_path):
    rows = [turn(0, "it is broken"), turn(1, "", kind="image"), turn(2, "is it broken?"), turn(3, "ok?")]
    write_rows(tmp_path / "turns.parquet", rows, TURNS)
    write_rows(tmp_path / "mark.parquet", scores(rows, asks), SCORES)
    ingest = {"raw_lines": 9, "messages": 6, "skipped": 3, "skipped_private_chat": 3, "masked_phone": 2}
    (tmp_path / "ingest.json").write_text(json.dumps(ingest))
    (tmp_path / "merge.json").write_text(json.dumps({"messages": 6, "turns": 4, "turns_text": 3}))
    return tmp_path


def run(folder, **changes):
    options = {
        "--turns": folder / "turns.parquet",
        "--scores": f"mark={folder / 'mark.parquet'}",
        "--min_score": 5,
        "--min_characters": 7,
        "--window": 12,
        "--conversation_gap": 1800,
        "--max_conversation_turns": 500,
        "--out": folder / "questions.parquet",
        "--metrics": folder / "questions.json",
        **changes,
    }
    arguments = [str(part) for option in options.items() for part in option]
    for name in ("ingest", "merge"):
        arguments += ["--counts", str(folder / f"{name}.json")]
    return CliRunner().invoke(pick_questions.main, arguments)


def test_questions_and_an_account_of_every_row_are_written(folder):
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert "questions.parquet: 1 questions of 4 turns in 1 conversations" in result.output
    assert [row["text"] for row in read_rows(folder / "questions.parquet", QUESTIONS).to_pylist()] == ["is it broken?"]
    metrics = json.loads((folder / "questions.json").read_text())
    assert metrics == {
        "raw_lines": 9,
        "messages": 6,
        "skipped": 3,
        "turns": 4,
        "turns_text": 3,
        "questions": 1,
        "conversations": 1,
        "conversations_with_questions": 1,
        "left_out": {"skipped_private_chat": 3, "not_text": 1, "too_short": 1, "below_mark": 1},
        "judges": {"mark": {"passed": 2}},
        "masked": {"phone": 2},
    }
    of_turns = [count for reason, count in metrics["left_out"].items() if not reason.startswith("skipped_")]
    assert metrics["turns"] == metrics["questions"] + sum(of_turns)


def test_counts_of_another_run_are_refused(folder):
    (folder / "merge.json").write_text(json.dumps({"messages": 7, "turns": 4}))
    result = run(folder)
    assert result.exit_code == 1
    assert "merge.json: expected messages 6, got 7. Run the stages before again." in result.output
    assert not (folder / "questions.parquet").exists()


def test_a_chat_without_questions_is_refused_with_the_reasons(folder):
    result = run(folder, **{"--min_characters": 70})
    assert result.exit_code == 1
    assert "expected questions, got none of 4 turns (not_text 1, too_short 3, below_mark 0)" in result.output
    assert not (folder / "questions.json").exists()


def test_scores_without_a_name_are_a_usage_error(folder):
    result = run(folder, **{"--scores": folder / "mark.parquet"})
    assert result.exit_code == 2
    assert "expected NAME=PATH" in result.output
