"""Plain tables: JSON lines, CSV and parquet, and columns of other names."""

import gzip
import io
import json
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatladder.chat.formats import parquet, table
from chatladder.chat.formats.parquet import page_sizes
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

ROW = '{"group": "g", "sender": "s", "timestamp": 1672531200, "text": "hi"}\n'
CONTEXT = Context(Pseudonyms("key"))
SHANGHAI = Context(Pseudonyms("key"), timezone=ZoneInfo("Asia/Shanghai"))
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def parse(tmp_path, content, context=CONTEXT, name="chat.table"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(table.parse(Source(path), context))


def refusal(tmp_path, content):
    """Why bytes are refused; empty if they are read."""
    try:
        parse(tmp_path, content)
    except DataError as error:
        return error.message
    return ""


def as_parquet(columns, **options):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def test_json_lines(tmp_path):
    full = ROW.replace("1672531200", '"2023-01-01T00:00:05Z"').replace(
        "}", ',"kind":"image","message_id":7,"reply_to":6}'
    )
    assert parse(tmp_path, ROW + "\n" + full) == [
        Message(1, "g", "s", 1672531200, "text", "hi"),
        Skipped(2, "blank"),
        Message(3, "g", "s", 1672531205, "image", "hi", own_id="7", reply_to="6"),
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_list_is_read_as_json_lines_are(tmp_path, indent):
    rows = [json.loads(ROW), json.loads(ROW) | {"kind": "image", "message_id": 7}]
    content = json.dumps(rows, indent=indent)
    assert table.detects("chat.json", content.encode())
    assert [row[1:] for row in parse(tmp_path, content)] == [
        Message(1, "g", "s", 1672531200, "text", "hi")[1:],
        Message(1, "g", "s", 1672531200, "image", "hi", own_id="7")[1:],
    ]
    assert not table.detects("chat.json", content.replace('"sender"', '"user"').encode())
    assert not table.detects("a.json", b'["sender", "timestamp", "text"]')


def test_csv_with_a_cell_of_several_lines(tmp_path):
    rows = parse(tmp_path, 'sender,text,group,timestamp,note\ns,"one\ntwo, three",g,1672531200,x\nt,last,g,,\n')
    assert rows == [
        Message(2, "g", "s", 1672531200, "text", "one\ntwo, three"),
        Message(4, "g", "t", None, "text", "last"),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_of_every_delimiter_with_a_byte_order_mark_and_windows_line_ends(tmp_path, delimiter):
    content = '\ufeffsender,"text",timestamp\r\ns,"a,b;c""",2023-01-01T08:00:05\r\n'
    if delimiter != ",":
        content = content.replace(",", delimiter).replace(f"a{delimiter}b", "a,b")
    assert table.detects("chat.csv", content.encode().removeprefix(b"\xef\xbb\xbf"))
    assert parse(tmp_path, content, SHANGHAI) == [Message(2, "chat", "s", 1672531205, "text", 'a,b;c"')]


def test_columns_of_other_names(tmp_path):
    mapped = Context(
        Pseudonyms("key"),
        columns={"sender": "from_name", "text": "body", "timestamp": "sent_at", "group": "room", "reply_to": "re"},
    )
    expected = [Message(2, "r", "s", 1672531200, "text", "hi")]
    assert parse(tmp_path, "room;from_name;body;sent_at;text;re\nr;s;hi;1672531200;other;\n", mapped) == expected
    row = '{"room": "r", "from_name": "s", "body": "hi", "sent_at": 1672531200, "sender": "other"}\n'
    assert parse(tmp_path, row, mapped) == [expected[0]._replace(line=1)]
    assert not table.detects("chat.jsonl", row.encode())


def test_without_a_group_column_the_file_is_the_group(tmp_path):
    row = ROW.replace('"group": "g", ', "")
    assert parse(tmp_path, row, name="helpdesk.jsonl")[0].group == "helpdesk"
    with pytest.raises(DataError, match=r"table:2: expected the columns group, .*; missing group"):
        parse(tmp_path, ROW + row)
    mapped = Context(Pseudonyms("key"), columns={"group": "room"})
    with pytest.raises(DataError, match=r"table:1: .* missing room"):
        parse(tmp_path, row, mapped)


def test_a_time_without_seconds_is_exact_to_a_minute(tmp_path):
    rows = parse(tmp_path, "group,sender,timestamp,text\ng,s,2023-01-01 08:00+08:00,a\ng,s,2023-01-01T00:01:02,b\n")
    assert [(row.timestamp, row.resolution_seconds) for row in rows] == [(1672531200, 60), (1672531262, 1)]


def test_dates_before_1970_are_read(tmp_path):
    assert parse(tmp_path, ROW.replace("1672531200", '"1883-03-07T00:00:00Z"'))[0].timestamp == -2739830400


def test_ids_that_pandas_made_floats_are_those_of_whole_numbers(tmp_path):
    row = ROW.replace("}", ', "message_id": 13, "reply_to": 12.0}')
    rows = parse(tmp_path, row + row.replace("12.0", "NaN"))
    assert [(row.own_id, row.reply_to) for row in rows] == [("13", "12"), ("13", None)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROW + '{"group": "g", "sen', r"table:2: expected one whole JSON object on the line"),
        (ROW + "[1]\n", r"table:2: expected a JSON object, got list"),
        (ROW + ROW.replace('"text"', '"words"'), r"table:2: expected the columns group, .*; missing text.*map"),
        (ROW + ROW.replace('"s"', '""'), r"table:2: expected a sender, got nothing\. Fill it in"),
        (ROW + ROW.replace('"s"', "{}"), r'table:2: expected "sender" to be a string or a number, got dict'),
        (ROW.replace('"hi"', "5"), r'table:1: expected "text" to be a string, got int'),
        (ROW.replace("}", ', "kind": "video"}'), r"table:1: expected \"kind\" to be one of text, .*'video'"),
        (ROW.replace("}", ', "message_id": [1]}'), r'table:1: expected "message_id" to be .* got list'),
        (ROW.replace("1672531200", "1672531200000"), r"table:1: .* milliseconds\. Divide"),
        (ROW.replace("1672531200", '"1672531200000"'), r"table:1: .* milliseconds"),
        (ROW.replace("1672531200", '"yesterday"'), r"table:1: .* ISO 8601 .*, got one like 'a' \("),
        (ROW.replace("1672531200", '"call Ann on 5550100"'), r"table:1: .* got one like 'a a a 9999999'"),
        (ROW.replace("}", ', "kind": "Ann said: hi"}'), r"table:1: .* \"kind\" .* got one like 'a a: a'"),
        (ROW.replace("1672531200", "-5"), r"table:1: expected a timestamp in UTC seconds since 1970, got -5"),
        (ROW.replace("1672531200", "NaN"), r"table:1: expected a timestamp in UTC seconds since 1970, got nan"),
        (ROW.replace("1672531200", "1" + "0" * 400), r"table:1: .* milliseconds"),
        (ROW.replace("1672531200", "1" + "0" * 5000), r"table:1: expected one whole JSON object on the line"),
        (ROW.replace("1672531200", "true"), r"table:1: .* got bool"),
        (ROW + "[" * 100_000 + "\n", r"table:2: expected one whole JSON object on the line"),
        (ROW.encode() + "问".encode("gb18030"), r"table:2: expected UTF-8, got byte 0x.. *\. Convert"),
        ("[" + ROW + ",1]", r"table:2: expected a JSON object, got int"),
        ("[" + ROW, r"table:2: expected whole JSON, but the file ends before it does"),
        ("group,sender,timestamp\ng,s,1\n", r"table:1: expected the columns sender, .*; missing text"),
        ("sender,timestamp,text,text\ns,1,a,b\n", r"table:1: expected each column once; text"),
        ("group,sender,timestamp,text\ng,s,1\n", r"table:2: expected 4 cells, got 3\. Put"),
        ('group,sender,timestamp,text\ng,s,1,a\ng,s,1,"open\n', r"table:3: expected CSV"),
        ('group,sender,timestamp,text\ng,s,1,"a"b\n', r"table:2: expected CSV"),
        ("sender,timestamp,text\ns,1,hi\0\n", r"table:2: expected text, got a byte that is zero"),
        ("sender,timestamp,text\ns,1," + "a" * 200_000 + "\n", r"table:2: expected CSV: field larger than"),
        ('sender,timestamp,text\ns,1,"' + "a\n" * 200_000, r"table:2: expected CSV: field larger than"),
    ],
)
def test_refusals_name_file_and_line_and_never_the_text(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        parse(tmp_path, content)
    assert '"hi"' not in caught.value.message
    assert "Ann" not in caught.value.message


def test_empty_rows_of_a_spreadsheet_are_blank(tmp_path):
    rows = parse(tmp_path, "\ufeffsender;timestamp;text\r\ns;1;a\r\n;;\r\n;;\r\n")
    assert [getattr(row, "reason", "message") for row in rows] == ["message", "blank", "blank"]


def test_columns_that_are_none_of_ours_cannot_be_mapped(tmp_path):
    with pytest.raises(DataError, match=r"columns: expected to map group, .*; got txt"):
        parse(tmp_path, ROW, Context(Pseudonyms("key"), columns={"txt": "body"}))


@pytest.mark.parametrize(
    ("head", "detected"),
    [
        (ROW, True),
        (ROW.replace('"group": "g", ', ""), True),
        (ROW[:-20], True),  # damaged: parse says where
        (ROW.replace("hi", "long" * 20_000)[:65_536], True),
        ('{"messageType": "80001", "data": {"sender": 1, "timestamp": 1, "text": 2}}\n', False),
        ('{"messages": [' + ROW.strip() * 2000, False),
        ("{\n" + ROW, False),
        ("[" * 70_000, False),
        ("note,sender;text;timestamp\n", False),
        ("sender\ttimestamp\ttext\n", True),
        ("PAR1\x15", True),
        ("", False),
    ],
)
def test_tables_are_told_by_their_columns(head, detected):
    assert table.detects("chat", head.encode()) is detected


def test_parquet_of_several_row_groups_and_types(tmp_path):
    columns = {
        "text": ["hi", "没有", ""],
        "sender": pa.array(["s", "t", "s"]).dictionary_encode(),
        "timestamp": pa.array(
            [datetime(2023, 1, 1, 8, 0, 5, 999_000), None, datetime(1969, 12, 31)], pa.timestamp("ms")
        ),
        "message_id": [13, 14, 15],
        "reply_to": pa.array([None, 13.0, None]),
        "a.b": [[1], [2], [3]],
    }
    content = as_parquet(columns, row_group_size=2)
    assert table.detects("chat.parquet", content[:65_536])
    assert parse(tmp_path, content, SHANGHAI, "room.parquet") == [
        Message(1, "room", "s", 1672531205, "text", "hi", own_id="13"),
        Message(2, "room", "t", None, "text", "没有", own_id="14", reply_to="13"),
        Message(3, "room", "s", -86_400 - 8 * 3600, "text", "", own_id="15"),
    ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_times_with_a_timezone_are_those_moments(tmp_path, unit):
    times = pa.array([datetime(2023, 1, 1)], pa.timestamp(unit, tz="Asia/Shanghai"))
    content = as_parquet({"sender": ["s"], "text": ["hi"], "timestamp": times})
    assert parse(tmp_path, content, SHANGHAI)[0].timestamp == 1672531200


def test_parquet_of_other_names_and_numbers(tmp_path):
    mapped = Context(Pseudonyms("key"), columns={"sender": "from.name", "text": "body", "timestamp": "at"})
    content = as_parquet({"from.name": pa.array([7], pa.uint8()), "body": ["hi"], "at": ["2023-01-01T00:00Z"]})
    assert parse(tmp_path, content, mapped) == [Message(1, "chat", "7", 1672531200, "text", "hi", 60)]


PLAIN = {"sender": ["s"], "text": ["hi"], "timestamp": [1]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sender": ["s"], "text": ["hi"]}, r"table:1: expected the columns .*; missing timestamp"),
        (PLAIN | {"text": [["hi"]]}, r'expected "text" to hold texts, numbers or timestamps, got list'),
        (PLAIN | {"timestamp": [date(2023, 1, 1)]}, r'expected "timestamp" to hold .* got date32'),
        (PLAIN | {"text": [b"hi"]}, r'expected "text" to hold .* got binary'),
        (PLAIN | {"text": [5]}, r'table:1: expected "text" to be a string, got int'),
        (PLAIN | {"text": [None]}, r'table:1: expected "text" to be a string, got NoneType\. Leave it empty'),
        (PLAIN | {"timestamp": pa.array([2**62], pa.timestamp("ms"))}, r"table:1: .* stopped: OverflowError"),
    ],
)
def test_parquet_that_is_no_chat_is_refused(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        parse(tmp_path, as_parquet(columns))


def test_parquet_inside_a_compressed_file_is_refused_with_advice(tmp_path):
    with pytest.raises(DataError, match=r"expected a parquet file of its own, got one inside another\. Unpack"):
        parse(tmp_path, gzip.compress(as_parquet(PLAIN)))


def test_parquet_that_claims_to_be_gigantic_is_refused(tmp_path, monkeypatch):
    rows = {"sender": ["s"] * 9000, "text": ["long" * 200_000] * 9000, "timestamp": [1] * 9000}
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 9000), pa.array([rows["text"][0]]))
    content = as_parquet(rows | {"text": dictionary})
    assert len(content) < 200_000
    with pytest.raises(DataError, match=r"table: .* unpacks to more than 250 bytes for each"):
        parse(tmp_path, content)
    monkeypatch.setattr(parquet, "LONGEST_LINE", 1000)
    with pytest.raises(DataError, match=r"table:1: .* a text of more than 0 MiB"):
        parse(tmp_path, content)
    monkeypatch.setattr(parquet, "LARGEST_ROW_GROUP", 1000)
    with pytest.raises(DataError, match=r"table:1: .* row groups of more than"):
        parse(tmp_path, content)


def forged(columns, **options):
    """A parquet file whose footer says of every row group that it is small."""
    content = bytearray(as_parquet(columns, **options))
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    sizes = {group.total_byte_size for group in groups}
    sizes |= {group.column(n).total_uncompressed_size for group in groups for n in range(group.num_columns)}
    for size in sizes:
        number = bytearray()
        rest = 2 * size  # as Thrift has it
        while rest:
            number.append(rest & 127 | 128)
            rest >>= 7
        number[-1] &= 127
        if len(number) > 2:
            at = content.rindex(number)
            content[at : at + len(number)] = b"\x82" + b"\x80" * (len(number) - 2) + b"\0"
    return bytes(content)


@pytest.mark.parametrize("options", [{"use_dictionary": False}, {"data_page_version": "2.0"}, {}])
def test_parquet_pages_are_counted_whatever_the_footer_says_of_them(tmp_path, options, monkeypatch):
    long = {"sender": ["s"] * 3, "text": ["x" * 30_000_000] * 2 + ["y" * 30_000_000], "timestamp": [1] * 3}
    content = forged(long, compression="zstd", write_statistics=False, store_schema=False, **options)
    assert len(content) < 10_000
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    assert metadata.row_group(0).total_byte_size < 1_000_000
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(DataError, match=r"table: .* unpacks to more than 250 bytes for each"):
        parse(tmp_path, content)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "none"},
        {"data_page_version": "2.0", "row_group_size": 30},
        {"use_dictionary": False, "write_page_index": True},
        {"data_page_size": 10, "write_batch_size": 10},
    ],
)
def test_pages_of_parquet_are_as_large_as_the_footer_says(options):
    columns = {"text": [f"text {n} " * 40 for n in range(100)], "list": [[{"a": n, "b": None}] for n in range(100)]}
    content = as_parquet(columns, write_statistics=False, **options)
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    claimed = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    sizes = list(page_sizes(io.BytesIO(content)))
    assert claimed - 60 * len(sizes) < sum(sizes) < claimed  # the footer counts the pages' headers too


def test_an_empty_parquet_table_has_no_rows(tmp_path):
    empty = pa.schema([("sender", pa.string()), ("text", pa.string()), ("timestamp", pa.int64())]).empty_table()
    assert parse(tmp_path, as_parquet(dict(zip(empty.column_names, empty.columns, strict=True)))) == []


def test_parquet_texts_that_are_not_utf_8_are_refused(tmp_path):
    text = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    with pytest.raises(DataError, match=r"table:1: expected a whole parquet file, but reading stopped: \w+"):
        parse(tmp_path, as_parquet(PLAIN | {"text": text}))


WHOLE = as_parquet({"sender": ["s", "t"] * 50, "text": [f"text {n}" for n in range(100)], "timestamp": [1] * 100})


@SETTINGS
@given(data=st.data())
def test_damaged_parquet_ends_in_rows_or_a_refusal(tmp_path, data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(4, len(content)))
    message = refusal(tmp_path, bytes(content[: cut if data.draw(st.booleans()) else None]))
    assert not message or "chat.table" in message


@SETTINGS
@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"PAR1", b"{", b"sender,text,timestamp\n"]))
def test_any_bytes_end_in_rows_or_a_refusal(tmp_path, content, start):
    table.detects("chat", start + content)
    message = refusal(tmp_path, start + content)
    assert not message or "chat.table" in message


CELLS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=20)


@SETTINGS
@given(texts=st.lists(CELLS, min_size=1, max_size=10))
def test_every_text_comes_back_from_every_kind_of_table(tmp_path, texts):
    lines = [json.dumps({"sender": "s", "timestamp": 1, "text": text}) + "\n" for text in texts]
    quoted = ["sender,timestamp,text\n"] + ['s,1,"' + text.replace('"', '""') + '"\n' for text in texts]
    packed = as_parquet({"sender": ["s"] * len(texts), "timestamp": [1] * len(texts), "text": texts})
    for content in ("".join(lines), "".join(quoted), packed):
        assert [row.text for row in parse(tmp_path, content)] == texts
