r"""WhatsApp's chat export (menu, "Export chat"), of Android and iOS, in any language: one text file a chat.

::

    30/01/19, 20:49 - Ann: text                 a message
    its second line
    30/01/19, 20:50 - Ann added Bob             an event: no sender and no ": "
    [30.01.19, 20:49:07] Ann: \u200eimage omitted    iOS; U+200E marks the app's own words

The maker publishes no description of the format. It is known from exports, such as the collection in
starkdmi/whats_json; the shapes of a line are in ``whatsapp_headers``, the app's phrases in ``whatsapp_phrases``. The
order of day and month is decided from all dates together (``whatsapp_headers``), so a file is read twice and never
kept in memory.

A message starts at a line in the layout of the file's first line; a line that only resembles it, such as a pasted log
or another chat, belongs to the message before. A pasted line in the file's own layout has no mark and counts as a
message. A person without a name in the phone's contacts is written as a number, or as ``~ Name``.

No library is used: the maintained ones (whatstk, chat-miner) guess the order from the best score or from single lines,
load the whole file, and return neither line numbers nor the lines that they skip.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from typing import NamedTuple

from chatladder.chat.formats.times import LocalClock
from chatladder.chat.formats.whatsapp_headers import (
    MARKS,
    ORDERS,
    WORDS,
    Dates,
    Header,
    Layout,
    match_header,
    read_date,
    unlikely_orders,
)
from chatladder.chat.formats.whatsapp_phrases import NOTICE, classify
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError

NAME = "whatsapp"
#: The servers keep a message for 30 days for a phone that is off. The phone writes it when it arrives, with the time at
#: which it was sent. Notices too are where they were written. The hour is the one that autumn repeats.
LATE_SECONDS = 30 * 86_400 + 3_600
#: The app does not allow a longer message. Such a message consists of another file's lines, in another layout.
LONGEST_TEXT = 65_536
#: Longer than any name that the app allows; before a colon it is a sentence.
LONGEST_NAME = 120
#: Lines of the head in which a message must start for the file to be an export.
FIRST_LINES = 5

#: The name that clients give the file, around the chat's name.
FILE_NAMES = re.compile("|".join(WORDS["file_names"]))
#: iOS's name for the file; the chat's name is that of its zip or folder.
IOS_NAMES = ("_chat", "chat")
SUFFIX = re.compile(r"\.(?:txt|zip)$", re.IGNORECASE)
COPY = re.compile(r"(?<!\s)\s*\(\d{1,3}\)$")

#: A prefix with an open quotation that occurs this often is a name.
REPEATED = 3
#: The most layouts that are compared in a file that starts in the middle of a message.
MOST_LAYOUTS = 100

QUOTES = re.compile('["“”„«»「」『』]')
PHONE = re.compile(r"\+?[(\d][\d ().-]{5,22}\d")
#: The app puts a name that it inserts between isolates; a number stands for a person without a name.
MENTION = re.compile(r"@\u2068(?P<name>[^\u2069\n]{1,120})\u2069 ?|(?<![\w@.+/-])@(?P<phone>\d{7,15})(?![\w@]|\.\w) ?")
#: A contact that a person sends is a file of that name.
CONTACT = re.compile(r"(?P<name>[^\n/\\:]{1,64})\.vcf\b")
#: The people of an event.
_WHO = r"([^\n\"“”„«»「」:]{1,120}?)"
HAPPENED = tuple(re.compile(pattern.replace("WHO", _WHO) + r"\W*") for pattern in WORDS["happened"])
#: Separators between several people.
SEVERAL = re.compile(r", |、| and | und | y | e | et |和")


class Survey(NamedTuple):
    """The result of a first pass over a file."""

    layout: Layout
    dates: Dates
    prefixes: Counter[str]  # text before ": " -> number of times


def detects(name: str, head: bytes) -> bool:
    """Return True if the first lines start a message, and its layout has a sender or the file an export's name."""
    lines = [line for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
    first = next((found for line in lines[:FIRST_LINES] if (found := match_header(line))), None)
    if first is None:
        return False
    if FILE_NAMES.fullmatch(_plain(name)):
        return True
    same = (found for line in lines if (found := match_header(line)) and found.layout == first.layout)
    return any(_split(found.rest, Counter()) for found in same)


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message for each message or notice, one Skipped for each line before the first."""
    survey = _survey(source)
    order = survey.dates.order(getattr(context, "date_order", "auto"), source.where)
    people = _People(context, survey.prefixes)
    clock = LocalClock(context.timezone)
    group = group_name(source)
    bracketed = survey.layout.is_bracketed
    resolution = 1 if survey.layout.has_seconds else 60
    for number, header, text in _records(source, survey.layout):
        if header is None:
            yield Skipped(number, "before_first_message" if text.strip() else "blank")
            continue
        day = read_date(header.date, order)
        if day is None:  # impossible unless the file changed: Dates has seen every line
            raise DataError(f"{source.where(number)}: expected a date in the order {order}. Did the file change?")
        seconds = clock.seconds(datetime.combine(day, time(*header.time)))
        split = _split(text, survey.prefixes)
        kind, said = classify(split[1].strip(), bracketed) if split else (NOTICE, "")
        if contact := CONTACT.match(MARKS.sub("", split[1])) if split else None:
            people.stranger(contact["name"])
        if split is None or kind == NOTICE:
            people.notice(split[1] if split else text)
            yield Message(number, group, "", seconds, "system", "", resolution)
            continue
        typed = MARKS.sub("", said)
        if kind in ("text", "other"):
            said = people.replace_mentions(said)
            kind = kind if said else "other"  # a view-once medium leaves nothing
        yield Message(number, group, people.sender(split[0]), seconds, kind, said, resolution, typed=typed)
    people.tell_strangers()


def _survey(source: Source) -> Survey:
    """Read the file once for the layout of its lines, the evidence for their dates, and the senders.

    Raises:
        DataError: If no line starts a message, or the text is not UTF-8.
    """
    layout = _layout(source)
    dates = Dates(unlikely_orders(layout.separator, layout.end))
    prefixes: Counter[str] = Counter()
    for number, line in source.texts():
        header = match_header(line)
        if header is not None and header.layout == layout and dates.add(header.date, number):
            prefix, colon, _ = header.rest.partition(": ")
            if colon and len(prefix) <= LONGEST_NAME:
                prefixes[prefix] += 1
    return Survey(layout, dates, prefixes)


def _layout(source: Source) -> Layout:
    """Return the layout of the first line; of most lines, if the file starts in the middle of a message."""
    layouts: Counter[Layout] = Counter()
    for number, line in source.texts():
        header = match_header(line)
        if header is None or not any(read_date(header.date, order) for order in ORDERS):
            continue
        if number == 1:
            return header.layout
        if header.layout in layouts or len(layouts) < MOST_LAYOUTS:
            layouts[header.layout] += 1
    if not layouts:
        raise DataError(
            f"{source.where(1)}: expected lines that start a message, such as 30/01/19, 20:49 - Ann: text, got none. "
            "This is no WhatsApp export."
        )
    return layouts.most_common(1)[0][0]


def _records(source: Source, layout: Layout) -> Iterator[tuple[int, Header | None, str]]:
    """Yield (line, header, everything after it), and lines before the first message without a header.

    Raises:
        DataError: If a message is longer than the app allows.
    """
    opened: tuple[int, Header] | None = None
    gathered: list[str] = []
    length = 0
    for number, line in source.texts():
        header = match_header(line)
        if header is not None and header.layout == layout and any(read_date(header.date, each) for each in ORDERS):
            if opened:
                yield *opened, "\n".join(gathered)
            opened, gathered, length = (number, header), [header.rest], len(header.rest)
        elif opened is None:
            yield number, None, line
        else:
            gathered.append(line)
            length += len(line) + 1  # with the line end: blank lines take memory too
            if length > 2 * LONGEST_TEXT:  # marks and blank lines are not part of the message
                raise DataError(
                    f"{source.where(opened[0])}: expected messages of at most {LONGEST_TEXT} characters, as the app "
                    "takes them, got a longer one. If exports of two phones are in this one file, separate them."
                )
    if opened:
        yield *opened, "\n".join(gathered)


def _split(rest: str, prefixes: Counter[str]) -> tuple[str, str] | None:
    """Return sender and text of what follows a header; None for a notice, which has no sender.

    A notice may hold ``": "`` inside a chat's quoted name, so a prefix with an open quotation is a sender only if it
    occurs repeatedly. A message without text ends in the colon, if an editor has removed the space.
    """
    line, newline, more = rest.partition("\n")
    prefix, colon, text = line.partition(": ")
    if not colon:
        prefix = line.removesuffix(":")
        return (prefix, more) if prefix != line and prefix in prefixes else None
    if not prefix.strip() or len(prefix) > LONGEST_NAME:
        return None
    if len(QUOTES.findall(prefix)) % 2 and prefixes[prefix] < REPEATED:
        return None
    return prefix, text + newline + more


class _People(People):
    """The senders and mentioned people of a file, by their names on the phone that exported it."""

    def __init__(self, context: Context, prefixes: Iterable[str]) -> None:
        """Take the prefixes before colons in the whole file: a number may be mentioned before it speaks."""
        super().__init__(context)
        numbers = [name for prefix in prefixes if PHONE.fullmatch(name := clean_name(prefix))]
        self._of_digits = {_digits(name): name for name in numbers}

    def sender(self, prefix: str) -> str:
        """Return the identity of the prefix before the colon."""
        name = clean_name(prefix)
        self._meet(name)
        return name

    def replace_mentions(self, text: str) -> str:
        """Return a text with pseudonyms for mentions, and without direction marks."""
        return MARKS.sub("", MENTION.sub(self._mention, text) if "@" in text else text)

    def _mention(self, match: re.Match[str]) -> str:
        if match["phone"]:
            name = self._of_digits.get(match["phone"], f"+{match['phone']}")
        else:
            name = clean_name(match["name"])
        self._meet(name)
        return self.mention(name)

    def notice(self, text: str) -> None:
        """Report the people whom an event names."""
        plain = MARKS.sub("", text)
        for pattern in HAPPENED if "\n" not in text else ():
            if match := pattern.fullmatch(plain):
                for names in filter(None, match.groups()):
                    for name in map(clean_name, SEVERAL.split(names)):
                        if name.casefold() not in WORDS["owner"]:
                            self.stranger(name)
                return

    def _meet(self, name: str) -> None:
        self.meet(name, name, *([_digits(name)] if PHONE.fullmatch(name) else []))


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)


def clean_name(name: str) -> str:
    """Return a person's name without direction marks, special spaces and hyphens, and the ``~`` of a non-contact."""
    plain = " ".join(MARKS.sub("", name).replace("\u2011", "-").split())
    return plain.removeprefix("~").strip() or name.strip() or name


def group_name(source: Source) -> str:
    """Return the chat's name from the app's name for the file, the zip or the folder; the same for all its exports."""
    name = _plain(source.plain_name)
    if name.lower() in IOS_NAMES:
        outer = source.folder or (source.path.name if source.archive is not None else "")
        name = _plain(outer) or name
    match = FILE_NAMES.fullmatch(name)
    found = next((each for each in match.groups() if each), name) if match else name
    return found.strip() or NAME


def _plain(file_name: str) -> str:
    """Return a file's name without suffix and without the number of a second download."""
    plain = COPY.sub("", SUFFIX.sub("", file_name)).strip()
    return plain.replace("_", " ") if "WhatsApp_" in plain else plain
