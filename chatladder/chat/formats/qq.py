r"""QQ's text export (message manager, "export all records" as .txt): one chat, or a whole account's chats, a file.

::

    消息记录（此消息记录为文本格式，不支持重新导入）

    ================================================================
    消息分组:我的群聊
    ================================================================
    消息对象:ROS 交流群
    ================================================================

    2019-09-23 20:43:38 【管理员】小明(12345)        a group: name and QQ number, or <mail address>
    what he says
    in two lines

    2019-09-23 8:44:09 PM 小红                      a private chat, or a discussion group: only the name

An entry starts at a line of a date, a time and a name. A date and a time alone are a person's text, and so is any such
line in the middle of an entry in a file that puts a blank line before each entry. Blank lines do not count as text,
since the export adds them. Windows writes the time by its settings, so 12 hours with AM are read too. The maker
publishes no description; the shapes come from kifuan/qq-chat-history and from what other readers of exports expect.

kifuan/qq-chat-history itself is not used: it reads the whole file into memory, without lines, groups or notices.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import chain, pairwise
from typing import NamedTuple

from chatladder.chat.formats.times import LocalClock
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError

NAME = "qq"
#: QQ writes a chat's entries in order of time; the hour that autumn repeats, and a minute.
LATE_SECONDS = 3_660
#: Far longer than any entry: a file without entries must not be read into memory whole.
LONGEST_TEXT = 2**20

ENTRY = re.compile(
    r"(?P<date>\d{4}[-/]\d{1,2}[-/]\d{1,2}) (?:(?P<before>上午|下午) ?)?(?P<time>\d{1,2}:\d\d:\d\d)"
    r"(?: (?P<after>AM|PM|上午|下午))? (?P<name>.*\S.*)"
)
#: A number or a mail address at the end of the name; the name before it may contain brackets.
IDENTITY = re.compile(r"(?P<name>.*?)(?:\((?P<number>\d{1,12})\)|<(?P<mail>[^<>\s@]{1,64}@[^<>\s@]{1,255})>)")
#: A shorter number is an account only if every name has a number.
SHORTEST_ACCOUNT = 5
#: 【管理员】, 【潜水】: titles that the group gives its members.
TITLES = re.compile(r"(?:【[^【】]{0,24}】)+")
RULE = re.compile(r"={8,}")
FIELD = re.compile(r"消息(?P<field>分组|对象)[:：](?P<value>.*)")
FILE_START = "消息记录（此消息记录为文本格式"
#: Accounts of QQ itself, and its name in a private chat.
SYSTEM_SENDERS = ("10000", "1000000", "系统消息")
#: The account of every anonymous member; the name that QQ makes up distinguishes them.
ANONYMOUS = "80000000"

#: The app's words in place of something that is not text, by kind.
PLACEHOLDER = re.compile(
    r"\[(?:(?P<image>图片|闪照)|(?P<file>文件)|(?P<link>链接|分享|卡片消息|小程序)"
    r"|(?P<other>表情|动画表情|语音|视频|位置|地理位置|红包|转账|音乐|戳一戳|窗口抖动|语音通话|视频通话|聊天记录|礼物))\]"
)
FILE = re.compile(r"\[文件\] ?(?P<name>[^\n]{1,255})")
RECALL = re.compile(r"[^\n]{0,64}撤回了(?:一条|.{1,32}的)消息[^\n]{0,16}")
#: The people whom a notice names: before their action, or inside an action on them.
NAMED = re.compile(
    r"(?:^(?:管理员|群主)?(?:将|把|撤回了)?|邀请|[，,]|移出)\s?(?P<name>[^\n，,()]{1,64}?)\s?(?:\((?P<number>\d{5,12})\))?\s?"
    r"(?=邀请|撤回了|的消息|加入|进入|退出|离开|被|移出|成为|通过|修改|设置|设为|开启|关闭|领取|获得)"
)
NOBODY = ("你", "管理员", "群主", "成员", "新人", "大家", "系统", "有成员")
LONGEST_NOTICE = 400
#: QQ ends a mention with a space; the name may contain spaces.
MENTION = re.compile(r"(?<![A-Za-z0-9._%+-])@([^@\n]{1,64})")
EVERYBODY = "全体成员"


class Entry(NamedTuple):
    """The first line of an entry."""

    local: datetime
    name: str  # as in the file, with title and account


class Survey(NamedTuple):
    """The result of a first pass over a file."""

    is_spaced: bool  # True if a blank line precedes each entry
    has_accounts: bool  # True if every name has a number or a mail address
    groups: dict[int, str]  # line of "消息对象" -> group
    people: dict[str, str]  # name -> identity; empty if several people have the name


def detects(name: str, head: bytes) -> bool:
    """Return True for QQ's first line, a head between rules and then an entry, or an entry with an account."""
    lines = [line.strip() for line in head.decode("utf-8", "replace").split("\n") if line.strip()]
    if any(line.startswith(FILE_START) or FIELD.fullmatch(line) for line in lines[:8]):
        return True
    if not lines:
        return False
    first = _entry(lines[0])
    if first is not None:
        return IDENTITY.fullmatch(first.name) is not None
    ruled = RULE.fullmatch(lines[0]) and any(map(RULE.fullmatch, lines[1:6]))
    return bool(ruled) and any(map(_entry, lines))


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message for each entry, one Skipped for each line of a head (see ``chatladder.chat.formats``)."""
    survey = _survey(source)
    group = _file_group(source)
    clock = LocalClock(context.timezone)
    people = People(context)
    for number, entry, text in _records(source, survey.is_spaced):
        if entry is None:
            if number in survey.groups:
                group, clock = survey.groups[number], LocalClock(context.timezone)
            yield Skipped(number, "file_head" if text.strip() else "blank")
            continue
        sender, alias = _person(entry.name, survey.has_accounts)
        kind, said = _content(text)
        if kind == "system" or sender in SYSTEM_SENDERS:
            meet_in_notice(text.strip(), people)
        if sender in SYSTEM_SENDERS:
            sender, kind, said = "", "system", ""
        else:
            people.meet(sender, alias)
        typed = said
        if kind == "text":
            said = _replace_mentions(said, survey.people, context)
        yield Message(number, group, sender, clock.seconds(entry.local), kind, said, typed=typed)
    people.tell_strangers()


def _survey(source: Source) -> Survey:
    """Read the file once, for the form of its entries and for all people in it."""
    entries = spaced = bare = 0  # spaced: after a blank line; bare: without an account
    before = ""
    names: set[str] = set()
    sections: list[tuple[int, str, str]] = []
    subgroup = ""
    for number, line in source.texts():
        after_rule = RULE.fullmatch(before) is not None
        if entry := _entry(line):
            names.add(entry.name)
            entries += 1
            spaced += not before or after_rule
            bare += (not before or after_rule) and IDENTITY.fullmatch(entry.name) is None
        elif (after_rule or not entries) and (field := FIELD.fullmatch(line)):
            value = field["value"].strip()
            if field["field"] == "分组":
                subgroup = value
            else:
                sections.append((number, subgroup, value))
        before = line.strip()
    people: dict[str, str] = {}
    for name in sorted(names):
        identity, alias = _person(name, not bare)
        if alias:
            people[alias] = identity if people.get(alias, identity) == identity else ""
    # The first entry always has the head before it.
    return Survey(2 * (spaced - 1) >= entries - 1, not bare, _groups(sections), people)


def _groups(sections: list[tuple[int, str, str]]) -> dict[int, str]:
    """Return the names of an account's chats; chats of one name are distinguished by the folder, then by a number."""
    same_name = Counter(name for _, _, name in sections)
    same: Counter[tuple[str, str]] = Counter()
    groups: dict[int, str] = {}
    for number, subgroup, name in sections:
        same[subgroup, name] += 1
        if same_name[name] > 1:
            ordinal = same[subgroup, name]
            name = f"{name} ({subgroup}{f' {ordinal}' if ordinal > 1 else ''})"
        groups[number] = name or NAME
    return groups


def _records(source: Source, is_spaced: bool) -> Iterator[tuple[int, Entry | None, str]]:
    """Yield (line, entry, text) of each entry, and the lines of a head without an entry.

    Raises:
        DataError: If an entry does not end.
    """
    opened: tuple[int, Entry] | None = None
    gathered: list[str] = []
    length = 0
    boundary = True
    for (number, line), (_, after) in pairwise(chain(source.texts(), [(0, "")])):
        entry = _entry(line) if opened is None or boundary or not is_spaced else None
        is_rule = RULE.fullmatch(line) is not None
        if opened and (entry or (is_rule and (FIELD.fullmatch(after) or _entry(after)))):
            yield *opened, "\n".join(gathered)
            opened = None
        boundary = is_rule or not line.strip()
        if entry:
            opened, gathered, length = (number, entry), [], 0
        elif opened is None:
            yield number, None, line
        elif line.strip():
            gathered.append(line)
            length += len(line)
            if length > LONGEST_TEXT:
                raise DataError(
                    f"{source.where(opened[0])}: expected entries of at most {LONGEST_TEXT} characters, got a longer "
                    "one. Export the chat again as text."
                )
    if opened:
        yield *opened, "\n".join(gathered)


def _entry(line: str) -> Entry | None:
    """Return the entry that a line starts with a date that exists, a time and a name; else None."""
    match = ENTRY.fullmatch(line)
    if match is None:
        return None
    year, month, day = map(int, re.split("[-/]", match["date"]))
    hour, minute, second = map(int, match["time"].split(":"))
    half = match["before"] or match["after"]
    if half and hour <= 12:
        hour = hour % 12 + (12 if half in ("PM", "下午") else 0)
    try:
        return Entry(datetime(year, month, day, hour, minute, second), match["name"].strip())
    except ValueError:
        return None


def _person(name: str, has_accounts: bool) -> tuple[str, str]:
    """Return the identity of a name in the file, and the name without title and account."""
    match = IDENTITY.fullmatch(name)
    account = ""
    if match and (match["mail"] or has_accounts or len(match["number"]) >= SHORTEST_ACCOUNT):
        account, name = match["mail"] or match["number"], match["name"]
    title = TITLES.match(name)
    alias = name[title.end() :].strip() if title else name.strip()
    return (alias or name) if account in ("", ANONYMOUS) else account, alias


def meet_in_notice(notice: str, people: People) -> None:
    """Report the people named in QQ's own words, by number if it is given."""
    for match in NAMED.finditer(notice[:LONGEST_NOTICE]):
        name = match["name"].strip()
        if match["number"]:
            people.meet(match["number"], name)
        elif name not in NOBODY:
            people.stranger(name)


def _content(text: str) -> tuple[str, str]:
    """Return kind and text of an entry; the notice of a recall is all names, so its text is dropped."""
    text = text.strip()
    if RECALL.fullmatch(text):
        return "system", ""
    if found := FILE.fullmatch(text):
        return "file", found["name"].strip()
    kinds = {match.lastgroup for match in PLACEHOLDER.finditer(text)}
    if text and (not kinds or PLACEHOLDER.sub("", text).strip()):
        return "text", text
    return next((kind for kind in ("image", "file", "link") if kind in kinds), "other"), ""


def _replace_mentions(text: str, people: dict[str, str], context: Context) -> str:
    """Replace ``@name `` by ``@<pseudonym> ``, for the longest name that a person in the file has."""

    def replaced(match: re.Match[str]) -> str:
        words = match[1].split(" ")
        for count in range(len(words), 0, -1):
            name = " ".join(words[:count])
            if name == EVERYBODY or name in people:
                identity = people.get(name)
                person = "all" if identity is None else context.pseudonyms.person(identity) if identity else "<user>"
                return f"@{person} {' '.join(words[count:])}"
        return match[0]

    return MENTION.sub(replaced, text) if "@" in text else text


def _file_group(source: Source) -> str:
    """Return the group's name if the file holds none: the file's own name."""
    return re.sub(r"\.txt$", "", source.plain_name, flags=re.IGNORECASE).strip() or NAME
