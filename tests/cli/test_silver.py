"""Labels from the archive: who was replied to, who was not, and where that is not known."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from chatladder.cli.silver import AT_THE_END, SPOKE_SINCE, SPOKEN_NEXT, mine
from chatladder.io.rows import QUESTIONS, TURNS, write_rows
from chatladder.vocabulary import NEGATIVE, POSITIVE
from tests.conftest import ROOT

ANN, BOB, CAT = "u0a0a0a0a", "u0b0b0b0b", "u0c0c0c0c"


def tables(*said, conversations=()):
    """Turns of (sender, second, text, the turn that it answers), and each of them as a picked message."""
    rows = [
        {"turn_id": f"t{n}", "group": "g", "sender": sender, "timestamp": at, "kind": "text", "text": text}
        | {"reply_to": f"m{answers[0]}" if answers else None, "message_ids": [f"m{n}"]}
        for n, (sender, at, text, *answers) in enumerate(said)
    ]
    names = dict(enumerate(conversations))
    items = [{**row, "item_id": f"i{n}", "conversation": names.get(n, "c"), "window": []} for n, row in enumerate(rows)]
    for item in items:
        del item["kind"], item["reply_to"], item["message_ids"]
    return pa.Table.from_pylist(rows, TURNS), pa.Table.from_pylist(items, QUESTIONS)


def outcome(*said):
    """Of the first turn; an hour later somebody still speaks."""
    turns, items = tables(*said, (CAT, 3600, "@nobody later"), conversations=("first", *["others"] * len(said)))
    return mine(turns, items, 300)["i0"]


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (POSITIVE, [(BOB, 60, f"@{ANN} try a reboot")]),
        (POSITIVE, [(CAT, 30, "@u11111111 no"), (BOB, 60, f"@u22222222 @{ANN}: both of you")]),
        (POSITIVE, [(BOB, 60, "try a reboot", 0)]),
        (POSITIVE, [(ANN, 20, "anybody?"), (BOB, 60, "try a reboot", 0)]),
        (SPOKE_SINCE, [(ANN, 20, "anybody?"), (BOB, 60, f"@{ANN} try a reboot")]),
        (SPOKE_SINCE, [(ANN, 20, "anybody?"), (BOB, 60, "try a reboot", 1)]),
        (SPOKEN_NEXT, [(BOB, 60, "try a reboot")]),
        (NEGATIVE, [(BOB, 60, "@u11111111 no")]),
        (NEGATIVE, [(BOB, 301, f"@{ANN} try a reboot")]),
        (NEGATIVE, [(ANN, 60, f"@{ANN} talks to herself")]),
        (NEGATIVE, [(BOB, 60, "@u11111111 no"), (CAT, 61, "lol")]),
        (NEGATIVE, []),
    ],
)
def test_a_message_is_labelled_by_who_was_replied_to(expected, said):
    assert outcome((ANN, 0, "it does not start"), *said) == expected


def test_a_conversation_that_the_archive_may_cut_is_left_out_whole():
    turns, items = tables((ANN, 0, "a"), (ANN, 400, "b"), (BOB, 600, "c"), conversations=("x", "x", "y"))
    assert mine(turns, items, 100) == {"i0": NEGATIVE, "i1": NEGATIVE, "i2": AT_THE_END}
    assert mine(turns, items, 300) == dict.fromkeys(("i0", "i1", "i2"), AT_THE_END)


def test_another_group_replies_to_nobody():
    turns, items = tables((ANN, 0, "a"), (BOB, 10, f"@{ANN} b"), (BOB, 900, "c"), conversations=("x", "y", "y"))
    other = turns.set_column(1, "group", pa.array(["g", "h", "h"]))
    assert mine(other, items.slice(0, 1), 0)["i0"] == NEGATIVE


@pytest.fixture
def project(tmp_path):
    (tmp_path / "params.yaml").write_text("task: bot_reply\n")
    said = [(ANN if n % 2 else BOB, 600 * n, "hello there") for n in range(20)]
    said += [(CAT, 600 * n + 30, f"@{ANN} yes") for n in range(1, 20, 2)]
    turns, items = tables(*sorted(said, key=lambda each: each[1]))
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "turns.parquet", turns, TURNS)
    items = items.set_column(3, "conversation", pa.array([f"c{n}" for n in range(items.num_rows)]))
    write_rows(tmp_path / "data" / "questions.parquet", items, QUESTIONS)
    return tmp_path


def silver(project, *options):
    command = [sys.executable, "-m", "chatladder.cli.app", "silver", "--round", "1", *options]
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=project, env=paths, capture_output=True, text=True)


def test_answers_are_those_of_an_annotator_and_are_never_written_twice(project):
    done = silver(project, "--within", "300")
    assert done.returncode == 0, done.stderr
    log = project / "data" / "annotations" / "round_1" / "silver.jsonl"
    answers = [json.loads(line) for line in log.read_text().splitlines()]
    assert {answer["annotator"] for answer in answers} == {"silver"}
    assert {answer["label"] for answer in answers} == {"reply", "no_reply"}
    assert f"{len(answers)} answers (9 reply, " in done.stdout
    again = silver(project, "--within", "300")
    assert again.returncode == 1
    assert "answers are only ever added to one" in again.stderr


def test_a_task_that_no_archive_answers_is_refused(project):
    (project / "params.yaml").write_text("task: needs_history\n")
    done = silver(project, "--within", "300")
    assert done.returncode == 1
    assert "task.toml: silver: expected replies, got nothing" in done.stderr
