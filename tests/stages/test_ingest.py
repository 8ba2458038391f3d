"""Exports become messages: every record accounted for, ids stable, order settled, nothing half-written."""

import errno
import gzip
import json
import re
from collections import Counter

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from planted import EXPORTS

from chatladder.chat.exports import find_exports
from chatladder.chat.messages import ingest
from chatladder.chat.options import ExportOptions
from chatladder.io.console import DataError
from chatladder.io.rows import MESSAGES, read_rows
from chatladder.privacy.pseudonyms import Pseudonyms
from stages.ingest import main

KEY = "a key for tests only"
NAMES = Pseudonyms(KEY)
START = 1672531200


def line(text="hello", sender="ann", at=START, group="g", **more):
    return (
        json.dumps({"group": group, "sender": sender, "timestamp": at, "text": text} | more, ensure_ascii=False) + "\n"
    )


def raw(tmp_path, **files):
    folder = tmp_path / "raw"
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return folder


def rows(tmp_path, **files):
    counts = ingest(raw(tmp_path, **files), NAMES, tmp_path / "messages.parquet")
    table = read_rows(tmp_path / "messages.parquet", MESSAGES)
    assert counts["raw_lines"] == counts["messages"] + counts["skipped"]
    assert counts["skipped"] == sum(count for name, count in counts.items() if name.startswith("skipped_"))
    assert len(set(table["message_id"].to_pylist())) == counts["messages"] == table.num_rows
    return table.to_pylist(), counts


def invoke(folder, out, format_name="auto", *more):
    arguments = [
        *more,
        "--raw",
        folder,
        "--format",
        format_name,
        "--timezone",
        "UTC",
        "--date-order",
        "auto",
        "--out",
        out / "messages.parquet",
        "--counts",
        out / "counts.json",
    ]
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(autouse=True)
def own_key(monkeypatch):
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", KEY)


def test_command_writes_messages_and_counts(tmp_path):
    folder = raw(tmp_path, chat=line() + "\n" + line("电话13912345678", "bob", START + 5))
    result = invoke(folder, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 messages of 2 senders in 1 group, from 3 records (1 skipped)" in result.output
    first, second = pq.read_table(tmp_path / "out" / "messages.parquet").to_pylist()
    assert first["source"] == f"{NAMES.file('chat')}:1"
    assert second["text"] == "电话<phone>"
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert (counts["raw_lines"], counts["messages_text"], counts["skipped_blank"], counts["masked_phone"]) == (
        3,
        2,
        1,
        1,
    )


@pytest.mark.parametrize("name", ["helper", NAMES.person("helper")])
def test_what_a_bot_says_is_left_out_and_its_name_too(tmp_path, name):
    folder = raw(tmp_path, chat=line("I am a bot", "helper") + line("@helper hello", at=START + 5))
    result = invoke(folder, tmp_path / "out", "auto", "--bot", name, "--bot", "nobody")
    assert result.exit_code == 0, result.output
    (left,) = pq.read_table(tmp_path / "out" / "messages.parquet").to_pylist()
    assert left["text"] == f"@{NAMES.person('helper')} hello"
    assert json.loads((tmp_path / "out" / "counts.json").read_text())["skipped_bot"] == 1


def test_no_name_of_a_person_or_group_leaves(tmp_path):
    (first,), _ = rows(tmp_path, chat=line(sender="Ann Smith", group="Secret Group"))
    assert (first["sender"], first["group"]) == (NAMES.person("Ann Smith"), NAMES.group("Secret Group"))


def test_files_are_read_by_name_and_what_is_no_export_is_passed_over(tmp_path):
    folder = raw(tmp_path, b=line("second"), a=line("first"), empty="")
    raw(
        tmp_path,
        **{
            "README.md": "#",
            ".gitignore": "/b",
            "big.json.dvc": "outs:",
            "c.gz": gzip.compress(line("third").encode()),
        },
    )
    assert [source.name for source in find_exports(folder, Counter())] == ["a", "b", "c.gz", "empty"]
    found, counts = rows(tmp_path)
    assert [row["text"] for row in found] == ["first", "second", "third"]
    assert counts["files"] == 4


def test_rows_come_by_group_then_time_and_slightly_late_ones_are_put_right(tmp_path):
    content = (
        line("b1", at=START, group="b") + line("a1", at=START + 9, group="a") + line("b0", at=START - 60, group="b")
    )
    found, counts = rows(tmp_path, chat=content)
    by_group = {name: [row["text"] for row in found if row["group"] == NAMES.group(name)] for name in "ab"}
    assert by_group == {"a": ["a1"], "b": ["b0", "b1"]}
    assert [row["group"] for row in found] == sorted(row["group"] for row in found)
    assert counts["late"] == 1


def test_files_of_one_group_may_overlap_in_time(tmp_path):
    found, counts = rows(
        tmp_path,
        april=line("both", at=START + 50) + line("later", at=START + 90),
        march=line("early", at=START) + line("both", at=START + 50),
    )
    assert [row["text"] for row in found] == ["early", "both", "later"]
    assert counts["skipped_duplicate"] == 1


def test_a_row_without_a_time_keeps_its_place(tmp_path):
    found, _ = rows(
        tmp_path,
        one=line("n0", at=None) + line("t1", at=START) + line("n1", at=None) + line("t2", at=START + 5),
        two=line("n2", at=None),
        three=line("n3", at=None) + line("t0", at=START - 500),
        other=line("x", at=START - 999, group="h"),
    )
    texts = [row["text"] for row in found if row["group"] == NAMES.group("g")]
    assert texts == ["n3", "t0", "n0", "t1", "n1", "t2", "n2"]
    assert [row["timestamp"] for row in found if row["text"] == "n1"] == [None]


def test_fault_8_equal_texts_stay_messages_of_their_own(tmp_path):
    found, counts = rows(tmp_path, chat=line() * 3 + line(at=START + 1))
    assert len(found) == 4
    assert counts["skipped_duplicate"] == 0


def test_ids_do_not_depend_on_what_else_the_export_holds(tmp_path):
    before, _ = rows(tmp_path, chat=line() * 2)
    after, _ = rows(tmp_path, chat=line("new", "bob", START - 5) + line() * 2 + line("more", at=START + 5))
    assert {row["message_id"] for row in before} < {row["message_id"] for row in after}


def test_replies_point_at_messages_and_unknown_ones_at_none(tmp_path):
    content = line(message_id="1") + line(message_id="2", reply_to="1") + line(message_id="3", reply_to="9")
    found, counts = rows(tmp_path, chat=content)
    assert [row["reply_to"] for row in found] == [None, found[0]["message_id"], None]
    assert (counts["replies"], counts["replies_to_unknown"]) == (1, 1)


def test_an_id_of_two_different_messages_is_refused(tmp_path):
    content = line(message_id="1") + line(message_id="1", sender="bob")
    with pytest.raises(
        DataError, match=r"chat:2: expected message ids to be unique .* chat:1, which has another sender"
    ):
        rows(tmp_path, chat=content)


def test_a_recalled_message_leaves_no_text(tmp_path):
    data = {"fromGroup": "1@chatroom", "fromUser": "wxid_a", "timestamp": START}
    said = {"messageType": "80001", "data": data | {"newMsgId": 7, "content": "regret"}}
    recall = {
        "messageType": "80010",
        "data": data | {"newMsgId": 8, "content": '<sysmsg type="revokemsg"><newmsgid>7</newmsgid>'},
    }
    content = "".join(json.dumps(each, indent=2) + "\n" for each in (said, recall))
    found, counts = rows(tmp_path, chat=content)
    assert [(row["kind"], row["text"]) for row in found] == [("system", ""), ("system", "")]
    assert (counts["recalled"], counts["messages_text"]) == (1, 0)


def test_half_characters_become_replacement_characters(tmp_path):
    found, counts = rows(
        tmp_path, chat=json.dumps({"group": "g", "sender": "s", "timestamp": 1, "text": "a\ud83d"}) + "\n"
    )
    assert found[0]["text"] == "a\ufffd"
    assert counts["damaged"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (line() + '{"group": "g", "sen', r"chat:2: expected one whole JSON object"),
        (line().encode() + line("问").encode("gb18030"), r"chat:2: expected UTF-8, got byte 0x"),
        (line() + line(at=START - 61), r"chat:2: expected messages in the order of time, got one that is 61 s older"),
        (line() + line(at=START * 1000), r"chat:2: .* looks like milliseconds"),
        ("just notes\n", r"chat: expected a chat export in one of the formats"),
        ("", r"raw: expected messages, got none \(empty_files 1\)"),
    ],
)
def test_bad_input_is_one_clear_error_and_writes_nothing(tmp_path, content, message):
    result = invoke(raw(tmp_path, chat=content), tmp_path / "out")
    assert result.exit_code == 1
    assert re.search(message, result.output)
    assert "hello" not in result.output
    assert list((tmp_path / "out").iterdir()) == []


def test_an_empty_raw_folder_is_refused(tmp_path):
    folder = raw(tmp_path, **{"README.md": "put exports here"})
    result = invoke(folder, tmp_path / "out")
    assert result.exit_code == 1
    assert "raw: expected at least one chat export, got none" in result.output


def test_an_unknown_format_is_a_usage_error(tmp_path):
    result = invoke(raw(tmp_path, chat=line()), tmp_path / "out", "fax")
    assert result.exit_code == 2
    assert "'fax' is not one of 'auto'" in result.output


def test_a_full_disk_leaves_the_old_file_and_no_part_of_a_new_one(tmp_path, monkeypatch):
    out = tmp_path / "out"
    folder = raw(tmp_path, chat=line())
    assert invoke(folder, out).exit_code == 0
    before = (out / "messages.parquet").read_bytes()

    def fail(writer, table, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    raw(tmp_path, chat=line("other"))
    result = invoke(folder, out)
    assert result.exit_code == 1
    assert "messages.parquet: the disk is full; nothing was written" in result.output
    assert (out / "messages.parquet").read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["counts.json", "messages.parquet"]


@pytest.mark.parametrize("language", ["ubuntu-zh", "ubuntu-en"])
def test_every_line_of_real_logs_is_accounted_for(shared_data, language, tmp_path):
    files = sorted((shared_data / "irc" / language).glob("*.txt"))[:3]
    folder = raw(tmp_path, **{path.name: path.read_bytes() for path in files})
    counts = ingest(folder, NAMES, tmp_path / "messages.parquet")
    table = read_rows(tmp_path / "messages.parquet", MESSAGES)
    assert counts["raw_lines"] == sum(path.read_bytes().count(b"\n") for path in files)
    assert counts["raw_lines"] == counts["messages"] + counts["skipped"]
    assert counts["skipped"] == 0
    times = [each for each in table["timestamp"].to_pylist() if each is not None]
    assert times == sorted(times)


def telegram(*entries):
    whole = [
        {"type": "message", "date_unixtime": str(START), "from_id": "user1", "text": "x"} | each for each in entries
    ]
    return json.dumps({"name": "Club", "type": "private_supergroup", "id": 987, "messages": whole})


@pytest.mark.parametrize("whole", ["a.json", "z.json"])
def test_exports_of_a_forum_of_which_one_lacks_how_a_topic_began_hold_no_message_twice(tmp_path, whole):
    opening = {"id": 2, "type": "service", "actor_id": "user1", "action": "topic_created", "title": "T"}
    said = [{"id": 3, "reply_to_message_id": 2}, {"id": 4, "reply_to_message_id": 3}]
    found, counts = rows(tmp_path, **{whole: telegram(opening, *said), "part.json": telegram(*said)})
    assert (len(found), counts["skipped_duplicate"]) == (3, 2)
    ids = {row["message_id"]: row["group"] for row in found}
    assert all(ids[row["reply_to"]] == row["group"] for row in found if row["reply_to"])
    assert counts["replies"] == 1


def slack(*entries):
    return json.dumps([{"type": "message", "user": "U1", "text": "secret"} | each for each in entries])


def test_a_first_message_of_a_thread_that_a_later_export_has_no_more_is_taken_back(tmp_path):
    first = {"ts": "1672531200.000001", "thread_ts": "1672531200.000001"}
    answer = {"ts": "1672531300.000001", "thread_ts": "1672531200.000001", "text": "yes"}
    gone = first | {"subtype": "tombstone", "user": "USLACKBOT"}
    folder = tmp_path / "raw"
    for name, entries in (("1", (first, answer)), ("2", (gone, answer))):
        (folder / name / "help").mkdir(parents=True)
        (folder / name / "help" / "2023-01-01.json").write_text(slack(*entries))
    found, counts = rows(tmp_path)
    assert [(row["kind"], row["text"]) for row in found] == [("system", ""), ("text", "yes")]
    assert found[1]["reply_to"] == found[0]["message_id"]
    assert (counts["recalled"], counts["skipped_duplicate"]) == (1, 2)


def test_names_in_the_names_of_files_become_pseudonyms(tmp_path):
    found, counts = rows(tmp_path, chat=line("Ann_Lee_CV.pdf", sender="Ann Lee", kind="file"))
    assert found[0]["text"] == f"{NAMES.person('Ann Lee')} CV.pdf"
    assert counts["masked_name"] == 1


def test_files_without_records_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"raw: expected messages, got none \(the files hold no records\)\. Export"):
        rows(tmp_path, **{"a.csv": "sender,timestamp,text\n"})


def test_phone_numbers_of_a_country_are_masked_without_their_plus_where_it_is_named(tmp_path):
    folder = raw(tmp_path, chat=line("ring 020 7946 0958 please"))
    options = ["--raw", folder, "--format", "auto", "--timezone", "Europe/London", "--date-order", "auto"]
    options += ["--out", tmp_path / "out" / "messages.parquet", "--counts", tmp_path / "out" / "counts.json"]
    for region, expected in ((("--phone-region", "GB"), "ring <phone> please"), ((), "ring 020 7946 0958 please")):
        result = CliRunner().invoke(main, [str(option) for option in [*options, *region]])
        assert result.exit_code == 0, result.output
        assert pq.read_table(tmp_path / "out" / "messages.parquet")["text"].to_pylist() == [expected]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--phone-region", "XX", "expected a country of ISO 3166"),
        ("--timezone", "Mars/Olympus", "expected a name of the IANA database"),
        ("--column", "sender", "expected OURS=THEIRS"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(tmp_path, option, value, message):
    result = CliRunner().invoke(main, ["--raw", str(raw(tmp_path, chat=line())), option, value])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_ids_stay_what_they_are_when_more_is_masked(tmp_path, name):
    folder = raw(tmp_path, **{name: EXPORTS[name]()})
    ids, texts = [], []
    for deny in ("", "fails\nhow\n"):
        (folder / "words.deny").write_text(deny)
        ingest(folder, NAMES, tmp_path / "messages.parquet", ExportOptions(phone_region=("GB",) if deny else ()))
        table = read_rows(tmp_path / "messages.parquet", MESSAGES)
        ids.append(table["message_id"].to_pylist())
        texts.append(table["text"].to_pylist())
    assert ids[0] == ids[1]
    assert texts[0] != texts[1]


def test_only_who_has_the_key_can_compute_an_id(tmp_path):
    ids = set()
    for key in (KEY, KEY + "x"):
        folder = raw(tmp_path, chat=line(), own=line(message_id="1"))
        ingest(folder, Pseudonyms(key), tmp_path / "messages.parquet")
        ids |= set(read_rows(tmp_path / "messages.parquet", MESSAGES)["message_id"].to_pylist())
    assert len(ids) == 4


def test_no_name_makes_one_message_out_of_two(tmp_path):
    # Joined by a zero, group, sender and time of the two would be the same characters.
    found, _ = rows(tmp_path, chat=line("a", "x\0y", group="g") + line("a", "y", group="g\0x"))
    assert len(found) == 2
