"""Successive messages of one sender become turns, and nothing is lost."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.chat import turns as merge_module
from chatladder.chat.turns import characters, merge, merge_stream
from chatladder.io.rows import KINDS, MESSAGES, write_rows
from stages.merge import main


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


@settings(deadline=None)  # a busy machine misses it
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
    assert characters(merged) == characters(table) + table.num_rows - merged.num_rows
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


@settings(deadline=None)  # a busy machine misses it
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


#: In runs that go on over notices, pictures, answers, gaps and groups; the last turn is of two messages.
RUNS = (
    ("a", 0, "1"), ("a", 5, "2"), ("b", 6, "", "system"), ("a", 7, "3"), ("a", 40, "4"), ("b", 41, "5"),
    ("b", None, "", "system"), ("c", None, "", "system"), ("b", 50, "6"), ("b", 51, "x", "image"), ("b", 52, "7"),
    ("b", 53, "8", "text", 1, "g", "0" * 16), ("b", 54, "9"),
    ("b", 55, "10", "text", 1, "h"), ("b", 60, "11", "text", 1, "h"),
)  # fmt: skip


def test_a_turn_goes_on_from_one_part_to_the_next_wherever_they_are_cut():
    table = messages(*RUNS)
    whole = merge(table, 18).to_pylist()
    assert [row["text"] for row in whole if row["kind"] == "text"] == ["1\n2\n3", "4", "5\n6", "7", "8\n9", "10\n11"]
    for size in range(1, table.num_rows + 1):
        parts = [table.slice(start, size) for start in range(0, table.num_rows, size)]
        assert pa.concat_tables(merge_stream(parts, 18)).to_pylist() == whole, f"parts of {size}"


def test_a_stream_keeps_back_no_more_than_the_turn_that_may_go_on():
    table = messages(*RUNS)
    given, held = 0, []

    def parts():
        nonlocal given
        for row in range(table.num_rows):
            given += 1
            yield table.slice(row, 1)

    done = 0
    for turns_of_part in merge_stream(parts(), 18):
        done += sum(len(row["message_ids"]) for row in turns_of_part.to_pylist())
        held.append(given - done)
    # The longest turn, with the notices within and behind it.
    assert (max(held), held[-1]) == (4, 0)


def test_many_texts_of_one_turn_keep_their_order_with_notices_between_them():
    rows = [("a", number, str(number), "text" if number % 3 else "system") for number in range(300)]
    (turn,) = [row for row in merge(messages(*rows), 18).to_pylist() if row["kind"] == "text"]
    assert turn["text"].split("\n") == [str(number) for number in range(300) if number % 3]
    assert turn["message_ids"] == [f"{number:016x}" for number in range(300) if number % 3]


@pytest.mark.parametrize(("gap", "apart", "joins"), [(59, 60, True), (60, 60, False), (60, 59, True), (61, 60, True)])
def test_a_clock_as_exact_as_the_gap_is_not_coarser_than_it(gap, apart, joins):
    found = turns(("a", 0, "1", "text", 60), ("a", apart, "2", "text", 60), gap=gap)
    assert (found == [("a", "1\n2")]) == joins


def test_of_two_clocks_the_coarser_counts_and_one_that_is_not_known_shows_seconds():
    for resolutions in ((60, 1), (1, 60)):
        first, second = resolutions
        assert turns(("a", 0, "1", "text", first), ("a", 60, "2", "text", second)) == [("a", "1\n2")]
    assert len(turns(("a", 0, "1", "text", None), ("a", 2, "2", "text", None), gap=1)) == 2
    assert len(turns(("a", 0, "1", "text", None), ("a", 1, "2", "text", None), gap=0)) == 1


def test_parts_without_messages_make_no_turns():
    none = messages()
    assert [part.num_rows for part in merge_stream([none, none], 18)] == [0, 0, 0]
    assert [part.num_rows for part in merge_stream([], 18)] == [0]
