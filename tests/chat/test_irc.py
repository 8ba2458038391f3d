"""IRC logs: layouts of clients and bots, dates, addressees, damaged bytes, and no line lost."""

import time
from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatladder.chat.formats import irc
from chatladder.chat.formats.irc import LAYOUTS, find_layout
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.messages import ingest
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

NIGHT = 1357344000  # 2013-01-05T00:00Z
NAMES = Pseudonyms("key")
CONTEXT = Context(NAMES)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def parse(tmp_path, content, name="2013-01-05.ubuntu-cn.txt", context=CONTEXT):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(irc.parse(Source(path, name), context))


def shown(rows):
    """Rows as short texts: UTC time, sender, kind if not text, text; or the reason of a skipped one."""
    texts = []
    for row in rows:
        if isinstance(row, Skipped):
            texts.append(row.reason)
            continue
        when = "-" if row.timestamp is None else datetime.fromtimestamp(row.timestamp, UTC).strftime("%d %H:%M:%S")
        texts.append(f"{when} {row.sender} {'' if row.kind == 'text' else row.kind + ' '}{row.text}".rstrip())
    return texts


def test_a_day_of_messages_actions_and_events(tmp_path):
    rows = parse(
        tmp_path,
        "=== Ann is now known as ann_away\n[00:31] <bob> hello\n[00:32]  * bob eats\n\n[00:33] -bot- done\nnoise\n",
    )
    assert rows == [
        Message(1, "ubuntu-cn", "ann", None, "system", "", 60, typed=""),
        Message(2, "ubuntu-cn", "bob", NIGHT + 31 * 60, "text", "hello", 60, typed="hello"),
        Message(3, "ubuntu-cn", "bob", NIGHT + 32 * 60, "text", "eats", 60, typed="eats"),
        Skipped(4, "blank"),
        Message(5, "ubuntu-cn", "bot", NIGHT + 33 * 60, "other", "done", 60, typed="done"),
        Skipped(6, "not_a_log_line"),
    ]


def test_lines_that_carry_channel_and_date(tmp_path):
    rows = parse(tmp_path, "rust 2018-05-29 [21:20:37] <talchas>\t but I don't \n", "rust.0.ascii.txt")
    assert rows == [Message(1, "rust", "talchas", 1527628837, "text", "but I don't", 1, typed="but I don't")]


#: By layout: the file's name, its lines, and what they are read as.
CLIENTS = {
    "bare_clock": (  # irssi
        "#rust.log",
        """\
        --- Log opened Sat Jan 05 21:20:37 2013
        21:20 -!- ann [~ann@example.org] has joined #rust
        21:20 -!- Irssi: #rust: Total of 2 nicks [1 ops, 0 halfops, 0 voices, 1 normal]
        21:21 < ann> hi
        21:22 <@bob> ann: hello: you
        21:22  * bob waves
        21:23 -bob(~bob@example.org)- psst
        21:24 -!- mode/#rust [+o ann] by bob
        21:24 -!- ann is now known as annie
        --- Day changed Sun Jan 06 2013
        00:01 -!- bob [~bob@example.org] has quit [Ping timeout]
        00:02 < annie> bye
        --- Log closed Sun Jan 06 00:05:00 2013
        --- Log opened Fri Jan 11 09:00:00 2013
        09:00 < annie> back
        """,
        [
            "log_marker",
            "05 21:20:00 ann system",
            "client_notice",
            "05 21:21:00 ann hi",
            "05 21:22:00 bob @{ann} hello: you",
            "05 21:22:00 bob waves",
            "05 21:23:00 bob other psst",
            "05 21:24:00 bob system",
            "05 21:24:00 ann system",
            "log_marker",
            "06 00:01:00 bob system",
            "06 00:02:00 annie bye",
            "log_marker",
            "log_marker",
            "11 09:00:00 annie back",
        ],
    ),
    "weechat": (
        "irc.oftc.#rust.weechatlog",
        """\
        2013-01-05 21:20:37\t-->\tann (~ann@example.org) has joined #rust
        2013-01-05 21:20:37\t--\tTopic for #rust is "x"
        2013-01-05 21:20:38\t--\tMode #rust [+o bob] by services
        2013-01-05 21:20:39\t@bob\tann: hi\tthere
        2013-01-05 21:20:40\t *\tann waves: all
        2013-01-05 21:20:41\t--\tNotice(bob) -> #rust: psst: x
        2013-01-05 21:20:42\t--\tann is now known as annie
        2013-01-05 21:20:43\t=!=\tirc: nobody
        2013-01-05 21:20:44\t<--\tannie (~ann@example.org) has quit (Quit: x)
        2013-01-05 21:20:45\t\tDay changed
        2013-01-05 21:20:46\tbob\t
        """,
        [
            "05 21:20:37 ann system",
            "client_notice",
            "05 21:20:38 services system",
            "05 21:20:39 bob @{ann} hi\tthere",
            "05 21:20:40 ann waves: all",
            "05 21:20:41 bob other psst: x",
            "05 21:20:42 ann system",
            "client_notice",
            "05 21:20:44 annie system",
            "client_notice",
            "05 21:20:46 bob",
        ],
    ),
    "month_day": (  # XChat, HexChat
        "oftc-#rust.log",
        """\
        **** BEGIN LOGGING AT Mon Dec 31 23:59:50 2012

        Dec 31 23:59:51 *\tNow talking on #rust
        Dec 31 23:59:52 <ann>\thappy: new
        Jan 01 00:00:01 <bob>\tann, year
        Jan 01 00:00:02 *\tbob dances
        Jan 01 00:00:03 *\tann (~ann@example.org) has joined
        Jan 01 00:00:04 -->\tcat (~cat@example.org) has joined #rust
        Jan 01 00:00:05 ---\tann gives channel operator status to bob
        Jan 01 00:00:06 -bob/#rust-\tpsst
        Dec 31 23:59:59 <ann>\tlate
        **** ENDING LOGGING AT Tue Jan  1 00:00:07 2013
        """,
        [
            "log_marker",
            "blank",
            "client_notice",
            "31 23:59:52 ann happy: new",
            "01 00:00:01 bob @{ann} year",
            "01 00:00:02 bob dances",
            "01 00:00:03 ann system",
            "01 00:00:04 cat system",
            "01 00:00:05 ann system",
            "01 00:00:06 bob other psst",
            "31 23:59:59 ann late",
            "log_marker",
        ],
    ),
    "clock": (  # ZNC, Eggdrop, mIRC, KVIrc
        "#rust.log",
        """\
        Session Start: Sat Jan 05 21:20:37 2013
        Session Ident: #rust
        [21:20:37] *** Joins: ann (~ann@example.org)
        [21:20:38] * Joins: bob (~bob@example.org)
        [21:20:39] * bob (~bob@example.org) has left #rust
        [21:20:40] * ann is now known as annie
        [21:20:41] <&annie> hi
        [21:20:42] * annie has a look
        [21:20:43] *** annie sets mode: +o bob
        [21:20:44] cat (cat@example.org) joined #rust.
        [21:20:45] cat kicked from #rust by bob: why
        [21:20:46] Action: annie waves
        [21:20:47] Nick change: annie -> ann
        [21:20:48] #rust: mode change '+o cat' by bob!bob@example.org
        [21:20:49] Topic changed on #rust by bob!bob@example.org: x
        [21:20:50] *** Disconnected
        [21:20:51] <ann!ann@example.org> \x02bold\x02
        [21:20:52] <ann> \x01ACTION jumps\x01
        [21:20:53] <ann> \x01VERSION\x01
        [21:20:54] nobody knows
        [00:00] --- Sun Jan  6 2013
        [00:00:01] <ann> night
        ### Log session started at Mon Jan 7 09:00:00 2013 ###
        [09:00:01] <ann> morning
        """,
        [
            "log_marker",
            "log_marker",
            "05 21:20:37 ann system",
            "05 21:20:38 bob system",
            "05 21:20:39 bob system",
            "05 21:20:40 ann system",
            "05 21:20:41 annie hi",
            "05 21:20:42 annie has a look",
            "05 21:20:43 annie system",
            "05 21:20:44 cat system",
            "05 21:20:45 cat system",
            "05 21:20:46 annie waves",
            "05 21:20:47 annie system",
            "05 21:20:48 bob system",
            "05 21:20:49 bob system",
            "client_notice",
            "05 21:20:51 ann bold",
            "05 21:20:52 ann jumps",
            "ctcp",
            "not_a_log_line",
            "log_marker",
            "06 00:00:01 ann night",
            "log_marker",
            "07 09:00:01 ann morning",
        ],
    ),
    "iso": (
        "chat.log",
        """\
        2013-01-05T21:20:37  <ann> hi
        2013-01-05T21:20:38+0100  <ann> hi
        2013-01-05T21:20:39.123Z <ann> hi
        [2013-01-05 21:20:40] *** bob has quit IRC
        2013-01-05 21:20 <ann> hi
        """,
        [
            "05 21:20:37 ann hi",
            "05 20:20:38 ann hi",
            "05 21:20:39 ann hi",
            "05 21:20:40 bob system",
            "05 21:20:00 ann hi",
        ],
    ),
    "day_month": ("chat.log", "[05-Jan-2013 21:20] <ann> hi\n", ["05 21:20:00 ann hi"]),
    "proxy": (
        "chat.2013.log",
        "[05 Jan 21:20] <ann> hi\n[06 Jan/00:01] <bob> 好\n",
        ["05 21:20:00 ann hi", "06 00:01:00 bob 好"],
    ),
    "konversation": (
        "chat.log",
        "[Sat 05 January 2013] [21:20:37] <ann>\thi\n[六 05 1月 2013] [21:20:38] --> | bob (b@c) has joined\n",
        ["05 21:20:37 ann hi", "05 21:20:38 bob system"],
    ),
    "channel_day": (
        "any.txt",
        "rust 2013-01-05 [21:20:37] * ann hugs bob.  \n",
        ["05 21:20:37 ann hugs bob."],
    ),
}


@pytest.mark.parametrize("layout", [layout.name for layout in LAYOUTS])
def test_each_layout_is_told_from_the_others_and_read_whole(tmp_path, layout):
    name, content, expected = CLIENTS[layout]
    content = "".join(line.removeprefix("        ") for line in content.splitlines(keepends=True))
    assert find_layout(content.splitlines()).name == layout
    assert irc.detects(name, content.encode())
    rows = parse(tmp_path, content, name)
    assert shown(rows) == [text.replace("{ann}", NAMES.person("ann")) for text in expected]
    assert [row.line for row in rows] == list(range(1, content.count("\n") + 1))


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("2013-01-05.ubuntu-cn.txt", "ubuntu-cn"),
        ("oftc/#rust/2013-01-05.log", "oftc/rust"),
        ("#rust/2013-01-05.log", "rust"),
        ("rust/20130105.log", "rust"),
        ("oftc/#rust_20130105.log", "oftc/rust"),
        ("chan.log.05Jan2013", "chan"),
        ("2013-01-05", "irc"),
    ],
)
def test_the_group_is_the_channel_of_the_name_or_the_folder(tmp_path, name, group):
    (row,) = parse(tmp_path, "[00:01] <a> x\n", name)
    assert (row.group, row.timestamp) == (group, NIGHT + 60)


def test_midnight_inside_a_file_and_a_late_line_after_it(tmp_path):
    rows = parse(tmp_path, "".join(f"[{clock}] <a> x\n" for clock in ("23:59", "00:00", "23:59", "00:01", "13:30")))
    minutes = [(row.timestamp - NIGHT) // 60 for row in rows]
    assert minutes == [1439, 1440, 1439, 1441, 1440 + 810]


def test_a_session_that_starts_after_midnight_may_last_to_the_next(tmp_path):
    rows = parse(tmp_path, "--- Log opened Sat Jan 05 00:00:10 2013\n00:00 <a> x\n23:59 <a> x\n00:00 <a> x\n", "a.log")
    assert [(row.timestamp - NIGHT) // 60 for row in rows[1:]] == [0, 1439, 1440]


def test_clocks_are_those_of_the_timezone_and_stamps_with_an_offset_are_not(tmp_path):
    context = Context(NAMES, timezone=ZoneInfo("Asia/Shanghai"))
    rows = parse(tmp_path, "[08:00] <a> x\n", context=context)
    rows += parse(tmp_path, "2013-01-05T08:00:00 <a> x\n2013-01-05T00:00:00Z <a> x\n", "a.log", context)
    assert [row.timestamp for row in rows] == [NIGHT, NIGHT, NIGHT]


def test_the_hour_that_clocks_show_twice(tmp_path):
    context = Context(NAMES, timezone=ZoneInfo("Europe/Berlin"))
    clocks = ("02:10", "02:50", "02:10", "02:50", "03:00")
    rows = parse(tmp_path, "".join(f"[{clock}] <a> x\n" for clock in clocks), "2013-10-27.a.log", context)
    assert [row.timestamp - rows[0].timestamp for row in rows] == [0, 2400, 3600, 6000, 6600]


def test_the_first_and_last_days_of_the_calendar_are_read_in_any_timezone(tmp_path):
    context = Context(NAMES, timezone=ZoneInfo("Asia/Shanghai"))
    assert len(parse(tmp_path, "0001-01-01 00:00 <a> x\n9999-12-31 23:59 <a> x\n", "a.log", context)) == 2


def test_years_that_stamps_leave_out_go_on_over_leap_days(tmp_path):
    stamps = ("Dec 30", "Feb 29", "Mar 01", "Dec 31", "Jan 01")
    rows = parse(tmp_path, "".join(f"{day} 00:00:00 <a> x\n" for day in stamps), "a.2011.log")
    days = [datetime.fromtimestamp(row.timestamp, UTC).date().isoformat() for row in rows]
    assert days == ["2011-12-30", "2012-02-29", "2012-03-01", "2012-12-31", "2013-01-01"]


def test_addressees_that_the_file_knows_become_pseudonyms(tmp_path):
    content = "[00:01] <Ann> error: no\n[00:02] <bob> ANN: why\n[00:03] <c> ann, Bob: 你们好\n[00:04] <c> bob：好\n"
    ann, bob = NAMES.person("ann"), NAMES.person("bob")
    texts = [row.text for row in parse(tmp_path, content)]
    assert texts == ["error: no", f"@{ann} why", f"@{ann} @{bob} 你们好", f"@{bob} 好"]


def test_nicks_that_only_appear_in_renames_are_made_known(tmp_path):
    known = []
    content = "=== Ann is now known as Annie\n=== Annie is now known as Bob\n[00:02] <c> bob: hi\n"
    rows = parse(tmp_path, content, context=Context(NAMES, know=lambda *names: known.append(names)))
    assert rows[2].text == f"@{NAMES.person('bob')} hi"
    assert known == [("bob",)]  # ann and annie are senders


@pytest.mark.parametrize(
    ("line", "nick"),
    [
        ("=== ann was kicked by Bob_77 (spam)", "bob_77"),
        ("=== ann has quit (I was kicked by help)", None),
        ("[00:01] *** bob sets mode: +o zed_1", "zed_1"),
        ("[00:01] -!- mode/#chan [+o zed_1] by bob", "zed_1"),
        ("[00:01] *** bob sets mode: +b *!*@host", None),
    ],
)
def test_who_takes_part_in_an_event_is_made_known(tmp_path, line, nick):
    known = []
    parse(tmp_path, f"{line}\n[00:02] <c> hi\n", context=Context(NAMES, know=lambda *names: known.append(names)))
    assert known == ([] if nick is None else [(nick,)])


def test_events_without_a_stamp_are_of_the_files_channel(tmp_path):
    content = "rust 2018-05-29 [21:20:37] <ann> hi\n=== bob has joined\n"
    rows = parse(tmp_path, content, "chan.log")
    assert [(row.group, row.sender, row.timestamp is None) for row in rows] == [
        ("rust", "ann", False),
        ("chan", "bob", True),
    ]


def test_bytes_that_no_charset_explains_are_replaced_and_marked(tmp_path):
    good, bad = parse(tmp_path, "[00:01] <a> 好\n".encode() + b"[00:02] <a> ok\xff\x9dok\n")
    assert (good.damaged, bad.damaged, bad.text) == (False, True, "ok\ufffd\ufffdok")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("好的".encode() + b"\xe5\xa5", "好的\ufffd"),  # cut off where IRC ends a line
        (b"ok \xe5\xa5", "ok \ufffd"),
        ("déjà".encode() + b"\xff", "déjà\ufffd"),
    ],
)
def test_a_line_that_lost_bytes_stays_utf_8(tmp_path, data, text):
    (row,) = parse(tmp_path, b"[00:02] <a> " + data + b"\n")
    assert (row.text, row.damaged) == (text, True)


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("cp1252", "ça marche déjà, merci"),
        ("cp1252", "größer als üblich"),
        ("cp1257", "aišku, ačiū už pagalbą"),
        ("cp1250", "dziękuję, już działa świetnie"),
        ("iso8859_2", "dziękuję, już działa świetnie"),
        ("cp1251", "спасибо, теперь работает"),
        ("koi8_r", "спасибо, теперь работает"),
        ("gb18030", "这个怎么装，谢谢大家"),
        ("euc_kr", "감사합니다 이제 됩니다"),
        ("euc_jp", "ありがとうございます、動きました"),
        ("shift_jis", "ありがとうございます、動きました"),
        ("big5", "這個怎麼安裝，謝謝大家"),
    ],
)
def test_lines_in_a_national_charset_are_decoded(tmp_path, charset, text):
    hello = b"[00:01] <a> hello\n"
    (_, row) = parse(tmp_path, hello + f"[00:02] <b> {text}\n".encode(charset))
    assert (row.text, row.damaged) == (text, False)


def test_the_other_lines_tell_the_language_of_a_short_one(tmp_path):
    lithuanian = "[00:01] <a> kalendoriuje savaitė, šį žodį\n".encode()
    assert parse(tmp_path, lithuanian + b"[00:02] <b> d\xebl\n")[1].text == "dėl"
    assert parse(tmp_path, "[00:01] <a> Noël\n".encode() + b"[00:02] <b> no\xebl\n")[1].text == "noël"


def test_charsets_differ_from_line_to_line(tmp_path):
    lines = [f"[00:0{n}] <b> ".encode() for n in range(3)]
    rows = parse(
        tmp_path,
        lines[0] + "déjà vu\n".encode("cp1252") + lines[1] + "这个怎么装\n".encode("gb18030") + lines[2] + b"ok\n",
    )
    assert [row.text for row in rows] == ["déjà vu", "这个怎么装", "ok"]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("2013/01/05/#ubuntu-cn.txt", "ubuntu-cn"),  # Ubuntu's archive
        ("logs/2013/01/05/#ubuntu-cn.txt", "logs/ubuntu-cn"),
        ("2013-01-05/#ubuntu-cn.log", "ubuntu-cn"),
        ("#ubuntu-cn/2013/01/05.txt", "ubuntu-cn"),
        ("oftc/#ubuntu-cn/2013/01-05.log", "oftc/ubuntu-cn"),
        ("oftc/2013/#ubuntu-cn/01/05.log", "oftc/ubuntu-cn"),
    ],
)
def test_dates_that_stand_in_folders(tmp_path, name, group):
    if name.startswith("oftc/2013"):
        with pytest.raises(DataError, match="expected the date"):  # the channel parts the date: nothing tells it
            parse(tmp_path, "[00:31] <bob> hello\n", name)
        return
    (row,) = parse(tmp_path, "[00:31] <bob> hello\n", name)
    assert (row.group, row.timestamp) == (group, NIGHT + 31 * 60)


def test_a_year_that_stands_in_folders(tmp_path):
    (row,) = parse(tmp_path, "Jan 05 00:31:00 <bob> hello\n", "2013/#rust.log")
    assert (row.group, row.timestamp) == ("rust", NIGHT + 31 * 60)


def test_what_happens_on_two_days_of_one_name_is_no_duplicate(tmp_path):
    folder = tmp_path / "raw"
    for day in ("05", "06"):
        (folder / "2013" / "01" / day).mkdir(parents=True)
        content = "=== ann has joined #c\n[00:31] <ann> hi\n"
        (folder / "2013" / "01" / day / "#c.txt").write_text(content, encoding="utf-8")
    counts = ingest(folder, NAMES, tmp_path / "out.parquet")
    assert (counts["messages"], counts["skipped"], counts["groups"]) == (4, 0, 1)


def test_dircproxys_marks_are_no_text(tmp_path):
    content = (
        "[14 Jan 12:36] <ann!n=a@host.org> -hey\n[14 Jan 12:37] <bob!n=b@host.org> +no -x\n"
        "[14 Jan 12:38] <-cid> -1\n[14 Jan 12:39] <dan!d@host.org> plain\n[14 Jan 12:40] * ann waves\n"
    )
    rows = parse(tmp_path, content, "chan.2008.log")
    assert [(row.sender, row.text) for row in rows] == [
        ("ann", "hey"),
        ("bob", "no -x"),
        ("cid", "-1"),
        ("dan", "plain"),
        ("ann", "waves"),
    ]


def test_an_action_as_quassel_writes_it(tmp_path):
    rows = parse(tmp_path, "[21:20:37] <ann> hi\n[21:20:38] -*- bob waves at ann\n")
    assert [(row.sender, row.kind, row.text) for row in rows] == [
        ("ann", "text", "hi"),
        ("bob", "text", "waves at ann"),
    ]


def test_weechat_writes_utc_with_microseconds_since_4_8(tmp_path):
    content = (
        "2013-01-05 21:20:37\tann\tlocal\n"
        "2013-01-05 15:20:37.123456Z\t@ann\tbob: hi\n"
        "2013-01-05 15:20:38.123456Z\t-->\tbob (~b@a.org) has joined #x\n"
    )
    rows = parse(tmp_path, content, "irc.libera.#x.weechatlog", CONTEXT._replace(timezone=ZoneInfo("Asia/Shanghai")))
    assert [(row.timestamp, row.sender, row.kind) for row in rows] == [
        (1357392037, "ann", "text"),
        (1357399237, "ann", "text"),
        (1357399238, "bob", "system"),
    ]


def test_styling_is_not_text(tmp_path):
    rows = parse(tmp_path, "[00:01] <a> \x0304,01red\x0f \x02bold\x02 \x04ff0000hex\n[00:02] <\x0305b\x03> x\n")
    assert [(row.sender, row.text) for row in rows] == [("a", "red bold hex"), ("b", "x")]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("chat.log", "[00:01] <a> b", r"chat\.log:1: expected the date .* in the file's name .* or a line before"),
        ("2013-13-45.chat.log", "[00:01] <a> b", r"chat\.log:1: expected a date, got 2013-13-45"),
        ("chat.log", "Jan 05 00:01:00 <a> b", r"chat\.log:1: expected the year .* BEGIN LOGGING"),
        ("2013.log", "Feb 31 00:01:00 <a> b", r"2013\.log:1: expected a date, got 2013-Feb-31"),
        ("chat.log", "2013-02-31 00:01:00 <a> b", r"chat\.log:1: expected a date, got 2013-02-31"),
        ("chat.log", "--- Log opened Sat Feb 31 00:00:00 2013\n00:01 <a> b", r"chat\.log:1: expected a date"),
    ],
)
def test_lines_without_a_date_are_refused(tmp_path, name, line, message):
    with pytest.raises(DataError, match=message):
        parse(tmp_path, line + "\n", name)


def test_a_date_past_the_calendar_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"chat\.log:3: expected a date, got one after the year 9999"):
        parse(
            tmp_path,
            "--- Log opened Fri Dec 31 23:00:00 9999\n23:59 <a> b\n00:00 <a> b\n",
            "chat.log",
            Context(NAMES, timezone=ZoneInfo("Asia/Shanghai")),
        )


def test_a_file_of_an_unknown_encoding_is_refused_with_its_first_line(tmp_path):
    lines = b"[00:30] <bob> hello\n" + b"".join(b"[00:3%d] <bob> \x81\x8d\xff\x90\n" % n for n in range(1, 7))
    with pytest.raises(DataError, match=r"2013-01-05\.ubuntu-cn\.txt:2: expected UTF-8.*in 6 of the 6 lines.*iconv"):
        parse(tmp_path, lines)


def test_a_whole_file_in_gb18030_is_read(tmp_path):
    lines = "[00:30] <bob> hello\n" + "".join(f"[00:3{n}] <张三> 李四: 这个怎么装\n" for n in range(1, 7))
    rows = parse(tmp_path, lines.encode("gb18030"))
    assert (rows[1].sender, rows[1].text, rows[1].damaged) == ("张三", "李四: 这个怎么装", False)


@pytest.mark.parametrize(
    "text",
    [
        "[01/01/19 11:25] Ann: hello",
        "01/01/2019, 11:25 a. m. - Ann: hello",
        "2019-01-01 11:22:33 Ann(123456)\nhello",
        "1000 1002 - ",
        '{"messages": []}',
        "Jan 05 21:20:37 host kernel: up",
        "2013-01-05 21:20:37 INFO started",
        "",
    ],
)
def test_other_files_are_not_taken_for_logs(text):
    assert not irc.detects("chat.txt", (text + "\n").encode() * 20)


@pytest.mark.parametrize(
    "piece", ["(@", " ", "* ", "--- ", "-a", "Joins: ", "[", "a:", "-!- mode/#a [", "Nick change: "]
)
def test_no_line_is_slow_to_read(piece):
    for start in ("[00:01] ", "2013-01-05 00:01:02\t", "00:01 * a ", "Jan 05 00:01:02 -!- ", ""):
        line = start + piece * (100_000 // len(piece))
        began = time.perf_counter()
        for layout in LAYOUTS:
            layout.read(line)
        assert time.perf_counter() - began < 2


STAMPS = ("[21:20] ", "[21:20:37] ", "21:20 ", "2013-01-05 21:20:37\t", "Jan 05 21:20:37 ", "2013-01-05T21:20:37 ", "")
BODIES = ("<a> hi", "< @b> ", "* c waves", "*** Joins: d (e@f)", "-!- a [b@c] has quit", "=== a is now known as b")
BODIES += ("-->\ta (b@c) has joined", "a\thi", "-n- x", "--- Log opened Sat Jan 05 21:20:37 2013", "\x01", "", "a: b")


@SETTINGS
@given(lines=st.lists(st.tuples(st.sampled_from(STAMPS), st.sampled_from(BODIES)), max_size=30))
def test_no_line_is_lost_whatever_layouts_are_mixed(tmp_path, lines):
    rows = parse(tmp_path, "".join(f"{stamp}{body}\n" for stamp, body in lines))
    assert [row.line for row in rows] == list(range(1, len(lines) + 1))


@SETTINGS
@given(content=st.binary(max_size=300))
def test_any_bytes_end_in_rows_or_a_refusal(tmp_path, content):
    irc.detects("2013-01-05.a.log", content)
    try:
        rows = parse(tmp_path, content)
    except DataError:
        return
    assert len(rows) == content.count(b"\n") + (not content.endswith(b"\n") and bool(content))


def counted(paths):
    """Rows of the files by kind or reason, and the files' lines."""
    counts, lines = Counter(), 0
    for path in paths:
        lines += path.read_bytes().count(b"\n")
        assert irc.detects(path.name, path.read_bytes()[:65_536])
        for row in irc.parse(Source(path), CONTEXT):
            counts[row.reason if isinstance(row, Skipped) else row.kind] += 1
    return dict(counts), lines


def test_every_line_of_real_logs_is_accounted_for(shared_data):
    folder = shared_data / "irc"
    assert counted(sorted((folder / "ubuntu-zh").glob("*.txt"))) == ({"text": 38_017, "system": 497}, 38_514)
    assert counted(sorted((folder / "ubuntu-en").glob("*.txt"))) == ({"text": 150_909, "system": 4_652}, 155_561)
    assert counted(sorted((folder / "other-channels").glob("*.ascii.txt"))) == ({"text": 7_176, "other": 24}, 7_200)


def test_no_other_file_of_real_data_is_taken_for_a_log(shared_data):
    others = [path for path in sorted((shared_data / "exports").rglob("*")) if path.is_file()]
    others += sorted((shared_data / "irc" / "other-channels").glob("*.annotation.txt"))
    assert others
    assert not [path.name for path in others if irc.detects(path.name, path.read_bytes()[:65_536])]
