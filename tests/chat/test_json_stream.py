"""JSON documents as streams: the same values as json.loads, exact lines, and errors that quote nothing."""

import gzip
import json
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.chat.formats import json_stream
from chatladder.chat.formats.json_stream import Record, id_of, keys_of, records
from chatladder.chat.source import Source
from chatladder.io.console import DataError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def source(tmp_path, text, name="result.json"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Source(path)


def read(tmp_path, text, *paths, fields=()):
    return list(records(source(tmp_path, text), paths or ["*"], fields))


@pytest.fixture(params=[3, 7, 2**20])
def chunk(request, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", request.param)
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("streams")


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(VALUES, max_size=5),
    layout=st.sampled_from([None, 1, "\t"]),
    ascii_=st.booleans(),
    size=st.integers(3, 40),
)
def test_every_document_reads_as_by_json_loads_however_it_is_cut(folder, values, layout, ascii_, size):
    text = json.dumps(values, indent=layout, ensure_ascii=ascii_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", size)
        patch.setattr(json_stream, "LONGEST_TOKEN", 16)
        assert [each.value for each in read(folder, text)] == json.loads(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\ux0a1eE+-. \n\x00truefalsn中', max_size=60).map(str.encode))
def test_any_bytes_give_records_or_an_error_that_names_the_line(folder, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", 5)
        try:
            assert all(isinstance(each, Record) for each in read(folder, data, "*", "a.*"))
        except DataError as error:
            assert error.message.startswith(str(folder))  # noqa: PT017  # any other error fails the test, too


def test_each_record_has_the_line_that_it_starts_on(tmp_path, chunk):
    text = '{\n "name": "a\\nb",\n "messages": [\n  1, "x",\n\n  {\n   "a": [\n1]}\n ,"é\u2028",\r\n12.50]\n}\n'
    assert [(each.line, each.value) for each in read(tmp_path, text, "messages.*")] == [
        (4, 1),
        (4, "x"),
        (6, {"a": [1]}),
        (9, "é\u2028"),
        (10, 12.5),
    ]


def test_several_paths_and_the_fields_beside_each_array(tmp_path, chunk):
    text = json.dumps(
        {
            "about": "x" * 50,
            "me": {"id": 1},
            "chats": {"list": [{"id": 5, "name": "a", "messages": [1, 2]}, {"id": 6, "messages": []}, 7, None]},
            "left": {"list": [{"name": "b", "id": 7, "messages": [3], "other": [[[[[1]]]]]}]},
        }
    )
    paths = ("me", "chats.list.*.messages.*", "left.list.*.messages.*")
    found = read(tmp_path, text, *paths, fields=("id", "name"))
    assert [(each.path, each.value) for each in found] == [
        (paths[0], {"id": 1}),
        (paths[1], 1),
        (paths[1], 2),
        (paths[2], 3),
    ]
    assert [dict(each.beside) for each in found] == [
        {},
        {"id": 5, "name": "a"},
        {"id": 5, "name": "a"},
        {"name": "b", "id": 7},
    ]


def test_a_field_that_follows_its_array_is_refused(tmp_path, chunk):
    for chats in ({"messages": [1], "name": "a", "id": 5}, {"messages": [], "id": 5}):
        with pytest.raises(DataError, match='"id" stands after what it belongs to'):
            read(
                tmp_path,
                json.dumps({"list": [{"id": 6, "messages": [2]}, chats]}),
                "list.*.messages.*",
                fields=("id", "name"),
            )


def test_a_field_that_never_comes_is_missing(tmp_path):
    found = read(tmp_path, '{"messages": [1], "name": "n"}', "messages.*", fields=("id", "name"))
    assert dict(found[0].beside) == {"name": "n"}


def test_the_last_of_equal_names_counts(tmp_path):
    assert read(tmp_path, '[{"text": "a", "text": "b"}]')[0].value == {"text": "b"}


def test_control_characters_as_telegram_desktop_writes_them(tmp_path, chunk):
    text = r'[{"a": "1=4\x012=9\\x41\x0C"}, "\\\x1f", "\\x", "\x00"]'
    assert [each.value for each in read(tmp_path, text)] == [{"a": "1=4\x012=9\\x41\x0c"}, "\\\x1f", "\\x", "\x00"]


def test_compressed_and_marked_files(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf[1]")[0].value == 1
    assert read(tmp_path, gzip.compress(b"[1, 2]"))[1].value == 2


DAMAGED = [
    ('{"a": [1,\n2', 2, "the file ends"),
    ('{"a": [1,\n{"b": "secret', 2, "the file ends"),
    ('{"a": [\n\n', 3, "the file ends"),
    ('{"a": [1]}\nsecret', 2, "something follows"),
    ('{"a": [1]}\n\x00', 2, "something follows"),
    ('{"a": [1]}{"a": [2]}', 1, "something follows"),
    ('{"a": [1\n secret]}', 2, "no , or ]"),
    ('{"a": [1,\n secret]}', 2, "Expecting value"),
    ('{"a": [1,]}', 1, "Expecting value"),
    ("{\"a\": ['secret']}", 1, "Expecting value"),
    ('{"a": [{"b": "x\ny"}]}', 1, "control character"),
    ('{"a": ["secret\\q"]}', 1, "escape"),
    ('{"a": ["secret\\x4"]}', 1, "escape"),
    ('{"a": [\nNaN]}', 2, "no such number"),
    ('{"a": [-Infinity]}', 1, "no such number"),
    ('{"a": [' + "9" * 5000 + "]}", 1, "no such number"),
    ('{"a": [\n' + "[" * 100_000, 2, "brackets are too deep"),
    ('{"b": ' + '{"a":' * 100_000, 1, "brackets are too deep"),
    ("{'a': [1]}", 1, 'there is no "'),
    ('{"a" [1]}', 1, "there is no :"),
    ('{"a": [1],}', 1, 'there is no "'),
    ('{"b": [1]}', None, '"a.*"'),
    ('{"a": "secret"}', None, '"a.*"'),
    ("12", None, '"a.*"'),
    ("", 1, "the file ends"),
]


@pytest.mark.parametrize(("text", "line", "what"), DAMAGED)
def test_damage_is_named_by_line_and_never_quoted(tmp_path, chunk, text, line, what):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, "a.*")
    place = str(tmp_path / "result.json") + (f":{line}:" if line else ":")
    assert caught.value.message.startswith(place)
    assert what in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "data", [b'["a",\n"\xff"]', b'["a",\n"\xe4\xb8', b'["a",\n"\xe4\xb8"]', b'["a",\n"\xed\xa0\x80"]']
)
def test_bytes_that_are_not_utf_8(tmp_path, chunk, data):
    with pytest.raises(DataError, match=r"result\.json:2: expected UTF-8, got byte 0x"):
        read(tmp_path, data)


def test_a_damaged_gzip(tmp_path):
    packed = gzip.compress(json.dumps([random.Random(0).random() for _ in range(50_000)]).encode())
    with pytest.raises(DataError, match="expected a whole file, but reading stopped here"):
        read(tmp_path, packed[: len(packed) // 2])


@pytest.mark.parametrize(
    "text", ['["{}"]', '[["{}"]]', '{{"a": ["{}"]}}', '{{"{}": 1, "a": []}}', '{{"b": "{}", "a": []}}']
)
def test_a_record_that_is_too_long_is_refused_whether_or_not_it_is_asked_for(tmp_path, monkeypatch, text):
    monkeypatch.setattr(json_stream, "CHUNK", 64)
    monkeypatch.setattr(json_stream, "LONGEST_RECORD", 1000)
    assert len(read(tmp_path, text.format("x" * 900), "*", "a.*")) <= 1
    with pytest.raises(DataError, match=r"result\.json:1: expected records of at most .* got a longer one"):
        read(tmp_path, text.format("x" * 1100), "*", "a.*")


def test_what_nobody_asked_for_may_be_long_if_its_pieces_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", 64)
    monkeypatch.setattr(json_stream, "LONGEST_RECORD", 1000)
    contacts = {"about": "x", "list": [{"name": "x" * 500}] * 20}
    found = read(tmp_path, json.dumps({"contacts": contacts, "messages": [1]}), "messages.*")
    assert [each.value for each in found] == [1]


@pytest.mark.parametrize("head", ["[", '{"about": {"x": ', '["'])
def test_memory_is_bounded_by_one_record(tmp_path, head):
    path = tmp_path / "big.json"
    with path.open("w") as file:
        file.write(head)
        for _ in range(60):
            file.write(('"' + "x" * 999 + '",') * 1000 if head != '["' else "x" * 2**20)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"the file ends|at most 4 MiB|there is no"):
        for _ in records(Source(path), ["*"]):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20  # a record of 4 MiB, its window twice and what it decodes to


def test_names_of_fields_in_a_head_cannot_be_forged_by_a_text():
    head = json.dumps({"from": 'say "guild": or "a"', "list": [{"b\u00e9": "x", "c_d": 1}]}).encode() + b', "cut'
    assert keys_of(head) == {"from", "list", "c_d"}


@pytest.mark.parametrize(
    ("value", "identity"),
    [
        (7, "7"),
        (0, "0"),
        ("user7", "user7"),
        ("", None),
        (True, None),
        (1.5, None),
        (1e999, None),
        ([], None),
        (None, None),
    ],
)
def test_ids_are_whole_numbers_or_texts(value, identity):
    assert id_of(value) == identity
