r"""IRC logs of the common clients, bouncers and bots (``chatladder.chat.formats.irc_layouts`` has their layouts).

::

    [21:20] <nick> text                                    2013-01-05.ubuntu-cn.txt
    rust 2018-05-29 [21:20:37] <nick> text                 any name
    --- Log opened Sat Jan 05 21:20:37 2013                #rust.log of irssi
    21:20 < nick> text

The date of a line is in its stamp; else in a line before it that says when logging began or a day changed; else in
the file's name, and a clock that steps back by more than half a day has passed midnight. Stamps without an offset
are local time of ``context.timezone``. The group is the channel: of the line, else of the file's name, else of the
folder; behind its network's folder where one is there, as ZNC and irssi write them.

Lines that are not wholly UTF-8 are kept with U+FFFD in place of the bytes, as channels always have a few. Colours and
the like are taken out. A notice (``-nick- text``) is what bots send: kind other. Joins, renames, modes and the like
become system rows without text, since it is all names; what a client says to its own user is passed over and counted.

People address each other as ``nick: text``; a nick that the file knows becomes ``@<pseudonym> `` there. Somebody who
changes nick becomes somebody else: that ``a`` and ``b`` are one person is not known for sure (nicks are passed on),
and an export that starts later would not know it at all.
"""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from chatladder.chat.formats.irc_calendar import NAME_DATE, Calendar
from chatladder.chat.formats.irc_layouts import HEAD_LINES, LAYOUTS, Layout, Told, find_layout
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

NAME = "irc"
LATE_SECONDS = 60

#: Fewer damaged lines than this are an accident, even in a file that holds no other lines beyond ASCII.
ANOTHER_ENCODING = 5
#: At the start of a message: who it is for.
ADDRESS = re.compile(r"([^\s:,：，]+)[:,：，]\s*")
#: Bold, colour and the like, which are not text.
STYLING = re.compile(
    r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|\x04(?:[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]"
)
SUFFIXES = re.compile(r"\.(?:txt|log|ascii|weechatlog)\b")


def detects(name: str, head: bytes) -> bool:
    """At least half of the first lines look like one layout's."""
    return find_layout(_first_lines(head)) is not None


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """One Message or Skipped for each line (see ``chatladder.chat.formats``)."""
    layout = find_layout(_first_lines(source.head())) or LAYOUTS[0]
    nicks = _nicks(source, layout, context)
    calendar = Calendar(source, context.timezone)
    group = _group_name(source)
    for number, line, damaged in _lines(source):
        told = layout.read(line)
        if isinstance(told, str):
            if told == "log_marker":
                calendar.mark(line, number)
            yield Skipped(number, told)
            continue
        stamp = told.stamp
        yield Message(
            line=number,
            group=stamp.groupdict().get("channel") or group,  # Ubuntu's logs do not stamp what happens
            sender=told.nick,
            timestamp=None if stamp["minute"] is None else calendar.seconds(stamp, number),
            kind=told.kind,
            text=replace_nicks(told.text, nicks, context.pseudonyms),
            typed=told.text,
            resolution_seconds=1 if stamp["second"] else 60,
            damaged=damaged,
        )


def replace_nicks(text: str, nicks: set[str], pseudonyms: Pseudonyms) -> str:
    """``nick: text`` and ``nick, other: text`` with pseudonyms.

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
    return "".join(addressed) + text[position:] if addressed else text


def _lines(source: Source) -> Iterator[tuple[int, str, bool]]:
    """Yield (number, text without styling, whether bytes were replaced)."""
    for number, data in source.lines():
        data = data.rstrip(b"\r\n")
        try:
            text, damaged = data.decode("utf-8"), False
        except UnicodeDecodeError:
            text, damaged = data.decode("utf-8", "replace"), True
        yield number, STYLING.sub("", text), damaged


def _first_lines(head: bytes) -> list[str]:
    text = STYLING.sub("", head.decode("utf-8", "replace"))
    return [line.rstrip("\r") for line in islice(text.split("\n"), HEAD_LINES)]


def _nicks(source: Source, layout: Layout, context: Context) -> set[str]:
    """Every nick that speaks, acts, is renamed or takes part in the file, in lower case; and a look at its encoding.

    Raises:
        DataError: If most of the lines that hold more than ASCII are not UTF-8; a few damaged ones may pass.
    """
    nicks: set[str] = set()
    others: set[str] = set()
    beyond_ascii = 0
    wrong: list[int] = []
    for number, line, damaged in _lines(source):
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
        context.know(nick)  # nobody's message tells of those who never speak under that name
    return nicks | others


def _group_name(source: Source) -> str:
    """``ubuntu-cn`` of ``2013-01-05.ubuntu-cn.txt``; ``oftc/rust`` of ``oftc/#rust.log``, ``oftc/#rust/2013.log``."""
    folders = list(PurePosixPath(source.name).parts[:-1])
    if source.archive is not None:
        folders = folders[1:]
    name = SUFFIXES.sub("", NAME_DATE.sub("", source.plain_name)).strip(" .-_")
    if not name.strip("#&") and folders:
        name = folders.pop()
    network = f"{folders[-1]}/" if folders and name.startswith(("#", "&")) else ""
    return network + (name.strip(" .-_#&") or NAME)
