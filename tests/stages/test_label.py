import json
import random
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given as given_
from hypothesis import settings
from hypothesis import strategies as st

from chatladder.io.console import DataError
from chatladder.io.rows import LABEL_SETS, LABELLED, QUESTIONS, write_rows
from chatladder.labels import review as review_module
from chatladder.labels.agreement import majority
from chatladder.labels.answer import Answer, Label
from chatladder.labels.folds import split_conversations, stable_fraction
from chatladder.labels.label_sets import check_verdicts, label_sets
from chatladder.labels.labelling import check_splits, conversation_starts, label_questions
from chatladder.labels.log import create
from chatladder.labels.review import (
    Review,
    begin,
    flips,
    flips_as_metrics,
    flips_in_words,
    mix,
    random_part,
    read_review,
    refuse_review,
    wilson,
)
from chatladder.labels.rounds import adjudication_path, log_path
from chatladder.labels.verdicts import Logs, Placed, Verdict, cases, combine, decide, rounded
from stages.label import main
from tests.logs import append

AT = "2023-10-01T12:00:00Z"
N, S, Q, U = Label.NEEDED, Label.NOT_NEEDED, Label.NOT_A_QUESTION, Label.UNSURE


def given(*answers):
    """Answers from (item, annotator, round, label)."""
    return [Answer(item, who, number, label, AT) for item, who, number, label in answers]


def placed(*answers):
    return [Placed(answer, f"log:{line}") for line, answer in enumerate(given(*answers), start=1)]


def test_the_majority_decides_and_a_tie_is_left_out():
    verdicts = decide(
        given(
            ("i1", "li", 1, N), ("i1", "wu", 1, N), ("i1", "xu", 1, U),
            ("i2", "li", 1, N), ("i2", "wu", 1, S),
        )
    )  # fmt: skip
    assert verdicts["i1"].label == N
    assert verdicts["i1"].agreement == pytest.approx(2 / 3)
    assert verdicts["i2"] == (None, 0.0)


def test_one_later_reviewer_does_not_override_a_majority():
    answers = [("i", "li", 1, N), ("i", "wu", 1, N), ("i", "xu", 2, S)]
    assert decide(given(*answers))["i"] == (N, pytest.approx(2 / 3))
    assert decide(given(*answers, ("i", "yu", 2, S)))["i"] == (None, 0.0)
    assert decide(given(*answers, ("i", "yu", 2, S), ("i", "qi", 3, S)))["i"] == (S, pytest.approx(3 / 5))


def test_two_later_reviewers_who_differ_do_not_erase_an_agreed_label():
    answers = given(("i", "li", 1, N), ("i", "wu", 1, N), ("i", "xu", 2, S), ("i", "yu", 2, N))
    assert decide(answers)["i"] == (N, 0.75)


def test_of_one_person_the_later_answer_counts_alone():
    answers = given(("i", "li", 1, N), ("i", "wu", 1, S), ("i", "li", 2, S), ("j", "li", 2, U), ("j", "li", 1, N))
    assert decide(answers) == {"i": (S, 1.0), "j": (U, 1.0)}


def test_every_annotated_item_is_counted_once():
    answers = placed(
        ("i1", "li", 1, N), ("i1", "wu", 1, N),
        ("i2", "li", 1, N), ("i2", "wu", 1, S),
        ("i3", "li", 1, Q), ("i4", "li", 1, U), ("i5", "li", 1, S),
        ("gone", "li", 1, N), ("gone", "wu", 1, N),
        ("i2", "xu", 2, S), ("i5", "xu", 2, N),
    )  # fmt: skip
    labelling = combine(answers, ["i1", "i2", "i3", "i4", "i5", "i6"], 2, refuse_orphans=False)
    assert labelling.logs.first_orphan == "log:8"
    assert labelling.counts == {
        "round": 2, "items": 5, "orphaned": 1,
        "needed": 1, "not_needed": 1, "not_a_question": 1, "unsure": 1, "disagreed": 1, "adjudicated": 0,
        "rounds": {"1": {"items": 2, "kappa": 0.0, "alpha": 0.0}},
        "kappa": 0.0, "alpha": 0.0, "kappa_round": 1, "kappa_items": 2, "flipped": 1, "settled": 1,
        "annotators": {"li": {"answers": 5, "kappa": 0.0}, "wu": {"answers": 2, "kappa": 0.0}},
    }  # fmt: skip


def test_what_an_adjudicator_settled_decides():
    answers = given(
        ("tie", "li", 1, N), ("tie", "wu", 1, S),
        ("overruled", "li", 1, N), ("overruled", "wu", 1, N), ("overruled", "xu", 1, U),
        ("new", "li", 1, N), ("new", "wu", 1, S),
    )  # fmt: skip
    adjudications = given(("tie", "chen", 1, S), ("overruled", "chen", 1, S), ("new", "chen", 1, Q))
    assert decide(answers, adjudications) == {
        "tie": (S, 0.5),
        "overruled": (S, 0.0),
        "new": (Q, 0.0),  # no annotator said so
    }
    assert decide(answers)["tie"] == (None, 0.0)


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        ([("li", S)], (Q, 0.0)),  # one of two votes
        ([("li", S), ("wu", N)], (Q, 0.0)),
        ([("li", S), ("wu", S)], (S, 1.0)),
        ([("xu", S)], (Q, 0.0)),
        ([("xu", S), ("yu", S)], (Q, 0.0)),  # two of four, though three say so
        ([("wu", S), ("xu", S)], (S, pytest.approx(2 / 3))),
        ([("li", U), ("wu", U)], (U, 1.0)),
    ],
)
def test_what_was_settled_stands_until_later_answers_are_a_majority_by_themselves(later, verdict):
    first = given(("i", "li", 1, N), ("i", "wu", 1, S))
    again = given(*(("i", who, 3, label) for who, label in later))
    for adjudications in (given(("i", "chen", 1, Q)), given(("i", "chen", 1, S), ("i", "chen", 2, Q))):
        assert decide([*first, *again], adjudications)["i"] == verdict


def test_answers_of_the_round_that_is_settled_are_not_later_ones():
    answers = given(("i", "li", 2, N), ("i", "wu", 2, N))
    assert decide(answers, given(("i", "chen", 2, S)))["i"] == (S, 0.0)
    assert decide(answers, given(("i", "chen", 1, S)))["i"] == (N, 1.0)


def test_adjudicators_of_several_rounds_who_differ_leave_an_item_open():
    answers = given(("i", "li", 1, N), ("i", "wu", 1, S), ("i", "li", 2, N))
    assert decide(answers, given(("i", "chen", 1, N), ("i", "zhao", 2, S)))["i"] == (None, 0.0)
    assert decide(answers, given(("i", "chen", 1, N), ("i", "chen", 2, S)))["i"] == (S, 0.5)


def test_adjudicators_decide_only_together():
    answers = given(*((item, who, 1, N) for item in ("one", "two", "apart") for who in ("li", "wu")))
    adjudications = given(
        ("one", "chen", 1, S), ("two", "chen", 1, S), ("two", "zhao", 1, S),
        ("apart", "chen", 1, S), ("apart", "zhao", 1, N), ("apart", "qian", 1, N),
    )  # fmt: skip
    assert decide(answers, adjudications) == {"one": (S, 0.0), "two": (S, 0.0), "apart": (None, 0.0)}


def test_what_annotators_leave_open_is_what_no_majority_scores_or_excludes():
    said = {"tie": (N, S), "unsure": (U, U, N), "most": (N, N, U), "all": (Q, Q), "alone": (U,)}
    answers = [(item, f"a{number}", 1, label) for item, labels in said.items() for number, label in enumerate(labels)]
    found = cases(given(*answers), given(("tie", "chen", 1, N)))
    assert {item for item, case in found.items() if case.is_open} == {"tie", "unsure", "alone"}
    assert {item for item, case in found.items() if case.is_unanimous} == {"all", "alone"}


def test_without_adjudication_the_majority_of_everybodys_latest_answers_decides():
    draw = random.Random(5)
    answers = [
        Answer(f"i{item}", who, number, draw.choice(list(Label)), AT)
        for item in range(200)
        for number in (1, 2, 3)
        for who in ("li", "wu", "xu")
        if draw.random() < 0.4
    ]
    for item_id, verdict in decide(answers).items():
        labels = [*{answer.annotator: answer.label for answer in answers if answer.item_id == item_id}.values()]
        label = majority(labels)
        assert verdict == (label, 0.0 if label is None else labels.count(label) / len(labels))


def test_adjudications_are_counted_and_change_no_agreement():
    answers = placed(
        *((f"i{number}", who, 1, label) for number, pair in enumerate([(N, S), (S, N), (N, N), (S, S)])
          for who, label in zip(("li", "wu"), pair, strict=True)),
        ("i3", "li", 2, N),
    )  # fmt: skip
    adjudications = placed(
        ("i0", "chen", 1, N), ("i1", "chen", 1, N), ("i1", "zhao", 1, S), ("i2", "chen", 1, N), ("i3", "chen", 1, Q),
        ("gone", "chen", 1, N),
    )  # fmt: skip
    known = [f"i{number}" for number in range(4)]
    before = combine(answers, known, 2, refuse_orphans=False).counts
    labelling = combine(answers, known, 2, False, adjudications)
    # i3 was settled in round 1 and asked again in round 2, by one of two: what was settled stands.
    changed = {"adjudicated": 3, "needed": 2, "not_a_question": 1, "disagreed": 1, "flipped": 0, "orphaned": 1}
    assert (before["flipped"], before["disagreed"]) == (1, 3)
    assert labelling.counts == {**before, **changed}
    assert labelling.logs.first_orphan == "log:6"


def test_a_disagreement_that_is_adjudicated_in_the_last_round_counts_as_settled():
    answers = placed(("i0", "li", 1, N), ("i0", "wu", 1, S), ("i0", "li", 2, N), ("i0", "wu", 2, S))
    counts = combine(answers, ["i0"], 2, False, placed(("i0", "chen", 2, S))).counts
    assert (counts["settled"], counts["adjudicated"], counts["disagreed"]) == (1, 1, 0)


def test_an_adjudication_of_what_no_annotator_answered_in_that_round_is_an_error():
    answers = placed(("i0", "li", 1, N), ("i1", "li", 2, N))
    with pytest.raises(DataError, match=r"log:1: expected an item that an annotator answered in round 2, got 'i0'"):
        combine(answers, ["i0", "i1"], 2, False, placed(("i0", "chen", 2, N)))
    with pytest.raises(DataError, match="log:1: expected an item of the questions, got 'gone'; 1 of 3"):
        combine(answers, ["i0", "i1"], 2, True, placed(("gone", "chen", 2, N)))


def questions(conversations=40):
    """Three questions a conversation, 10,000 seconds apart."""
    return [
        {
            "item_id": f"i{number}",
            "turn_id": f"t{number}",
            "group": "g",
            "conversation": f"c{number // 3}",
            "sender": "u1",
            "text": "这个怎么装？",
            "timestamp": 1_696_000_000 + 10_000 * number,
            "window": [{"sender": "u2", "text": "装好了", "timestamp": None}],
        }
        for number in range(conversations * 3)
    ]


@pytest.fixture
def project(tmp_path):
    """Questions, and a round of two annotators who disagree on every ninth; returns how to run the stage."""
    rows = questions()
    write_rows(tmp_path / "questions.parquet", rows, QUESTIONS)
    for who in ("li", "wu"):
        labels = [N if number % 2 else S for number in range(len(rows))]
        if who == "wu":
            labels[::9] = [U] * len(labels[::9])
        answers = [Answer(f"i{number}", who, 1, label, AT) for number, label in enumerate(labels)]
        create(log_path(tmp_path / "annotations", 1, who), answers)

    def run(*options):
        arguments = [
            "--questions", tmp_path / "questions.parquet", "--annotations", tmp_path / "annotations",
            "--round", 1, "--validation", 0.1, "--test", 0.3,
            "--out", tmp_path / "labelled.parquet", "--metrics", tmp_path / "annotation.json", *options,
        ]  # fmt: skip
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def splits_of(tmp_path):
    table = pq.read_table(tmp_path / "labelled.parquet")
    return dict(zip(table["item_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def test_label_writes_rows_splits_and_counts(project, tmp_path):
    result = project()
    assert result.exit_code == 0, result.output
    table = pq.read_table(tmp_path / "labelled.parquet")
    metrics = json.loads((tmp_path / "annotation.json").read_text())
    assert metrics["items"] == 120
    assert metrics["disagreed"] == 14
    assert table.num_rows == metrics["needed"] + metrics["not_needed"] == 106
    assert metrics["train"] + metrics["validation"] + metrics["test"] == 106
    assert f"labelled.parquet: 106 of 120 annotated items labelled (train {metrics['train']}" in result.output
    assert table["window"][0].as_py() == [{"sender": "u2", "text": "装好了", "timestamp": None}]
    by_conversation = {}
    for row in table.select(["conversation", "split"]).to_pylist():
        assert by_conversation.setdefault(row["conversation"], row["split"]) == row["split"]


def test_what_is_adjudicated_is_labelled_and_the_annotators_share_is_kept(project, tmp_path):
    assert project().exit_code == 0
    before = json.loads((tmp_path / "annotation.json").read_text())
    path = adjudication_path(tmp_path / "annotations", 1, "chen")
    create(path, [Answer(f"i{number}", "chen", 1, label, AT) for number, label in ((0, S), (9, S), (18, Q), (1, S))])
    with path.open("ab") as log:
        log.write(b'{"item_id')
    result = project()
    assert result.exit_code == 0, result.output
    assert "adjudication/chen.jsonl:5: the last line is incomplete" in result.stderr
    rows = pq.read_table(tmp_path / "labelled.parquet").select(["item_id", "label", "agreement"]).to_pylist()
    labelled = {row["item_id"]: (row["label"], row["agreement"]) for row in rows}
    assert labelled["i0"] == (S, 0.5)
    assert labelled["i9"] == (S, 0.0)  # li said needed, wu was unsure
    assert "i18" not in labelled
    assert labelled["i1"] == (S, 0.0)
    after = json.loads((tmp_path / "annotation.json").read_text())
    assert (before["adjudicated"], after["adjudicated"]) == (0, 4)
    assert (before["disagreed"], after["disagreed"]) == (14, 11)
    assert [after[name] for name in ("kappa", "alpha", "annotators", "rounds")] == [
        before[name] for name in ("kappa", "alpha", "annotators", "rounds")
    ]
    # It stands until later answers are a majority by themselves.
    for adjudicated, who in ((4, "li"), (3, "wu")):
        create(log_path(tmp_path / "annotations", 2, who), [Answer("i9", who, 2, N, AT)])
        assert project("--round", 2).exit_code == 0
        assert json.loads((tmp_path / "annotation.json").read_text())["adjudicated"] == adjudicated


def test_what_people_wrote_out_goes_into_a_file_of_its_own_and_changes_no_label(project, tmp_path):
    rewrites = tmp_path / "rewrites.parquet"
    assert project("--rewrites", rewrites).exit_code == 0
    labelled, metrics = ((tmp_path / name).read_bytes() for name in ("labelled.parquet", "annotation.json"))
    assert pq.read_table(rewrites).num_rows == 0
    needed = [
        each["item_id"] for each in pq.read_table(tmp_path / "labelled.parquet").to_pylist() if each["label"] == N
    ]
    for who, texts in (("li", ("2.1 怎么装？", "3.0 怎么装？")), ("wu", ("2.1 怎么装？",))):
        for item_id, text in zip(needed[1:], texts, strict=False):
            append(log_path(tmp_path / "annotations", 1, who), Answer(item_id, who, 1, N, AT, rewrite=text))
    assert project("--rewrites", rewrites).exit_code == 0
    assert (tmp_path / "labelled.parquet").read_bytes() == labelled
    counts = json.loads((tmp_path / "annotation.json").read_text())
    assert counts.pop("rewrites") == {"written": 2, "pairs": 1, "exact": 1.0, "chrf": 100.0}
    assert counts == json.loads(metrics)
    rows = [tuple(each.values()) for each in pq.read_table(rewrites).to_pylist()]
    assert rows == [
        (needed[1], "li", "2.1 怎么装？", True),
        (needed[1], "wu", "2.1 怎么装？", False),
        (needed[2], "li", "3.0 怎么装？", True),
    ]


def test_an_adjudication_without_annotators_names_file_and_line(project, tmp_path):
    create(adjudication_path(tmp_path / "annotations", 2, "chen"), [Answer("i0", "chen", 2, N, AT)])
    create(log_path(tmp_path / "annotations", 2, "li"), [Answer("i1", "li", 2, N, AT)])
    assert project("--round", 1).exit_code == 0
    result = project("--round", 2)
    assert result.exit_code == 1
    assert "round_2/adjudication/chen.jsonl:1: expected an item that an annotator answered in round 2" in result.output


def test_an_item_never_changes_split_when_a_round_is_added(project, tmp_path):
    assert project().exit_code == 0
    before = splits_of(tmp_path)
    for who in ("wu", "xu"):
        create(
            log_path(tmp_path / "annotations", 2, who),
            [Answer(f"i{number}", who, 2, N, AT) for number in range(0, 120, 9)],
        )
    assert project("--round", 2).exit_code == 0
    after = splits_of(tmp_path)
    assert len(after) == 120
    assert {item: after[item] for item in before} == before


def test_fault_8_items_of_equal_text_keep_their_own_labels(project, tmp_path):
    project()
    rows = pq.read_table(tmp_path / "labelled.parquet").select(["item_id", "text", "label"]).to_pylist()
    assert {row["text"] for row in rows} == {"这个怎么装？"}
    for row in rows:
        assert row["label"] == (N if int(row["item_id"][1:]) % 2 else S)


def test_equal_input_gives_equal_bytes(project, tmp_path):
    project()
    first = (tmp_path / "labelled.parquet").read_bytes()
    project()
    assert (tmp_path / "labelled.parquet").read_bytes() == first


def test_test_from_keeps_whole_conversations_on_one_side(project, tmp_path):
    # 2023-10-06 falls into the middle of a conversation: it began before, so it is not test.
    assert project("--test-from", "2023-10-06T08:00:00Z", "--validation", 0.4).exit_code == 0
    rows = pq.read_table(tmp_path / "labelled.parquet").select(["conversation", "timestamp", "split"]).to_pylist()
    starts = {row["conversation"]: 1_696_000_000 + 30_000 * int(row["conversation"][1:]) for row in rows}
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    for row in rows:
        assert (row["split"] == "test") == (starts[row["conversation"]] >= 1_696_579_200)


def test_a_test_that_begins_at_midnight_of_another_time_zone(project, tmp_path):
    rows = questions()
    for row in rows:
        row["timestamp"] += 14_000  # c3 then begins at 2023-09-30 20:00 UTC, in Shanghai the first of October
    write_rows(tmp_path / "questions.parquet", rows, QUESTIONS)
    for date, split in (("2023-10-01T00:00+08:00", "test"), ("2023-10-01", "train")):
        assert project("--test-from", date, "--validation", 0).exit_code == 0
        found = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
        assert {row["split"] for row in found if row["conversation"] == "c3"} == {split}


def test_a_conversation_without_times_cannot_be_split_by_date(project, tmp_path):
    rows = questions()
    rows[4]["timestamp"] = None
    write_rows(tmp_path / "questions.parquet", rows, QUESTIONS)
    result = project("--test-from", "2023-10-06")
    assert result.exit_code == 1
    assert "conversation 'c1': expected a time" in result.output
    assert not (tmp_path / "labelled.parquet").exists()
    assert project("--test-from", "soon").exit_code == 2


def test_starts_use_all_questions_so_that_labels_cannot_move_a_conversation():
    starts = conversation_starts(pa.Table.from_pylist(questions(2)[::-1], schema=QUESTIONS))
    assert starts == {"c1": 1_696_030_000, "c0": 1_696_000_000}


def test_orphans_are_counted_or_refused_with_file_and_line(project, tmp_path):
    append(log_path(tmp_path / "annotations", 1, "li"), Answer("gone", "li", 1, N, AT))
    result = project()
    assert result.exit_code == 0
    assert "round_1/li.jsonl:121: the first of 1 items that are no longer questions" in result.stderr
    assert json.loads((tmp_path / "annotation.json").read_text())["orphaned"] == 1
    (tmp_path / "annotation.json").unlink()
    refused = project("--orphans", "refuse")
    assert refused.exit_code == 1
    assert "li.jsonl:121: expected an item of the questions, got 'gone'; 1 of 121" in refused.output
    assert not (tmp_path / "annotation.json").exists()


def test_annotations_of_another_chat_are_an_error(project, tmp_path):
    write_rows(tmp_path / "questions.parquet", questions(19), QUESTIONS)
    result = project()
    assert result.exit_code == 1
    assert "li.jsonl:58" in result.output
    assert "63 of 120 annotated items are unknown, more than half" in result.output


def test_a_torn_line_is_reported_and_the_rest_counts(project, tmp_path):
    path = log_path(tmp_path / "annotations", 1, "li")
    path.write_bytes(path.read_bytes()[:-20])
    result = project()
    assert result.exit_code == 0
    assert "li.jsonl:120: the last line is incomplete" in result.stderr


@pytest.mark.parametrize("end", [b"\r", b"\r\n"])
def test_a_log_with_the_line_ends_of_an_editor_says_the_same(project, tmp_path, end):
    assert project().exit_code == 0
    outs = [tmp_path / name for name in ("labelled.parquet", "annotation.json")]
    before = [out.read_bytes() for out in outs]
    path = log_path(tmp_path / "annotations", 1, "li")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", end))
    assert project().exit_code == 0
    assert [out.read_bytes() for out in outs] == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text(path.read_text().replace("\n", "\u2028")), "li.jsonl:1: expected a JSON object"),
        (lambda path: path.write_bytes(b""), "li.jsonl: expected answers, got none"),
        (lambda path: (path.unlink(), path.mkdir()), "li.jsonl: expected a file of answers"),
    ],
)
def test_no_answer_vanishes_in_silence(project, tmp_path, damage, message):
    damage(log_path(tmp_path / "annotations", 1, "li"))
    result = project()
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "labelled.parquet").exists()


def test_an_unknown_label_is_an_error(project, tmp_path):
    path = log_path(tmp_path / "annotations", 1, "wu")
    path.write_text(path.read_text().replace("unsure", "maybe"))
    result = project()
    assert result.exit_code == 1
    assert 'wu.jsonl:1: expected "label" to be one of' in result.output


def test_a_split_that_could_not_be_learned_or_scored_is_an_error(project):
    result = project("--test", 0.0)
    assert result.exit_code == 1
    assert "split test: expected items labelled needed, got none (106 items in 40 conversations" in result.output


class TestReviews:
    def test_without_a_review_there_is_an_empty_place_for_them(self, project, tmp_path):
        assert "looked again" not in project().output
        assert json.loads((tmp_path / "annotation.json").read_text())["reviews"] == {}

    def test_a_round_that_is_a_review_has_its_flips_counted_and_told(self, project, tmp_path):
        annotations = tmp_path / "annotations"
        assert project().exit_code == 0
        before = (json.loads((tmp_path / "annotation.json").read_text()), (tmp_path / "labelled.parquet").read_bytes())
        # Odd items are needed, even ones not; i0 had no label until it was adjudicated, i9 has none.
        create(adjudication_path(annotations, 1, "chen"), [Answer("i0", "chen", 1, N, AT)])
        begin(
            annotations / "round_2",
            Review(("i1", "i3", "i2", "i0", "i9", "i5", "i7"), ("i1", "i3", "i2", "i0", "i9"), frozenset({"i5", "i7"})),
        )
        said = {"i1": S, "i3": Q, "i2": S, "i0": N, "i9": N, "i5": N, "i7": N}
        create(log_path(annotations, 2, "li"), [Answer(item, "li", 2, label, AT) for item, label in said.items()])
        create(log_path(annotations, 2, "wu"), [Answer("i7", "wu", 2, S, AT)])
        result = project("--round", 2)
        assert result.exit_code == 0, result.output
        metrics = json.loads((tmp_path / "annotation.json").read_text())
        assert list(metrics["reviews"]) == ["2"]
        found = metrics["reviews"]["2"]
        assert {name: found[name] for name in found if not name.endswith(("_lo", "_hi"))} == {
            "suspects": 5, "suspects_answered": 4, "suspects_flipped": 2, "suspects_rate": 0.5,
            "random": 2, "random_answered": 2, "random_flipped": 1, "random_rate": 0.5,
            "excess": 0.0, "unlabelled": 1,
        }  # fmt: skip
        assert found["excess_lo"] < 0 < found["excess_hi"]
        assert found["suspects_rate_lo"] < 0.5 < found["suspects_rate_hi"]
        (line,) = [line for line in result.output.splitlines() if "looked again" in line]
        assert line.startswith(
            "round 2 looked again at 4 suspects and 2 random items: 50 % of the suspects flipped, 50 % of the random "
            "items; excess +0 points [-"
        )
        # A review that is not counted changes nothing.
        adjudication_path(annotations, 1, "chen").unlink()
        assert "looked again" not in project().output
        after = (json.loads((tmp_path / "annotation.json").read_text()), (tmp_path / "labelled.parquet").read_bytes())
        assert after == before

    def test_what_adjudicators_settle_of_a_review_is_no_answer_of_it(self, project, tmp_path):
        annotations = tmp_path / "annotations"
        begin(annotations / "round_2", Review(("i1", "i2"), ("i1",), frozenset({"i2"})))
        create(log_path(annotations, 2, "li"), [Answer("i1", "li", 2, N, AT), Answer("i2", "li", 2, S, AT)])
        create(adjudication_path(annotations, 2, "chen"), [Answer("i1", "chen", 2, S, AT)])
        assert project("--round", 2).exit_code == 0
        found = json.loads((tmp_path / "annotation.json").read_text())["reviews"]["2"]
        assert (found["suspects_answered"], found["suspects_flipped"]) == (1, 0)

    def test_every_review_that_counts_is_held_against_the_rounds_before_it(self, project, tmp_path):
        annotations = tmp_path / "annotations"
        for number, label in ((2, S), (3, N), (10, N)):
            begin(annotations / f"round_{number}", Review(("i1",), ("i1",)))
            for who in ("li", "wu"):
                create(log_path(annotations, number, who), [Answer("i1", who, number, label, AT)])
        result = project("--round", 10)
        reviews = json.loads((tmp_path / "annotation.json").read_text())["reviews"]
        assert {number: found["suspects_flipped"] for number, found in reviews.items()} == {"2": 1, "3": 1, "10": 0}
        assert list(reviews) == ["2", "3", "10"]
        assert "round 3 looked again at 1 suspects and 0 random items: 100 % of the suspects flipped\n" in result.output

    def test_one_that_nobody_answered_says_so(self, project, tmp_path):
        annotations = tmp_path / "annotations"
        begin(annotations / "round_2", Review(("i1", "i2"), ("i1",), frozenset({"i2"})))
        create(log_path(annotations, 3, "li"), [Answer("i1", "li", 3, N, AT)])
        result = project("--round", 3)
        found = json.loads((tmp_path / "annotation.json").read_text())["reviews"]["2"]
        assert (found["suspects"], found["suspects_answered"], found["suspects_rate"]) == (1, 0, None)
        assert "round 2 looked again at 0 suspects and 0 random items\n" in result.output

    def test_a_damaged_record_stops_before_anything_is_written(self, project, tmp_path):
        folder = tmp_path / "annotations" / "round_1"
        (folder / "review.json").write_text('{"items": "all"}')
        result = project()
        assert result.exit_code == 1
        assert f"{folder / 'review.json'}: expected" in result.output
        assert not (tmp_path / "annotation.json").exists()


class TestEdges:
    """Where a count, a split or a verdict turns."""

    def test_answers_may_come_in_any_order_of_rounds(self):
        answers = given(("i", "li", 2, S), ("i", "wu", 1, N), ("i", "xu", 3, N), ("i", "li", 1, N), ("i", "wu", 3, N))
        for order in (answers, answers[::-1]):
            (case,) = cases(order, given(("i", "chen", 2, S), ("i", "zhao", 3, Q), ("i", "zhao", 2, S))).values()
            assert (case.round, case.annotators, case.adjudicators) == (3, {"li": S, "xu": N, "wu": N}, {"zhao": Q})
            assert (case.annotated_now, case.settled_now) == ({"xu", "wu"}, {"zhao"})
        assert cases([], given(("i", "chen", 1, S))) == {}

    def test_more_than_half_of_the_items_unknown_is_an_error_and_half_is_not(self):
        answers = [("i0", "li", 1, N), ("gone", "li", 1, N), ("gone", "wu", 1, N)]
        found = combine(placed(*answers), ["i0", "i1"], 1, refuse_orphans=False)
        assert (found.counts["orphaned"], found.counts["items"], found.logs.first_orphan) == (1, 1, "log:2")
        with pytest.raises(
            DataError, match=r"log:2: .* got 'gone'; 2 of 3 annotated items are unknown, more than half"
        ):
            combine(placed(*answers, ("lost", "wu", 1, N)), ["i0", "i1"], 1, refuse_orphans=False)
        with pytest.raises(DataError, match=r"log:1: .* got 'gone'; 1 of 2 .* --orphans report"):
            combine(placed(*answers[:1]), ["i0"], 1, True, placed(("gone", "chen", 1, N)))

    def test_nothing_unknown_is_no_error_even_if_refused(self):
        found = combine(placed(("i0", "li", 1, N)), ["i0"], 1, refuse_orphans=True)
        assert (found.counts["orphaned"], found.logs.first_orphan) == (0, None)

    def test_a_label_that_ends_in_a_tie_has_flipped_and_a_tie_that_stays_has_not(self):
        answers = placed(
            *((item, who, 1, N if who == "li" else label)
              for item, label in (("lost", N), ("tie", S), ("settled", S), ("kept", N)) for who in ("li", "wu")),
            *((item, who, 2, N if who == "li" else label)
              for item, label in (("lost", S), ("tie", S), ("settled", N), ("kept", N)) for who in ("li", "wu")),
        )  # fmt: skip
        counts = combine(answers, ["lost", "tie", "settled", "kept"], 2, refuse_orphans=False).counts
        assert (counts["flipped"], counts["settled"], counts["disagreed"], counts["needed"]) == (1, 1, 2, 2)

    def test_only_what_the_last_round_changed_counts_as_changed(self):
        answers = placed(("i", "li", 1, N), ("i", "li", 2, S), ("j", "li", 3, S))
        assert combine(answers, ["i", "j"], 3, refuse_orphans=False).counts["flipped"] == 0
        assert combine(answers[:2], ["i", "j"], 2, refuse_orphans=False).counts["flipped"] == 1

    def test_one_annotator_alone_has_no_agreement(self):
        counts = combine(placed(("i", "li", 1, N)), ["i"], 1, refuse_orphans=False).counts
        assert {name: counts[name] for name in ("kappa", "alpha", "annotators", "kappa_round", "kappa_items")} == {
            "kappa": None, "alpha": None, "annotators": {}, "kappa_round": None, "kappa_items": 0,
        }  # fmt: skip
        assert counts["rounds"] == {}

    def test_metrics_keep_five_digits_and_no_minus_before_zero(self):
        assert rounded(None) is None
        assert (rounded(2 / 3), rounded(0.000_004), str(rounded(-0.000_001))) == (0.66667, 0.0, "0.0")

    def test_only_scored_labels_are_written_in_the_order_of_the_questions(self):
        table = pa.Table.from_pylist(questions(2), schema=QUESTIONS)
        verdicts = {"i5": Verdict(N, 1.0), "i0": Verdict(S, 0.75), "i1": Verdict(Q, 1.0), "i2": Verdict(None, 0.0),
                    "i3": Verdict(U, 1.0), "elsewhere": Verdict(N, 1.0)}  # fmt: skip
        checked = {"i0": Verdict(N, 1.0), "i1": Verdict(S, 0.5), "i4": Verdict(N, 1.0)}
        found = label_questions(table, verdicts, checked, {"c0": "test", "c1": "train"})
        assert found.schema.names == LABELLED.names
        rows = found.select(["item_id", "label", "agreement", "split", "check_label"]).to_pylist()
        assert [tuple(row.values()) for row in rows] == [
            ("i0", "needed", 1.0, "test", "needed"),
            ("i1", "not_needed", 0.5, "test", "not_needed"),
            ("i5", "needed", 1.0, "train", None),
        ]
        assert found.cast(LABELLED).num_rows == 3
        assert label_questions(table.slice(0, 0), verdicts, checked, {}).cast(LABELLED).num_rows == 0

    def test_a_conversation_that_lacks_one_time_has_no_start(self):
        rows = questions(4)
        rows[0]["timestamp"] = rows[4]["timestamp"] = rows[8]["timestamp"] = None
        rows[10]["timestamp"] -= 50_000
        starts = conversation_starts(pa.Table.from_pylist(rows, schema=QUESTIONS))
        assert starts == {"c0": None, "c1": None, "c2": None, "c3": 1_696_050_000}

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            (("train", "needed"), "split train: expected items labelled needed, got none"),
            (("train", "not_needed"), "split train: expected items labelled not_needed, got none"),
            (("test", "needed"), "split test: expected items labelled needed, got none"),
            (("test", "not_needed"), "split test: expected items labelled not_needed, got none"),
        ],
    )
    def test_training_and_test_need_both_labels_and_validation_none(self, missing, message):
        cells = [(split, label) for split in ("train", "test") for label in ("needed", "not_needed")]
        full = [*cells, ("train", "needed")]
        assert check_splits(labelled_rows(full)) == {"train": 3, "validation": 0, "test": 2}
        assert check_splits(labelled_rows([*full, ("validation", "needed")]))["validation"] == 1
        with pytest.raises(DataError, match=rf"{message} \(3 items in 3 conversations in all\)"):
            check_splits(labelled_rows([cell for cell in cells if cell != missing]))

    def test_shares_of_nothing_and_of_all_leave_no_exception(self):
        starts = dict.fromkeys((f"c{number}" for number in range(200)), 0)
        for validation, test, expected in ((0, 0, "train"), (1, 0, "validation"), (0, 1, "test"), (1, 1, "test")):
            splits = split_conversations(starts, validation=validation, test=test, test_from=None)
            assert set(splits.values()) == {expected}
            assert list(splits) == list(starts)

    def test_a_share_ends_before_a_conversation_whose_number_it_is(self):
        for purpose in ("test", "validation"):
            number = stable_fraction("c1", purpose)
            shares = {"test": 0.0, "validation": 0.0}
            split = split_conversations({"c1": None}, **{**shares, purpose: number}, test_from=None)["c1"]
            assert split == "train"
            assert (
                split_conversations({"c1": None}, **{**shares, purpose: number + 2**-48}, test_from=None)["c1"]
                == purpose
            )
        assert stable_fraction("c1", "test") != stable_fraction("c1", "validation")
        assert all(0 <= stable_fraction(str(key), "test") < 1 for key in range(1_000))

    def test_a_conversation_that_starts_at_the_instant_itself_is_test(self):
        instant = datetime(2023, 10, 1, tzinfo=UTC)
        at = int(instant.timestamp())
        splits = split_conversations({"on": at, "before": at - 1}, validation=0, test=1, test_from=instant)
        assert splits == {"on": "test", "before": "train"}
        with pytest.raises(DataError, match=r"conversation 'c\\u4e00': expected a time"):
            split_conversations({"c\u4e00": None}, validation=0, test=0, test_from=instant)

    @pytest.mark.parametrize(
        ("date", "instant"),
        [("2023-10-06", 1_696_550_400), ("2023-10-06T08:00", 1_696_579_200), ("2023-10-06T08:00+08:00", 1_696_550_400)],
    )
    def test_a_date_is_of_utc_unless_it_says_otherwise(self, project, tmp_path, date, instant):
        assert project("--test-from", date, "--validation", 0).exit_code == 0
        rows = pq.read_table(tmp_path / "labelled.parquet").select(["conversation", "split"]).to_pylist()
        starts = {row["conversation"]: 1_696_000_000 + 30_000 * int(row["conversation"][1:]) for row in rows}
        tests = [starts[row["conversation"]] for row in rows if row["split"] == "test"]
        trained = [starts[row["conversation"]] for row in rows if row["split"] == "train"]
        assert max(trained) < instant <= min(tests)

    def test_a_date_that_is_none_says_which_form_is_expected(self, project):
        result = project("--test-from", "soon")
        assert result.exit_code == 2
        assert "expected a date or time in ISO 8601, as 2023-10-01 or 2023-10-01T00:00+08:00, got 'soon'" in " ".join(
            result.output.split()
        )


def labelled_rows(cells):
    """Labelled items of (split, label), each in a conversation of its own."""
    rows = [
        {"item_id": f"i{number}", "conversation": f"c{number}", "split": split, "label": label}
        for number, (split, label) in enumerate(cells)
    ]
    return pa.Table.from_pylist(rows)


class TestReviewEdges:
    """What a review is, and what is said of it."""

    def test_a_round_without_a_record_is_no_review(self, tmp_path):
        assert read_review(tmp_path) is None
        refuse_review(tmp_path)

    def test_a_record_may_hold_what_people_chose_and_keeps_the_order(self, tmp_path):
        review = Review(("b", "a", "c"), (), frozenset("ab"))
        assert begin(tmp_path, review) == review == read_review(tmp_path)
        assert json.loads((tmp_path / "review.json").read_text()) == {
            "items": ["b", "a", "c"], "suspects": [], "random": ["a", "b"],
        }  # fmt: skip
        assert not review.is_queue
        with pytest.raises(DataError, match=r"review\.json: expected a round of annotation, but this one is a review"):
            refuse_review(tmp_path)
        assert begin(tmp_path, Review(("z",), ("z",))) == review

    def test_of_an_earlier_record_all_items_are_suspects_for_models_chose_them_all(self, tmp_path):
        (tmp_path / "review.json").write_text('{"items": ["b", "a"], "controls": ["a"]}')
        assert read_review(tmp_path) == Review(("b", "a"), ("b", "a"), frozenset())

    def test_metrics_are_of_one_level_and_tell_no_directions(self):
        before = {"a": N, "b": N, "c": S}
        found = flips_as_metrics(
            flips(Review(tuple("abc"), tuple("ab"), frozenset("c")), before, {"a": S, "b": N, "c": S})
        )
        assert list(found) == [
            "suspects", "suspects_answered", "suspects_flipped", "suspects_rate", "suspects_rate_lo",
            "suspects_rate_hi", "random", "random_answered", "random_flipped", "random_rate",
            "random_rate_lo", "random_rate_hi", "excess", "excess_lo", "excess_hi", "unlabelled",
        ]  # fmt: skip
        assert (found["suspects_rate"], found["suspects_rate_lo"], found["suspects_rate_hi"]) == (0.5, 0.09453, 0.90547)
        assert (found["excess"], found["unlabelled"]) == (0.5, 0)

    @pytest.mark.parametrize(
        ("after", "line"),
        [
            ({}, "round 3 looked again at 0 suspects and 0 random items"),
            ({"c": S}, "round 3 looked again at 0 suspects and 1 random items: 0 % of the random items flipped"),
            (
                {"a": S, "b": N, "c": S},
                "round 3 looked again at 2 suspects and 1 random items: 50 % of the suspects flipped, 0 % of the "
                "random items; excess +50 points [-39, +91]",
            ),
        ],
    )
    def test_a_line_tells_shares_of_what_was_answered(self, after, line):
        found = flips(Review(tuple("abc"), tuple("ab"), frozenset("c")), {"a": N, "b": N, "c": S}, after)
        assert flips_in_words(3, found) == line

    def test_all_suspects_and_no_random_item_turned_are_a_hundred_points(self):
        found = flips(Review(tuple("ab"), ("a",), frozenset("b")), {"a": N, "b": N}, {"a": S, "b": N})
        assert "100 % of the suspects flipped, 0 % of the random items; excess +100 points [" in flips_in_words(
            2, found
        )

    def test_a_record_that_vanishes_while_it_is_made_asks_to_start_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(review_module, "create_json", lambda _path, _value: None)
        with pytest.raises(DataError, match=r"review\.json: something removed it .* Start again\."):
            begin(tmp_path, Review(("a",), ("a",)))

    def test_a_share_of_nothing_is_none_and_of_none_is_zero(self):
        assert wilson(0, 0) is None
        assert wilson(0, 1).value == 0.0
        assert wilson(3, 4)[0] == 0.75


class TestRandomPart:
    def test_it_is_a_share_that_depends_on_item_and_round_alone(self):
        ids = [f"i{number}" for number in range(2_000)]
        part = random_part(ids, 2, 0.2)
        assert abs(len(part) - 400) < 60
        assert part == [item_id for item_id in ids if stable_fraction(item_id, "random:2") < 0.2]
        assert random_part(ids[::-3], 2, 0.2) == [item_id for item_id in ids[::-3] if item_id in {*part}]
        assert set(random_part(ids, 3, 0.2)) != {*part}
        assert (random_part(ids, 2, 0.0), random_part(ids, 2, 1.0)) == ([], ids)

    @pytest.mark.parametrize(("suspects", "others"), [(150, 400), (400, 40), (0, 30), (30, 0)])
    def test_whoever_stops_early_has_met_the_same_share_of_both(self, suspects, others):
        first, second = (
            [f"{name}{number}" for number in range(count)] for name, count in (("s", suspects), ("r", others))
        )
        items = mix(first, second, 2)
        assert sorted(items) == sorted([*first, *second])
        assert [item_id for item_id in items if item_id in {*first}] == first
        assert mix(first, second[::-1], 2) == items
        if suspects and others:
            assert mix(first, second, 3) != items
            met = [item_id[0] == "r" for item_id in items]
            for part in (0.25, 0.5, 0.75):
                assert abs(sum(met[: round(part * len(met))]) / others - part) < 0.12


#: Of the answers to suspects in a review, any may be given.
_ANY = st.dictionaries(st.sampled_from([f"i{number}" for number in range(12)]), st.sampled_from(list(Label)))


class TestLabelSets:
    def rows(self, answers, reviews=None, adjudications=()):
        logs = Logs(given(*answers), given(*adjudications), 0, None)
        return label_sets(pa.Table.from_pylist(questions(4), schema=QUESTIONS), logs, reviews or {}).to_pylist()

    def test_annotators_are_compared_by_their_own_first_answers(self):
        answers = [
            ("i1", "wu", 2, S), ("i1", "wu", 1, N), ("i1", "li", 1, S), ("i0", "li", 2, N), ("i0", "wu", 1, N),
            ("i2", "li", 1, U), ("i2", "wu", 1, N), ("i3", "li", 1, N), ("gone", "li", 1, N), ("gone", "wu", 1, N),
        ]  # fmt: skip
        assert [tuple(row.values()) for row in self.rows(answers)] == [
            ("annotators", "li", "wu", "i0", "c0", "needed", "needed"),
            ("annotators", "li", "wu", "i1", "c0", "not_needed", "needed"),
        ]

    def test_answers_to_suspects_do_not_count(self):
        answers = [("i0", "li", 1, N), ("i0", "wu", 2, S), ("i1", "li", 1, N), ("i1", "wu", 2, S)]
        rows = self.rows(answers, {2: Review(("i0", "i1"), ("i0",), frozenset({"i1"}))})
        assert [(row["kind"], row["item_id"]) for row in rows] == [("annotators", "i1")]

    def test_a_round_is_compared_with_the_rounds_before_it_on_its_random_part(self):
        answers = [
            *((f"i{number}", who, 1, N) for number in range(6) for who in ("li", "wu")),
            *((f"i{number}", who, 2, S) for number in (0, 1, 2, 3) for who in ("li", "wu")),
            ("i0", "li", 10, N), ("i0", "wu", 10, N), ("i4", "li", 10, U),
        ]  # fmt: skip
        reviews = {
            2: Review(("i0", "i1", "i2", "i3"), ("i1",), frozenset({"i0", "i2", "i5"})),  # i3: people chose it
            10: Review(("i4", "i0"), (), frozenset({"i0", "i4"})),
        }
        rows = [row for row in self.rows(answers, reviews, [("i2", "chen", 1, Q)]) if row["kind"] == "rounds"]
        assert [tuple(row.values())[1:] for row in rows] == [
            ("round 2", "round 1", "i0", "c0", "not_needed", "needed"),  # i2 had been settled as no question
            ("round 10", "round 9", "i0", "c0", "needed", "not_needed"),
        ]

    def test_rows_stand_in_a_fixed_order(self):
        answers = [(f"i{number}", who, 1, N) for number in range(12) for who in ("xu", "li", "wu")]
        answers += [(f"i{number}", "li", each, N) for number in range(12) for each in (2, 10)]
        reviews = {each: Review(("i0", "i7"), (), frozenset({"i7", "i0"})) for each in (10, 2)}
        rows = self.rows(answers, reviews)
        assert rows == self.rows(answers[::-1], dict(sorted(reviews.items())))
        assert list(dict.fromkeys((row["kind"], row["first"], row["second"]) for row in rows)) == [
            ("annotators", "li", "wu"), ("annotators", "li", "xu"), ("annotators", "wu", "xu"),
            ("rounds", "round 2", "round 1"), ("rounds", "round 10", "round 9"),
        ]  # fmt: skip
        assert [row["item_id"] for row in rows[:12]] == [f"i{number}" for number in range(12)]

    @settings(max_examples=60, deadline=None)
    @given_(_ANY, _ANY, _ANY)
    def test_whatever_is_answered_about_suspects_changes_nothing_that_is_scored(self, one, other, settled):
        table = pa.Table.from_pylist(questions(4), schema=QUESTIONS)
        said = [(f"i{number}", who, 1, label) for who in ("li", "wu") for number, label in enumerate([N, S, N] * 4)]
        said += [(item_id, "li", 2, S) for item_id in ("i8", "i9")] + [("i0", "li", 3, S)]
        suspects = tuple(f"i{number}" for number in range(8))
        reviews = {2: Review((*suspects, "i8", "i9"), suspects, frozenset({"i8", "i9"})), 3: Review(("i0",))}
        asked = [
            (i, who, 2, label) for who, own in (("xu", one), ("li", other)) for i, label in own.items() if i in suspects
        ]
        rulings = [
            (item_id, "chen", 2, label)
            for item_id, label in settled.items()
            if item_id in suspects and item_id in other
        ]
        logs = [Logs(given(*said, *more), given(*rules), 0, None) for more, rules in (((), ()), (asked, rulings))]
        assert check_verdicts(logs[0], reviews) == check_verdicts(logs[1], reviews)
        assert label_sets(table, logs[0], reviews).equals(label_sets(table, logs[1], reviews))


class TestChecked:
    """What the stage writes for scores: the labels by answers that no model asked for."""

    def review(self, project, tmp_path, label):
        """Everybody gives every suspect of a review this label; returns the labelled rows and the label sets."""
        annotations = tmp_path / "annotations"
        train = [item_id for item_id, split in splits_of(tmp_path).items() if split == "train"]
        begin(annotations / "round_2", Review(tuple(train[:20]), tuple(train[:15]), frozenset(train[15:20])))
        for who in ("li", "wu"):
            path = log_path(annotations, 2, who)
            path.unlink(missing_ok=True)
            create(path, [Answer(item_id, who, 2, label if item_id in train[:15] else S, AT) for item_id in train[:20]])
        result = project("--round", 2, "--label-sets", tmp_path / "sets.parquet")
        assert result.exit_code == 0, result.output
        return pq.read_table(tmp_path / "labelled.parquet").to_pylist(), (tmp_path / "sets.parquet").read_bytes()

    def test_no_answer_about_suspects_reaches_what_is_scored(self, project, tmp_path):
        assert project().exit_code == 0
        found = [self.review(project, tmp_path, label) for label in (S, N)]
        (rows, sets), (others, same_sets) = found
        assert sets == same_sets
        checks = [[(row["item_id"], row["check_label"]) for row in each] for each in (rows, others)]
        assert checks[0] == checks[1]
        assert [row["label"] for row in rows] != [row["label"] for row in others]
        assert pq.read_schema(tmp_path / "sets.parquet").equals(LABEL_SETS)
        assert {row["kind"] for row in pq.read_table(tmp_path / "sets.parquet").to_pylist()} == {"annotators", "rounds"}

    def test_on_the_test_split_both_labels_are_always_equal(self, project, tmp_path):
        assert project().exit_code == 0
        # With other shares, conversations of the review's suspects come into the test split.
        self.review(project, tmp_path, S)
        for test in (0.3, 0.6, 0.9):
            assert project("--round", 2, "--test", test).exit_code == 0
            rows = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
            assert all(row["label"] == row["check_label"] for row in rows if row["split"] == "test")
        assert any(row["label"] != row["check_label"] for row in self.review(project, tmp_path, S)[0])


def test_no_option_of_the_stage_writes_over_an_answer(project, tmp_path):
    logs = {path: path.read_bytes() for path in (tmp_path / "annotations").rglob("*.jsonl")}
    for option in ("--out", "--metrics", "--agreement", "--label-sets"):
        result = project(option, next(iter(logs)))
        assert result.exit_code == 1
        assert "expected a place outside of the annotations" in result.output
    assert {path: path.read_bytes() for path in (tmp_path / "annotations").rglob("*.jsonl")} == logs
