r"""LINE's text export ("Export chat history"), one file a chat.

::

    [LINE] Chat history in Friends            the chat, in the app's language; "with Ann" for a direct one
    Saved on: 2024/1/15 20:00

    2024/01/15(Mon)                         a day: also "Mon, 1/15/2024", 2024.01.15 Monday, 2024/1/15(月)
    20:49\tAnn\ttext                         fields are separated by tabs
    20:50\tBob\t"first line                  a text of several lines is in quotes
    second line"
    下午08:51\t\tAnn已加入群組                an event has no sender
    08:52PM\tAnn unsent a message.

LINE publishes no description; the shapes are those that readers of exports expect (https://github.com/ChatLab/ChatLab,
the parser line-native-txt, and https://github.com/jyu0414/linelog2py). Times are local and have no seconds. There are
no ids, so a name identifies a person. Exports of old desktop versions separate the fields by blanks: they are not read,
because the end of a name is unknown then. English dates put the month or the day first: the name of the day decides.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import NamedTuple

from chatladder.chat.formats.entries import entries
from chatladder.chat.formats.times import LocalClock
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError

NAME = "line"
#: The hour that autumn repeats, and a minute.
LATE_SECONDS = 3_660
HEAD_LINES = 40

_DAY = r"(?P<year>\d{4})(?P<sep>[./])(?P<month>\d{1,2})(?P=sep)(?P<day>\d{1,2})\s?[(（]?[^\W\d]{1,12}\.?[)）]?"
_ENGLISH_DAY = r"(?P<name>Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? (?P<a>\d{1,2})/(?P<b>\d{1,2})/(?P<c>\d{4})"
DAY = re.compile(rf"(?:{_DAY}|{_ENGLISH_DAY})\s*")
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HALF = "上午|下午|午前|午後|오전|오후"
LINE = re.compile(
    rf"(?P<before>{_HALF})? ?(?P<hour>\d{{1,2}}):(?P<minute>[0-5]\d)(?: ?(?P<after>[AaPp][Mm]))?\t(?P<rest>.*)"
)
AFTERNOON = ("下午", "午後", "오후", "pm")
TITLE = re.compile(
    r"(?:\[LINE\] ?)?Chat history (?:with|in) (?P<en>.+)|\[LINE\] ?(?:(?P<ja>.+?)(?:と)?のトーク履歴"
    r"|[与與]?(?P<zh>.+?)的(?:聊天记录|聊天記錄|对话)|ประวัติการสนทนา(?:กับ|ใน)\s?(?P<th>.+)|(?P<other>.+))"
)
#: The app's words in place of something that is not text, by kind.
PLACEHOLDER = re.compile(
    r"\[(?:(?P<image>Photo|照片|写真|사진|ภาพ|รูป)|Video|视频|影片|動画|동영상|วิดีโอ"
    r"|Sticker|贴图|貼圖|スタンプ|스티커|สติกเกอร์|Voice message|語音訊息|语音信息|ボイスメッセージ)\]"
    r"|\[(?:(?P<file>File|文件|檔案|ファイル|파일|ไฟล์)|Location|Contact|Album|Notes?"
    r"|位置|位置情報|連絡先|聯絡資訊|記事本|记事本|ノート|アルバム|相簿)\](?P<rest>.*)|☎.*",
    re.DOTALL,
)
#: The people whom a notice names.
NAMED = re.compile(
    r"(?P<who>.{1,100}?)(?: (?:joined|left|unsent|added|removed|invited|changed) "
    r"|已?(?:加入|退出|離開|收回|撤回)|が|已將|已将|已新增)"
    r"(?:(?P<whom>.{1,100}?)(?: to the | from the |をグループ|を招待|添加|至群|加入))?"
)


class Stamp(NamedTuple):
    """The start of an entry: a day, or the time of a message or event."""

    day: tuple[int, int, int] | None  # year, month, day
    clock: tuple[int, int] | None = None  # hour, minute
    sender: str = ""  # empty for an event


def detects(name: str, head: bytes) -> bool:
    """Return True for the app's first line, or a day and a tab-separated line among the first lines."""
    lines = head.decode("utf-8", "replace").splitlines()[:HEAD_LINES]
    if any(line.startswith("[LINE]") for line in lines[:2]):
        return True
    return any(map(DAY.fullmatch, lines[:5])) and any(map(LINE.fullmatch, lines))


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message for each entry, Skipped for heads and days (see ``chatladder.chat.formats``)."""
    people = People(context)
    clock = LocalClock(context.timezone)
    group = re.sub(r"^\[LINE\] ?|\.txt$", "", source.plain_name, flags=re.IGNORECASE).strip() or NAME
    today: date | None = None
    for number, stamp, text in entries(source, _start):
        if stamp is None:
            if title := TITLE.fullmatch(text.strip()):
                group = next(each for each in title.groups() if each).strip()
            yield Skipped(number, "file_head" if text.strip() else "blank")
            continue
        try:
            today = date(*stamp.day) if stamp.day else today
            moment = datetime.combine(today, time(*stamp.clock)) if today and stamp.clock else None
        except ValueError:
            raise DataError(
                f"{source.where(number)}: expected a date and a time, got some that do not exist."
            ) from None
        if stamp.day:
            yield Skipped(number, "day")
            continue
        if moment is None:
            raise DataError(
                f"{source.where(number)}: expected a day such as 2024/01/15(Mon) before this line, got none."
            )
        kind, said = _content(text) if stamp.sender else ("system", "")
        if stamp.sender:
            people.meet(stamp.sender)
        elif named := NAMED.match(text[:400]):
            for who in filter(None, named.group("who", "whom")):
                people.stranger(who)
        yield Message(number, group, stamp.sender, clock.seconds(moment), kind, said, 60)
    people.tell_strangers()


def _start(line: str) -> tuple[Stamp, str] | None:
    if match := LINE.fullmatch(line):
        half = (match["before"] or match["after"] or "").lower()
        hour = int(match["hour"])
        if half and hour <= 12:
            hour = hour % 12 + (12 if half in AFTERNOON else 0)
        sender, tab, text = match["rest"].partition("\t")
        return Stamp(None, (hour, int(match["minute"])), sender.strip() if tab else ""), text if tab else sender
    match = DAY.fullmatch(line)
    if match is None:
        return None
    if match["year"]:
        return Stamp((int(match["year"]), int(match["month"]), int(match["day"]))), ""
    return Stamp(_english_day(match)), ""


def _english_day(match: re.Match[str]) -> tuple[int, int, int]:
    """Return year, month and day, the month first unless the name of the day says otherwise."""
    first, second, year = int(match["a"]), int(match["b"]), int(match["c"])
    for month, day in ((first, second), (second, first)):
        try:
            if date(year, month, day).weekday() == DAY_NAMES.index(match["name"]):
                return year, month, day
        except ValueError:
            continue
    return year, first, second


def _content(text: str) -> tuple[str, str]:
    """Return (kind, text) of a message."""
    text = text.strip()
    if "\n" in text and text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace('""', '"')
    placeholder = PLACEHOLDER.fullmatch(text)
    if placeholder is None:
        return ("text" if text else "other"), text
    kind = next((each for each in ("image", "file") if placeholder[each]), "other")
    return kind, (placeholder["rest"] or "").strip() if kind == "file" else ""
