r"""KakaoTalk's exports of a chat: the text of Windows, Android and iOS, and the CSV of macOS.

::

    Friends 님과 카카오톡 대화
    저장한 날짜 : 2024-01-15 20:00:00

    --------------- 2024년 1월 15일 월요일 ---------------      Windows; English: Monday, January 15, 2024
    [Ann] [오후 8:49] text                                      English: [8:49 PM]
    Ann님이 Bob님을 초대했습니다.                                an event has no sender
    2024년 1월 15일 오후 8:49, Ann : text                       Android; English: 8:49pm, January 15, 2024, Ann : text
    2024. 1. 15. 오후 8:49, Ann : text                          iOS; English: Jan 15, 2024, 8:49 PM, Ann : text
    Date,User,Message                                           macOS
    2024-01-15 20:49:07,"Ann","text"

Kakao publishes no description; the shapes are those of https://github.com/suziewithz/kakaoship (log_samples), a reader
with samples of all four in Korean and English. Times are local, and only macOS writes seconds. There are no ids, so a
name identifies a person; phones write their owner as You or 회원님.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import NamedTuple

from chatladder.chat.formats.csv_rows import has_columns, named_rows
from chatladder.chat.formats.entries import entries
from chatladder.chat.formats.times import LocalClock, shape_of
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError

NAME = "kakaotalk"
#: The hour that autumn repeats, and a minute.
LATE_SECONDS = 3_660
HEADER = ("Date", "User", "Message")
HEAD_LINES = 12
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
OWNERS, OWNER = ("you", "회원님"), "kakaotalk_owner"

_KOREAN_CLOCK = r"(?:(?P<before>오전|오후) )?(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)"
_ENGLISH_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?: ?(?P<after>[AaPp][Mm]))?"
_NAME_DAY = r"(?P<name>[A-Z][a-z]{2,8}) (?P<day>\d{1,2}), (?P<year>\d{4})"
_KOREAN_DAY = r"(?P<year>\d{4})년 (?P<month>\d{1,2})월 (?P<day>\d{1,2})일"
_SAID = r"(?:, (?P<sender>[^\n]{1,120}?) : (?P<text>.*)|(?:, |: )(?P<notice>.*)|(?P<alone>))"
#: A line of a phone export, with day and clock.
STAMPED = tuple(
    re.compile(pattern + _SAID)
    for pattern in (
        rf"{_KOREAN_DAY} {_KOREAN_CLOCK}",
        rf"(?P<year>\d{{4}})\. (?P<month>\d{{1,2}})\. (?P<day>\d{{1,2}})\. {_KOREAN_CLOCK}",
        rf"{_ENGLISH_CLOCK}, {_NAME_DAY}",
        rf"{_NAME_DAY}(?:,| at) {_ENGLISH_CLOCK}",
    )
)
#: A line with a day only; Windows puts it between dashes.
DAY = re.compile(
    rf"(?:-{{5,}} )?(?:{_KOREAN_DAY} \w요일"
    r"|\w+day, (?P<name>[A-Z][a-z]{2,8}) (?P<eday>\d{1,2}), (?P<eyear>\d{4}))(?: -{5,})?\s*"
)
WINDOWS = re.compile(
    rf"\[(?P<sender>[^\n]{{1,120}}?)\] \[{_KOREAN_CLOCK}(?: (?P<after>[AP]M))?\]"
    r"(?: (?P<text>.*))?"
)
#: An event as Windows writes it, without a time; nobody types these words by chance.
BARE_NOTICE = re.compile(
    r"(?P<who>.{1,100}?)님이 (?:(?P<whom>.{1,400}?)님을 (?:초대|내보냈).*|(?:들어왔습니다|나갔습니다)\..*)"
    r"|(?P<mover>.{1,100}?) (?:joined|left) this chatroom\.?"
    r"|채팅방 관리자가 메시지를 가렸습니다\.|메시지가 삭제되었습니다\."
)
NOTICE = re.compile(rf"{BARE_NOTICE.pattern}|(?P<inviter>.{{1,100}}?) invited (?P<invited>.{{1,400}}?)\.?")
SEVERAL = re.compile(r"님과 |님, |, | and ")
#: The app's words in place of something that is not text, by kind.
PLACEHOLDER = re.compile(
    r"(?P<image>[<(]?(?:[Pp]hotos?|사진)(?: \d+장)?[>)]?)|(?:파일|File): (?P<file>.+)"
    r"|[<(]?(?:[Vv]ideo|동영상|[Ee]moticons?|이모티콘|음성메시지|지도|연락처|[Vv]oice message)[>)]?"
    r"|(?:보이스톡|페이스톡).{0,20}"
)
DELETED = ("삭제된 메시지입니다.", "This message was deleted.")


class Stamp(NamedTuple):
    """The start of an entry: a day, a message, or an event."""

    reason: str = ""  # why it makes no message
    day: tuple[int, int, int] | None = None  # year, month, day
    clock: tuple[int, int] | None = None  # hour, minute
    sender: str = ""  # empty for an event


def detects(name: str, head: bytes) -> bool:
    """Return True for the header of macOS, or a line of a message among the first lines."""
    if has_columns(head, *HEADER):
        return True
    lines = [line for line in head.decode("utf-8", "replace").splitlines() if line.strip()][:HEAD_LINES]
    starts = [found[0] for line in lines if (found := _start(line))]
    on_windows = any(each.reason == "day" for each in starts) and any(each.clock and not each.day for each in starts)
    return on_windows or any(each.sender and each.day for each in starts)


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message for each entry, Skipped for heads and days (see ``chatladder.chat.formats``)."""
    people = People(context)
    clock = LocalClock(context.timezone)
    group = re.sub(r"\.(?:txt|csv)$", "", source.plain_name, flags=re.IGNORECASE).strip() or NAME
    if has_columns(source.head(), *HEADER):
        for line, cells in named_rows(source, HEADER):
            if cells is None:
                yield Skipped(line, "blank")
                continue
            moment = _moment(cells["Date"], source.where(line))
            yield _message(line, group, cells["User"], cells["Message"], people, clock.seconds(moment), 1)
        people.tell_strangers()
        return
    today: date | None = None
    now: time | None = None
    for number, stamp, text in entries(source, _start):
        if stamp is None:
            yield Skipped(number, "file_head" if text.strip() else "blank")
            continue
        try:
            today = date(*stamp.day) if stamp.day else today
            now = time(*stamp.clock) if stamp.clock else now
        except ValueError:
            raise DataError(
                f"{source.where(number)}: expected a date and a time, got some that do not exist."
            ) from None
        if stamp.reason:
            now = time(0) if stamp.day and not stamp.clock else now
            yield Skipped(number, stamp.reason)
        elif today is None or now is None:
            raise DataError(
                f"{source.where(number)}: expected a day before this line, got none. Export the chat again."
            )
        else:
            seconds = clock.seconds(datetime.combine(today, now))
            yield _message(number, group, stamp.sender, text, people, seconds, 60)
    people.tell_strangers()


def _start(line: str) -> tuple[Stamp, str] | None:
    if match := WINDOWS.fullmatch(line):
        return Stamp(clock=_clock(match), sender=match["sender"]), match["text"] or ""
    if match := DAY.fullmatch(line):
        year, day = match["year"] or match["eyear"], match["day"] or match["eday"]
        month = int(match["month"]) if match["month"] else _month(match["name"])
        return Stamp("day", (int(year), month, int(day))), ""
    for pattern in STAMPED:
        if match := pattern.fullmatch(line):
            names = match.groupdict()
            month = int(match["month"]) if names.get("month") else _month(match["name"])
            day = int(match["year"]), month, int(match["day"])
            reason = "day" if match["sender"] is None and match["notice"] is None else ""
            return Stamp(reason, day, _clock(match), match["sender"] or ""), match["text"] or match["notice"] or ""
    return (Stamp(), line) if BARE_NOTICE.fullmatch(line) else None


def _month(name: str) -> int:
    """Return the number of an English month; 0, which is no month, for another word."""
    return MONTHS.index(name[:3].lower()) + 1 if name[:3].lower() in MONTHS else 0


def _clock(match: re.Match[str]) -> tuple[int, int]:
    groups = match.groupdict()
    half, hour = (groups.get("before") or groups.get("after") or "").lower(), int(match["hour"])
    if half and hour <= 12:
        hour = hour % 12 + (12 if half in ("오후", "pm") else 0)
    return hour, int(match["minute"])


def _moment(text: str, where: str) -> datetime:
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise DataError(
            f"{where}: expected a time such as 2024-01-15 20:49:07, got one like {shape_of(text)!r} (9 for a digit, "
            "a for letters)."
        ) from None


def _message(
    line: int, group: str, sender: str, text: str, people: People, seconds: int, resolution: int
) -> Message | Skipped:
    """Return a message, or a notice, which macOS writes under the name of the person who acted."""
    sender, text = sender.strip(), text.strip()
    if notice := NOTICE.fullmatch(text) if text.startswith(sender) else None:
        for names in filter(None, notice.groups()):
            for name in SEVERAL.split(names):
                people.stranger(name)
    if not sender or notice or text in DELETED:
        return Message(line, group, "", seconds, "system", "", resolution)
    if sender.lower() in OWNERS:
        sender = OWNER
    else:
        people.meet(sender)
    kind, said = ("text" if text else "other"), text
    if placeholder := PLACEHOLDER.fullmatch(text):
        kind = "image" if placeholder["image"] else "file" if placeholder["file"] else "other"
        said = placeholder["file"] or ""
    return Message(line, group, sender, seconds, kind, said, resolution)
