r"""How IRC clients, bouncers and bots write a line: a stamp, and behind it somebody's words or what happened.

============  =================================  ==================================================================
layout        stamp                              written by
============  =================================  ==================================================================
clock         ``[21:20]``, ``[21:20:37]``        Ubuntu's logs, ZNC, Eggdrop, EnergyMech, mIRC, KVIrc
channel_day   ``rust 2018-05-29 [21:20:37]``     corpora of many channels
bare_clock    ``21:20``, ``21:20:37``            irssi
weechat       ``2013-01-05 21:20:37`` and tab    WeeChat, whose fields are parted by tabs; ``21:20:37.123456Z``
month_day     ``Jan 05 21:20:37``                XChat, HexChat
iso           ``2013-01-05T21:20:37+0000``       bots; HexChat and XMPP clients set so; in brackets or not
day_month     ``[05-Jan-2013 21:20]``            bots, as irclog2html reads them
proxy         ``[05 Jan 21:20]``                 dircproxy; BitchX with a slash before the clock
konversation  ``[Sat 05 Jan 2013] [21:20:37]``   Konversation
============  =================================  ==================================================================

Behind all stamps but WeeChat's stand the same things, with differences that do not collide::

    <nick> text          < nick> text      <@nick>\ttext
    * nick action         -*- nick action  Action: nick action
    -nick- notice        -nick(user@host)- notice
    *** Joins: nick (user@host)            -!- nick [user@host] has joined #chan      === nick is now known as other
    nick (user@host) joined #chan.         * nick (user@host) has quit (reason)       <-- | nick (user@host) has left

The stamps are those of the clients' defaults (irssi ``log_timestamp``, WeeChat ``logger.file.time_format``, ZNC's log
module, HexChat ``stamp_log_format``) and of irclog2html. A file's layout is the one that reads most of its first
lines, and no line is read by another.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

#: So many lines of a file tell its layout.
HEAD_LINES = 200

CLOCK = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?"
#: What may follow a clock: WeeChat writes microseconds and UTC since 4.8.
FRACTION = r"(?:[.,]\d{1,9})?(?P<offset>Z|[+-]\d\d:?\d\d)?"
ISO_DAY = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
#: English, or as a Chinese system writes it.
MONTH = r"(?P<month>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}|1?\d月)"
HOST = r"[(\[][^\s@]{0,100}@\S{0,200}[)\]]"
#: Behind a star stand actions and, with some clients, events: these words nobody types of themselves by chance.
STAR_EVENT = (
    rf"(?:\S+ {HOST}(?:\s|$)|\S+ (?:has (?:joined|left|quit) (?:[#&(]|IRC)|is now known as \S+$|sets mode"
    r"|was kicked (?:from \S+ )?by |has changed the topic|changes topic to"
    r"|(?:gives|removes) (?:channel (?:half-)?operator status|voice) ))"
)
#: What it tells its user there.
STAR_NOTICE = r"(?:Now talking (?:on|in) [#&]|You are now (?:known as|talking) |Topic (?:for [#&]|is '))"
MOVES = r"(?:Joins|Parts|Quits): "
TEXT = r"(?:\s(?P<text>.*))?$"
SPEECH = (
    r"(?:<[@+%&~ ]?(?P<nick>[^<>\s!]+)(?:![^<>\s]*)?>"
    rf"|(?:\*\s*(?!{MOVES}|{STAR_EVENT}|{STAR_NOTICE})|-\*-\s+|Action: )(?P<actor>[^\s*]\S*)"
    rf"|-(?P<notice>[^\s!(:/-][^\s(:/]*)(?:[(:/]\S*)?-){TEXT}"
)
WEECHAT_SPEECH = (
    r"(?: \*\t(?P<actor>\S+)|--\tNotice\((?P<notice>[^\s)]+)\)[^:]*:"
    rf"|[@+%&~]?(?P<nick>(?!(?:-->|<--|--|=!=|\*+)\t)[^\s<>]+)(?=\t)){TEXT}"
)
#: What clients put before what is nobody's words.
MARK = r"(?:\*\*\*|-!-|===|-->|<--|---?)(?:\s*\|)?\s+"
#: Words that a client starts such a line with, where a nick may stand.
NOBODY = r"(?!(?i:you|topic|mode|channel|server|netsplit|irssi|now|users?|there|connection)\b)"
HAPPENED = (
    r"(?:(?:has|have) \w|(?:is|are) now known as|was kicked|sets? (?:mode|channel|ban)|changes? "
    r"|changed the topic|joined|left|quit|got |returned|kicked |gives |removes )"
)
#: An event and whose it is, in the one group that takes part.
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
#: Who else takes part: who kicked somebody, or was made an operator. Behind a bracket stands what somebody wrote.
OTHER = re.compile(
    r"[^(]*?(?: kicked (?:from \S+ )?by|(?: sets? mode:?|mode/\S+|Mode \S+) \[?[+-][ohvaq]{1,8}| operator status to)"
    r" ([^\s\])(]+)"
)
#: What a client tells its user.
NOTICE = r"(?:\*{1,4}|-!-|===|-->|<--|---?|=!=|!\S|\t|Topic|[#&]\S*: mode)"
#: Where logging starts, stops or enters a day; the date may be in a language that is not read.
MARKER = re.compile(
    r"(?:\[\d\d:\d\d(?::\d\d)?\] )?(?:--- |\*{4} |### Log |Session )"
    r"(?:(?P<opened>Log opened|BEGIN LOGGING AT|session started at|Start:)"
    r"|Log closed|Day changed|ENDING LOGGING AT|session terminated at|Close:|Time:|Ident:|(?=\S+ +\S+ +\d))"
    rf"(?: +(?:[^\W\d]+,? +)?{MONTH} +(?P<day>\d{{1,2}}),?(?: +{CLOCK})?(?: +[A-Z]{{2,5}})? +(?P<year>\d{{4}}))?"
)


class Told(NamedTuple):
    """What a line tells. Nicks are in lower case, since IRC's ignore case."""

    stamp: re.Match[str]  # with the groups of the layout's stamp
    kind: str  # text, other (a notice, which is what bots send) or system
    nick: str
    text: str = ""
    others: tuple[str, ...] = ()  # what the nick is called from now on, and who else took part


class Layout(NamedTuple):
    """One way to write lines."""

    name: str
    said: re.Pattern[str]
    event: re.Pattern[str]
    notice: re.Pattern[str]

    def read(self, line: str) -> Told | str:
        """What a line tells, or the reason why that makes no message."""
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
        # How clients ask each other things, of which only an action is somebody's words.
        verb, _, text = text.strip("\x01").partition(" ")
        if verb != "ACTION":
            return "ctcp"
    return Told(match, "other" if notice else "text", (nick or actor or notice).lower(), text.strip())


def _layout(name: str, stamp: str, speech: str = SPEECH) -> Layout:
    # Ubuntu's logs do not stamp what happens.
    event = re.compile(rf"(?:{stamp}|(?==== )){EVENT}")
    return Layout(name, re.compile(stamp + speech), event, re.compile(stamp + NOTICE))


#: Of layouts that read equally many lines the first is taken.
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
    """The layout that reads most of the lines, if that is half of those that are not blank or a client's own."""
    told = [(sum(isinstance(layout.read(line), Told) for line in lines), layout) for layout in LAYOUTS]
    hits, best = max(told, key=lambda pair: pair[0])
    others = sum(best.read(line) == "not_a_log_line" for line in lines)
    return best if hits and hits >= others else None
