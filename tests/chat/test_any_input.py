"""Whatever bytes come in, every format ends in rows or in one clear error; and any text survives ingest and merge."""

import json
import re
import time
from collections import Counter
from contextlib import suppress

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from chatladder.chat.formats import FORMATS, find_format
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.messages import ingest
from chatladder.chat.options import ExportOptions
from chatladder.chat.source import Source
from chatladder.chat.turns import merge
from chatladder.io.console import DataError
from chatladder.io.rows import KINDS, MESSAGES, read_rows
from chatladder.privacy.pseudonyms import Pseudonyms
from tests import planted, planted_messengers
from tests.planted import EXPORTS, SAID, SECRETS

KEY = "a key that only this test knows"
PSEUDONYMS = Pseudonyms(KEY)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: One line of a log in a layout that names the channel, among what Ubuntu's logs do not stamp.
EVENTS = b"=== ann has joined #c\nc 2018-05-29 [21:20:37] <ann> hi\n=== ann is now known as bob\n"
NOTICE = '<sysmsg type="revokemsg"><newmsgid>1</newmsgid><replacemsg>"a" took it back</replacemsg></sysmsg>'
NOTICES = b"".join(
    json.dumps(
        {"messageType": type_, "data": {"fromGroup": "g", "fromUser": "u", "newMsgId": 2} | data}, indent=1
    ).encode()
    + b"\n"
    for type_, data in (
        ("80010", {"content": NOTICE}),
        ("80014", {"title": "x", "content": "<refermsg><chatusr>b</chatusr><svrid>1</svrid></refermsg>"}),
        ("80009", {"content": "", "pushContent": "b : a.pdf"}),
        ("80001", {"content": "@a\u2005x", "atlist": ["b"], "pushContent": "b : x"}),
    )
)
SAMPLES = [*(make() for make in EXPORTS.values()), EVENTS, NOTICES, planted_messengers.zulip_messages(planted.times())]


def records(format_, path):
    """What a format makes of a file: records, or None where it is refused."""
    try:
        return list(format_.parse(Source(path), Context(PSEUDONYMS)))
    except DataError as error:
        refusal = error.message
    assert str(path) in refusal
    assert len(refusal) < 1000
    return None


@st.composite
def damaged_exports(draw):
    """A real export of any format, cut, doubled, with bytes changed, fields or lines put in or left out."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = draw(st.integers(at, min(len(data), at + 400)))
        change = draw(st.sampled_from(["cut", "put", "double", "truncate", "field", "line"]))
        if change == "cut":
            del data[at:until]
        elif change == "put":
            data[at:at] = draw(st.binary(max_size=20))
        elif change == "double":
            data[at:at] = data[at:until]
        elif change == "field":
            del data[at : data.find(b" ", at) + 1]
        elif change == "line":
            start = data.rfind(b"\n", 0, at) + 1
            data[start:start] = draw(st.sampled_from(SAMPLES)).splitlines(keepends=True)[0]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.NAME)
@MANY
@given(data=st.one_of(st.binary(max_size=400), damaged_exports()))
def test_any_bytes_end_in_records_or_a_clear_error(tmp_path, format_, data):
    path = tmp_path / "2024-01-15.any.txt"
    path.write_bytes(data)
    for item in records(format_, path) or ():
        assert isinstance(item, Message | Skipped)
        assert item.line >= 1
        if isinstance(item, Message):
            assert item.kind in KINDS
            assert all(isinstance(each, str) for each in (item.group, item.sender, item.text))
            assert item.timestamp is None or isinstance(item.timestamp, int)


@MANY
@given(data=st.one_of(st.binary(max_size=400), damaged_exports()))
def test_any_file_among_the_exports_is_read_or_refused_whole(tmp_path, data):
    folder = tmp_path / "raw"
    folder.mkdir(exist_ok=True)
    (folder / "2024-01-15.any").write_bytes(data)
    out = tmp_path / "messages.parquet"
    out.unlink(missing_ok=True)
    try:
        counts = ingest(folder, PSEUDONYMS, out)
    except DataError:
        assert not out.exists()
        return
    assert counts["raw_lines"] == counts["messages"] + counts["skipped"]
    assert read_rows(out, MESSAGES).num_rows == counts["messages"]


def seconds_to_ingest(folder, name, who):
    """Processor seconds for an export in which one of three people is called ``who``."""
    folder.mkdir()
    said = [(who if sender == SECRETS["sender"] else sender, text) for sender, text in SAID]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "SAID", said)
        (folder / name).write_bytes(EXPORTS[name]())
    start = time.process_time()
    with suppress(DataError):
        ingest(folder, PSEUDONYMS, folder / "messages.parquet")
    return time.process_time() - start


@pytest.mark.parametrize("unit", [" ", "a ", "(1", "@", "a'", "张", "\u200b", "e\u0301", "【", "<"])
@pytest.mark.parametrize("name", EXPORTS)
def test_a_long_name_takes_linear_time(tmp_path, name, unit):
    length = 30_000 // len(unit)
    twice = seconds_to_ingest(tmp_path / "twice", name, unit * 2 * length)
    # Nearly always so fast that half of it need not be measured.
    if twice >= 0.2:
        twice = min(twice, seconds_to_ingest(tmp_path / "twice again", name, unit * 2 * length))
        once = min(seconds_to_ingest(tmp_path / f"once{number}", name, unit * length) for number in range(2))
        assert twice < 2.6 * once + 0.2


@pytest.mark.parametrize("name", EXPORTS)
def test_exactly_one_format_detects_each_export(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(EXPORTS[name]())
    if name.endswith(".zip"):
        pytest.skip("a zip is told apart by its members")
    source = Source(path)
    claimed = [each.NAME for each in FORMATS if each.detects(source.plain_name, source.head())]
    assert claimed == [find_format(source).NAME]


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "@_**a** [said](b/near/1):\n```quote\n",
            "<blockquote>",
            '<at id="0">',
            "<img ",
            '<a href="https://matrix.to/#/@a',
        ),
        *("[ ](a?msg=", "@a:b", "[a](/user_uploads/", "> a\n", "a님이 ", " invited ", "\ufffc", "[a] [", "@**a|"),
    ],
)
def test_what_a_format_searches_texts_for_takes_no_time(tmp_path, piece):
    said = [(0, 1_705_312_800, "ann", piece * (300_000 // len(piece)))]
    began = time.process_time()
    for name, make in planted_messengers.MESSENGERS.items():
        path = tmp_path / name
        path.write_bytes(make(said) if name != "zulip.zip" else planted_messengers.zulip_messages(said))
        for format_ in FORMATS:
            if format_.detects(name, path.read_bytes()[:65_536]):
                records(format_, path)
    assert time.process_time() - began < 5


def test_the_fuzzer_tells_a_fault_from_an_error_and_draws_the_same_again(monkeypatch):
    exports = fuzz.samples()
    assert all(exports.values())
    assert [fuzz.drawn(3, number, exports) for number in range(5)] == [
        fuzz.drawn(3, number, exports) for number in range(5)
    ]
    well = CliRunner().invoke(fuzz.main, ["--inputs", "8", "--seed", "3"])
    assert well.exit_code == 0
    assert re.search(r"\| all \| 8 \| \d \| \d \| 0 \|", well.output)

    def broken(raw, *arguments):
        raise KeyError("somebody")

    monkeypatch.setattr(fuzz, "ingest", broken)
    badly = CliRunner().invoke(fuzz.main, ["--inputs", "3", "--seed", "3", "--first", "7"])
    assert badly.exit_code == 1
    assert "| all | 3 | 0 | 0 | 3 |" in badly.output
    assert re.search(r"fault: KeyError at test_any_input\.py:\d+: 3 times, first in input 7", badly.output)


#: Text that a chat may hold and masking leaves alone: no digits and no signs that make addresses, names or keys.
CALM = st.text(
    st.characters(codec="utf-8", exclude_characters="@<>:：=/+", exclude_categories=["Nd", "No", "Cs"]), max_size=30
)


@MANY
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), CALM), min_size=1, max_size=20))
def test_any_text_survives_ingest_and_merge(tmp_path, said):
    folder = tmp_path / "raw"
    folder.mkdir(exist_ok=True)
    clock, lines = 0, []
    for sender, step, text in said:
        clock += step
        row = {"group": "g", "sender": f"q_{sender}_77", "timestamp": 1_700_000_000 + clock, "text": text}
        lines.append(json.dumps(row) + "\n")
    (folder / "chat.jsonl").write_text("".join(lines), encoding="utf-8")
    ingest(folder, PSEUDONYMS, tmp_path / "messages.parquet", ExportOptions(format="table"))
    messages = read_rows(tmp_path / "messages.parquet", MESSAGES)
    assert Counter(messages["text"].to_pylist()) == Counter(text for _, _, text in said)
    turns = merge(messages, 18)
    assert isinstance(turns, pa.Table)
    joined = "".join(turns["text"].to_pylist()).replace("\n", "")
    assert sorted(joined) == sorted("".join(text for _, _, text in said).replace("\n", ""))
