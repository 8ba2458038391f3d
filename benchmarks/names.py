r"""How many names of people are replaced in texts, and how many harmless words with them, for every export format.

Example:
    python -m benchmarks.names --seed 1 --seed 2 --out /tmp/names.json
    python -m benchmarks.names --seed 1 --irc shared/data/irc --before /tmp/before.json --write docs/how-to/privacy.md

People of many kinds (Chinese names of two to four characters, nicks, names of other scripts, three people of one first
name) are put into one chat, which is written in each format as that format holds names, and read by ``stages.ingest``.
Then others speak of them, by the whole name or a part of it, and say things that only look like names. A name counts as
found if nothing of it is left in the text; a harmless text counts as spoilt if anything in it was replaced. Names come
from faker with a seed, and a third of the Latin ones from syllables that are in no list.
"""

import io
import json
import random
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import pyarrow.parquet as pq
from faker import Faker

from chatladder.chat.messages import ingest
from chatladder.chat.options import ExportOptions
from chatladder.privacy.pseudonyms import Pseudonyms
from tests import planted_wechat
from tests.planted_messengers import MESSENGERS

START = 1_705_312_800  # 2024-01-15 10:00 UTC
DAY = "2024-01-15"
ROOM = "20814553575@chatroom"
CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
TOKEN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\\w+")
COMPOUND = "欧阳 司马 上官 诸葛 皇甫 尉迟 慕容 令狐 端木 夏侯 公孙 宇文 长孙 司徒 南宫 独孤"
GIVEN = "娜娜 子轩 梓涵 浩然 思远 佳怡 雨桐 俊熙 若兮 芷晴 丽丽 一诺 明哲 静怡 嘉豪 晓燕"
NICK_STARTS = "月亮 云朵 咸鱼 橘猫 星河 芝士 奶茶 晚风 海盐 柠檬 松鼠 北极熊 土豆 花卷"
NICK_ENDS = "打烊了 不加班 在散步 想睡觉 翻了个身 爱吃糖 去远方 数星星 还没醒 不说话"
SYLLABLES = "tha ven ro zil ka dre mor phi jun ael wex bra quo dal nim osk yre cha lop fen gri"
#: Nicks that are words, but rare ones: without a capital letter they are ambiguous.
RARE_NICKS = "Kestrel Zephyr Totoro Nimbus Quokka Basilisk Marmot Obsidian Tundra Saffron Cobalt Pangolin"
#: Nicks that are words; only an @ shows that the person is meant.
WORD_NICKS = ("linux", "install", "hope", "安装", "天空", "高兴")
#: First names that are words; they are not searched for, but must not spoil anything.
WORD_NAMES = ("Rose Miller", "Mark Bell", "Will Frost", "Bill Stone", "Frank Price", "Jack Summers", "May Penny")
ENGLISH = ("{} knows how it works", "I asked {} yesterday and it failed", "could somebody ask {} about that?")
CHINESE = ("今天{}来吗", "我觉得{}说得对", "这个要问{}才知道", "{}昨天装好了")
#: Texts without a person, though people have such names or words look like names.
HARMLESS = """
how do I install linux on this machine
the rose garden is closed today
I hope that it works on Linux
the moon is bright tonight
we fly from Paris to London and then to Berlin
PyTorch 2.1 needs CUDA 12 on Ubuntu
did you mark it as read in the mail client?
a frank answer would be welcome
will you bill them in april or in may?
the docker image is on GitHub
my phone is an iPhone and his is a Galaxy
git pull, then make install
python max_len.py --mode fast
see README.md and CONTRIBUTING.md
don't rob the bank
the jack is broken and the ray tracer is slow
it costs a penny in the long run
grant all rights to the admin user
summer is over and autumn begins
use drop table with care
where is the config of nginx and redis?
thanks, that works
hi all, any news?
sorry for the noise
the array has a null in it
chase the bug down the stack
is there a way to sort by date?
why does the kernel panic on boot?
turn left at the church in Washington
the deadline is in May, not in June
put the Mark on line 5
a case in Rose Gold, please
the victoria line is late
月亮很圆，今天天空很蓝
怎么安装这个软件
明天上海下雨吗
小米手机和华为手机哪个好
请问这个报错怎么解决
我刚装好系统，网络不通
北京到广州的高铁要多久
这个项目的文档在哪里
云朵好漂亮，晚风也舒服
奶茶和咖啡都可以
我想睡觉了，明天再说
土豆炖牛肉怎么做
显卡驱动装不上，黑屏了
数据库连接超时怎么办
配置文件在家目录下面
代码已经提交了，请看一下
星河和大海哪个更美
橘猫在窗台上晒太阳
会议改到下午三点
他们都说没问题
高温天气要多喝水
程序运行很慢，内存不够
石头剪刀布谁赢了
周末一起去爬山吗
""".strip().splitlines()


class Person(NamedTuple):
    """A person of the chat."""

    kind: str
    name: str
    parts: tuple[str, ...] = ()  # names that friends use


class Said(NamedTuple):
    """A text, its sender, and the part of it that must be replaced."""

    sender: int
    text: str
    kind: str = ""  # whole, part, harmless, or nothing
    gone: str = ""
    of: str = ""  # kind of the person


def people(seed: int) -> list[Person]:
    """Return the people of a chat, the same for the same seed."""
    rng = random.Random(seed)
    found: dict[str, Person] = {}

    def add(kind: str, name: str, *parts: str) -> None:
        if len(name) > 1 and name.casefold() not in found:
            found[name.casefold()] = Person(kind, name, parts)

    fakers = {}
    for locale in ("zh_CN", "en_US", "en_GB", "de_DE", "es_ES", "fr_FR", "ru_RU", "ja_JP", "ko_KR", "hi_IN", "pl_PL"):
        fakers[locale] = Faker(locale)
        fakers[locale].seed_instance(seed)
    chinese = fakers["zh_CN"]
    for _ in range(8):
        surname, given = chinese.last_name()[:1], chinese.first_name()
        add("Chinese", surname + given[:1])
        add("Chinese", surname + rng.choice(GIVEN.split()))
        add(
            "compound surname",
            (name := rng.choice(COMPOUND.split())) + (given := rng.choice(GIVEN.split())),
            name,
            given,
        )
        add("Chinese nick", rng.choice(NICK_STARTS.split()) + rng.choice(NICK_ENDS.split()))
        add("Chinese nick", f"{rng.choice('小阿')}{surname}{rng.choice('🌸🐟🍀✨')}")
        add("handle", f"{syllables(rng)}_{syllables(rng)}{rng.randrange(10, 99)}")
        add("handle", f"{syllables(rng)}{rng.randrange(1970, 2010)}")
    for locale, faker in fakers.items():
        for _ in range(4 if locale.startswith("en") else 2):
            first, last = faker.first_name(), faker.last_name()
            if locale in ("ja_JP", "ko_KR"):
                add("other script", last + first, *(part for part in (first,) if len(part) > 1))
            elif locale in ("ru_RU", "hi_IN"):
                add("other script", f"{first} {last}", first)
            elif not locale.startswith("zh"):
                add("first and last name", f"{first} {last}", first)
    for _ in range(8):
        add("no list has it", f"{(first := syllables(rng).title())} {syllables(rng).title()}", first)
    first, given = fakers["en_US"].first_name(), rng.choice(GIVEN.split())
    for surname in rng.sample(["Whitfield", "Okafor", "Lindqvist", "Marchetti", "Novak"], 3):
        add("three bearers", f"{first} {surname}", first)
    for surname in rng.sample("赵钱孙周吴郑冯陈", 3):
        add("three bearers", surname + given, given)
    for name in rng.sample(RARE_NICKS.split(), 3):
        add("rare word", name)
    for name in WORD_NAMES:
        add("a word, too", name)
    return list(found.values()) + [Person("word", name) for name in WORD_NICKS]


def syllables(rng: random.Random) -> str:
    """Return a meaningless word of three syllables."""
    return "".join(rng.sample(SYLLABLES.split(), 3))


def conversation(chat: list[Person], seed: int, spaces: bool = True) -> list[Said]:
    """Return the texts about them, shuffled; ``spaces`` is False if names have none."""
    rng = random.Random(seed)
    said = []
    for person in chat:
        sender = rng.randrange(len(chat))
        name = person.name if spaces else person.name.replace(" ", "")
        is_cjk = CJK.search(name) is not None
        mention = f"@{name} 看下" if is_cjk else f"@{name} have a look"
        said.append(Said(sender, mention, "whole", name, person.kind))
        if person.kind == "word":
            continue
        whole = [name, *(each.format(name) for each in rng.sample(CHINESE if is_cjk else ENGLISH, 2))]
        whole.append(f"简历_{name}_v2.pdf" if is_cjk else f"see CV_{name.replace(' ', '_')}_v2.pdf")
        if not is_cjk:
            whole.append(rng.choice(ENGLISH).format(name.lower()))
        said += [Said(sender, text, "whole", name, person.kind) for text in whole]
        for part in person.parts if spaces else ():
            template = rng.choice(CHINESE if CJK.search(part) else ENGLISH)
            said.append(Said(sender, template.format(part), "part", part, person.kind))
    words = [Faker("en_US"), Faker("zh_CN")]
    for faker in words:
        faker.seed_instance(seed)
    harmless = [*HARMLESS, *(faker.sentence().rstrip(".") for faker in words for _ in range(60))]
    said += [Said(rng.randrange(len(chat)), text, "harmless") for text in dict.fromkeys(harmless)]
    rng.shuffle(said)
    return [*(Said(number, "ok") for number in range(len(chat))), *said]


def clock(number: int) -> str:
    """Return HH:MM:SS of a message."""
    return f"{10 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"


def table(chat: list[Person], said: list[Said]) -> bytes:
    rows = (
        {"sender": chat[each.sender].name, "timestamp": START + at, "text": each.text} for at, each in enumerate(said)
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def wechat(chat: list[Person], said: list[Said]) -> bytes:
    """Return the export; each name occurs in one of four ways, and only once."""
    records = []
    for at, each in enumerate(said):
        data: dict[str, Any] = {"content": each.text}
        type_ = "80001"
        if at < len(chat):
            name, next_one = chat[at].name, f"wxid_{(at + 1) % len(chat)}xy"
            told = chat[(at + 1) % len(chat)].name  # its number decides the way
            if at % 4 == 0:
                data = {"content": f"@{told}\u2005ok", "atlist": [next_one]}
            elif at % 4 == 1:
                quoted = f"<chatusr>{next_one}</chatusr><displayname><![CDATA[{told}]]></displayname>"
                type_, data = "80014", {"title": "ok", "content": f"<msg><refermsg>{quoted}</refermsg></msg>"}
            elif at % 4 == 2:
                member = f"<username>{next_one}</username><nickname><![CDATA[{told}]]></nickname>"
                notice: dict[str, Any] = {
                    "content": f'<sysmsg type="sysmsgtemplate"><member>{member}</member></sysmsg>'
                }
                notice |= {"fromGroup": ROOM, "fromUser": "x", "newMsgId": -at, "timestamp": START + at}
                records.append(json.dumps({"messageType": "80010", "data": notice}, ensure_ascii=False) + "\n")
            if at % 4 == 0:  # the fourth way: the phone's line, for those who are in none of the other three
                data["pushContent"] = f"{name} : {data['content']}"
        data |= {"fromGroup": ROOM, "fromUser": f"wxid_{each.sender}xy", "newMsgId": at + 1, "timestamp": START + at}
        records.append(json.dumps({"messageType": type_, "data": data}, ensure_ascii=False, indent=2) + "\n")
    return "".join(records).encode()


def telegram(chat: list[Person], said: list[Said]) -> bytes:
    messages = [
        {"id": at + 1, "type": "message", "date": f"{DAY}T{clock(at)}", "date_unixtime": str(START + at)}
        | {"from": chat[each.sender].name, "from_id": f"user{1000 + each.sender}", "text": each.text}
        for at, each in enumerate(said)
    ]
    return json.dumps({"name": "c", "type": "private_supergroup", "id": 5, "messages": messages}, indent=1).encode()


def discord(chat: list[Person], said: list[Said]) -> bytes:
    messages = [
        {"id": str(10 + at), "type": "Default", "timestamp": f"{DAY}T{clock(at)}+00:00", "content": each.text}
        | {"author": {"id": str(1000 + each.sender), "name": f"acc{each.sender}q", "nickname": chat[each.sender].name}}
        | {"isPinned": False, "timestampEdited": None, "mentions": []}
        for at, each in enumerate(said)
    ]
    return json.dumps({"guild": {"id": "1"}, "channel": {"id": "2"}, "messages": messages}).encode()


def slack(chat: list[Person], said: list[Said]) -> bytes:
    users = [{"id": f"U{n:08}", "name": f"acc{n}q", "profile": {"real_name": each.name}} for n, each in enumerate(chat)]
    messages = [
        {"type": "message", "user": f"U{each.sender:08}", "text": each.text, "ts": f"{START + at}.000100"}
        for at, each in enumerate(said)
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("users.json", json.dumps(users))
        archive.writestr("channels.json", json.dumps([{"id": "C1", "name": "room", "members": ["U00000000"]}]))
        archive.writestr(f"room/{DAY}.json", json.dumps(messages))
    return buffer.getvalue()


def whatsapp(chat: list[Person], said: list[Said]) -> bytes:
    return "".join(
        f"[15/01/2024, {clock(at)}] {chat[each.sender].name}: {each.text}\n" for at, each in enumerate(said)
    ).encode()


def irc(chat: list[Person], said: list[Said]) -> bytes:
    nicks = [each.name.replace(" ", "") for each in chat]
    return "".join(f"[{clock(at)}] <{nicks[each.sender]}> {each.text}\n" for at, each in enumerate(said)).encode()


def qq(chat: list[Person], said: list[Said]) -> bytes:
    return "".join(
        f"{DAY} {clock(at)} {chat[each.sender].name}({20_000 + each.sender})\n{each.text}\n\n"
        for at, each in enumerate(said)
    ).encode()


#: Files of ``MESSENGERS``; sigtop's texts mention a person each, and KakaoTalk's CSV has the content of its text.
MESSENGER_FILES = {
    "Discord, CSV": "Club - help [2].csv",
    "Google Chat": "messages.json",
    "KakaoTalk": "KakaoTalk.txt",
    "LINE": "[LINE] Friends.txt",
    "Matrix": "export.json",
    "Mattermost": "mattermost.jsonl",
    "Messenger": "message_1.json",
    "Rocket.Chat": "rocketchat_message.json",
    "Signal": "data.json",
    "Teams": "teams.json",
    "Zulip": "zulip.zip",
}


def messenger(name: str, chat: list[Person], said: list[Said]) -> bytes:
    """Return a chat as the tests of secrets write it in the format of a file, a message a minute."""
    return MESSENGERS[name]((at, START + 60 * at, chat[each.sender].name, each.text) for at, each in enumerate(said))


#: The files of the tests' planted chat.
WECHAT_FILES = {
    "ChatLab": "chatlab.json",
    "qq-chat-exporter": "qce.json",
    "qq-chat-exporter, text": "qce.txt",
    "PyWxDump": "1@chatroom_0_5000.csv",
    "WeFlow": "weflow.json",
    "WeFlow, text": "weflow.txt",
    "MemoTrace": "messages.csv",
    "MemoTrace 3": "group.csv",
    "MemoTrace, text": "group.txt",
    "chatlog": "chatlog.json",
    "chatlog, CSV": "chatlog.csv",
    "chatlog, text": "chatlog.txt",
}


def wechat_tool(name: str, chat: list[Person], said: list[Said]) -> bytes:
    """Return a chat as the tests of secrets write it in the format of a file, a message a second."""
    times = [(at, START + at, chat[each.sender].name, each.text) for at, each in enumerate(said)]
    return planted_wechat.EXPORTS[name](lambda: iter(times))


FORMATS: dict[str, tuple[str, Callable[[list[Person], list[Said]], bytes]]] = {
    "WeChat": ("wechat.json", wechat),
    "QQ": ("qq.txt", qq),
    "Telegram": ("result.json", telegram),
    "Discord": ("discord.json", discord),
    "Slack": ("slack.zip", slack),
    "WhatsApp": ("WhatsApp Chat with us.txt", whatsapp),
    "IRC": (f"{DAY}.room.log", irc),
    "table": ("chat.jsonl", table),
    **{name: (file, partial(messenger, file)) for name, file in MESSENGER_FILES.items()},
    **{name: (file, partial(wechat_tool, file)) for name, file in WECHAT_FILES.items()},
}
#: One person in three exports, with another id in each.
THREE = "one person, three exports"
THREE_FORMATS = ("Telegram", "Discord", "QQ")


def ingested(files: dict[str, bytes], format_name: str = "auto") -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Return the counts of ``stages.ingest`` on some files, and the messages that it makes, without events."""
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder, "raw"), Path(folder, "out.parquet")
        raw.mkdir()
        for name, data in files.items():
            (raw / name).write_bytes(data)
        counts = ingest(raw, Pseudonyms("a key for the benchmark of names"), out, ExportOptions(format=format_name))
        rows = pq.read_table(out, columns=["group", "timestamp", "kind", "text"]).to_pylist()
        return counts, [row for row in rows if row["kind"] != "system"]


def texts_after(files: dict[str, bytes]) -> list[list[str]]:
    """Return the texts that ``stages.ingest`` makes from some files, a list for each chat, in order of time."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for row in ingested(files)[1]:
        groups.setdefault(row["group"], []).append((row["timestamp"], row["text"]))
    return [[text for _, text in sorted(rows)] for rows in groups.values()]


def blanks(text: str, fold: bool = True) -> str:
    """Return a text with blanks for underscores, in lower case or unchanged."""
    plain = text.replace("_", " ")
    return plain.casefold() if fold else plain


def measure(name: str, seed: int, misses: list[str]) -> Counter[str]:
    """Return the counts of one format: ``whole``, ``part`` and ``harmless`` texts, and the right ones of each."""
    counts: Counter[str] = Counter()
    chat = people(seed)
    said = conversation(chat, seed, spaces=name != "IRC")
    wanted = THREE_FORMATS if name == THREE else (name,)
    for after in texts_after({FORMATS[each][0]: FORMATS[each][1](chat, said) for each in wanted}):
        if len(after) != len(said):
            raise click.ClickException(f"{name}: expected {len(said)} texts, got {len(after)}.")
        for each, text in zip(said, after, strict=True):
            if each.kind:
                is_left = blanks(each.gone) in blanks(text)
                right = text == each.text if each.kind == "harmless" else not is_left
                counts[each.kind] += 1
                counts[f"{each.kind} right"] += right
                if not right:
                    misses.append(f"{name}\t{each.kind}\t{each.of}\t{each.gone}\t{each.text}\t{text}")
    return counts


def logs(folder: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the real logs: a description, and the files."""
    for name, days in (("ubuntu-en", 2), ("ubuntu-zh", 2)):
        files = sorted((folder / name).glob("*.txt"))[:days]
        yield f"#{name}, {days} days", {path.name: path.read_bytes() for path in files}
    others = (path for path in sorted((folder / "other-channels").rglob("*.txt")) if "annotation" not in path.name)
    yield "other channels", {path.name: path.read_bytes() for path in others}


def share_of_names(files: dict[str, bytes]) -> float:
    """Return the percentage of the words of real logs that are replaced as names."""
    counts, rows = ingested(files, "irc")
    return 100 * counts["masked_name"] / sum(len(TOKEN.findall(row["text"])) for row in rows)


def percent(counts: dict[str, int], kind: str) -> str:
    """Return the share of a kind that came out right; for harmless texts, the share that did not."""
    if not counts.get(kind):
        return "-"
    right = 100 * counts.get(f"{kind} right", 0) / counts[kind]
    return f"{100 - right if kind == 'harmless' else right:.1f}"


def as_table(found: dict[str, dict[str, int]], shares: dict[str, float], before: dict[str, dict]) -> str:
    """Return a Markdown table, with earlier values before an arrow if they are known."""
    old, old_shares = before.get("formats", {}), before.get("shares", {})

    def cell(name: str, kind: str) -> str:
        now = percent(found[name], kind)
        return f"{percent(old[name], kind)} → {now}" if name in old else now

    lines = ["| format | whole names gone, % | first names and the like gone, % | harmless texts spoilt, % |"]
    lines.append("| --- | --- | --- | --- |")
    lines += [f"| {name} | {cell(name, 'whole')} | {cell(name, 'part')} | {cell(name, 'harmless')} |" for name in found]
    if shares:
        lines += ["", "| real log | words replaced as names, % |", "| --- | --- |"]
        for name, share in shares.items():
            arrow = f"{old_shares[name]:.2f} → " if name in old_shares else ""
            lines.append(f"| {name} | {arrow}{share:.2f} |")
    return "\n".join(lines) + "\n"


def write_between(page: Path, text: str) -> None:
    """Replace the table between two comments of a page."""
    start, end = "<!-- names: start -->\n", "<!-- names: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    if end not in rest:
        raise click.ClickException(f"{page}: expected the lines {start.strip()} and {end}, got none.")
    page.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


@click.command(context_settings={"show_default": True})
@click.option(
    "--seed", "seeds", type=int, multiple=True, default=(1, 2, 3), help="People; may be given more than once."
)
@click.option("--irc", "irc_logs", type=click.Path(path_type=Path, exists=True), help="Folder of real IRC logs.")
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="JSON of --out, to compare with.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON to write.")
@click.option("--misses", type=click.Path(path_type=Path), help="Tab-separated texts to write that came out wrong.")
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True), help="Page to put the table into.")
def main(
    seeds: tuple[int, ...],
    irc_logs: Path | None,
    before: Path | None,
    out: Path | None,
    misses: Path | None,
    page: Path | None,
) -> None:
    """Measure names in texts, for every export format."""
    wrong: list[str] = []
    found = {name: dict(sum((measure(name, seed, wrong) for seed in seeds), Counter())) for name in (*FORMATS, THREE)}
    shares = {name: share_of_names(files) for name, files in logs(irc_logs)} if irc_logs else {}
    if out:
        out.write_text(json.dumps({"formats": found, "shares": shares}, indent=1) + "\n", encoding="utf-8")
    if misses:
        misses.write_text("".join(f"{line}\n" for line in wrong), encoding="utf-8")
    table_ = as_table(found, shares, json.loads(before.read_text(encoding="utf-8")) if before else {})
    click.echo(table_, nl=False)
    if page:
        write_between(page, table_)


if __name__ == "__main__":
    main()
