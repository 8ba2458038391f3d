r"""IRC logs of the common clients, bouncers and bots.

::

    [21:20] <nick> text                                    2013-01-05.ubuntu-cn.txt
    rust 2018-05-29 [21:20:37] <nick> text                 any name
    --- Log opened Sat Jan 05 21:20:37 2013                #rust.log of irssi
    21:20 < nick> text

The date of a line is in its stamp; or else in an earlier line that says when logging began or a day changed; or else in
the file's name, where a clock that steps back by more than half a day has passed midnight. Stamps without an offset are
local time of ``context.timezone``. The group is the channel: from the line, or else the file's name, or else the
folder; prefixed with its network's folder if there is one, as ZNC and irssi write them. Folders may hold the date or a
part of it, too: Ubuntu's archive (https://irclogs.ubuntu.com/) has ``2013/01/25/#ubuntu-cn.txt``.

Lines that are not UTF-8 are read in the charset that fits them best (``charsets``), or else kept with U+FFFD in place
of the bytes, since every channel has a few. Colours and other styling are removed. dircproxy puts before a text the
``+`` or ``-`` by which a server says whether the sender is identified (its capability identify-msg), as samples of
irclog2html show (https://github.com/mgedmin/irclog2html, testcases/dircproxy-example.log); they are removed.

A notice (``-nick- text``) comes from a bot: kind other. Joins, renames, modes and the like become system rows without
text, since the text is all names. A client's lines to its own user are skipped and counted.

People address each other as ``nick: text``; a nick that occurs in the file becomes ``@<pseudonym> ``. A person who
changes nick becomes another person: it is not certain that ``a`` and ``b`` are one (nicks are passed on), and an export
that starts later would not show it at all.

A line is a stamp, followed by a person's words or an event.

============  =================================  ==================================================================
layout        stamp                              written by
============  =================================  ==================================================================
clock         ``[21:20]``, ``[21:20:37]``        Ubuntu's logs, ZNC, Eggdrop, EnergyMech, mIRC, KVIrc
channel_day   ``rust 2018-05-29 [21:20:37]``     corpora of many channels
bare_clock    ``21:20``, ``21:20:37``            irssi
weechat       ``2013-01-05 21:20:37`` and tab    WeeChat, with tab-separated fields; ``21:20:37.123456Z``
month_day     ``Jan 05 21:20:37``                XChat, HexChat
iso           ``2013-01-05T21:20:37+0000``       bots; HexChat and XMPP clients by setting; in brackets or not
day_month     ``[05-Jan-2013 21:20]``            bots, as irclog2html reads them
proxy         ``[05 Jan 21:20]``                 dircproxy; BitchX with a slash before the clock
konversation  ``[Sat 05 Jan 2013] [21:20:37]``   Konversation
============  =================================  ==================================================================

After the stamp all but WeeChat write the same things, with differences that do not collide::

    <nick> text          < nick> text      <@nick>\ttext
    * nick action         -*- nick action  Action: nick action
    -nick- notice        -nick(user@host)- notice
    *** Joins: nick (user@host)            -!- nick [user@host] has joined #chan      === nick is now known as other
    nick (user@host) joined #chan.         * nick (user@host) has quit (reason)       <-- | nick (user@host) has left

The stamps are the defaults of the clients (irssi ``log_timestamp``, WeeChat ``logger.file.time_format``, ZNC's log
module, HexChat ``stamp_log_format``) and those of irclog2html. A file's layout is the one that reads most of its first
lines, and all of its lines are read in it.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta, tzinfo
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple

from chatladder.chat.formats.charsets import Charsets
from chatladder.chat.formats.times import EPOCH, LATE, LocalClock
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

#: The mark before a text in dircproxy's logs, whose nicks have a host.
IDENTIFIED = re.compile(r"<[^<>\s!]+![^<>\s]*>\s[+-]")
#: The number of a file's first lines that decide its layout.
HEAD_LINES = 200

CLOCK = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?"
#: An optional suffix of a clock: WeeChat writes microseconds and UTC since 4.8.
FRACTION = r"(?:[.,]\d{1,9})?(?P<offset>Z|[+-]\d\d:?\d\d)?"
ISO_DAY = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
#: English, or as on a Chinese system.
MONTH = r"(?P<month>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}|1?\d月)"
HOST = r"[(\[][^\s@]{0,100}@\S{0,200}[)\]]"
#: A star starts actions and, with some clients, events; nobody types these words by chance.
STAR_EVENT = (
    rf"(?:\S+ {HOST}(?:\s|$)|\S+ (?:has (?:joined|left|quit) (?:[#&(]|IRC)|is now known as \S+$|sets mode"
    r"|was kicked (?:from \S+ )?by |has changed the topic|changes topic to"
    r"|(?:gives|removes) (?:channel (?:half-)?operator status|voice) ))"
)
#: A client's messages to its user after a star.
STAR_NOTICE = r"(?:Now talking (?:on|in) [#&]|You are now (?:known as|talking) |Topic (?:for [#&]|is '))"
MOVES = r"(?:Joins|Parts|Quits): "
TEXT = r"(?:\s(?P<text>.*))?$"
SPEECH = (
    r"(?:<[@+%&~ -]?(?P<nick>[^<>\s!]+)(?:![^<>\s]*)?>"
    rf"|(?:\*\s*(?!{MOVES}|{STAR_EVENT}|{STAR_NOTICE})|-\*-\s+|Action: )(?P<actor>[^\s*]\S*)"
    rf"|-(?P<notice>[^\s!(:/-][^\s(:/]*)(?:[(:/]\S*)?-){TEXT}"
)
WEECHAT_SPEECH = (
    r"(?: \*\t(?P<actor>\S+)|--\tNotice\((?P<notice>[^\s)]+)\)[^:]*:"
    rf"|[@+%&~]?(?P<nick>(?!(?:-->|<--|--|=!=|\*+)\t)[^\s<>]+)(?=\t)){TEXT}"
)
#: A client's marks before lines that are not a person's words.
MARK = r"(?:\*\*\*|-!-|===|-->|<--|---?)(?:\s*\|)?\s+"
#: Words at the start of such a line that are not a nick.
NOBODY = r"(?!(?i:you|topic|mode|channel|server|netsplit|irssi|now|users?|there|connection)\b)"
HAPPENED = (
    r"(?:(?:has|have) \w|(?:is|are) now known as|was kicked|sets? (?:mode|channel|ban)|changes? "
    r"|changed the topic|joined|left|quit|got |returned|kicked |gives |removes )"
)
#: An event and its nick, in whichever one group matches.
EVENT = (
    rf"(?:(?:{MARK}|\*\s*){MOVES}(?P<moved>\S+)"
    rf"|\*\s*(?={STAR_EVENT})(?P<starred>\S+)"
    rf"|{MARK}{NOBODY}(?P<subject>\S+)(?: {HOST})? {HAPPENED}"
    rf"|{MARK}(?i:server)?(?i:mode)[ /]\S+ \[[^\]]*\] by (?P<moder>[^\s,]+)"
    rf"|(?P<visitor>[^\s<*-]\S*) {HOST} (?:joined|left|got|returned|rejoined|quit)"
    r"|(?P<kicked>[^\s<*-]\S*) kicked from \S+ by "
    r"|Nick change: (?P<changed>\S+) -> "
    r"|(?:Topic changed on \S+|[#&]\S*: mode change '[^']*') by (?P<setter>[^\s!:]+))"
)
RENAMED = re.compile(r"(?: now known as|Nick change: \S+ ->) (\S+)$")
#: The other person of an event: who kicked somebody, or became an operator. The text after a bracket is a person's.
OTHER = re.compile(
    r"[^(]*?(?: kicked (?:from \S+ )?by|(?: sets? mode:?|mode/\S+|Mode \S+) \[?[+-][ohvaq]{1,8}| operator status to)"
    r" ([^\s\])(]+)"
)
#: A client's message to its user.
NOTICE = r"(?:\*{1,4}|-!-|===|-->|<--|---?|=!=|!\S|\t|Topic|[#&]\S*: mode)"
#: A line where logging starts, stops or enters a day; the date may be in a language that is not read.
MARKER = re.compile(
    r"(?:\[\d\d:\d\d(?::\d\d)?\] )?(?:--- |\*{4} |### Log |Session )"
    r"(?:(?P<opened>Log opened|BEGIN LOGGING AT|session started at|Start:)"
    r"|Log closed|Day changed|ENDING LOGGING AT|session terminated at|Close:|Time:|Ident:|(?=\S+ +\S+ +\d))"
    rf"(?: +(?:[^\W\d]+,? +)?{MONTH} +(?P<day>\d{{1,2}}),?(?: +{CLOCK})?(?: +[A-Z]{{2,5}})? +(?P<year>\d{{4}}))?"
)


class Told(NamedTuple):
    """The content of a line; nicks are in lower case, since IRC ignores case."""

    stamp: re.Match[str]  # with the groups of the layout's stamp
    kind: str  # text, other (a notice, from a bot) or system
    nick: str
    text: str = ""
    others: tuple[str, ...] = ()  # the nick's new name, and the other person of the event


class Layout(NamedTuple):
    """One way to write lines."""

    name: str
    said: re.Pattern[str]
    event: re.Pattern[str]
    notice: re.Pattern[str]

    def read(self, line: str) -> Told | str:
        """Return the content of a line, or the reason why it makes no message."""
        if match := self.said.match(line):
            return _said(match)
        if match := self.event.match(line):
            others = tuple(each[1].lower() for each in (RENAMED.search(line), OTHER.match(line)) if each)
            return Told(match, "system", match[match.lastgroup or 0].lower(), "", others)
        if not line or line.isspace():
            return "blank"
        if MARKER.match(line):
            return "log_marker"
        return "client_notice" if self.notice.match(line) else "not_a_log_line"


def _said(match: re.Match[str]) -> Told | str:
    nick, actor, notice = match.group("nick", "actor", "notice")
    text = (match["text"] or "").strip()
    if text.startswith("\x01"):
        # Requests between clients (CTCP), of which only an action is a person's words.
        verb, _, text = text.strip("\x01").partition(" ")
        if verb != "ACTION":
            return "ctcp"
    if text[:1] in ("+", "-") and IDENTIFIED.match(match.string, match.start("nick") - 1):
        text = text[1:]
    return Told(match, "other" if notice else "text", (nick or actor or notice).lower(), text.strip())


def _layout(name: str, stamp: str, speech: str = SPEECH) -> Layout:
    # Ubuntu's logs have no stamp on events.
    event = re.compile(rf"(?:{stamp}|(?==== )){EVENT}")
    return Layout(name, re.compile(stamp + speech), event, re.compile(stamp + NOTICE))


#: If several layouts read equally many lines, the first is used.
LAYOUTS = (
    _layout("clock", rf"\[{CLOCK}\]\s+"),
    _layout("channel_day", rf"(?P<channel>\S+) {ISO_DAY} \[{CLOCK}\]\s+"),
    _layout("bare_clock", rf"{CLOCK}\s+"),
    _layout("weechat", rf"{ISO_DAY}[T ]{CLOCK}{FRACTION}\t", WEECHAT_SPEECH),
    _layout("month_day", rf"{MONTH} +(?P<day>\d{{1,2}}) {CLOCK}\s+"),
    _layout("iso", rf"\[?{ISO_DAY}[T ]{CLOCK}{FRACTION}\]?\s+"),
    _layout("day_month", rf"\[(?P<day>\d\d)-{MONTH}-(?P<year>\d{{4}}) {CLOCK}\]\s+"),
    _layout("proxy", rf"\[(?P<day>\d\d) {MONTH}[ /]{CLOCK}\]\s+"),
    _layout("konversation", rf"\[\S+ (?P<day>\d\d?) {MONTH} (?P<year>\d{{4}})\] \[{CLOCK}\]\s+"),
)


def find_layout(lines: Iterable[str]) -> Layout | None:
    """Return the layout that reads most lines, if those are half of the lines other than blank and client lines."""
    told = [(sum(isinstance(layout.read(line), Told) for line in lines), layout) for layout in LAYOUTS]
    hits, best = max(told, key=lambda pair: pair[0])
    others = sum(best.read(line) == "not_a_log_line" for line in lines)
    return best if hits and hits >= others else None


NAME = "irc"
LATE_SECONDS = 60

#: Fewer damaged lines than this are an accident, even in a file whose other lines are all ASCII.
ANOTHER_ENCODING = 5
#: The addressee at the start of a message.
ADDRESS = re.compile(r"([^\s:,：，]+)[:,：，]\s*")
#: Bold, colour and other styling.
STYLING = re.compile(
    r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|\x04(?:[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]"
)
SUFFIXES = re.compile(r"\.(?:txt|log|ascii|weechatlog)\b")


def detects(name: str, head: bytes) -> bool:
    """Return True if at least half of the first lines match one layout."""
    return find_layout(_first_lines(head)) is not None


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each line (see ``chatladder.chat.formats``)."""
    layout = find_layout(_first_lines(source.head())) or LAYOUTS[0]
    charsets = Charsets(data for _, data in source.lines())
    nicks = _nicks(source, charsets, layout, context)
    calendar = Calendar(source, context.timezone)
    group, dated = _group_name(source), _folder_date(source)
    for number, line, damaged in _lines(source, charsets):
        told = layout.read(line)
        if isinstance(told, str):
            if told == "log_marker":
                calendar.mark(line, number)
            yield Skipped(number, told)
            continue
        stamp = told.stamp
        yield Message(
            line=number,
            group=stamp.groupdict().get("channel") or group,  # Ubuntu's logs have no stamp on events
            sender=told.nick,
            timestamp=None if stamp["minute"] is None else calendar.seconds(stamp, number),
            kind=told.kind,
            text=replace_nicks(told.text, nicks, context.pseudonyms),
            # The file's name distinguishes rows without a time, but it is the same every day if folders hold the date.
            typed=told.text if stamp["minute"] else told.text + dated,
            resolution_seconds=1 if stamp["second"] else 60,
            damaged=damaged,
        )


def replace_nicks(text: str, nicks: set[str], pseudonyms: Pseudonyms) -> str:
    """Replace known nicks in ``nick: text`` and ``nick, other: text`` by pseudonyms.

    Args:
        text: The text of a message.
        nicks: Known nicks in lower case.
        pseudonyms: The pseudonyms of people.
    """
    addressed = []
    position = 0
    while (match := ADDRESS.match(text, position)) and match[1].lower() in nicks:
        addressed.append(f"@{pseudonyms.person(match[1].lower())} ")
        position = match.end()
    return "".join(addressed) + text[position:] if addressed else text


def _lines(source: Source, charsets: Charsets) -> Iterator[tuple[int, str, bool]]:
    """Yield (number, text without styling, True if bytes were replaced)."""
    for number, data in source.lines():
        text, damaged = charsets.decode(data.rstrip(b"\r\n"))
        yield number, STYLING.sub("", text), damaged


def _first_lines(head: bytes) -> list[str]:
    text = STYLING.sub("", head.decode("utf-8", "replace"))
    return [line.rstrip("\r") for line in islice(text.split("\n"), HEAD_LINES)]


def _nicks(source: Source, charsets: Charsets, layout: Layout, context: Context) -> set[str]:
    """Return all nicks of the file that speak, act, are renamed or take part, in lower case; check its encoding.

    Raises:
        DataError: If most of the lines beyond ASCII are in no known charset; a few damaged ones are allowed.
    """
    nicks: set[str] = set()
    others: set[str] = set()
    beyond_ascii = 0
    wrong: list[int] = []
    for number, line, damaged in _lines(source, charsets):
        beyond_ascii += not line.isascii()
        if damaged:
            wrong.append(number)
        told = layout.read(line)
        if isinstance(told, Told):
            nicks.add(told.nick)
            others.update(told.others)
    if len(wrong) >= ANOTHER_ENCODING and 2 * len(wrong) > beyond_ascii:
        raise DataError(
            f"{source.where(wrong[0])}: expected UTF-8, got other bytes here and in {len(wrong)} of the "
            f"{beyond_ascii} lines that hold more than ASCII. Convert the file, for example: "
            "iconv -f GB18030 -t UTF-8"
        )
    for nick in sorted(others - nicks):
        context.know(nick)  # a nick that never speaks is not the sender of any message
    return nicks | others


def _group_name(source: Source) -> str:
    """Return the group's name from a file's path.

    It is ``ubuntu-cn`` for ``2013-01-05.ubuntu-cn.txt``, and ``oftc/rust`` for ``oftc/#rust.log`` and
    ``oftc/#rust/2013.log``. Folders of dates, as in ``2013/01/05/#ubuntu-cn.txt``, are skipped.
    """
    folders = [each for each in PurePosixPath(source.inner).parts[:-1] if not DATE_FOLDER.fullmatch(each)]
    name = SUFFIXES.sub("", NAME_DATE.sub("", source.plain_name)).strip(" .-_")
    if DATE_FOLDER.fullmatch(name) and _folder_date(source):
        name = ""  # for #ubuntu-cn/2013/01/05.txt
    if not name.strip("#&") and folders:
        name = folders.pop()
    network = f"{folders[-1]}/" if folders and name.startswith(("#", "&")) else ""
    return network + (name.strip(" .-_#&") or NAME)


DAY = 86_400
HALF_YEAR = 183 * DAY
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: 2013-01-05, 20130105, or 05Jan2013 as Eggdrop writes it.
NAME_DATE = re.compile(
    r"(?<!\d)(?:(?P<year>\d{4})(?P<dash>[-_.]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    rf"|(?P<eggday>\d\d)(?P<eggmonth>(?i:{'|'.join(MONTHS)}))(?P<eggyear>\d{{4}}))(?!\d)"
)
NAME_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
#: A year, a month or a day, alone or joined.
DATE_FOLDER = re.compile(r"(?:19|20)\d\d(?:[-_.]?\d\d){0,2}|\d\d(?:[-_.]\d\d)?")
#: As ``NAME_DATE``, split over folders.
FOLDER_DATE = re.compile(r"(?:^|/)(?P<year>(?:19|20)\d\d)[-_./]?(?P<month>\d\d)[-_./]?(?P<day>\d\d)(?=[-_./]|$)")


def _folder_date(source: Source) -> str:
    """Return the date in a file's folders, as 2013-01-05; empty if they have none or the file's name has one."""
    path = "" if NAME_DATE.search(source.plain_name) else SUFFIXES.sub("", source.inner)
    found = list(FOLDER_DATE.finditer(path))
    return "-".join(found[-1].group("year", "month", "day")) if found else ""


class Calendar:
    """Computes UTC seconds of every stamp of a file; ``wall`` is the time on local clocks, as seconds since 1970."""

    def __init__(self, source: Source, timezone: tzinfo) -> None:
        self._source = source
        self._clock = LocalClock(timezone)
        self._wall: int | None = None  # of the latest line
        self._start = 0  # midnight before logging began

    def mark(self, line: str, number: int) -> None:
        """Use the date of a line that says where logging starts, stops or enters a day."""
        match = MARKER.match(line)
        if match is None or match["year"] is None:
            return
        midnight = self._midnight(int(match["year"]), match["month"], match["day"], number)
        if match["opened"] or self._wall is None:
            self._start = midnight
        self._wall = midnight + (_time_of_day(match) if match["minute"] else 0)

    def seconds(self, stamp: re.Match[str], number: int) -> int:
        """Return the UTC seconds of a stamp.

        Raises:
            DataError: If its date is unknown, or does not exist.
        """
        time, groups = _time_of_day(stamp), stamp.re.groupindex
        if "year" in groups:
            self._wall = self._midnight(int(stamp["year"]), stamp["month"], stamp["day"], number) + time
        elif "day" in groups:
            self._wall = self._in_year(stamp, number) + time
        else:
            self._wall = self._advance(time, number)
        offset = stamp["offset"] if "offset" in groups else None
        return self._wall - _offset_seconds(offset) if offset else self._utc(self._wall, number)

    def _advance(self, time: int, number: int) -> int:
        """Return the wall time of a time of day that follows the latest line."""
        if self._wall is None:
            self._wall = self._start = self._named_midnight(number)
        step = time - self._wall % DAY
        if step < -DAY // 2:
            step += DAY  # past midnight
        elif step >= DAY - LATE and self._wall >= self._start + DAY:
            step -= DAY  # a late line of the day before
        return self._wall + step

    def _in_year(self, stamp: re.Match[str], number: int) -> int:
        """Return midnight of a day without a year: the first one not half a year before the latest line."""
        if self._wall is None:
            return self._midnight(self._named_year(number), stamp["month"], stamp["day"], number)
        year = (EPOCH + timedelta(seconds=self._wall)).year
        # A late line of New Year's Eve is a day older; that is likelier than a log that was silent for half a year.
        for candidate, earliest in ((year - 1, DAY), (year, HALF_YEAR), (year + 1, HALF_YEAR)):
            try:
                midnight = _midnight(candidate, stamp["month"], stamp["day"])
            except ValueError:
                continue  # 29 February
            if midnight >= self._wall - earliest:
                return midnight
        return self._midnight(year, stamp["month"], stamp["day"], number)

    def _utc(self, wall: int, number: int) -> int:
        try:
            return self._clock.seconds(EPOCH + timedelta(seconds=wall))
        except OverflowError:
            where = self._source.where(number)
            raise DataError(f"{where}: expected a date, got one after the year 9999.") from None

    def _midnight(self, year: int, month: str, day: str, number: int) -> int:
        try:
            return _midnight(year, month, day)
        except ValueError:
            where = self._source.where(number)
            raise DataError(f"{where}: expected a date, got {year:04d}-{month}-{day}.") from None

    def _named_midnight(self, number: int) -> int:
        named = NAME_DATE.search(self._source.plain_name) or NAME_DATE.search(_folder_date(self._source))
        if named is None:
            raise DataError(
                f"{self._source.where(number)}: expected the date of these lines in the file's name (such as "
                "2013-01-05.channel.txt), its folders (2013/01/05/channel.txt) or a line before them (--- Log opened "
                "Sat Jan 05 21:20:37 2013), got none."
            )
        year, month, day = (named[name] or named[f"egg{name}"] for name in ("year", "month", "day"))
        return self._midnight(int(year), month, day, number)

    def _named_year(self, number: int) -> int:
        name = self._source.plain_name
        if named := NAME_DATE.search(name):
            return int(named["year"] or named["eggyear"])
        if lone := NAME_YEAR.search(name) or NAME_YEAR.search(_folder_date(self._source)):
            return int(lone[0])
        if years := [each for each in PurePosixPath(self._source.inner).parts[:-1] if NAME_YEAR.fullmatch(each)]:
            return int(years[-1])
        raise DataError(
            f"{self._source.where(number)}: expected the year of these lines in the file's name (such as "
            "channel.2013.log) or in a line before them (**** BEGIN LOGGING AT Sat Jan  5 21:20:37 2013), got none."
        )


def _midnight(year: int, month: str, day: str) -> int:
    """Return the wall seconds at which a day starts; the month is a number or a name.

    Raises:
        ValueError: If the day does not exist.
    """
    number = MONTHS.index(month[:3].lower()) + 1 if month[0].isalpha() else int(month.rstrip("月"))
    return (date(year, number, int(day)) - EPOCH.date()).days * DAY


def _time_of_day(match: re.Match[str]) -> int:
    return int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"] or 0)


def _offset_seconds(offset: str) -> int:
    if offset == "Z":
        return 0
    seconds = int(offset[1:3]) * 3600 + int(offset[-2:]) * 60
    return -seconds if offset[0] == "-" else seconds
