"""Successive messages of one sender become turns, and nothing is lost."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stages import merge as merge_module
from stages.merge import count, main, merge, merge_stream, summarize
from stages.rows import KINDS, MESSAGES, write_rows


def messages(*rows):
    """Rows of (sender, time, text), and optionally kind, resolution, group and the message it answers."""
    full = []
    for number, row in enumerate(rows):
        sender, timestamp, text, *more = row
        kind, resolution, group, reply_to = [*more, *("text", 1, "g", None)[len(more) :]]
        full.append(
            {
                "message_id": f"{number:016x}",
                "group": group,
                "sender": sender,
                "timestamp": timestamp,
                "resolution_seconds": resolution,
                "kind": kind,
                "text": text,
                "reply_to": reply_to,
                "source": f"chat:{number + 1}",
            }
        )
    return pa.Table.from_pylist(full, schema=MESSAGES)


def turns(*rows, gap=18):
    return [(row["sender"], row["text"]) for row in merge(messages(*rows), gap).to_pylist()]


def test_command_writes_turns_and_counts(tmp_path):
    write_rows(tmp_path / "messages.parquet", messages(("a", 0, "x"), ("a", 5, "yz"), ("b", 6, "", "image")), MESSAGES)
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "2 turns (1 of text) of 3 messages" in result.output
    first = pq.read_table(tmp_path / "turns.parquet").to_pylist()[0]
    assert first["turn_id"] == "t0000000000000000"
    assert first["message_ids"] == ["0000000000000000", "0000000000000001"]
    counts = json.loads((tmp_path / "merge.json").read_text())
    assert (counts["messages"], counts["turns"], counts["turns_image"], counts["joined"]) == (3, 2, 1, 1)
    assert (counts["characters_in"], counts["characters_out"]) == (3, 4)


def test_command_refuses_a_file_that_is_not_messages(tmp_path):
    (tmp_path / "messages.parquet").write_text("text")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "messages.parquet: expected a parquet file" in result.output
    assert not (tmp_path / "turns.parquet").exists()


def run(folder):
    arguments = ["--messages", folder / "messages.parquet", "--gap_seconds", 18]
    arguments += ["--out", folder / "turns.parquet", "--counts", folder / "merge.json"]
    return CliRunner().invoke(main, [str(each) for each in arguments])


def test_texts_less_than_the_gap_apart_join_neighbour_by_neighbour():
    assert turns(("a", 0, "1"), ("a", 17, "2"), ("a", 34, "3"), ("a", 52, "4")) == [("a", "1\n2\n3"), ("a", "4")]


def test_another_sender_breaks_the_run():
    assert turns(("a", 0, "1"), ("b", 1, "2"), ("a", 2, "3")) == [("a", "1"), ("b", "2"), ("a", "3")]


def test_fault_1_first_message_after_a_change_of_sender_and_shared_timestamps_are_kept():
    found = turns(("a", 0, "1"), ("b", 1, "2"), ("b", 1, "3"), ("a", 1, "4"), ("c", 99, "5"))
    assert found == [("a", "1"), ("b", "2\n3"), ("a", "4"), ("c", "5")]


def test_fault_8_equal_texts_do_not_collapse():
    merged = merge(messages(("a", 0, "ok"), ("a", 0, "ok"), ("a", 100, "ok")), 18).to_pylist()
    assert [row["text"] for row in merged] == ["ok\nok", "ok"]
    assert [each for row in merged for each in row["message_ids"]] == [f"{number:016x}" for number in range(3)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("text", "system")])
def test_what_is_not_text_stays_a_turn_of_its_kind_and_breaks_the_run(kind):
    merged = merge(messages(("a", 0, "1"), ("a", 1, "x", kind), ("a", 2, "y", kind), ("a", 3, "2")), 18).to_pylist()
    assert [(row["kind"], row["text"]) for row in merged] == [("text", "1"), (kind, "x"), (kind, "y"), ("text", "2")]


def test_system_rows_are_said_by_nobody_and_break_nothing():
    rows = (("a", 0, "1"), ("b", None, "", "system"), ("a", 5, "2"), ("b", 6, "", "system"))
    assert turns(*rows) == [("a", "1\n2"), ("b", ""), ("b", "")]


def test_a_clock_of_minutes_joins_the_same_and_the_next_minute():
    rows = [("a", minute * 60, str(minute), "text", 60) for minute in (0, 0, 1, 3)]
    assert turns(*rows) == [("a", "0\n0\n1"), ("a", "3")]
    assert turns(*rows, gap=200) == [("a", "0\n0\n1\n3")]


def test_texts_without_a_time_never_join():
    assert turns(("a", None, "1"), ("a", None, "2"), ("a", 0, "3")) == [("a", "1"), ("a", "2"), ("a", "3")]


def test_groups_never_join():
    assert turns(("a", 0, "1", "text", 1, "g"), ("a", 1, "2", "text", 1, "h")) == [("a", "1"), ("a", "2")]


def test_an_answer_to_another_message_starts_a_turn_and_what_follows_goes_on():
    rows = messages(
        ("a", 0, "1"),
        ("a", 1, "2", "text", 1, "g", "x"),
        ("a", 2, "3"),
        ("a", 3, "4", "text", 1, "g", "x"),
        ("a", 4, "5", "text", 1, "g", "x"),
        ("a", 5, "6", "text", 1, "g", "y"),
    )
    found = [(row["text"], row["reply_to"]) for row in merge(rows, 18).to_pylist()]
    assert found == [("1", None), ("2\n3", "x"), ("4\n5", "x"), ("6", "y")]


def test_no_messages_make_no_turns():
    assert merge(messages(), 18).num_rows == 0


ROW = st.tuples(
    st.sampled_from("abc"),
    st.integers(0, 40),  # seconds since the row before
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.sampled_from(KINDS),
    st.sampled_from([1, 60]),
    st.booleans(),
)


@given(st.lists(ROW, max_size=30), st.integers(0, 30), st.integers(1, 4))
def test_no_text_and_no_message_is_lost(rows, gap, batch):
    clock, full = 0, []
    for sender, step, text, kind, resolution, timed in rows:
        clock += step
        full.append((sender, clock if timed else None, text, kind, resolution))
    table = messages(*full)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_module, "BATCH_TURNS", batch)
        merged = merge(table, gap)
    numbers = summarize(count(table), count(merged))
    assert numbers["characters_out"] == numbers["characters_in"] + numbers["joined"]
    by_id = {row["message_id"]: row for row in table.to_pylist()}
    ids = [each for row in merged.to_pylist() for each in row["message_ids"]]
    assert sorted(ids) == sorted(by_id)
    for row in merged.to_pylist():
        parts = [by_id[each] for each in row["message_ids"]]
        assert row["text"] == "\n".join(part["text"] for part in parts)
        assert {(part["sender"], part["kind"]) for part in parts} == {(row["sender"], row["kind"])}
        assert row["timestamp"] == parts[0]["timestamp"]
    firsts = [row["message_ids"][0] for row in merged.to_pylist()]
    assert firsts == sorted(firsts)


@given(st.lists(ROW, max_size=30), st.integers(0, 30), st.lists(st.integers(1, 9), min_size=30, max_size=30))
def test_parts_of_any_size_make_the_same_turns(rows, gap, sizes):
    clock, full = 0, []
    for sender, step, text, kind, resolution, timed in rows:
        clock += step
        full.append((sender, clock if timed else None, text, kind, resolution))
    table = messages(*full)
    parts, start = [], 0
    for size in sizes:
        parts.append(table.slice(start, size))
        start += size
    assert pa.concat_tables(merge_stream(parts, gap)).to_pylist() == merge(table, gap).to_pylist()
