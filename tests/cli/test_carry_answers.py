"""Answers given under old ids lead to the same questions under new ones, whatever was masked since."""

import json
import re

import pytest
from click.testing import CliRunner
from turn_rows import turn

from chatladder.chat.messages import ingest
from chatladder.chat.turns import merge
from chatladder.cli.carry_answers import Said, carry_answers_command, match, read_said
from chatladder.io.rows import MESSAGES, QUESTIONS, TURNS, read_rows, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import LogWriter, create, replay
from chatladder.labels.rounds import log_path
from chatladder.privacy.pseudonyms import Pseudonyms
from tests.logs import append

AT = "2024-01-01T00:00:00Z"
TEXTS = ["is it on port 22?", "ask Mei Lin, does she know?", "mail a@example.com, or not?", "is it on port 22?"]
NOW = [TEXTS[0], "ask u0a1b2c3d, does she know?", "mail <email>, or not?", TEXTS[3]]


def said(texts, letter):
    return [Said(f"{letter}{number}", ("g", "u", 60), text) for number, text in enumerate(texts)]


def test_what_is_masked_now_is_found_by_the_rest_of_its_text():
    carried = match(said(TEXTS, "old"), reversed(said(reversed(NOW), "new")))
    assert carried.similar == 2
    assert len(set(carried.ids.values())) == 4
    assert {carried.ids["old1"], carried.ids["old2"]} == {"new2", "new1"}


def test_another_time_sender_or_text_is_another_question():
    (old,) = said(TEXTS[:1], "old")
    others = [old._replace(place=("g", "u", 61)), old._replace(place=("g", "v", 60)), old._replace(text="why?")]
    assert match([old], others).ids == {}


def test_no_new_question_gets_the_answers_of_two():
    carried = match(said([TEXTS[0], TEXTS[0]], "old"), said(TEXTS[:1], "new"))
    assert carried.ids == {"old0": "new0"}


def question(number, text, letter):
    return {
        "item_id": letter * 15 + str(number),
        "turn_id": f"t{letter * 15}{number}",
        **{"group": "g", "conversation": "c", "sender": "u", "text": text, "timestamp": 60 * number, "window": []},
    }


@pytest.fixture
def project(tmp_path):
    """Questions and turns before and now, a round, an adjudication, a review and a mark; all under old ids."""
    data = tmp_path / "data"
    for letter, texts, folder in (("a", TEXTS, tmp_path), ("b", NOW, data)):
        rows = [question(number, text, letter) for number, text in enumerate(texts)]
        write_rows(folder / "questions.parquet", rows, QUESTIONS)
        turns = [turn(number, text, turn_id=f"t{letter * 15}{number}", sender="u") for number, text in enumerate(texts)]
        write_rows(folder / "turns.parquet", turns, TURNS)
    ids = [question(number, "", "a")["item_id"] for number in range(4)]
    given = [Answer(item_id, "li", 1, Label.NEEDED, AT) for item_id in ids]
    create(log_path(data / "annotations", 1, "li"), [*given, Answer("c" * 16, "li", 1, Label.UNSURE, AT)])
    append(data / "annotations/round_1/adjudication/chen.jsonl", Answer(ids[0], "chen", 1, Label.NOT_NEEDED, AT))
    (data / "annotations/round_2").mkdir()
    (data / "annotations/round_2/review.json").write_text(
        json.dumps({"items": ids[:2], "suspects": ids[:1], "random": ids[1:2]})
    )
    (data / "annotations/round_1/sample.json").write_text(json.dumps({"items": ids}))
    (data / "marks").mkdir()
    (data / "marks/me.jsonl").write_text(f'{{"turn_id": "t{"a" * 15}3", "question": true}}\n')
    return tmp_path


def run(project, *more):
    before = [f"--before={project / name}" for name in ("questions.parquet", "turns.parquet")]
    return CliRunner().invoke(carry_answers_command, [*before, f"--data={project / 'data'}", *more])


def everything(project):
    return {path: path.read_bytes() for path in project.rglob("*.json*")}


def test_answers_reviews_and_marks_are_carried_over(project):
    log = project / "data/annotations/round_1/li.jsonl"
    before = replay(log).answers
    result = run(project)
    assert result.exit_code == 0
    assert "4 of 4 questions found again, 2 of them by a similar text; 0 not" in result.output
    new = [f"{'b' * 15}{number}" for number in range(4)]
    after = replay(log).answers
    assert list(after) == [*new, "c" * 16]  # an answer without a question stays
    assert [answer.label for answer in after.values()] == [answer.label for answer in before.values()]
    assert list(replay(project / "data/annotations/round_1/adjudication/chen.jsonl").answers) == new[:1]
    assert json.loads((project / "data/annotations/round_1/sample.json").read_text()) == {"items": new}
    review = json.loads((project / "data/annotations/round_2/review.json").read_text())
    assert review == {"items": new[:2], "suspects": new[:1], "random": new[1:2]}
    assert json.loads((project / "data/marks/me.jsonl").read_text())["turn_id"] == f"t{new[3]}"
    kept = everything(project)
    assert run(project).exit_code == 0  # again: nothing more to do
    assert everything(project) == kept


def test_a_dry_run_changes_nothing(project):
    before = everything(project)
    assert "4 of 4 questions found again" in run(project, "--dry-run").output
    assert everything(project) == before


def test_questions_of_another_chat_are_refused(project):
    before = everything(project)
    rows = [question(number, "who is it?", "d") | {"sender": "x"} for number in range(3)]
    write_rows(project / "questions.parquet", rows, QUESTIONS)
    result = run(project)
    assert result.exit_code == 1
    assert "expected questions of the chat" in result.output
    assert everything(project) == before


def test_a_log_that_somebody_writes_is_left_alone(project):
    before = everything(project)
    with LogWriter(project / "data/annotations/round_1/li.jsonl"):
        result = run(project)
    assert result.exit_code == 1
    assert "another process is writing this log" in result.output
    assert everything(project) == before


def test_real_answers_lead_to_what_was_asked(tmp_path, shared_data):
    raw = tmp_path / "raw"
    raw.mkdir()
    for log in sorted((shared_data / "irc" / "ubuntu-zh").glob("*.ubuntu-cn.txt")):
        # As when the questions were read: without the channel's bots, under the key that their README names.
        lines = log.read_bytes().split(b"\n")
        kept = [line for line in lines if not re.match(rb"\[\d\d:\d\d\] <(kk|\^k\^)>", line)]
        (raw / log.name).write_bytes(b"\n".join(kept))
    ingest(raw, Pseudonyms("real-chat-annotation-key-0123456789abcdef"), tmp_path / "messages.parquet")
    write_rows(tmp_path / "turns.parquet", merge(read_rows(tmp_path / "messages.parquet", MESSAGES), 18), TURNS)
    turns = list(read_said(tmp_path / "turns.parquet")[1])
    group = turns[0].place[0]
    rows = map(
        json.loads, (shared_data / "annotated" / "ubuntu-cn" / "questions.jsonl").read_text("utf-8").splitlines()
    )
    asked = [Said(row["item_id"], (group, row["sender"], row["timestamp"]), row["text"]) for row in rows]
    carried = match(asked, turns)
    assert len(carried.ids) == len(asked) == 1673
    assert carried.similar < 50  # more of these is masked than when they were read
