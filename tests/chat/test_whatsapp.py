"""WhatsApp's chat export: layouts, the order of dates, notices, media, mentions, and hostile lines.

The real exports cover five layouts of one chat; the other fixtures are made after the exports in the collection of
starkdmi/whats_json (iOS, Buddhist and Japanese years, Arabic digits, time first, notices out of order) and after the
phrases of the app's own translations.
"""

import json
import re
import zipfile
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatladder.chat.formats import whatsapp
from chatladder.chat.formats.times import LocalClock
from chatladder.chat.formats.whatsapp_headers import WORDS as PHRASES
from chatladder.chat.formats.whatsapp_headers import Dates, match_header, unlikely_orders
from chatladder.chat.formats.whatsapp_phrases import classify, fold
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Archive, Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")
#: A date that only one order reads, so that a fixture need not settle it.
SETTLED = "30/01/2021, 20:48 - Ann: first\n"


def parse(tmp_path, content, name="WhatsApp Chat with Team.txt", **context):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(whatsapp.parse(Source(path), Context(NAMES, **context)))


def said(tmp_path, content):
    """Kind and text of all but the first message, which settles the order."""
    return [(row.kind, row.text) for row in parse(tmp_path, SETTLED + content)[1:]]


def moment(row):
    return datetime.fromtimestamp(row.timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")


def test_every_layout_of_the_real_chat_gives_the_same_messages(shared_data):
    folder = shared_data / "exports" / "whatsapp"
    target = json.loads((folder / "target.json").read_text(encoding="utf-8"))
    expected = [(row["timestamp"].replace("T", " "), row["author"], row["message"]) for row in reversed(target)]
    files = sorted(folder.glob("*.txt"))
    assert len(files) == 5
    for path in files:
        source = Source(path)
        assert whatsapp.detects(source.plain_name, source.head())
        rows = list(whatsapp.parse(source, Context(NAMES)))
        messages = [row for row in rows if row.kind == "text"]
        assert [(moment(row), row.sender, re.sub(r"\s+", " ", row.text)) for row in messages] == expected
        assert messages[1].text == "Lorem ipsum dolor sit amet,\nconsectetur adipiscing elit. Duis libero."
        # Two notices, and a line whose colon no space follows.
        notices = [(row.line, row.kind, row.sender, row.text) for row in rows if row.kind != "text"]
        assert notices == [(line, "system", "", "") for line in (2, 6, 7)]
        assert {row.resolution_seconds for row in rows} == {60}


@pytest.mark.parametrize(
    ("line", "expected", "resolution"),
    [
        ("30/01/19, 20:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("1/30/19, 8:49\u202fPM - Ann: hi", "2019-01-30 20:49:00", 60),
        ("30/01/2019 08:49 p.\u00a0m. - Ann: hi", "2019-01-30 20:49:00", 60),
        ("30.01.19 20:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("30.01.19 um 20:49 Uhr - Ann: hi", "2019-01-30 20:49:00", 60),
        ("30/01/2019 à 20:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("[30.1.2019 klo 20.49.07] Ann: hi", "2019-01-30 20:49:07", 1),
        ("\u200e[30.01.19, 20:49:07] Ann: hi", "2019-01-30 20:49:07", 1),
        ("[2019/1/30 下午8:49:07] Ann: hi", "2019-01-30 20:49:07", 1),
        ("2019/1/30 晚上8:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("2019-01-30 20 h 49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("19. 1. 30. 오후 8:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("2019. 01. 30. 20:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("[20:49:07, 1/30/19] Ann: hi", "2019-01-30 20:49:07", 1),
        ("[1/30/2562 BE, 20:49:07] Ann: hi", "2019-01-30 20:49:07", 1),
        ("[30/1/2562 20:49:07] Ann: hi", "2019-01-30 20:49:07", 1),
        ("[1/30/H31, 20:49:07] Ann: hi", "2019-01-30 20:49:07", 1),
        ("\u200f[٣٠\u200f/١\u200f/٢٠١٩، ٨:٤٩:٠٧ م] Ann: hi", "2019-01-30 20:49:07", 1),
        ("30/01/19, 8:49 अपराह्न - Ann: hi", "2019-01-30 20:49:00", 60),
        ("1/30/19, 8:49:07 PM: Ann: hi", "2019-01-30 20:49:07", 1),
        ("30.01.19 г., 20:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("30.01.2019 г., 20:49 ч. - Ann: hi", "2019-01-30 20:49:00", 60),
        ("۲۰۱۹/۱/۳۰،\u200f ۲۰:۴۹ - Ann: hi", "2019-01-30 20:49:00", 60),
        ("2019年1月30日 下午8:49 - Ann: hi", "2019-01-30 20:49:00", 60),
        ("[2019年1月30日 20:49:07] Ann: hi", "2019-01-30 20:49:07", 1),
    ],
)
def test_layouts_of_many_languages(tmp_path, line, expected, resolution):
    (row,) = parse(tmp_path, "\ufeff" + line + "\r\n")
    assert (moment(row), row.sender, row.text, row.resolution_seconds) == (expected, "Ann", "hi", resolution)


@pytest.mark.parametrize(
    ("time", "hour"),
    [
        ("12:08 AM", 0),
        ("00:08 a. m.", 0),
        ("12:08 p.m.", 12),
        ("11:08 pm", 23),
        ("11:08 μ.μ.", 23),
        ("11:08 in the evening", 23),
        ("म.पू. 11:08", 11),
        ("20:08 PM", 20),
        ("上午12:08", 0),
        ("中午12:08", 12),
        ("中午11:08", 11),
        ("中午1:08", 13),
        ("凌晨3:08", 3),
        ("深夜1:08", 1),
        ("午後0:08", 12),
        ("24:08", 0),
    ],
)
def test_hours_of_half_days(time, hour):
    assert match_header(f"30/01/19, {time} - Ann: hi").time == (hour, 8, 0)


@pytest.mark.parametrize(
    "line",
    [
        "30/01/19, 20:49 Ann: hi",  # no dash
        "30/01/19, 25:49 - Ann: hi",
        "30/01/19, 20:71 - Ann: hi",
        "30/01.19, 20:49 - Ann: hi",
        "2006-01-02 15:04:05",
        "[20:49] <ann> hi",
        "1 2 3",
        "",
    ],
)
def test_lines_that_start_no_message(line):
    assert match_header(line) is None


def order(*days, wanted="auto", separator="/", end=""):
    dates = Dates(unlikely_orders(separator, end))
    for number, day in enumerate(days, 1):
        dates.add(tuple(day.split("/")), number)
    return dates.order(wanted, lambda line: f"chat.txt:{line}")


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (["01/02/21", "13/02/21"], "dmy"),  # no month 13
        (["01/02/21", "02/13/21"], "mdy"),
        (["30/01/19", "31/01/19"], "dmy"),  # and no year 2030 that steps back
        (["10/01/21", "11/01/21", "02/02/21"], "dmy"),  # October to February would step back
        (["01/10/21", "01/11/21", "02/02/21"], "mdy"),
        (["02/01/23", "01/01/23", "05/01/23"], "dmy"),  # a notice is a day late; else it were a month
        (["05/01/23", "06/01/23", "07/01/23"], "dmy"),  # nobody writes on the first of three months only
        (["01/05/23", "01/06/23", "01/07/23"], "mdy"),
        (["22/3/18", "22/3/19", "22/3/20"], "ymd"),
        (["20/01/19"], "dmy"),  # a short year comes last where it can
        (["2021/02/03"], "ymd"),
        (["05/05/21"], "dmy"),  # both orders read the same
    ],
)
def test_the_order_of_dates_is_that_of_the_whole_file(days, expected):
    assert order(*days) == expected


def test_punctuation_tells_what_the_numbers_do_not():
    assert order("01/02/21", separator=".") == "dmy"  # no locale has the month first with dots
    assert order("01/13/21", separator=".") == "mdy"  # but if one had
    assert order("01/02/2021", separator=". ", end=".") == "dmy"  # Croatian
    assert order("19/1/30", separator=". ", end=".") == "ymd"  # Korean


def test_dates_without_a_sure_order_are_refused_and_can_be_given():
    with pytest.raises(DataError, match=r"chat\.txt:2: .* read as dmy and as mdy.*--date-order"):
        order("03/03/21", "03/04/21")
    assert order("03/03/21", "03/04/21", wanted="mdy") == "mdy"
    with pytest.raises(DataError, match=r"chat\.txt:2: expected a date in the order mdy.*ingest\.date_order: auto"):
        order("03/03/21", "13/04/21", wanted="mdy")


def test_dates_in_two_orders_are_refused_with_both_lines():
    with pytest.raises(DataError, match=r"chat\.txt:3: .* another order than the one at line 2"):
        order("03/03/21", "13/04/21", "04/15/21")


@given(
    st.lists(st.dates(date(2010, 1, 1), date(2030, 12, 31)), min_size=40, max_size=60), st.sampled_from(["dmy", "mdy"])
)
def test_any_chat_of_forty_days_tells_its_order(days, wanted):
    pattern = {"dmy": "%d/%m/%y", "mdy": "%m/%d/%y"}[wanted]
    written = [day.strftime(pattern) for day in sorted(days)]
    try:
        found = order(*written)
    except DataError:
        assert all(day.day <= 12 for day in days)
        return
    assert found == wanted or len({(day.day, day.month) for day in days}) < 3 or all(day.day <= 12 for day in days)


def test_a_line_in_another_layout_belongs_to_the_message_before(tmp_path):
    content = (
        "30/01/21, 20:49 - Ann: my log:\n[2021-01-30 20:50:00] app.ERROR: no\n30.01.21, 20:50 - Bob: x\n\n"
        "99/99/21, 20:51 - no date\n31/01/21, 08:00 - Bob: oh\n"
    )
    first, second = parse(tmp_path, content)
    assert first.text == (
        "my log:\n[2021-01-30 20:50:00] app.ERROR: no\n30.01.21, 20:50 - Bob: x\n\n99/99/21, 20:51 - no date"
    )
    assert (second.line, second.sender, second.text) == (6, "Bob", "oh")


def test_a_file_that_starts_inside_a_message_is_read_from_the_next(tmp_path):
    rows = parse(tmp_path, "end of something\n\n30/01/21, 20:49 - Ann: hi\n")
    assert rows[:2] == [Skipped(1, "before_first_message"), Skipped(2, "blank")]
    assert rows[2].text == "hi"


def test_notices_hold_names_so_they_have_no_text(tmp_path):
    content = (
        '30/01/21, 20:49 - Ann created group "Plan: B"\n'
        "30/01/21, 20:50 - Ann changed the subject from “Plan: B” to “Plan: C”\n"
        "30/01/21, 20:51 - You were added\n"
        "30/01/21, 20:52 - Ann: so: what now?\n"
    )
    rows = parse(tmp_path, content)
    assert [(row.kind, row.sender, row.text) for row in rows[:3]] == [("system", "", "")] * 3
    assert (rows[3].kind, rows[3].sender, rows[3].text) == ("text", "Ann", "so: what now?")


def test_a_name_with_one_quotation_mark_is_a_name_when_it_comes_again(tmp_path):
    rows = parse(tmp_path, "".join(f'30/01/21, 20:4{n} - Bob 5": hi\n' for n in range(3)))
    assert [row.sender for row in rows] == ['Bob 5"'] * 3


def test_a_message_whose_space_an_editor_took_away(tmp_path):
    rows = parse(tmp_path, SETTLED + "30/01/2021, 20:49 - Ann:\nsecond line\n30/01/2021, 20:50 - Left:\n")
    assert (rows[1].sender, rows[1].kind, rows[1].text) == ("Ann", "text", "second line")
    assert rows[2].kind == "system"


def test_names_are_the_same_with_and_without_marks(tmp_path):
    names = ("Ann Lee", "~ Ann Lee", "\u200e~\u202fAnn\u00a0Lee", "~Ann Lee\u200f")
    rows = parse(tmp_path, "".join(f"[30/01/21, 20:49:0{n}] {name}: hi\n" for n, name in enumerate(names)))
    assert {row.sender for row in rows} == {"Ann Lee"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Zoe Q added Yan Q and Pat Q", ["Pat Q", "Yan Q", "Zoe Q"]),
        ("~ Zoe Q joined using this group's invite link", ["Zoe Q"]),
        ("Zoe Q left", ["Zoe Q"]),
        ("You added Yan Q", ["Yan Q"]),
        ("Zoe Q hat Yan Q hinzugefügt", ["Yan Q", "Zoe Q"]),
        ("Zoe Q añadió a Yan Q", ["Yan Q", "Zoe Q"]),
        ("Zoe Q a ajouté Yan Q", ["Yan Q", "Zoe Q"]),
        ("小红邀请了小蓝", ["小红", "小蓝"]),
        ("小红加入了群组", ["小红"]),
        ("小红已退出", ["小红"]),
        ("Zoe Q changed the subject to “Club added Yan”", ["Zoe Q"]),
        ("Ann: Yan Q.vcf (file attached)", ["Yan Q"]),
        ("Ann: Zoe Q added Yan Q", []),
    ],
)
def test_whom_notices_and_contacts_name_is_known(tmp_path, line, expected):
    known = []
    content = f"{SETTLED}30/01/2021, 20:49 - Ann: hi\n30/01/2021, 20:50 - {line}\n"
    parse(tmp_path, content, know=lambda *names: known.append(names))
    assert known[1:] == [(name,) for name in expected]


def test_mentions_become_pseudonyms(tmp_path):
    known = []
    content = (
        SETTLED + "30/01/2021, 20:49 - Ann: @491701234567 and @\u2068~ Bob Ray\u2069, look\n"
        "30/01/2021, 20:50 - \u202a+49 170 1234567\u202c: @15551234567\n"
        "30/01/2021, 20:51 - Ann: mail ann@1234567.example or 5@12345678\n"
    )
    rows = parse(tmp_path, content, know=lambda *names: known.append(names))
    phone, bob, stranger = map(NAMES.person, ("+49 170 1234567", "Bob Ray", "+15551234567"))
    assert rows[1].text == f"@{phone} and @{bob} , look"
    assert (rows[2].sender, rows[2].text) == ("+49 170 1234567", f"@{stranger} ")
    assert rows[3].text == "mail ann@1234567.example or 5@12345678"
    assert known == [
        ("Ann",),
        ("+49 170 1234567", "491701234567"),
        ("Bob Ray",),
        ("+15551234567", "15551234567"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<Media omitted>", ("other", "")),
        ("<Media omitted>\nlook at this", ("text", "look at this")),
        ("<Medien ausgeschlossen>\nPlan B.pdf", ("file", "Plan B.pdf")),
        ("\u200eimage omitted", ("image", "")),
        ("Bild weggelassen", ("image", "")),
        ("look at this \u200eimage omitted", ("text", "look at this")),
        ("لم يتم إدراج الصورة", ("image", "")),
        ("\u200eMitjans xyz", ("system", "")),  # not among the phrases, but marked as the app's
        ("\u200eAnn added Bob", ("system", "")),
        ("IMG-20210130-WA0001.jpg (Datei angehängt)", ("image", "")),
        ("IMG-20210130-WA0001.jpg (in a language unknown)\nmy cat", ("text", "my cat")),
        ("\u200eAlex.vcf (file attached)", ("other", "")),
        ("\u200ePlan B.pdf (file attached)", ("file", "Plan B.pdf")),
        ("STK-20210130-WA0001.webp (file attached)", ("other", "")),
        ("main.py (see below)", ("text", "main.py (see below)")),
        ("\u200e<attached: 00000035-PHOTO-2021-01-30.jpg>", ("image", "")),
        ("my cat \u200e<adjunto: 00000035-PHOTO-2021-01-30.jpg>", ("text", "my cat")),
        ("Plan.pdf • \u200e2 pages \u200e<attached: 00000047-Plan.pdf>", ("file", "Plan.pdf")),
        ("\u200e<attached: 00000047-Plan.pdf>", ("file", "Plan.pdf")),
        ("Plan.pdf • \u200e2 Seiten \u200eDokument weggelassen", ("file", "Plan.pdf")),
        ("why is the document omitted", ("text", "why is the document omitted")),
        ("UMFRAGE:\nWann?\nOPTION: Heute (2 Stimmen)", ("other", "UMFRAGE:\nWann?\nOPTION: Heute (2 Stimmen)")),
        ("ENQUETE:\nQuando?\nOPÇÃO: Já (1 voto)", ("other", "ENQUETE:\nQuando?\nOPÇÃO: Já (1 voto)")),
        ("HELP:\nit says\nerror: x (2 times)", ("text", "HELP:\nit says\nerror: x (2 times)")),
        ("HELP:", ("text", "HELP:")),
        ("<div>", ("text", "<div>")),
        ("\u200eThis message was deleted.", ("system", "")),
        ("Se eliminó este mensaje.", ("system", "")),
        ("well <This message was edited>", ("text", "well")),
        ("well \u200e<Se editó este mensaje.>", ("text", "well")),
        ("null", ("other", "")),
        ("is it null", ("text", "is it null")),
        ("null" + " " * 500 + "x", ("text", "null" + " " * 500 + "x")),
        ("", ("other", "")),
        ("Missed voice call", ("other", "")),
        ("\u200eLocation: https://maps.google.com/?q=36.66,-29.11", ("other", "")),
        ("POLL:\nwhen?\nOPTION: now (1 vote)", ("other", "POLL:\nwhen?\nOPTION: now (1 vote)")),
        (
            "Messages and calls are end-to-end encrypted. No one outside of this chat can read or listen to them.",
            ("system", ""),
        ),
    ],
)
def test_what_the_app_writes_in_place_of_what_was_sent(tmp_path, text, expected):
    rows = parse(tmp_path, f"[30/01/21, 20:48:00] Ann: first\n[30/01/21, 20:49:00] Ann: {text}\n")
    assert (rows[1].kind, rows[1].text) == expected


def test_on_ios_notices_stand_under_the_name_of_the_chat_which_is_no_sender(tmp_path):
    known = []
    content = (
        "[30/01/21, 20:48:00] Team A: \u200eMessages and calls are end-to-end encrypted. Nobody can read them.\n"
        "[30/01/21, 20:49:00] Team A: \u200eAnn created this group\n"
        "[30/01/21, 20:50:00] ~ Ann: \u200eThis message was deleted.\n"
    )
    rows = parse(tmp_path, content, know=lambda *names: known.append(names))
    assert [(row.sender, row.kind, row.text) for row in rows] == [
        ("", "system", ""),
        ("", "system", ""),
        ("Ann", "system", ""),
    ]
    assert known == [("Ann",)]


def test_on_android_a_mark_alone_makes_no_notice(tmp_path):
    assert said(tmp_path, "30/01/2021, 20:49 - Ann: \u200ehello\n") == [("text", "hello")]


def test_phrases_are_in_the_form_in_which_they_are_looked_up():
    names = ("media", "attached", "deleted", "edited", "other", "encrypted")
    tables = [*PHRASES["omitted"].values(), *(PHRASES[name] for name in names)]
    phrases = [phrase for table in tables for phrase in table]
    assert [phrase for phrase in phrases if fold(phrase) != phrase] == []


def test_autumn_repeats_an_hour_and_late_messages_do_not(tmp_path):
    times = ("02:50", "02:49", "02:10", "02:11", "03:00")
    content = "".join(f"31/10/2021, {time} - Ann: hi\n" for time in times)
    rows = parse(tmp_path, content, timezone=ZoneInfo("Europe/Berlin"))
    assert [moment(row)[11:16] for row in rows] == ["00:50", "00:49", "01:10", "01:11", "02:00"]


def test_local_times_before_1970_and_in_the_hour_that_spring_leaves_out():
    assert LocalClock(UTC).seconds(datetime(1883, 3, 7, 11, 22, 33)) == -2739789447
    berlin = LocalClock(ZoneInfo("Europe/Berlin"))
    assert berlin.seconds(datetime(2021, 3, 28, 2, 30)) == 1616895000  # 01:30 UTC, as if still at +01:00


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("WhatsApp Chat with Team A.txt", "Team A"),
        ("WhatsApp Chat with Team A (1).txt", "Team A"),
        ("WhatsApp_Chat_with_Team_A.txt", "Team A"),
        ("WhatsApp Chat - Team A.txt", "Team A"),
        ("WhatsApp-Chat mit Team A.txt", "Team A"),
        ("Chat de WhatsApp con Team A.txt", "Team A"),
        ("Conversa do WhatsApp com Team A.txt", "Team A"),
        ("Discussion WhatsApp avec Team A.txt", "Team A"),
        ("Чат WhatsApp с контактом Team A.txt", "Team A"),
        ("与Team A的 WhatsApp 聊天.txt", "Team A"),
        ("与Team A的 WhatsApp 聊天记录 (2).txt", "Team A"),
        ("Team A ile WhatsApp Sohbeti.txt", "Team A"),
        ("my_chat.txt", "my_chat"),
    ],
)
def test_the_group_is_named_by_the_file(tmp_path, name, group):
    assert parse(tmp_path, SETTLED, name)[0].group == group


def test_the_group_of_an_ios_export_is_named_by_its_zip_or_folder(tmp_path):
    path = tmp_path / "WhatsApp Chat - Team A (1).zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("_chat.txt", "[30/01/21, 20:49:07] Ann: hi\n")
    with zipfile.ZipFile(path) as file:
        source = Source(path, "_chat.txt", Archive(path, file, frozenset({"_chat.txt"})))
        assert [row.group for row in whatsapp.parse(source, Context(NAMES))] == ["Team A"]
    assert whatsapp.group_name(Source(tmp_path / "_chat.txt", "WhatsApp Chat - Team A/_chat.txt")) == "Team A"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (SETTLED, True),
        ("tail of a message\n" + SETTLED, True),
        ("[21:20] <nick> text\n", False),
        ("2019-09-23 20:43:38 小明(12345)\nhi\n", False),
        ("30/01/2021, 20:48 - backup done\n", False),
        ('{"messages": []}', False),
        ("", False),
    ],
)
def test_detection(head, expected):
    assert whatsapp.detects("chat.txt", head.encode()) is expected


def test_a_file_without_messages_another_encoding_and_an_endless_message_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"Team\.txt:1: expected lines that start a message"):
        parse(tmp_path, "hello\n")
    with pytest.raises(DataError, match=r"Team\.txt:2: expected UTF-8"):
        parse(tmp_path, SETTLED.encode() + "30/01/2021, 20:49 - Ann: 你好\n".encode("gb18030"))
    with pytest.raises(DataError, match=r"Team\.txt:1: expected messages of at most 65536 characters"):
        parse(tmp_path, SETTLED + "[30.01.21, 20:49:00] Bob: other phone\n" * 4000)


DATES = ["30/01/21", "01/30/21", "2/3/21", "2021-01-30", "R3", "٣"]
TIMES = ["20:49", "8:49:07", "PM", "a. m.", "下午"]
PUNCTUATION = [
    "[",
    "]",
    ", ",
    " ",
    " - ",
    ":",
    ": ",
    "\n",
    "\r\n",
    "\u2068",
    "\u2069",
    "\u200e",
    "\u202f",
    "\ufeff",
    "\0",
]
WORDS = ["Ann", "~ ", "@", "49170123456", "<", ">", "Media omitted", "image omitted", ".jpg", " (file attached)", '"']
FRAGMENTS = st.sampled_from(DATES + TIMES + PUNCTUATION + WORDS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FRAGMENTS, max_size=40).map("".join), st.booleans())
def test_any_lines_of_fragments_are_accounted_for(tmp_path, text, settled):
    content = (SETTLED if settled else "") + text
    try:
        rows = parse(tmp_path, content)
    except DataError as refused:
        error = refused.message
    else:
        error = ""
    if error:
        assert re.search(r"\.txt:\d+: expected", error)
        assert "Ann" not in error.replace("- Ann: text", "")
        return
    lines = content.split("\n")
    starts = [row.line for row in rows] + [len(lines) + 1]
    assert starts == sorted(set(starts))
    skipped = [row for row in rows if isinstance(row, Skipped)]
    assert [row.line for row in skipped] == list(range(1, len(skipped) + 1))  # only before the first message
    for row, end in zip(rows, starts[1:], strict=True):
        if isinstance(row, Message) and row.kind == "text" and "@" not in row.text:
            block = "\n".join(line.rstrip("\r") for line in lines[row.line - 1 : end - 1])
            for line in row.text.split("\n"):
                assert line in re.sub("[\u200e\u2068\u2069\ufeff]", "", block)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_a_data_error(tmp_path, data):
    whatsapp.detects("x", data)
    try:
        rows = parse(tmp_path, SETTLED.encode() + data)
    except DataError:
        return
    assert all(isinstance(row, Message | Skipped) for row in rows)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["a", " ", "\n", "\u200e", "<", ">", ": ", ".pdf", "image omitted", "(", ")", "•"])))
def test_classify_never_fails_and_text_is_what_was_there(pieces):
    text = "".join(pieces).strip()
    kind, rest = classify(text)
    if kind == "text":
        assert rest in text.replace("\u200e", "") or rest in text


@pytest.mark.parametrize(
    "hostile",
    [
        "\u200e" * 100_000,
        "30/01/2021, 20:49" + "\u200e" * 100_000,
        "30/01/2021, 20:49 - Ann: x" + " " * 60_000 + "<",
        "30/01/2021, 20:49 - Ann: " + "@\u2068" * 30_000,
        "30/01/2021, 20:49 - Ann: " + "<a: " * 15_000 + ">",
        "30/01/2021, 20:49 - " + "“: " * 20_000,
        "1/" * 50_000,
        "[" * 60_000,
    ],
)
def test_hostile_lines_take_linear_time(tmp_path, hostile):
    started = datetime.now()
    parse(tmp_path, SETTLED + hostile + "\n")
    assert (datetime.now() - started).total_seconds() < 2
