"""IRC logs in two layouts: a file a day, or lines that carry channel and date.

::

    [21:20] <nick> text                                    2013-01-05.ubuntu-cn.txt
    [21:20]  * nick action
    === nick is now known as other
    rust 2018-05-29 [21:20:37] <nick> text                 any name

In the first layout the date and the group come from the file's name, and a clock that steps back by more than
half a day has passed midnight. Lines that are not wholly UTF-8 are kept with U+FFFD in place of the bytes, as
channels always have a few. A notice (``-nick- text``) is what bots send: kind other. Joins and renames become
system rows without text, since it is all names.

People address each other as ``nick: text``; a nick that the file knows becomes ``@<pseudonym> `` there.
Inside a sentence only a nick that no word looks like is replaced (five characters, not all letters:
dr_willis): many nicks are words (the, install), and hiding those would damage the text.
"""

import re
from collections.abc import Iterator
from datetime import date

from stages.chat.message import Message, Skipped
from stages.chat.pseudonyms import Pseudonyms
from stages.chat.source import Source
from stages.cli import DataError

NAME = "irc"
DAY = 86_400
#: How late a line of the day before may come after midnight, in seconds.
LATE = 60
EPOCH = date(1970, 1, 1).toordinal()

CLOCK = r"\[(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)(?P<second>:[0-5]\d)?\]"
SPEAKER = r"(?:<[@+%&~ ]?(?P<nick>[^<>\s]+)>|\* *(?P<actor>[^\s*]\S*)|-(?P<notice>(?!!-)\S+)-)"
PLACE = r"(?P<channel>\S+) (?P<date>\d{4}-\d\d-\d\d) "
LINE = re.compile(rf"(?:{PLACE})?{CLOCK}\s+{SPEAKER}(?:\s(?P<text>.*))?$")
EVENT = re.compile(r"=== (?P<nick>\S+)(?: is now known as (?P<renamed>\S+))?")
#: Fewer damaged lines than this are an accident, even in a file that holds no other lines beyond ASCII.
ANOTHER_ENCODING = 5
NAME_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)")
#: At the start of a message: who it is for.
ADDRESS = re.compile(r"([^\s:,：，]+)[:,：，]\s*")
#: What may be a nick that no word looks like.
HANDLE = re.compile(r"[A-Za-z\[\]\\`_^{|}][A-Za-z0-9\[\]\\`_^{|}-]{4,}")
#: Bold, colour and the like, which are not text.
STYLING = re.compile(r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]")
SUFFIXES = re.compile(r"\.(?:txt|log|ascii)\b")


def detects(name: str, head: bytes) -> bool:
    """At least half of the first fifty lines look like a log's."""
    lines = [line for line in head.decode("utf-8", "replace").split("\n")[:50] if line.strip()]
    hits = sum(1 for line in lines if LINE.match(line) or EVENT.match(line))
    return hits > 0 and 2 * hits >= len(lines)


def parse(source: Source, pseudonyms: Pseudonyms) -> Iterator[Message | Skipped]:
    """One Message or Skipped for each line (see ``stages.chat.formats``)."""
    _check_encoding(source)
    nicks = _nicks(source)
    named_date = NAME_DATE.search(source.plain_name)
    group = _group_name(source.plain_name)
    clock: int | None = None
    start = 0
    for number, text, damaged in _lines(source):
        match = LINE.match(text)
        if match is None:
            yield _event(text, number, group, damaged)
            continue
        if match["date"]:
            seconds = _midnight(match["date"].split("-"), source.where(number)) + _time_of_day(match)
        else:
            if clock is None:
                if named_date is None:
                    raise DataError(
                        f"{source.where(number)}: expected the date of these lines in the file's name "
                        "(such as 2013-01-05.channel.txt), got none."
                    )
                clock = start = _midnight(list(named_date.groups()), str(source.path))
            clock = seconds = _advance(clock, _time_of_day(match), start)
        said = STYLING.sub("", match["text"] or "").strip()
        yield Message(
            line=number,
            group=match["channel"] or group,
            sender=(match["nick"] or match["actor"] or match["notice"]).lower(),
            timestamp=seconds,
            kind="other" if match["notice"] else "text",
            text=replace_nicks(said, nicks, pseudonyms),
            resolution_seconds=1 if match["second"] else 60,
            damaged=damaged,
        )


def _lines(source: Source) -> Iterator[tuple[int, str, bool]]:
    """Yield (number, text, whether bytes were replaced)."""
    for number, data in source.lines():
        data = data.rstrip(b"\r\n")
        try:
            yield number, data.decode("utf-8"), False
        except UnicodeDecodeError:
            yield number, data.decode("utf-8", "replace"), True


def _check_encoding(source: Source) -> None:
    """Let a few damaged lines pass, and no file of another encoding.

    Raises:
        DataError: If most of the lines that hold more than ASCII are not UTF-8.
    """
    beyond_ascii = [(number, damaged) for number, text, damaged in _lines(source) if not text.isascii()]
    wrong = [number for number, damaged in beyond_ascii if damaged]
    if len(wrong) >= ANOTHER_ENCODING and 2 * len(wrong) > len(beyond_ascii):
        raise DataError(
            f"{source.where(wrong[0])}: expected UTF-8, got other bytes here and in {len(wrong)} of the "
            f"{len(beyond_ascii)} lines that hold more than ASCII. Convert the file, for example: "
            "iconv -f GB18030 -t UTF-8"
        )


def _nicks(source: Source) -> set[str]:
    """Every nick that speaks, acts or is renamed in the file, in lower case: IRC's nicks ignore case."""
    nicks: set[str] = set()
    for _, text, _ in _lines(source):
        if match := LINE.match(text):
            found = match.group("nick", "actor", "notice")
        elif match := EVENT.match(text):
            found = match.group("nick", "renamed")
        else:
            continue
        nicks.update(nick.lower() for nick in found if nick)
    return nicks


def _event(text: str, number: int, group: str, damaged: bool) -> Message | Skipped:
    """A join or rename as a system row; its time is unknown, its text is names."""
    if not text.strip():
        return Skipped(number, "blank")
    event = EVENT.match(text)
    if event is None:
        return Skipped(number, "not_a_log_line")
    return Message(number, group, event["nick"].lower(), None, "system", "", 60, damaged=damaged)


def replace_nicks(text: str, nicks: set[str], pseudonyms: Pseudonyms) -> str:
    """``nick: text`` and ``nick, other: text`` with pseudonyms, and handles that no word looks like.

    Args:
        text: What was said.
        nicks: Known nicks in lower case.
        pseudonyms: Where their pseudonyms come from.
    """
    addressed = []
    position = 0
    while (match := ADDRESS.match(text, position)) and match[1].lower() in nicks:
        addressed.append(f"@{pseudonyms.person(match[1].lower())} ")
        position = match.end()

    def replaced(match: re.Match[str]) -> str:
        nick = match[0].lower()
        return match[0] if nick.isalpha() or nick not in nicks else f"@{pseudonyms.person(nick)}"

    return "".join(addressed) + HANDLE.sub(replaced, text[position:])


def _group_name(name: str) -> str:
    """``ubuntu-cn`` of ``2013-01-05.ubuntu-cn.txt``."""
    return SUFFIXES.sub("", NAME_DATE.sub("", name)).strip(" .-_#") or NAME


def _midnight(parts: list[str], where: str) -> int:
    """UTC seconds at which a day (year, month, day as text) starts."""
    try:
        return (date(*map(int, parts)).toordinal() - EPOCH) * DAY
    except ValueError:
        raise DataError(f"{where}: expected a date, got {'-'.join(parts)}.") from None


def _time_of_day(match: re.Match[str]) -> int:
    return int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int((match["second"] or ":0")[1:])


def _advance(clock: int, time_of_day: int, start: int) -> int:
    """UTC seconds of a time of day that follows ``clock`` in a log that started at ``start``."""
    step = time_of_day - clock % DAY
    if step < -DAY // 2:
        step += DAY  # past midnight
    elif step >= DAY - LATE and clock >= start + DAY:
        step -= DAY  # a late line of the day before
    return clock + step
