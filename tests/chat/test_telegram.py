"""Telegram Desktop's JSON: single chats, accounts and forums, texts in pieces, people, and fields of any type.

What the real exports at hand do not have follows Telegram Desktop's writer (export_output_json.cpp in
telegramdesktop/tdesktop, as of 2018, 2021 and 2024).
"""

import json
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.chat.formats import telegram
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")


def at(identity):
    return f"@{NAMES.person(identity)} "


def entry(**fields):
    base = {
        "id": 3,
        "type": "message",
        "date": "2024-01-10T12:05:00",
        "date_unixtime": "1704888300",
        "from": "Ann Lee",
        "from_id": "user200",
        "text": "hello",
    }
    return {key: value for key, value in (base | fields).items() if value != "ABSENT"}


def service(action, **fields):
    base = {"id": 2, "type": "service", "date": "2024-01-10T12:00:00", "actor": "Bob", "actor_id": "user300"}
    return base | {"action": action, "text": "", "text_entities": []} | fields


def chat(*entries, **fields):
    return {"name": "Club", "type": "private_supergroup", "id": 987} | fields | {"messages": list(entries)}


def parse(tmp_path, document, known=None, timezone="UTC", name="result.json"):
    path = tmp_path / name
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    know = (lambda *names: known.append(names)) if known is not None else (lambda *names: None)
    return list(telegram.parse(Source(path), Context(NAMES, know, ZoneInfo(timezone))))


def one(tmp_path, **fields):
    return parse(tmp_path, chat(entry(**fields)))[0]


def text(tmp_path, *pieces):
    return one(tmp_path, text=list(pieces)).text


def piece(type_, words, **fields):
    return {"type": type_, "text": words} | fields


@pytest.mark.parametrize("name", ["test_single_export.json", "test_batch_export.json"])
def test_real_exports_of_a_chat_and_of_an_account(shared_data, name):
    folder = shared_data / "exports" / "telegram"
    source = Source(folder / name)
    assert telegram.detects(name, source.head())
    rows = list(telegram.parse(source, Context(NAMES)))
    expected = json.loads((folder / "target.json").read_text(encoding="utf-8"))
    assert [(row.sender, row.text) for row in rows] == [(each["author"], each["message"]) for each in expected]
    assert [row.timestamp for row in rows] == [1544006350, 1544006964]
    assert {row.group for row in rows} == {"Chatname" if "batch" in name else name}


def test_a_real_personal_chat(shared_data):
    expected = json.loads((shared_data / "exports" / "expected.json").read_text(encoding="utf-8"))
    expected = expected["telegram-forum/personal_chat.json"]
    rows = list(
        telegram.parse(Source(shared_data / "exports" / "telegram-forum" / "personal_chat.json"), Context(NAMES))
    )
    assert len(rows) == expected["n_entries"]
    assert [row.kind for row in rows] == ["text"] * expected["regular"] + ["system"] * expected["service"]
    assert {row.own_id: row.reply_to for row in rows if row.reply_to} == {"4": "3"}
    assert rows[2].text == "Check this important message"


def test_a_real_forum(shared_data):
    expected = json.loads((shared_data / "exports" / "expected.json").read_text(encoding="utf-8"))
    expected = expected["telegram-forum/supergroup_with_topics.json"]
    known = {}
    context = Context(NAMES, lambda identity, *names: known.update(dict.fromkeys(names, identity)))
    rows = list(
        telegram.parse(Source(shared_data / "exports" / "telegram-forum" / "supergroup_with_topics.json"), context)
    )
    assert len(rows) == expected["n_entries"]
    assert sorted(known) == expected["participants"]
    assert [(row.own_id, row.group) for row in rows if row.kind == "text"] == [
        ("3", "987654321"),
        ("5", "987654321/4"),
        ("6", "987654321/4"),
        ("7", "987654321"),
    ]
    assert all(row.reply_to is None for row in rows)


def test_a_message(tmp_path):
    known = []
    rows = parse(tmp_path, chat(entry(), service("pin_message", message_id=3)), known)
    assert rows[0] == Message(6, "987", "user200", 1704888300, "text", "hello", own_id="3", chat="987")
    assert (rows[1].kind, rows[1].text, rows[1].sender) == ("system", "", "user300")
    assert known == [("user200", "Ann Lee"), ("user300", "Bob")]


@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        ({"from": None}, "user200"),
        ({"from_id": 200}, "user200"),
        ({"from_id": "ABSENT"}, "Ann Lee"),
        ({"from_id": "channel987", "from": "Club"}, "channel987"),
        ({"from_id": [], "from": {}}, None),
    ],
)
def test_senders(tmp_path, fields, sender):
    row = one(tmp_path, **fields)
    assert row == Skipped(6, "no_sender") if sender is None else row.sender == sender


@pytest.mark.parametrize(
    ("fields", "timestamp"),
    [
        ({}, 1704888300),
        ({"date_unixtime": 1704888300}, 1704888300),
        ({"date_unixtime": "ABSENT"}, 1704888300 - 8 * 3600),
        ({"date_unixtime": None, "date": "2024-01-10T12:05:00Z"}, 1704888300),
        ({"date_unixtime": None, "date": "2024-01-10T12:05:00+08:00"}, 1704888300 - 8 * 3600),
        ({"date_unixtime": None, "date": None}, None),
    ],
)
def test_old_exports_tell_local_time(tmp_path, fields, timestamp):
    assert parse(tmp_path, chat(entry(**fields)), timezone="Asia/Shanghai")[0].timestamp == timestamp


@pytest.mark.parametrize(
    "fields", [{"date_unixtime": "hidden"}, {"date_unixtime": []}, {"date_unixtime": None, "date": "yesterday"}]
)
def test_a_time_that_is_none(tmp_path, fields):
    with pytest.raises(DataError, match=r"result\.json:6: expected a timestamp"):
        one(tmp_path, **fields)


def test_texts_in_pieces(tmp_path):
    assert (
        text(tmp_path, "see ", piece("bold", "this"), " and\n", piece("code", "x = 1"), ".") == "see this and\nx = 1."
    )
    assert text(tmp_path, piece("bold", "Lin"), piece("italic", "ux")) == "Linux"
    assert text(tmp_path, piece("bold", "Link:"), "", piece("link", "https://a.org")) == "Link: https://a.org"
    assert text(tmp_path, piece("bold", "Link:\n"), piece("link", "https://a.org")) == "Link:\nhttps://a.org"
    assert text(tmp_path, "(", piece("link", "a.org"), ")") == "(a.org)"
    assert (
        text(tmp_path, piece("bold", "To"), piece("email", "a@b.org"), piece("phone", "0170 123"))
        == "To a@b.org <phone>"
    )
    assert text(tmp_path, "card ", piece("bank_card", "4111 1111"), " of mine") == "card <id> of mine"
    assert text(tmp_path, "read ", piece("text_link", "this", href="https://a.org")) == "read this"
    assert text(tmp_path, piece("custom_emoji", "😮", document_id="a/b.webm"), piece("spoiler", "x")) == "😮x"
    assert text(tmp_path, 1, None, [], {}, piece(1, "a"), piece("bold", 2), "b") == "ab"


def test_newer_exports_have_the_same_text_as_entities(tmp_path):
    entities = [piece("plain", "see "), piece("link", "a.org")]
    assert one(tmp_path, text="ABSENT", text_entities=entities).text == "see a.org"
    assert one(tmp_path, text=["see ", piece("link", "a.org")], text_entities=entities).text == "see a.org"


def test_mentions(tmp_path):
    named = piece("mention_name", "Bob", user_id=300)
    assert text(tmp_path, named, " can you") == at("user300") + "can you"
    assert (
        text(tmp_path, "hi ", named, ", and ", piece("mention", "@Carol_x"))
        == f"hi {at('user300')}, and {at('@carol_x')}"
    )
    assert text(tmp_path, named, piece("mention", "@carol_x"), "\nx") == f"{at('user300')}{at('@carol_x')}\nx"


def test_links_between_user_names_and_people(tmp_path):
    known = []
    me = {"user_id": 200, "first_name": "Ann", "last_name": "Lee", "phone_number": "+1 555", "username": "@AnnLee"}
    contacts = {
        "list": [{"user_id": 300, "first_name": "Bob", "last_name": ""}, {"first_name": "Eve", "last_name": "X"}]
    }
    document = {
        "about": "x",
        "personal_information": me,
        "contacts": contacts,
        "chats": {"about": "x", "list": [chat(entry(text=[piece("mention", "@annlee"), piece("mention", "@dan_99")]))]},
    }
    assert parse(tmp_path, document, known)[0].text == at("user200") + at("@dan_99")
    assert known == [("user200", "Ann Lee", "annlee"), ("user300", "Bob"), ("@dan_99", "dan_99"), ("Eve X",)]


def test_the_other_of_a_personal_chat_and_who_is_mentioned_by_name_are_known(tmp_path):
    known = []
    mention = {"type": "mention_name", "text": "Zoe Q", "user_id": 77}
    parse(tmp_path, chat(entry(text=["hi ", mention]), type="personal_chat", name="Yan Q", id=55), known)
    assert known == [("user55", "Yan Q"), ("user200", "Ann Lee"), ("user77", "Zoe Q")]


def test_who_is_only_named_is_known_too(tmp_path):
    known = []
    reactions = [{"type": "emoji", "emoji": "x", "count": 1, "recent": [{"from": "Dan", "from_id": "user400"}]}]
    contact = {"first_name": "Eve", "last_name": "X", "phone_number": "+1 555"}
    parse(
        tmp_path,
        chat(
            service("invite_members", members=["Zoe Q", "Ann Lee", None]),
            service("join_group_by_link", inviter="Yan Q"),
            entry(reactions=reactions),
            entry(contact_information=contact, text=""),
            entry(forwarded_from="Hidden Q"),
            entry(forwarded_from="Pat Q", forwarded_from_id="user9"),
            entry(forwarded_from="Machine Learning", forwarded_from_id="channel9"),
            entry(author="Sid Q"),
        ),
        known,
    )
    assert known == [
        ("user300", "Bob"),
        ("user200", "Ann Lee"),
        ("user400", "Dan"),
        ("user9", "Pat Q"),
        ("Eve X",),
        ("Hidden Q",),
        ("Sid Q",),
        ("Yan Q",),
        ("Zoe Q",),
    ]


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"photo": "photos/a.jpg"}, "image", ""),
        ({"photo": "photos/a.jpg", "text": "look"}, "text", "look"),
        ({"file": "a.mp4", "media_type": "animation"}, "image", ""),
        ({"file": "stickers/s.webp", "media_type": "sticker", "sticker_emoji": "x"}, "other", ""),
        ({"file": "files/my log.txt", "mime_type": "text/plain"}, "file", "my log.txt"),
        ({"file": "files/log (1).txt", "file_name": "log.txt"}, "file", "log.txt"),
        ({"file": "(File not included. Change data exporting settings to download.)"}, "file", ""),
        ({"file": "voice_messages/audio_1.ogg", "media_type": "voice_message"}, "file", ""),
        ({"file": "files/log.txt", "text": [piece("bold", "the log")]}, "text", "the log"),
        ({"poll": {"question": "When?", "answers": [{"text": "now"}]}}, "text", "When?"),
        ({"poll": {"question": 1}}, "other", ""),
        ({"contact_information": {"first_name": "Eve", "phone_number": "+1 555"}}, "other", ""),
        ({"location_information": {"latitude": 1.0}, "place_name": "Home"}, "other", ""),
        ({"text": "  "}, "other", ""),
        ({"text": "said", "forwarded_from": "Eve X", "edited": "2024-01-10T12:06:00"}, "text", "said"),
    ],
)
def test_media_captions_and_the_rest(tmp_path, fields, kind, words):
    row = one(tmp_path, **{"text": "", **fields})
    assert (row.kind, row.text) == (kind, words)


def test_records_that_make_no_message(tmp_path):
    rows = parse(tmp_path, chat(1, None, {"id": 4, "type": "unsupported"}, {"type": "service"}))
    assert [row.reason for row in rows] == ["not_a_message", "not_a_message", "unsupported", "no_sender"]


def test_topics_of_a_forum(tmp_path):
    rows = parse(
        tmp_path,
        chat(
            service("topic_created", id=10, title="Help"),
            entry(id=11, reply_to_message_id=10),
            entry(id=12, reply_to_message_id=11),
            service("topic_created", id=13, title="Chatter", actor=None, actor_id=None),
            entry(id=14, reply_to_message_id=12),
            entry(id=15, reply_to_message_id=13),
            entry(id=16),
            entry(id=17, reply_to_message_id=16),
            entry(id=18, reply_to_message_id=5),
            entry(id=19, reply_to_message_id=11, reply_to_peer_id="channel5"),
            service("topic_created", id=20, title="General"),
            entry(id=21, reply_to_message_id=20),
        ),
    )
    assert rows.pop(3) == Skipped(37, "no_sender")
    assert [(row.own_id, row.group, row.reply_to) for row in rows] == [
        ("10", "987/10", None),
        ("11", "987/10", None),
        ("12", "987/10", "11"),
        ("14", "987/10", "12"),
        ("15", "987/13", None),
        ("16", "987", None),
        ("17", "987", "16"),
        ("18", "987", "5"),
        ("19", "987", None),
        ("20", "987", None),
        ("21", "987", None),
    ]


def test_an_account_with_chats_that_were_left(tmp_path):
    document = {
        "about": "x",
        "chats": {"about": "x", "list": [chat(entry(id=1)), chat(entry(id=1), id=5, name=None, type="saved_messages")]},
        "left_chats": {"list": [chat(entry(id=1), id=6), chat(id=8), chat(entry(), id=None)]},
    }
    assert [row.group for row in parse(tmp_path, document)] == ["987", "5", "6", "Club"]


def test_a_chat_without_id_and_name_is_named_by_its_file(tmp_path):
    assert parse(tmp_path, {"messages": [entry()]})[0].group == "result.json"


@pytest.mark.parametrize("document", [{}, [], {"messages": 5}, {"chats": []}, "x"])
def test_what_is_no_export(tmp_path, document):
    with pytest.raises(DataError, match=r'result\.json: expected a JSON document with "messages'):
        parse(tmp_path, document)


@pytest.mark.parametrize("indent", [None, 1])
def test_detection(indent):
    def head(document):
        return json.dumps(document, indent=indent).encode()[:65_536]

    contacts = [{"first_name": "x" * 50} for _ in range(5000)]
    account = {"about": "x", "contacts": {"list": contacts}, "chats": {"list": [chat(entry())]}}
    turned = dict(reversed(chat(entry(text="x" * 200_000)).items()))
    for document in (chat(), chat(entry()), turned, account, {"about": "x", "chats": {"list": []}}):
        assert telegram.detects("result.json", head(document))
    discord = {
        "guild": {},
        "channel": {},
        "messages": [{"id": "1", "type": "Default", "text": "", "date": "", "from": ""}],
    }
    texts = {"messages": [{"a": '"from": "text": "date": "type": "private_group"'}]}
    for other in (discord, texts, [chat(entry())], {"messages": []}, {"about": "x"}, {}):
        assert not telegram.detects("result.json", head(other))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "type", "text", "user_id", "first_name", "question", "recent", "from", "from_id"]),
            inner,
        )
    ),
    max_leaves=8,
)
FIELDS = [
    *("id", "type", "date", "date_unixtime", "from", "from_id", "actor", "actor_id", "action", "title", "text"),
    *("text_entities", "reply_to_message_id", "reply_to_peer_id", "photo", "file", "file_name", "media_type", "poll"),
    *("members", "inviter", "reactions", "contact_information"),
]


@settings(max_examples=150, deadline=None)
@given(
    entries=st.lists(st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4), max_size=3),
    good=st.sampled_from([{}, entry(), service("topic_created")]),
    around=st.dictionaries(st.sampled_from(["id", "name", "type", "personal_information", "contacts", "chats"]), ANY),
)
def test_fields_of_any_type_give_messages_or_an_error(tmp_path_factory, entries, good, around):
    folder = tmp_path_factory.mktemp("any")
    entries = [good | each for each in entries]
    known = []
    try:
        rows = parse(folder, {**chat(*entries), **around}, known)
    except DataError as error:
        assert "result.json:" in error.message  # noqa: PT017  # any other error fails the test, too
    else:
        assert len(rows) >= len(entries)
        for row in rows:
            assert isinstance(row, Skipped) or all(isinstance(row[at], str) for at in (1, 2, 4, 5))
    assert all(isinstance(name, str) for names in known for name in names)
