"""Slack's exports: days, companions, people, Slack's markup, files, apps, and fields of any type.

What the real export at hand does not have (threads, new files, edit logs, huddles, private channels) follows Slack's
help page "How to read Slack data exports" and its references of message events and of text formatting.
"""

import json
import zipfile
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.chat.exports import find_exports
from chatladder.chat.formats import slack
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Archive, Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")
CHANNELS = [{"id": "C1", "name": "general", "members": []}, {"id": "C2", "name": "help", "members": []}]


def at(identity):
    return f"@{NAMES.person(identity)} "


def entry(**fields):
    return {"type": "message", "user": "U1", "text": "hello", "ts": "1452837318.000002"} | fields


def write(folder, name, document):
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    return Source(path, name)


def parse(source, known=None):
    know = (lambda *names: known.append(names)) if known is not None else (lambda *names: None)
    return list(slack.parse(source, Context(NAMES, know)))


def day(tmp_path, *entries, known=None, channels=CHANNELS):
    if channels is not None:
        write(tmp_path, "channels.json", channels)
    return parse(write(tmp_path, "help/2016-01-15.json", list(entries)), known)


def one(tmp_path, **fields):
    return day(tmp_path, entry(**fields))[0]


def test_a_real_workspace(shared_data):
    expected = json.loads((shared_data / "exports" / "expected.json").read_text(encoding="utf-8"))
    expected = expected["slack/testarchive.zip"]
    people, rows = {}, []
    context = Context(NAMES, lambda identity, *names: people.setdefault(identity, set()).update(names))
    sources = [
        each for each in find_exports(shared_data / "exports" / "slack", Counter()) if each.plain_name != "LICENSE"
    ]
    assert len(sources) == 20
    for source in sources:
        assert slack.detects(source.plain_name, source.head())
        rows += [row for row in slack.parse(source, context) if isinstance(row, Message)]
    for channel, group in (("enrique", "C0JGLMMNX"), ("traveling-sailor", "C0JL6CGQ2")):
        assert sum(row.group == group for row in rows) == expected["messages_per_channel"][channel]
    assert len(people) == expected["users"]
    assert len({(row.group, row.own_id) for row in rows}) == len(rows)
    assert [row.text for row in rows if row.kind == "file"] == ["100_cities.js", "10_cities.js", "cities1000.js"]
    texts = [row.text for row in rows if row.kind == "text"]
    assert (
        texts[0] == at("U0BMYT2FL") + "Created an issue for a setup.py so that it can be installed to a standard place"
    )
    assert not any("<http" in text or "<@" in text or "&lt;" in text for text in texts)


def test_a_message(tmp_path):
    known = []
    profile = {"name": "ann", "real_name": "Ann Lee", "display_name": "", "first_name": "Ann", "avatar_hash": "x"}
    rows = day(tmp_path, entry(user_profile=profile), entry(ts="1452837319.5", user_profile=profile), known=known)
    assert rows[0] == Message(2, "C2", "U1", 1452837318, "text", "hello", own_id="1452837318.000002")
    assert known == [("U1", "ann", "Ann Lee", "Ann")]


def test_a_group_is_the_channels_id_or_else_its_folder(tmp_path):
    assert day(tmp_path, entry(), channels=None)[0].group == "help"
    assert day(tmp_path, entry(), channels=[{"id": "C9", "name": "other", "members": []}])[0].group == "help"
    write(tmp_path, "groups.json", [{"id": "G1", "name": "help", "members": []}])
    assert one(tmp_path).group == "C2"
    assert day(tmp_path, entry(), channels={"not": "Slack's"})[0].group == "G1"
    write(tmp_path, "D1/2016-01-15.json", [entry()])
    write(tmp_path, "dms.json", [{"id": "D1", "members": ["U1", "U2"]}])
    assert parse(Source(tmp_path / "D1/2016-01-15.json", "D1/2016-01-15.json"))[0].group == "D1"
    assert parse(Source(tmp_path / "D1/2016-01-15.json"))[0].group == "D1"


def test_inside_a_zip(tmp_path):
    path = tmp_path / "club.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("export/channels.json", json.dumps(CHANNELS))
        file.writestr("export/help/2016-01-15.json", json.dumps([entry()]))
    with zipfile.ZipFile(path) as file:
        archive = Archive(path, file, frozenset(file.namelist()))
        assert parse(Source(path, "export/help/2016-01-15.json", archive))[0].group == "C2"


def test_companions_tell_names_only(tmp_path):
    known = []
    users = [
        {
            "id": "U1",
            "name": "ann",
            "real_name": "Ann Lee",
            "profile": {"display_name": "annie", "real_name": "Ann Lee"},
        },
        {"id": "B1", "name": "github", "is_bot": True, "profile": {}},
        {"id": "USLACKBOT", "name": "slackbot", "profile": {}},
        1,
    ]
    rows = parse(write(tmp_path, "users.json", users), known)
    assert [row.reason for row in rows] == ["workspace_metadata"] * 4
    assert known == [("U1", "ann", "Ann Lee", "annie")]
    assert parse(write(tmp_path, "channels.json", CHANNELS), known) == [
        Skipped(2, "workspace_metadata"),
        Skipped(7, "workspace_metadata"),
    ]
    assert len(known) == 1


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("<@U2>: can you", at("U2") + "can you"),
        ("<@U2|bob> can", at("U2") + "can"),
        ("hi <@U2>, <@U3>:smile:", f"hi {at('U2')}, {at('U3')}:smile:"),
        ("<!here> and <!channel>: look <!everyone|everyone>", "@all and @all look @all "),
        ("<!subteam^S1|@admins> <!subteam^S1> <!date^1392734382^{date}|yesterday>", "@admins @subteam yesterday"),
        ("<#C1|lobby> <#C1> <#C99>", "#lobby #general #channel"),
        ("see <https://a.org/x?y=1&amp;z=2>.", "see https://a.org/x?y=1&z=2."),
        ("see <https://a.org|this page>", "see this page"),
        ("<mailto:a@b.org|a@b.org>", "a@b.org"),
        ("if a &lt; b &amp;&amp; c &gt; d: &amp;lt; &nbsp;", "if a < b && c > d: &lt; &nbsp;"),
        ("&lt;@U2&gt; <> < > <@u2> <|x>", "<@U2> <> < > <@u2> <|x>"),
    ],
)
def test_markup(tmp_path, stored, shown):
    assert one(tmp_path, text=stored).text == shown


@pytest.mark.parametrize("text", ["<" * 300_000, "<a" * 200_000, "<a|" * 100_000, "<" + "a" * 300_000, "<!" * 100_000])
def test_hostile_markup_takes_no_time(tmp_path, text):
    assert one(tmp_path, text=text).text == text


def test_a_message_of_blocks_alone_says_what_they_say(tmp_path):
    def section(*elements, kind="rich_text_section"):
        return {"type": kind, "elements": list(elements)}

    def words(text):
        return {"type": "text", "text": text}

    link = {"type": "link", "url": "https://a.org"}
    rich = section(
        section(
            words("ask "), {"type": "user", "user_id": "U2"}, words("<b>&amp; "), {"type": "emoji", "name": "fire"}
        ),
        section(section(words("one")), section(link | {"text": "two"}), kind="rich_text_list"),
        section(words("x = 1 "), link, kind="rich_text_preformatted"),
        section({"type": "broadcast", "range": "here"}, {"type": "channel", "channel_id": "C1"}),
        section({"type": "date", "fallback": "3 May"}, {"type": "usergroup", "usergroup_id": "S1"}, {"type": "new"}),
        kind="rich_text",
    )
    assert one(tmp_path, text="", blocks=[rich]).text.split("\n") == [
        f"ask {at('U2')}<b>&amp; :fire:",
        "one",
        "two",
        "x = 1 https://a.org",
        "@all #general",
        "3 May@subteam",
    ]
    assert one(tmp_path, text="", blocks=[rich | {"elements": [1, {"elements": "x"}]}, None, {}, "x"]).text == ""


def test_whom_notices_and_shared_messages_name_is_known(tmp_path):
    known = []
    shared = [{"author_id": "U5", "author_name": "Eve Lee", "text": "x"}, {"author_name": "A web page"}]
    notice = entry(subtype="channel_join", user="U3", text="<@U3|zoe_q> has joined; <@U4|yan_q> invited")
    day(tmp_path, notice, entry(attachments=shared), known=known)
    assert known == [("U3", "zoe_q"), ("U4", "yan_q"), ("U5", "Eve Lee")]


def test_names_in_mentions_are_known(tmp_path):
    known = []
    day(tmp_path, entry(text="<@U2|bob_7>: <@U2|bob_7> <@U3>", username="ann_99"), known=known)
    assert known == [("U1", "ann_99"), ("U2", "bob_7")]


PNG = {"name": "a.png", "mimetype": "image/png"}
LOG = {"name": "my log.txt", "title": "Log", "mimetype": "text/plain"}
COMMENTED = "<@U5> commented on <@U1>’s file <https://x/log.txt|Log>: nice"
SHARED = "<@U1> uploaded a file: <https://x/log.txt|Log>"


SECTION = {
    "type": "section",
    "text": {"type": "plain_text", "text": "a <b> & #help"},
    "fields": [{"type": "mrkdwn", "text": "c"}],
}


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"subtype": "me_message", "text": "waves"}, "text", "waves"),
        ({"subtype": "thread_broadcast"}, "text", "hello"),
        ({"files": [PNG, PNG], "text": ""}, "image", ""),
        ({"files": [PNG, LOG], "text": ""}, "file", "a.png my log.txt"),
        ({"files": [{"mode": "tombstone"}], "text": ""}, "file", ""),
        ({"files": [LOG], "text": "the log"}, "text", "the log"),
        ({"files": [LOG], "text": "the log", "subtype": "file_share"}, "text", "the log"),
        ({"file": LOG, "text": SHARED, "subtype": "file_share", "bot_id": None}, "file", "my log.txt"),
        ({"file": LOG, "text": SHARED + " and commented: the log", "subtype": "file_share"}, "text", "the log"),
        ({"file": LOG | {"initial_comment": {"comment": "a &amp; b"}}, "text": SHARED}, "text", "a & b"),
        ({"file": LOG, "comment": {"comment": "nice"}, "text": COMMENTED, "subtype": "file_comment"}, "text", "nice"),
        ({"file": LOG, "text": COMMENTED, "subtype": "file_comment"}, "text", "nice"),
        ({"text": "", "attachments": [{"text": "x"}]}, "other", ""),
        ({"text": "", "blocks": [SECTION]}, "text", "a <b> & #help\nc"),
        ({"text": "", "blocks": [SECTION], "bot_id": "B1"}, "other", "a <b> & #help\nc"),
        ({"text": "hello", "blocks": [SECTION]}, "text", "hello"),
        ({"subtype": "bot_message", "bot_id": "B1"}, "other", "hello"),
        ({"bot_id": "B1"}, "other", "hello"),
        ({"bot_id": "B1", "client_msg_id": "x"}, "text", "hello"),
        ({"user": "USLACKBOT"}, "other", "hello"),
        ({"subtype": "channel_join"}, "system", ""),
        ({"subtype": "channel_topic", "bot_id": "B1"}, "system", ""),
        ({"subtype": "huddle_thread"}, "system", ""),
        ({"subtype": "tombstone"}, "system", ""),
        ({"subtype": "something_new"}, "system", ""),
    ],
)  # fmt: skip
def test_kinds(tmp_path, fields, kind, text):
    row = one(tmp_path, **fields)
    assert (row.kind, row.text) == (kind, text)


@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        ({"user": None, "subtype": "bot_message", "bot_id": "B1", "username": "github"}, "B1"),
        ({"user": None, "subtype": "bot_message", "username": "github"}, "github"),
        ({"user": None, "subtype": "file_comment", "comment": {"user": "U5", "comment": "x"}}, "U5"),
        ({"user": None, "subtype": "message_changed", "message": {"user": "U5"}}, "U5"),
        ({"user": None}, None),
        ({"user": [], "comment": 1}, None),
    ],
)
def test_senders(tmp_path, fields, sender):
    row = one(tmp_path, **fields)
    assert row == Skipped(2, "no_sender") if sender is None else row.sender == sender


def test_threads(tmp_path):
    first = "1452837318.000002"
    rows = day(tmp_path, entry(thread_ts=first, reply_count=1), entry(ts="1452837400.000100", thread_ts=first))
    assert [row.reply_to for row in rows] == [None, first]


def test_edit_logs_take_back_what_was_deleted_and_add_nothing(tmp_path):
    before = {"user": "U1", "ts": "1452837318.000002", "text": "secret"}
    stamp = "1452837400.000100"
    rows = day(
        tmp_path,
        entry(subtype="message_changed", user=None, ts=stamp, text="", message=before),
        entry(subtype="message_deleted", user=None, ts=stamp, deleted_ts=before["ts"], text=""),
        entry(subtype="message_deleted", user=None, ts=stamp, original=before, text=""),
    )
    assert [(row.kind, row.text, row.own_id) for row in rows] == [("system", "", None)] * 3
    assert [row.recalls for row in rows] == [None, before["ts"], before["ts"]]


def test_a_tombstone_takes_back_what_an_earlier_export_had(tmp_path):
    (row,) = day(tmp_path, entry(subtype="tombstone", user="USLACKBOT", text="This message was deleted."))
    assert (row.own_id, row.recalls, row.kind) == ("1452837318.000002", "1452837318.000002", "system")


def test_records_that_make_no_message(tmp_path):
    assert [row.reason for row in day(tmp_path, 1, None, entry(type="event"), {})] == [
        *["not_a_message"] * 3,
        "no_sender",
    ]


@pytest.mark.parametrize("ts", ["yesterday", "1452837318000", -1, []])
def test_a_time_that_is_none(tmp_path, ts):
    with pytest.raises(DataError, match=r"2016-01-15\.json:2: expected a timestamp"):
        one(tmp_path, ts=ts)


def test_what_is_no_day(tmp_path):
    with pytest.raises(DataError, match=r"2016-01-15\.json: expected a JSON document with"):
        parse(write(tmp_path, "help/2016-01-15.json", {"ok": False}))


@pytest.mark.parametrize("indent", [None, 1])
def test_detection(indent):
    def head(document):
        return json.dumps(document, indent=indent).encode()[:65_536]

    users = [{"id": "U1", "profile": {}, "name": "x" * 100_000}]
    for name, document in (
        ("2016-01-15.json", [entry()]),
        ("2016-01-15.json", [dict(reversed(entry().items()))]),
        ("2016-01-15.json", [{"ts": "1452837318.000002", "text": "x" * 100_000}]),
        ("2016-01-15.json", [{"type": "message", "text": "x" * 100_000}]),
        ("2016-01-15.json", []),
        ("all.json", [entry()]),
        ("channels.json", CHANNELS),
        ("users.json", users),
        ("dms.json", []),
    ):
        assert slack.detects(name, head(document)), name
    for name, document in (
        ("2016-01-15.json", {"messages": [entry()]}),
        ("2016-01-15.json", [{"text": '"type": "message", "ts": "1452837318.000002"'}]),
        ("2016-01-15.json", [1]),
        ("all.json", []),
        ("all.json", [{"type": "message"}]),
        ("users.json", [{"name": "x"}]),
    ):
        assert not slack.detects(name, head(document)), name
    assert not slack.detects("2016-01-15.json", b"")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["user", "comment", "initial_comment", "name", "mimetype", "ts", "id"]), inner
        )
    ),
    max_leaves=8,
)
FIELDS = [
    *("type", "subtype", "user", "text", "ts", "thread_ts", "deleted_ts", "bot_id", "username", "user_profile", "file"),
    *("files", "comment", "message", "previous_message", "original", "client_msg_id"),
]
SUBTYPES = st.sampled_from([*sorted(slack.TALK), *sorted(slack.APPS), "channel_join", "message_deleted"])


@settings(max_examples=150, deadline=None)
@given(
    entries=st.lists(st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4), max_size=3),
    subtype=SUBTYPES,
    good=st.booleans(),
    companion=st.lists(st.dictionaries(st.sampled_from(["id", "name", "members", "profile"]), ANY), max_size=3),
)
def test_fields_of_any_type_give_messages_or_an_error(tmp_path_factory, entries, subtype, good, companion):
    folder = tmp_path_factory.mktemp("any")
    entries = [(entry(subtype=subtype) if good else {}) | each for each in entries]
    known = []
    assert len(parse(write(folder, "users.json", companion), known)) == len(companion)
    try:
        rows = day(folder, *entries, known=known, channels=companion)
    except DataError as error:
        assert "2016-01-15.json:" in error.message  # noqa: PT017  # any other error fails the test, too
    else:
        assert len(rows) == len(entries)
        for row in rows:
            assert isinstance(row, Skipped) or all(isinstance(row[at], str) for at in (1, 2, 4, 5))
    assert all(isinstance(name, str) for names in known for name in names)
