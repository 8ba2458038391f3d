"""Questions written out: whose text counts, and how far two writers agree."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, REWRITES, read_written_out, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.rewrites import Written, both_ways, choose, one_line, rewrites_of
from chatladder.labels.verdicts import Logs

N, S = Label.NEEDED, Label.NOT_NEEDED
BEGIN = datetime(2023, 10, 1, tzinfo=UTC)


def wrote(item_id, who, rewrite=None, number=1, label=N):
    return Answer(item_id, who, number, label, f"2023-10-0{number}T12:00:00Z", rewrite=rewrite)


def row(item_id, label="needed", text="does it run?"):
    return {
        "item_id": item_id, "turn_id": item_id, "group": "g", "conversation": "c", "sender": "u1", "text": text,
        "timestamp": None, "window": [], "label": label, "agreement": 1.0, "split": "train", "check_label": label,
    }  # fmt: skip


def run(answers, adjudications=(), rows=None):
    """Item -> person -> text, with a star before the one that counts, and the metrics."""
    labelled = pa.Table.from_pylist(rows or [row("a"), row("b")], schema=LABELLED)
    rewrites = rewrites_of(labelled, Logs([*answers], [*adjudications], 0, None))
    assert rewrites.rows.schema == REWRITES
    shown = {}
    for each in rewrites.rows.to_pylist():
        shown.setdefault(each["item_id"], {})[each["annotator"]] = "*" * each["chosen"] + each["rewrite"]
    return shown, rewrites.metrics()


def test_one_line_has_single_spaces_and_nothing_unseen():
    assert one_line(" 它\n支持\u3000Windows\t吗\u202e\x1b？ \u200b ") == "它 支持 Windows 吗？"
    assert one_line("👩\u200d👩") == "👩\u200d👩"


def test_texts_of_questions_that_ended_as_needed_are_given_in_the_order_of_the_questions():
    rows = [row("b"), row("c", "not_needed"), row("a"), row("d")]
    answers = [
        wrote("a", "wu", "does 2.1  run?"), wrote("b", "li", "does 3 run?"),
        wrote("c", "li", "never"), wrote("c", "wu", label=S), wrote("c", "xu", label=S), wrote("d", "li"),
    ]  # fmt: skip
    shown, metrics = run(answers, rows=rows)
    assert [*shown] == ["b", "a"]
    assert shown == {"b": {"li": "*does 3 run?"}, "a": {"wu": "*does 2.1 run?"}}
    assert metrics is None


def test_a_text_that_says_no_more_than_the_question_counts_as_none():
    assert run([wrote("a", "li", " does it\trun? "), wrote("a", "wu", "does 2.1 run?")]) == (
        {"a": {"wu": "*does 2.1 run?"}},
        None,
    )


def test_of_one_person_the_latest_text_counts_while_their_vote_is_needed():
    answers = [wrote("a", "li", "first"), wrote("a", "li", "second", 2), wrote("a", "li", None, 3)]
    assert run(answers)[0] == {"a": {"li": "*second"}}
    assert run([*answers, wrote("a", "wu"), wrote("a", "li", label=S, number=4)])[0] == {}


@pytest.mark.parametrize(
    ("texts", "adjudicators", "expected"),
    [
        ({"li": "x", "wu": "y"}, (), "wu"),  # written last
        ({"li": "x", "wu": "y", "xu": "x"}, (), "xu"),  # of the text that most wrote, the last
        ({"li": "x", "wu": "y", "chen": "z"}, ("chen",), "chen"),
        ({"chen": "z", "li": "x", "wu": "x", "ye": "y"}, ("chen", "ye"), "ye"),
    ],
)
def test_whose_text_counts_is_decided_by_office_then_votes_then_time(texts, adjudicators, expected):
    written = {name: Written(text, BEGIN + timedelta(days=day)) for day, (name, text) in enumerate(texts.items())}
    assert choose(written, adjudicators) == expected
    assert choose(dict(reversed(written.items())), adjudicators) == expected


def test_of_two_texts_of_one_instant_the_first_name_decides():
    written = {name: Written(name, BEGIN) for name in ("wu", "li", "xu")}
    assert choose(written, ()) == "li"


def test_agreement_is_that_of_annotators_alone_over_all_pairs():
    answers = [
        wrote("a", "li", "does 2.1 run?"), wrote("a", "wu", "does  2.1 run?"), wrote("a", "xu", "跑得动吗"),
        wrote("b", "li", "does 3 run?"),
    ]  # fmt: skip
    shown, metrics = run(answers, [wrote("b", "chen", "does 3.0 run?"), wrote("a", "li", "does 4 run?")])
    assert shown["b"] == {"li": "does 3 run?", "chen": "*does 3.0 run?"}
    assert shown["a"]["li"] == "*does 4 run?"  # who settles replaces what they wrote as an annotator
    assert metrics == {"written": 2, "pairs": 3, "exact": 0.33333, "chrf": 33.33333}


def test_chrf_takes_either_text_for_the_reference():
    short, long = "它支持吗", "2.1 版支持 Windows 吗"
    assert both_ways(short, long) == both_ways(long, short) == pytest.approx(both_ways(short, long))
    assert 0 < both_ways(short, long) < 100
    assert both_ways("它", "它") == 100


class TestReading:
    def write(self, folder, rewrites):
        labelled, path = folder / "labelled.parquet", folder / "rewrites.parquet"
        write_rows(labelled, [row("a"), row("b"), row("c", "not_needed")], LABELLED)
        rows = [dict(zip(REWRITES.names, each, strict=True)) for each in rewrites]
        write_rows(path, rows, REWRITES)
        return labelled, path

    def test_labelled_questions_come_with_the_text_that_counts(self, tmp_path):
        table = read_written_out(
            *self.write(tmp_path, [("b", "li", "does 2 run?", False), ("b", "wu", "does 3 run?", True)])
        )
        assert table.schema.names == [*LABELLED.names, "rewrite"]
        assert table["rewrite"].to_pylist() == [None, "does 3 run?", None]
        assert read_written_out(*self.write(tmp_path, []))["rewrite"].to_pylist() == [None] * 3

    @pytest.mark.parametrize(
        "rewrites", [[("gone", "li", "x", True)], [("a", "li", "x", True), ("a", "wu", "y", True)]]
    )
    def test_texts_of_another_run_are_refused(self, tmp_path, rewrites):
        with pytest.raises(DataError, match=r"rewrites.parquet: expected at most one .* run dvc repro label"):
            read_written_out(*self.write(tmp_path, rewrites))
