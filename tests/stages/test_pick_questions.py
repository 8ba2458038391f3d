"""Picking questions: windows, conversations, ids, and an account of every turn."""

import json
import re
import shutil
import tempfile
from collections import Counter
from functools import partialmethod
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.cli.import_labelled import read_labelled
from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, SCORES, TURNS, Rows, read_rows, row_writer, write_rows
from chatladder.questions import picking
from chatladder.questions.conversations import split_conversations
from chatladder.questions.picking import Judge, Picking
from stages import pick_questions

REACH = {"window": 12, "conversation_gap": 1800, "max_conversation_turns": 500, "reply_reach": 86_400}


def turn(number, text, *, at=None, kind="text", sender="u1", group="g1", reply_to=None):
    return {
        "turn_id": f"t{group}{number}",
        "group": group,
        "sender": sender,
        "timestamp": number * 10 if at is None else at,
        "kind": kind,
        "text": text,
        "reply_to": reply_to,
        "message_ids": [f"m{group}{number}", f"n{group}{number}"],
    }


def asks(text):
    return text.endswith("?")


def picked(rows, reach=REACH, judges=None, join="all", threshold=5, part_rows=None):
    """Pick by judges that are functions of the text; by default one that goes by the mark.

    Returns:
        The questions, and how the turns were counted.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judges = judges or {"mark": asks}
        for judge, function in judges.items():
            write_rows(folder / judge / "scores.parquet", scores(rows, function), SCORES)
        write_rows(folder / "turns", rows, TURNS)
        given = tuple(Judge(judge, threshold) for judge in judges)
        settings = Picking(judge=given, join=join, min_characters=7, **reach)
        turns = Rows(folder / "turns", TURNS)
        with pytest.MonkeyPatch.context() as patch, row_writer(folder / "questions", QUESTIONS) as writer:
            if part_rows:
                patch.setattr(Rows, "parts", partialmethod(Rows.parts, rows=part_rows))
            counted = picking.pick(turns, folder, settings, writer)
        return read_rows(folder / "questions", QUESTIONS).to_pylist(), counted


def scores(rows, judge):
    given = [{"turn_id": row["turn_id"], "score": 10.0 * judge(row["text"])} for row in rows if row["kind"] == "text"]
    return pa.Table.from_pylist(given, schema=SCORES)


def questions(rows, reach=REACH, **options):
    return picked(rows, reach, **options)[0]


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
    verdict = iter([False, True])
    kept = questions([first, second], judges={"one": lambda text: next(verdict)})
    assert [question["item_id"] for question in kept] == [both[1]["item_id"]]


def test_a_repetition_across_a_cut_is_told_apart_though_a_turn_without_a_time_stands_between():
    rows = [turn(number, "does it work?", at=0) for number in range(5)]
    rows[1]["timestamp"] = None  # the last before the cut
    found = questions(rows, REACH | {"max_conversation_turns": 4})
    assert len({question["conversation"] for question in found}) == 2
    assert len({question["item_id"] for question in found}) == 5


def test_an_item_id_depends_on_the_messages_of_the_turn_alone():
    question = turn(5, "does it work?")
    (alone,) = questions([question])
    (later,) = questions([turn(1, "an earlier turn"), question], REACH | {"window": 3, "max_conversation_turns": 2})
    assert alone["item_id"] == later["item_id"]
    assert len(alone["item_id"]) == 16
    assert int(alone["item_id"], 16) >= 0
    masked = questions([{**question, "sender": "u2", "text": "does <name> work?"}])
    assert masked[0]["item_id"] == alone["item_id"]
    others = [questions([{**question, "message_ids": ids}])[0]["item_id"] for ids in (["other"], ["mg50", "other"])]
    assert len({alone["item_id"], *others}) == 3


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


def test_turns_without_a_time_keep_their_place():
    rows = [turn(0, "first of all", at=100), turn(1, "and is it so?"), turn(2, "is it late?", at=150)]
    rows[1]["timestamp"] = None
    untimed, late = questions(rows)
    assert [said["text"] for said in untimed["window"]] == ["first of all"]
    assert untimed["timestamp"] is None
    assert [said["text"] for said in late["window"]] == ["first of all", "and is it so?"]


@pytest.mark.parametrize("part_rows", [1, 2])
def test_turns_out_of_order_are_refused(part_rows):
    with pytest.raises(DataError, match="expected turns by group and in the order of time"):
        questions([turn(0, "is it late?", at=100), turn(1, "is it early?", at=50)], part_rows=part_rows)


def test_a_reply_belongs_to_the_conversation_that_it_answers_and_shows_its_thread_first():
    rows = [turn(0, "the old matter"), turn(1, "an answer to it", at=20, reply_to="mg10")]
    rows += [turn(number, f"small talk {number}", at=number * 10) for number in range(2, 20)]
    rows += [turn(20, "a new day", at=9000), turn(21, "is the old matter settled?", at=9010, reply_to="ng11")]
    rows += [turn(22, "what is new today?", at=9020)]
    old, new = questions(rows)
    shown = [said["text"] for said in old["window"]]
    assert shown[:2] == ["the old matter", "an answer to it"]
    assert shown[2:] == [f"small talk {number}" for number in range(10, 20)]
    # The reply is no part of the conversation in which it was sent: its text could reach the other split.
    assert [said["text"] for said in new["window"]] == ["a new day"]
    assert old["conversation"] != new["conversation"]


def test_a_reply_to_something_too_old_or_unknown_or_of_another_group_stays_where_it_is():
    rows = [turn(0, "the old matter", at=0), turn(1, "a new day", at=5000)]
    for unknown in ("mg10", "m-of-nobody", "mg20"):
        asked = turn(2, "is it settled by now?", at=5001, reply_to=unknown)
        reach = REACH | {"reply_reach": 5000}
        (found,) = questions([*rows, asked, turn(0, "elsewhere", group="g2")], reach)
        assert [said["text"] for said in found["window"]] == ["a new day"]


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
    _, result = picked(rows, judges={"mark": asks, "other": lambda text: asks(text) and "judge" not in text})
    assert result.left_out == {"not_text": 1, "too_short": 3, "below_mark": 1, "below_other": 1}
    assert len(rows) == result.questions + sum(result.left_out.values())
    assert result.judges["mark"] == {"passed": 4}
    assert result.judges["other"] == {"passed": 3}
    assert result.judges["mark_other"] == {
        "kappa": result.judges["kappa"],
        "only_mark": 1,
        "only_other": 0,
        "differ_most": ["tg15"],
    }


def test_kappa_between_judges_is_that_of_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    draw = np.random.default_rng(1)
    one, other = draw.random(50) < 0.4, draw.random(50) < 0.6
    counts = Counter(zip(one.tolist(), other.tolist(), strict=True))
    assert picking._kappa(counts) == pytest.approx(cohen_kappa_score(one, other))


def test_the_rule_that_joins_the_judges():
    rows = [turn(number, f"is it number {number}") for number in range(4)]
    given = {"a": (1, 1, 0, 0.6), "b": (1, 1, 0, 0.6), "c": (1, 0, 1, 0.2)}
    judges = {name: (lambda text, values=values: values[int(text[-1])]) for name, values in given.items()}
    found = {
        join: [int(row["text"][-1]) for row in questions(rows, judges=judges, join=join, threshold=6)]
        for join in picking.JOINS
    }
    assert found == {"all": [0], "majority": [0, 1, 3], "mean": [0, 1]}
    _, counted = picked(rows, judges=judges, join="majority", threshold=6)
    assert counted.left_out == {"not_text": 0, "too_short": 0, "below_majority": 1}


@settings(deadline=None)
@given(st.data())
def test_parts_of_any_size_make_the_same_questions(data):
    rows, clock = [], 0
    for number in range(data.draw(st.integers(2, 40))):
        clock += data.draw(st.sampled_from([0, 0, 1, 30, 90]))
        text = data.draw(st.sampled_from(["is it so or not?", "does that work?", "no it is not"]))
        kind = data.draw(st.sampled_from(["text", "text", "text", "image", "system"]))
        answered = data.draw(st.one_of(st.none(), st.integers(0, max(0, number - 1))))
        row = turn(number, text, at=clock, kind=kind, reply_to=None if answered is None else f"mg1{answered}")
        if data.draw(st.integers(0, 9)) == 0:
            row["timestamp"] = None
        rows.append(row)
    rows.append(turn(99, "is this the last one?", at=clock))
    reach = {"window": 3, "conversation_gap": 60, "max_conversation_turns": 6, "reply_reach": 200}
    whole = picked(rows, reach)
    assert picked(rows, reach, part_rows=data.draw(st.integers(1, 7))) == whole
    ids = [question["item_id"] for question in whole[0]]
    assert len(set(ids)) == len(ids)
    # No text is shown on both sides of a split by conversation, but for equal texts of equal times.
    homes = {}
    for question in whole[0]:
        for said in question["window"]:
            if said["timestamp"] is not None:
                homes.setdefault((said["text"], said["timestamp"]), set()).add(question["conversation"])
    repeated = Counter((row["text"], row["timestamp"]) for row in rows)
    assert all(len(found) == 1 for key, found in homes.items() if repeated[key] == 1)


@pytest.mark.parametrize("change", ["missing", "of another chat", "of another order"])
def test_scores_of_other_turns_are_refused(folder, change):
    own = [turn(0, "it is broken"), turn(2, "is it broken?"), turn(3, "ok?")]
    others = {"missing": own[:2], "of another chat": [*own, turn(4, "is it new?")], "of another order": own[::-1]}
    write_rows(folder / "scores" / "mark" / "scores.parquet", scores(others[change], asks), SCORES)
    result = run(folder)
    assert result.exit_code == 1
    assert re.search(
        r"scores\.parquet: expected a score of mark for each text turn.*Score these turns\s+again", result.output
    )
    assert not (folder / "questions.parquet").exists()


@pytest.fixture
def folder(tmp_path):
    rows = [turn(0, "it is broken"), turn(1, "", kind="image"), turn(2, "is it broken?"), turn(3, "ok?")]
    write_rows(tmp_path / "turns.parquet", rows, TURNS)
    write_rows(tmp_path / "scores" / "mark" / "scores.parquet", scores(rows, asks), SCORES)
    (tmp_path / "scores" / "mark" / "counts.json").write_text(json.dumps({"scored": 3}))
    ingest = {"raw_lines": 9, "messages": 6, "skipped": 3, "skipped_private_chat": 3, "masked_phone": 2}
    (tmp_path / "counts").mkdir()
    (tmp_path / "counts" / "ingest.json").write_text(json.dumps(ingest))
    (tmp_path / "counts" / "merge.json").write_text(json.dumps({"messages": 6, "turns": 4, "turns_text": 3}))
    return tmp_path


def run(folder, **changes):
    options = {
        "--turns": folder / "turns.parquet",
        "--scores": folder / "scores",
        "--counts": folder / "counts",
        "--judge": "mark=5",
        "--join": "all",
        "--reply_reach": 86_400,
        "--min_characters": 7,
        "--window": 12,
        "--conversation_gap": 1800,
        "--max_conversation_turns": 500,
        "--out": folder / "questions.parquet",
        "--metrics": folder / "questions.json",
        **changes,
    }
    arguments = [str(part).strip() for option in options.items() for part in option]
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
        "judges": {"mark": {"passed": 2, "scored": 3}},
        "masked": {"phone": 2},
    }
    of_turns = [count for reason, count in metrics["left_out"].items() if not reason.startswith("skipped_")]
    assert metrics["turns"] == metrics["questions"] + sum(of_turns)


@pytest.fixture
def many(folder):
    rows = [turn(number, f"is this question {number}?", at=number * 2000) for number in range(9)]
    write_rows(folder / "turns.parquet", rows, TURNS)
    write_rows(folder / "scores" / "mark" / "scores.parquet", scores(rows, asks), SCORES)
    (folder / "counts" / "merge.json").write_text(json.dumps({"messages": 6, "turns": 9, "turns_text": 9}))
    return folder


def test_a_sample_is_drawn_and_counted_and_a_larger_one_holds_it(many):
    drawn = {}
    for sample in (0, 3, 5):
        result = run(many, **{"--sample": sample})
        assert result.exit_code == 0, result.output
        drawn[sample] = [row["text"] for row in read_rows(many / "questions.parquet", QUESTIONS).to_pylist()]
    assert (len(drawn[0]), len(drawn[3]), len(drawn[5])) == (9, 3, 5)
    assert {*drawn[3]} < {*drawn[5]} < {*drawn[0]}
    assert drawn[5] == [text for text in drawn[0] if text in drawn[5]]
    metrics = json.loads((many / "questions.json").read_text())
    assert metrics["left_out"]["not_drawn"] == 4
    assert (metrics["questions"], metrics["conversations"], metrics["conversations_with_questions"]) == (5, 9, 5)


def test_a_sample_of_more_than_there_are_is_all(many):
    assert run(many, **{"--sample": 99}).exit_code == 0
    metrics = json.loads((many / "questions.json").read_text())
    assert metrics["questions"] == 9
    assert "not_drawn" not in metrics["left_out"]


def test_counts_of_another_run_are_refused(folder):
    (folder / "counts" / "merge.json").write_text(json.dumps({"messages": 7, "turns": 4}))
    result = run(folder)
    assert result.exit_code == 1
    assert "merge.json: expected messages 6, got 7. Run the stages before again." in result.output
    assert not (folder / "questions.parquet").exists()


def test_a_chat_without_questions_is_refused_with_the_reasons(folder):
    result = run(folder, **{"--min_characters": 70})
    assert result.exit_code == 1
    assert "expected questions, got none of 4 turns (not_text 1, too_short 3, below_mark 0)" in result.output
    assert not (folder / "questions.json").exists()


def test_counts_that_are_missing_are_refused(folder):
    (folder / "counts" / "ingest.json").unlink()
    result = run(folder)
    assert result.exit_code == 1
    assert "ingest.json: expected the counts of stage ingest, got none." in result.output
    assert '"dvc pull", else "dvc repro ingest"' in result.output
    assert not (folder / "questions.parquet").exists()


def test_a_judge_without_scores_is_refused(folder):
    result = run(folder, **{"--judge": "other=5"})
    assert result.exit_code == 1
    assert "scores: expected the scores of other, which questions.judge names, got none" in result.output
    assert 'run "dvc pull", else "dvc repro"' in result.output


BLANK = ("", "  \n", "\u200b")


def test_a_turn_without_a_word_fills_no_window_and_ends_no_conversation():
    rows = [turn(0, "what is it about?"), *(turn(place + 1, text) for place, text in enumerate(BLANK))]
    rows += [turn(4, "[sticker]", kind="other"), turn(5, "", kind="system"), turn(6, "", kind="image")]
    rows.append(turn(7, "and what now?"))
    found = questions(rows, {**REACH, "window": 2})
    assert [said["text"] for said in found[-1]["window"]] == ["what is it about?", "[image]"]


def test_import_reads_what_is_picked(tmp_path):
    rows = [turn(0, "hello"), turn(1, "", kind="image"), turn(2, ""), turn(3, "and what is that?", at=30)]
    rows += [turn(4, "report.pdf", kind="file"), turn(5, "and this one?", sender="u2", at=50)]
    found = questions(rows)
    lines = [
        json.dumps(
            {"id": each["item_id"], "history": each["window"], "needs_context": True}
            | {name: each[name] for name in ("sender", "text", "timestamp", "conversation")}
        )
        for each in found
    ]
    (tmp_path / "labelled.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    imported = read_labelled(tmp_path / "labelled.jsonl")
    assert [each.question["window"] for each in imported] == [each["window"] for each in found]
    assert [each.question["item_id"] for each in imported] == [each["item_id"] for each in found]


def test_a_judge_is_left_out_by_naming_the_others(folder):
    shutil.copytree(folder / "scores" / "mark", folder / "scores" / "another")
    both = run(folder, **{"--judge": "mark=5", "--judge ": "another=9"})
    assert set(json.loads((folder / "questions.json").read_text())["judges"]) > {"mark", "another", "mark_another"}
    alone = run(folder)
    assert both.exit_code == alone.exit_code == 0
    assert set(json.loads((folder / "questions.json").read_text())["judges"]) == {"mark"}


def test_a_judge_named_twice_is_refused(folder):
    result = run(folder, **{"--judge": "mark=5", "--judge ": "mark=6"})
    assert result.exit_code == 1
    assert "questions.judge: expected each judge once, got mark more than once" in result.output


@pytest.mark.parametrize("given", ["mark=11", "mark=x", "mark=-1", "mark=nan", "mark", "=5"])
def test_thresholds_that_are_no_scores_are_a_usage_error(folder, given):
    result = run(folder, **{"--judge": given})
    assert result.exit_code == 2
    assert "--judge" in result.output
    assert "expected NAME=SCORE with a score from 0 to 10" in " ".join(result.output.split())


def test_marks_and_costs_become_metrics(folder):
    marks = folder / "marks"
    marks.mkdir()
    rows = [("tg12", True, 2.0), ("tg10", True, 6.0), ("tg13", False, 1.0), ("tgone", True, 1.0)]
    lines = [json.dumps({"turn_id": turn_id, "question": asks_, "weight": n}) for turn_id, asks_, n in rows]
    (marks / "me.jsonl").write_text("\n".join(lines))
    (folder / "scores" / "mark" / "counts.json").write_text(json.dumps({"requests": 3}))
    result = run(folder, **{"--marks": marks})
    assert result.exit_code == 0, result.output
    metrics = json.loads((folder / "questions.json").read_text())
    assert metrics["judges"]["mark"] == {"passed": 2, "requests": 3}
    marked = metrics["marked"]
    assert (marked["marks"], marked["questions"], marked["missing"]) == (3, 2, 1)
    assert (marked["precision"], marked["recall"]) == (1.0, 0.25)
    assert marked["recall_lo"] <= marked["recall"] <= marked["recall_hi"]


def test_a_mark_that_says_neither_yes_nor_no_is_refused(folder):
    (folder / "marks").mkdir()
    (folder / "marks" / "me.jsonl").write_text('{"turn_id": "t", "question": "maybe"}\n')
    result = run(folder, **{"--marks": folder / "marks"})
    assert result.exit_code == 1
    assert 'me.jsonl:1: expected "turn_id" as text, "question" as true or false' in result.output
