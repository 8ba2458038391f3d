import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from chatladder.cli.import_labelled import conversation_of, import_command
from chatladder.io.rows import read_written_out
from chatladder.labels.answer import Label
from chatladder.labels.log import replay
from stages.label import main as label_main
from tests.conftest import ROOT

LABELLED = ROOT.parent / "shared" / "data" / "labelled"


@pytest.fixture(autouse=True)
def own_key(monkeypatch):
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", "a key that only this test knows")


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


def imported(tmp_path):
    return pq.read_table(tmp_path / "out" / "questions.parquet").to_pylist()


def test_import_writes_questions_and_a_log_without_names(tmp_path):
    rows = [row(), row(id="x:1_0", history=[], needs_context=False), row(id="y", conversation="z")]
    result = run(tmp_path, rows)
    assert result.exit_code == 0, result.output
    assert "out: 3 questions (2 needed) of 2 conversations" in result.output
    questions = imported(tmp_path)
    assert len({question["item_id"] for question in questions}) == 3
    assert [question["turn_id"] for question in questions] == [question["item_id"] for question in questions]
    first, second, third = (question["conversation"] for question in questions)
    assert first == second != third
    ids = [question[name] for question in questions for name in ("item_id", "conversation")]
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)
    bo = questions[0]["sender"]
    assert questions[0]["window"][0]["text"] == f"{bo}: which card do you have?"
    log = replay(tmp_path / "out" / "annotations" / "round_1" / "imported.jsonl").answers
    assert [*log] == [question["item_id"] for question in questions]
    assert [answer.label for answer in log.values()] == [Label.NEEDED, Label.NOT_NEEDED, Label.NEEDED]


def rewrites(tmp_path):
    log = replay(tmp_path / "out" / "annotations" / "round_1" / "imported.jsonl").answers
    return [answer.rewrite for answer in log.values()]


def test_what_is_needed_comes_with_its_rewrite_without_names(tmp_path):
    said = "bo: does the card of\n anna matter, or 13912345678?"
    rows = [
        row(rewrite=said), row(id="a", rewrite=""), row(id="b", rewrite=None), row(id="c"),
        row(id="d", rewrite="does it?", needs_context=False),
    ]  # fmt: skip
    assert run(tmp_path, rows).exit_code == 0
    bo, anna = (imported(tmp_path)[0][key] for key in ("sender", "window"))
    assert rewrites(tmp_path) == [
        f"{bo}: does the card of {anna[0]['sender']} matter, or <phone>?",
        *[None] * 4,
    ]


def test_a_rewrite_that_is_no_text_is_refused(tmp_path):
    result = run(tmp_path, [row(), row(id="a", rewrite=["does it?"])])
    assert result.exit_code == 1
    assert 'labelled.jsonl:2: expected "rewrite" to be text, got list' in result.output


PLANTED = {
    "sender": "Zelda Quirrell", "phone": "13912345678", "email": "zelda@example.org", "id": "wxid_zq:1977",
    "conversation": "room-of-zelda", "file": "kept_by_zelda", "denied": "Umbrella Corp",
}  # fmt: skip


def planted_row(**changes):
    said = f"Zelda, call {PLANTED['phone']} or {PLANTED['email']}, says Quirrell of {PLANTED['denied']}"
    history = [{"sender": PLANTED["sender"], "text": said, "timestamp": 1_367_893_320}]
    question = f"is {PLANTED['sender']} there, or {PLANTED['email']}?"
    fields = {"id": PLANTED["id"], "conversation": PLANTED["conversation"], "text": question, "history": history}
    return row(**{**fields, **changes})


def test_nothing_that_identifies_anybody_is_in_what_is_written_or_said(tmp_path):
    source = tmp_path / f"{PLANTED['file']}.jsonl"
    source.write_text(json.dumps(planted_row()) + "\n", encoding="utf-8")
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "firms.deny").write_text(PLANTED["denied"])
    options = [str(source), "--out", str(tmp_path / "out"), "--names", str(tmp_path / "names")]
    result = CliRunner().invoke(import_command, options)
    assert result.exit_code == 0, result.output
    log = (tmp_path / "out" / "annotations" / "round_1" / "imported.jsonl").read_text()
    written = json.dumps(imported(tmp_path)) + log + str(pq.read_schema(tmp_path / "out" / "questions.parquet"))
    for secret in (*PLANTED.values(), "Zelda", "Quirrell", "zelda"):
        assert secret.lower() not in (written + result.output).lower()


def test_ids_and_people_are_the_same_under_the_same_key_alone(tmp_path, monkeypatch):
    assert run(tmp_path, [planted_row()]).exit_code == 0
    first = imported(tmp_path)
    shutil.rmtree(tmp_path / "out")
    assert run(tmp_path, [planted_row()]).exit_code == 0
    assert imported(tmp_path) == first
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", "another key, also long")
    assert run(tmp_path, [planted_row()]).exit_code == 0
    for name in ("item_id", "conversation", "sender"):
        assert imported(tmp_path)[0][name] != first[0][name]


OPAQUE = {
    "id": "a62bfb37690b8532",
    "conversation": "cf222f5668863334",
    "sender": "udf7db243",
    "text": "@u6f360e77 why?",
}


def opaque_row(**changes):
    history = [{"sender": "u6f360e77", "text": "13912345678", "timestamp": None}]
    return row(**{**OPAQUE, "history": history, **changes})


@pytest.mark.parametrize("has_key", [True, False])
def test_what_is_hidden_already_stays_as_it_is_and_takes_no_key(tmp_path, monkeypatch, has_key):
    if not has_key:
        monkeypatch.delenv("CHATLADDER_PRIVACY_KEY")
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path, [opaque_row()])
    assert result.exit_code == 0, result.output
    question = imported(tmp_path)[0]
    names = {"id": "item_id"}
    assert {name: question[names.get(name, name)] for name in OPAQUE} == OPAQUE
    assert question["window"] == [{"sender": "u6f360e77", "text": "<phone>", "timestamp": None}]
    assert [*replay(tmp_path / "out" / "annotations" / "round_1" / "imported.jsonl").answers] == [OPAQUE["id"]]


@pytest.mark.parametrize(
    "change",
    [
        {"sender": "bo"},
        {"history": [{"sender": "anna", "text": "hi", "timestamp": None}]},
        {"id": "x:1"},
        {"conversation": "room"},
        {"id": "1234567812345678"},  # a number of anything, a card's for instance
        {"sender": "u20131224", "history": []},  # a nick with a date
    ],
)
def test_what_is_not_hidden_yet_takes_a_key_of_ones_own(tmp_path, monkeypatch, change):
    monkeypatch.delenv("CHATLADDER_PRIVACY_KEY")
    monkeypatch.chdir(tmp_path)
    result = run(tmp_path, [opaque_row(**change)])
    assert result.exit_code == 1
    assert "expected a key of your own" in result.output
    assert not (tmp_path / "out").exists()


def test_one_line_that_is_not_hidden_has_all_hidden(tmp_path):
    assert run(tmp_path, [opaque_row(), opaque_row(id="x:1")]).exit_code == 0
    assert OPAQUE["id"] not in {question["item_id"] for question in imported(tmp_path)}


@pytest.mark.parametrize("field", ["id", "conversation", "sender", "text"])
def test_half_a_character_is_no_traceback(tmp_path, field):
    result = run(tmp_path, [row(**{field: "a\ud800b"}), row(id="x:2")])
    assert result.exit_code == 0, result.output
    assert len(imported(tmp_path)) == 2


def test_questions_without_history_can_be_left_out_and_are_counted(tmp_path):
    result = run(tmp_path, [row(), row(id="x:1_0", history=[])], "--only-with-history")
    assert "1 questions (1 needed) of 1 conversations, 1 without history left out" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"needs_context": "Zelda"}, 'expected "needs_context" to be true or false, got str'),
        ({"id": "x:1_1"}, 'expected an "id" not used before, got the one of line 1'),
        ({"id": None}, 'expected "id" to be text, got NoneType'),
        ({"text": ""}, 'expected "text" to be text'),
        ({"sender": ["Zelda"]}, 'expected "sender" to be text, got list'),
        ({"history": "Zelda"}, 'expected "history" to be a list of objects, got str'),
        ({"timestamp": 1_367_893_320_000}, 'expected "timestamp" in seconds, got a larger number: milliseconds?'),
        ({"timestamp": "Zelda"}, 'expected "timestamp" in UTC seconds, a whole number or null, got str'),
        ({"timestamp": True}, 'expected "timestamp" in UTC seconds, a whole number or null, got bool'),
    ],
)
def test_a_bad_line_is_named_without_its_content_and_nothing_is_written(tmp_path, change, message):
    result = run(tmp_path, [row(), row(**{"id": "x:1_2", **change})])
    assert result.exit_code == 1
    assert f"labelled.jsonl:2: {message}" in result.output
    assert "Zelda" not in result.output
    assert "1367893320000" not in result.output
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


ANNOTATED = LABELLED.parent / "annotated"


@pytest.mark.skipif(not ANNOTATED.is_dir(), reason="real annotated data is not on this machine")
@pytest.mark.parametrize("name", ["ubuntu", "ubuntu-cn"])
def test_questions_that_this_project_made_keep_their_ids_and_people(tmp_path, monkeypatch, name):
    """Answers that lie elsewhere still find them, without any key."""
    monkeypatch.delenv("CHATLADDER_PRIVACY_KEY")
    monkeypatch.chdir(tmp_path)
    questions, labels = (
        [json.loads(line) for line in (ANNOTATED / name / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        for part in ("questions", "reader_a")
    )
    given = {each["item_id"]: each["label"] == "needed" for each in labels}
    rows = [
        {**each, "id": each["item_id"], "history": each["window"], "needs_context": given[each["item_id"]]}
        for each in questions
    ]
    assert run(tmp_path, rows).exit_code == 0
    kept = ("item_id", "conversation", "sender", "timestamp")
    assert [[each[field] for field in kept] for each in imported(tmp_path)] == [
        [each[field] for field in kept] for each in questions
    ]
    changed = sum(new["text"] != old["text"] for new, old in zip(imported(tmp_path), questions, strict=True))
    assert changed < 0.02 * len(questions)  # masking knows more than when they were made


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
        "--out", out / "labelled.parquet", "--metrics", out / "annotation.json", "--rewrites", out / "rewrites.parquet",
    ]  # fmt: skip
    result = CliRunner().invoke(label_main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "annotation.json").read_text())
    assert (metrics["items"], metrics["needed"]) == (len(needed), sum(needed))
    assert metrics["test"] / len(needed) == pytest.approx(0.25, abs=0.1)
    written = [row["needs_context"] and bool(row.get("rewrite")) for row in rows if row["history"]]
    questions = read_written_out(out / "labelled.parquet", out / "rewrites.parquet")
    assert questions.num_rows - questions["rewrite"].null_count == sum(written)
