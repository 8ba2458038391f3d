"""DiscordChatExporter's JSON: kinds, people, mentions, replies, and fields of any type.

No real export is at hand: the records follow the exporter's writer (JsonMessageWriter.cs, MessageKind.cs,
PlainTextMarkdownVisitor.cs and the older Writers/JsonMessageWriter.cs in Tyrrrz/DiscordChatExporter) and Discord's
reference of message formatting.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.chat.formats import discord
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")
ANN = {"id": "400", "name": "ann", "discriminator": "0000", "nickname": "Ann Lee", "isBot": False, "roles": []}
BOB = {"id": "500", "name": "bob_77", "discriminator": "1234", "nickname": "鲍勃", "isBot": False}


def at(person):
    return f"@{NAMES.person(person['id'])} "


def message(**fields):
    base = {
        "id": "30",
        "type": "Default",
        "timestamp": "2023-01-01T10:00:00.1234567+01:00",
        "timestampEdited": None,
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": "hello",
        "author": ANN,
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        "mentions": [],
    }
    return base | fields


def export(*messages, **fields):
    top = {
        "guild": {"id": "1", "name": "Club", "iconUrl": "x"},
        "channel": {"id": "2", "type": "GuildTextChat", "categoryId": "3", "category": "Text", "name": "help"},
        "dateRange": {"after": None, "before": None},
        "exportedAt": "2024-01-01T00:00:00+00:00",
    }
    return top | fields | {"messages": list(messages), "messageCount": len(messages)}


def parse(tmp_path, document, known=None):
    path = tmp_path / "help.json"
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    know = (lambda *names: known.append(names)) if known is not None else (lambda *names: None)
    return list(discord.parse(Source(path), Context(NAMES, know)))


def one(tmp_path, **fields):
    return parse(tmp_path, export(message(**fields)))[0]


def test_a_message(tmp_path):
    known = []
    rows = parse(tmp_path, export(message(), message(id="31", author=BOB)), known)
    assert rows[0] == Message(20, "2", "400", 1672563600, "text", "hello", own_id="30")
    assert (rows[1].sender, rows[1].own_id) == ("500", "31")
    assert known == [("400", "ann", "Ann Lee"), ("500", "bob_77", "鲍勃")]


def test_an_old_export_and_a_part_without_a_guild(tmp_path):
    author = {"id": "4", "name": "ann", "discriminator": "1111", "isBot": False, "avatarUrl": "x"}
    old = {"channel": {"name": "help"}, "messages": [message(author=author, timestamp="2018-11-03T14:45:10.123+00:00")]}
    row = parse(tmp_path, old)[0]
    assert (row.group, row.sender, row.timestamp) == ("help", "4", 1541256310)
    assert parse(tmp_path, {"messages": [message()]})[0].group == "help.json"


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("Default", "text"),
        ("Reply", "text"),
        ("20", "text"),
        (None, "text"),
        ("ThreadCreated", "system"),
        ("GuildMemberJoin", "system"),
        ("ChannelPinnedMessage", "system"),
        ("Call", "system"),
        ("RecipientAdd", "system"),
        ("8", "system"),
        (46, "system"),
    ],
)
def test_notices_name_members_so_they_have_no_text(tmp_path, type_, kind):
    row = one(tmp_path, type=type_, content="Added Ann Lee to the group.")
    assert (row.kind, row.text) == (kind, "Added Ann Lee to the group." if kind == "text" else "")


def test_what_a_bot_says_is_no_talk_and_its_name_is_no_name(tmp_path):
    known = []
    bot = {"id": "9", "name": "Music", "isBot": True}
    rows = parse(tmp_path, export(message(author=bot), message(author=bot, type="GuildMemberJoin")), known)
    assert [(row.kind, row.text) for row in rows] == [("other", "hello"), ("system", "")]
    assert known == []


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"attachments": [{"fileName": "a.PNG"}, {"fileName": "b.jpeg"}]}, "image", ""),
        ({"attachments": [{"fileName": "a.png"}, {"fileName": "my log.txt"}]}, "file", "a.png my log.txt"),
        ({"attachments": [{"fileName": "a.png"}], "content": "look"}, "text", "look"),
        ({"stickers": [{"id": "1", "name": "Wave"}]}, "other", ""),
        ({"embeds": [{"title": "x"}]}, "other", ""),
        ({"forwardedMessage": {"content": "news", "attachments": []}}, "text", "news"),
        ({"forwardedMessage": {"content": "", "attachments": [{"fileName": "a.gif"}]}}, "image", ""),
        ({"forwardedMessage": {"content": "news"}, "content": "read this"}, "text", "read this"),
    ],
)
def test_attachments_captions_and_forwarded_messages(tmp_path, fields, kind, text):
    row = one(tmp_path, **{"content": "", **fields})
    assert (row.kind, row.text) == (kind, text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("@Ann Lee can you", at(ANN) + "can you"),
        ("hi @Ann Lee, @鲍勃你好", f"hi {at(ANN)}, {at(BOB)}你好"),
        ("@bob_77", at(BOB)),
        ("@bob_778 @bob_7 me@bob_77", "@bob_778 @bob_7 me@bob_77"),
        ("@Ann Leeds", "@Ann Leeds"),
        ("@@Ann Lee", f"@{at(ANN)}"),
        ("@everyone look, @here.", "@all look, @all ."),
        ("@hereafter", "@hereafter"),
        ("@decorator", "@decorator"),
        ("<@400> and <@!500>: <@600>", f"{at(ANN)}and {at(BOB)}: @{NAMES.person('600')} "),
        ("<@&7> <#8> <:smile:9><a:party_2:9> </play now:10> <t:1700000000:R>",
         "@role #channel :smile::party_2: /play now <t:1700000000:R>"),
        ("a <b> c <@x> @", "a <b> c <@x> @"),
    ],
)  # fmt: skip
def test_mentions(tmp_path, content, text):
    assert one(tmp_path, content=content, mentions=[ANN, BOB]).text == text


def test_the_longest_name_is_who_is_mentioned(tmp_path):
    short = {"id": "1", "name": "a", "nickname": "Ann"}
    assert one(tmp_path, content="@Ann Lee @Ann", mentions=[short, ANN]).text == at(ANN) + at(short)


def test_many_mentions_take_no_time(tmp_path):
    crowd = [{"id": str(n), "name": f"name{n}" + "x" * (n % 90)} for n in range(3000)]
    assert one(tmp_path, content="@" * 50_000, mentions=crowd).text == "@" * 50_000


def test_whom_reactions_and_commands_name_is_known(tmp_path):
    known = []
    reactions = [{"emoji": {"name": "x"}, "count": 1, "users": [BOB]}]
    parse(tmp_path, export(message(reactions=reactions, interaction={"name": "play", "user": ANN})), known)
    assert known == [("400", "ann", "Ann Lee"), ("500", "bob_77", "鲍勃")]


@pytest.mark.parametrize(
    ("type_", "reference", "reply_to"),
    [
        ("Reply", {"messageId": "29", "channelId": "2", "guildId": "1"}, "29"),
        ("Reply", {"type": "Default", "messageId": "29"}, "29"),
        ("Reply", {"messageId": None, "channelId": "2"}, None),
        ("Reply", {"messageId": "29", "channelId": "77"}, None),
        ("Default", {"type": "Forward", "messageId": "29", "channelId": "2"}, None),
        ("ChannelPinnedMessage", {"messageId": "29", "channelId": "2"}, None),
        ("Reply", None, None),
    ],
)
def test_only_a_reply_in_the_channel_answers(tmp_path, type_, reference, reply_to):
    assert one(tmp_path, type=type_, reference=reference).reply_to == reply_to


def test_records_that_make_no_message(tmp_path):
    rows = parse(tmp_path, export(1, None, message(author=None), message(author={"id": ""})))
    assert [row.reason for row in rows] == ["not_a_message", "not_a_message", "no_sender", "no_sender"]


@pytest.mark.parametrize("timestamp", ["yesterday", 1700000000000, -1, []])
def test_a_time_that_is_none(tmp_path, timestamp):
    with pytest.raises(DataError, match=r"help\.json:20: expected a timestamp"):
        one(tmp_path, timestamp=timestamp)


@pytest.mark.parametrize("indent", [None, 2])
def test_detection(indent):
    def head(document):
        return json.dumps(document, indent=indent).encode()[:65_536]

    long = message(content="x" * 200_000)
    assert discord.detects("a.json", head(export(message())))
    assert discord.detects("a.json", head(export()))
    assert discord.detects("a.json", head(export(long)))
    assert discord.detects("a.json", head(dict(reversed(export(message()).items()))))
    for other in ({"messages": [{"text": '"guild": "channel": "messages":'}]}, {"guild": 1}, [export()], {}):
        assert not discord.detects("a.json", head(other))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "name", "nickname", "isBot", "messageId", "fileName", "users"]), inner)
    ),
    max_leaves=8,
)
FIELDS = ("id", "type", "timestamp", "content", "author", "attachments", "mentions", "reference", "reactions",
          "interaction", "forwardedMessage")  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    entries=st.lists(st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4), max_size=3),
    good=st.booleans(),
    channel=ANY,
)
def test_fields_of_any_type_give_messages_or_an_error(tmp_path_factory, entries, good, channel):
    folder = tmp_path_factory.mktemp("any")
    entries = [(message() if good else {}) | entry for entry in entries]
    try:
        rows = parse(folder, export(*entries, channel=channel))
    except DataError as error:
        assert "help.json:" in error.message  # noqa: PT017  # any other error fails the test, too
    else:
        assert len(rows) == len(entries)
        for row in rows:
            assert isinstance(row, Skipped) or all(isinstance(row[at], str) for at in (1, 2, 4, 5))
