"""A simulated technical group chat of the paper's shape, with the true label of every question.

A year of one group: conversations of about a hundred messages, small talk and topics interleaved, questions split
over several messages, mentions, quotes, recalls, images, files, phone numbers. Whether a question needs its history
is decided by what stands in the twelve turns before it, never by the question alone: "does this model fit on one
card?" needs the history where a model is named there, and needs nothing where none is.

The last quarter of the year uses other people, topics and phrasings than the months before: the bank of phrases
``late.toml`` shares no name, phrasing or remark with ``early.toml``, so that conversations of the late months test what
a model learned and not what it remembers.

The shape follows arXiv 2405.02817, section 3; every text is invented.
"""

import json
import random
import tomllib
from collections import deque
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

from chatladder.privacy.secret import DEMO_GROUP

#: 2023-01-01 00:00 in China (UTC+8), as UTC seconds.
START = 1_672_502_400
YEAR = 365 * 86_400
#: Where the late bank takes over, as a share of the year: 2023-10-01 in China.
LATE_FROM = START + 273 * 86_400
LINES_A_CONVERSATION = 110
WINDOW = 12
#: An antecedent between these distances is neither clearly inside nor clearly outside an annotator's window.
CLEARLY_INSIDE, CLEARLY_OUTSIDE = 10, 14
ASSISTANT = "assistant"

#: How often a question of each form is tried within a topic, and within small talk.
TOPIC_FORMS = {
    "with_noun": 25, "pronoun": 18, "dropped": 22, "incomplete": 6, "named": 24, "same_message": 18, "mismatch": 12,
}  # fmt: skip
TALK_FORMS = {"pronoun": 24, "dropped": 26, "with_noun": 8, "incomplete": 3, "named": 4, "rhetorical": 9, "pasted": 5}


class Part(NamedTuple):
    """One raw message."""

    sender: str  # wxid, or ASSISTANT
    timestamp: int
    kind: str  # text, image, file, link, quote, emoji, recall, joined
    text: str
    mentions: tuple[str, ...] = ()  # wxids
    refers_to: int = -1  # index of the quoted or recalled message in the chat


class Truth(NamedTuple):
    """The truth about a question: kept apart from the chat, read by no stage."""

    sender: str
    timestamp: int  # of the question's first message
    form: str
    label: str  # needed, not_needed, not_a_question
    hardness: float  # 0 (everybody sees it) to 1


class _Thing(NamedTuple):
    kind: str
    name: str  # empty where only the noun was said
    noun_said: bool = False  # "Ferrydeploy, the framework", and not "Ferrydeploy" alone


class _Question(NamedTuple):
    form: str
    text: str
    thing: _Thing
    label: str
    hardness: float


def simulate_chat(lines: int, seed: int) -> Iterator[tuple[Part, Truth | None]]:
    """Yield exactly ``lines`` raw messages in time order, each question's first one with its truth.

    The same ``lines`` and ``seed`` give the same messages. Memory does not grow with ``lines``.

    Source:
        The proportions of arXiv 2405.02817, section 3: 58,000 lines of one group in a year, about 2,300 questions.
    """
    conversations = max(1, round(lines / LINES_A_CONVERSATION))
    slot = YEAR / conversations
    done, clock = 0, START
    index = 0
    while done < lines:
        rng = random.Random(f"chat:{seed}:{index}")
        start = max(int(START + index * slot + rng.random() * slot * 0.5), clock + 2_400 + rng.randrange(1_200))
        era = "late" if start >= LATE_FROM else "early"
        conversation = _Conversation(rng, era, start, first_index=done)
        for part, truth in conversation.messages(min(lines - done, rng.randint(40, 180))):
            yield part, truth
            clock = part.timestamp
            done += 1
        index += 1


class _Conversation:
    """One sitting of the group: people, what was mentioned in the last turns, and the clock."""

    def __init__(self, rng: random.Random, era: str, start: int, first_index: int) -> None:
        self.rng, self.bank, self.clock = rng, load_bank(era), start
        self.people = [person(era, number) for number in rng.sample(range(60 if era == "early" else 30), 9)]
        self.recent: deque[list[_Thing]] = deque(maxlen=CLEARLY_OUTSIDE)
        self.last_sender = ""
        self.index = first_index
        self.out: list[tuple[Part, Truth | None]] = []
        self.last_text: tuple[int, str] | None = None

    def messages(self, count: int) -> list[tuple[Part, Truth | None]]:
        """The first ``count`` messages of the conversation."""
        while len(self.out) < count:
            if self.rng.random() < 0.42:
                self._small_talk(self.rng.randint(14, 30))
            else:
                self._topic(self.rng.randint(14, 34))
        return self.out[:count]

    def _small_talk(self, turns: int) -> None:
        """People chat about nothing in particular; now and then one asks about something that is not there."""
        for turn in range(turns):
            if turn > 10 and self.rng.random() < 0.11:
                self._ask(TALK_FORMS, [])
            else:
                self._chatter()

    def _topic(self, turns: int) -> None:
        """One or two things are talked about, their threads interleaved."""
        kinds = self.rng.sample(sorted(self.bank.kinds), self.rng.choice((1, 1, 2)))
        things = [_Thing(kind, self.rng.choice(self.bank.kinds[kind].names)) for kind in kinds]
        for thing in things:
            self._mention(thing, introduce=True)
        for turn in range(turns):
            roll = self.rng.random()
            if turn > 1 and roll < 0.064:
                self._ask(TOPIC_FORMS, things)
            elif roll < 0.22:
                self._mention(self.rng.choice(things))
            elif roll < 0.70:
                self._answer()
            else:
                self._chatter()

    def _ask(self, forms: dict[str, int], things: list[_Thing]) -> None:
        """Ask one question whose label is beyond doubt; try other forms where it would not be."""
        for _ in range(8):
            form = self.rng.choices(list(forms), weights=list(forms.values()))[0]
            question = self._question(form, things)
            if question is not None:
                self._say_question(question)
                return

    def _question(self, form: str, things: list[_Thing]) -> _Question | None:
        if form in ("rhetorical", "pasted"):
            text = self.rng.choice(self.bank.forms[form])
            return _Question(form, text, _Thing("", ""), "not_a_question", 0.5 if form == "pasted" else 0.2)
        if form == "mismatch":
            form, things = "with_noun", []
        thing = self.rng.choice(things) if things and form != "named" else self._any_thing()
        label = self._label(form, thing)
        if label is None:
            return None
        template = self.rng.choice(self.bank.forms[form])
        noted = {"with_noun": _Thing(thing.kind, ""), "pronoun": _Thing("?", ""), "dropped": _Thing("?", "")}
        said = noted.get(form, thing)._replace(noun_said="{n}" in template)
        text = self._fill(template, thing) + self._mark()
        return _Question(form, text, said, label, self._hardness(form, label, thing))

    def _label(self, form: str, thing: _Thing) -> str | None:
        """Whether the last turns hold what the question refers to; None where two readers could disagree."""
        if form in ("named", "same_message"):
            return "not_needed"
        distance = self._distance(form, thing, certain=True)
        if distance is not None:
            return "needed" if distance <= CLEARLY_INSIDE else None
        return "not_needed" if self._distance(form, thing, certain=False) is None else None

    def _distance(self, form: str, thing: _Thing, certain: bool) -> int | None:
        """Turns back to the nearest antecedent, or None.

        ``certain`` counts only what every reader sees: a name, and for a noun ("this model") one that was called that.
        """
        for distance, mentioned in enumerate(reversed(self.recent), start=1):
            if any(_refers(form, thing, other, certain) for other in mentioned):
                return distance
        return None

    def _hardness(self, form: str, label: str, thing: _Thing) -> float:
        if form == "named":
            return 0.0
        if label == "needed":
            distance = self._distance(form, thing, certain=True) or 1
            return min(1.0, 0.1 + 0.06 * distance + (0.2 if form == "incomplete" else 0.0))
        return {"same_message": 0.3, "with_noun": 0.8, "incomplete": 0.9}.get(form, 0.6)

    def _say_question(self, question: _Question) -> None:
        sender = self._next_sender()
        texts = self._split(question.text, question.form)
        mentions: tuple[str, ...] = ()
        if self.rng.random() < 0.12:
            mentions = (self.rng.choice([person for person in self.people if person != sender]),)
            texts[0] = f"@{nickname(mentions[0])}\u2005{texts[0]}"
        truth = Truth(sender, 0, question.form, question.label, round(question.hardness, 2))
        self._say(sender, texts, [question.thing] if question.thing.kind else [], truth, mentions)
        if mentions == () and self.rng.random() < 0.04:
            self._say(ASSISTANT, [self.rng.choice(self.bank.talk["answers"])], [])

    def _split(self, text: str, form: str) -> list[str]:
        """A question as people type it: sometimes after a greeting, sometimes broken at its comma."""
        roll = self.rng.random()
        if form in ("rhetorical", "pasted") or roll > 0.3:
            return [text]
        if "，" in text and roll < 0.18:
            head, _, tail = text.partition("，")
            return [head, tail]
        return [self.rng.choice(("在吗", "hi", "打扰下", "诶")), text]

    def _mention(self, thing: _Thing, introduce: bool = False) -> None:
        """Somebody names the thing; who introduces it also says what kind of thing it is."""
        texts = self.bank.talk["trouble"] if self.rng.random() < 0.3 else self.bank.talk["mentions"]
        if introduce:
            texts = tuple(text for text in self.bank.talk["mentions"] if "{n}" in text)
        template = self.rng.choice(texts)
        texts_said = [self._fill(template, thing)]
        if self.rng.random() < 0.2:
            texts_said.append(self.rng.choice(self.bank.talk["code"]))
        self._say(self._next_sender(), texts_said, [thing._replace(noun_said="{n}" in template)])

    def _answer(self) -> None:
        text = self.rng.choice(self.bank.talk["answers"])
        if self.last_text is not None and self.rng.random() < 0.12:
            self._say(self._next_sender(), [text], [], quotes=self.last_text[0])
            return
        roll = self.rng.random()
        if roll < 0.04:
            text = self.rng.choice(self.bank.talk["links"]).format(k=self.rng.randrange(10_000))
        elif roll < 0.08:
            text = self.rng.choice(self.bank.talk["code"])
        self._say(self._next_sender(), [text], [])

    def _chatter(self) -> None:
        """Small talk, an image, a file, a sticker, a recalled message, someone's phone number."""
        roll, sender = self.rng.random(), self._next_sender()
        if roll < 0.10:
            self._record(sender, "image", "")
        elif roll < 0.12:
            self._record(sender, "file", self.rng.choice(("report.pdf", "log.txt", "环境.zip", "slides.pptx")))
        elif roll < 0.17:
            self._record(sender, "emoji", "")
        elif roll < 0.18:
            self._record(sender, "link", self.rng.choice(("周报模板", "一文读懂调度", "年度盘点")))
        elif roll < 0.19:
            self._record(sender, "joined", "")
        elif roll < 0.20:
            self._say(sender, [self._contact()], [])
        elif roll < 0.22:
            self._say(sender, [self.rng.choice(self.bank.talk["small"])], [])
            self._record(sender, "recall", "", refers_to=self.index - 1)
        else:
            texts = [self.rng.choice(self.bank.talk["small"]) for _ in range(self.rng.choice((1, 1, 1, 2)))]
            self._say(sender, texts, [])

    def _contact(self) -> str:
        phone = f"1{self.rng.choice('35789')}{self.rng.randrange(10**9):09d}"
        return self.rng.choice(self.bank.talk["contact"]).format(
            phone=phone, email=f"hr{self.rng.randrange(999)}@example.com"
        )

    def _say(
        self,
        sender: str,
        texts: list[str],
        things: list[_Thing],
        truth: Truth | None = None,
        mentions: tuple[str, ...] = (),
        quotes: int = -1,
    ) -> None:
        """One turn: the texts follow each other within the merging gap, the next turn does not."""
        self._pause(sender)
        for number, text in enumerate(texts):
            if number:
                self.clock += self.rng.randint(1, 12)
                truth, mentions, quotes = None, (), -1
            kind = "quote" if quotes >= 0 else "text"
            known = truth._replace(timestamp=self.clock) if truth else None
            self._append(Part(sender, self.clock, kind, text, mentions, quotes), known)
        self.last_text = (self.index - 1, texts[-1])
        self.recent.append(things)

    def _record(self, sender: str, kind: str, text: str, refers_to: int = -1) -> None:
        """One raw message that is not text."""
        self._pause(sender)
        self._append(Part(sender, self.clock, kind, text, (), refers_to), None)
        if kind in ("image", "file", "link"):
            self.recent.append([])

    def _append(self, part: Part, truth: Truth | None) -> None:
        self.out.append((part, truth))
        self.index += 1

    def _pause(self, sender: str) -> None:
        """Seconds to hours of a busy group; one person's next turn stays clear of the merging gap."""
        seconds = self.rng.randint(3, 45) if self.rng.random() < 0.93 else self.rng.randint(60, 900)
        self.clock += max(seconds, 25) if sender == self.last_sender else seconds
        self.last_sender = sender

    def _next_sender(self) -> str:
        return self.rng.choice(self.people)

    def _any_thing(self) -> _Thing:
        kind = self.rng.choice(sorted(self.bank.kinds))
        return _Thing(kind, self.rng.choice(self.bank.kinds[kind].names))

    def _fill(self, template: str, thing: _Thing) -> str:
        kind = self.bank.kinds[thing.kind]
        own = self.rng.random() < 0.65
        question = self.rng.choice(kind.questions if own else self.bank.general_questions)
        if question.isascii():
            question = f" {question}"  # an English question after a Latin name must not become one word
        return template.format(e=thing.name, n=kind.noun, q=question, r=self.rng.choice(kind.remarks))

    def _mark(self) -> str:
        return self.rng.choice(("？", "？", "？", "?", "??", "", ""))


def _refers(form: str, thing: _Thing, other: _Thing, certain: bool) -> bool:
    """Whether a question of this form about ``thing`` can mean the ``other`` one, which was mentioned before."""
    if certain and not other.name:
        return False
    if form == "with_noun":
        return (other.noun_said or not certain) and other.kind in (thing.kind, "?")
    return form in ("pronoun", "dropped") or other.name == thing.name


def person(era: str, number: int) -> str:
    """The wxid of one member; nobody of the early months speaks in the late ones."""
    return f"wxid_{era[0]}{number * 7919 + 100_003:07d}x"


def nickname(wxid: str) -> str:
    """Return the name by which the group calls a member."""
    first, second = "阿小老大", "明杰涛琪宁航磊晨雪哲凡舟"
    number = int(wxid[6:13])
    return f"{first[number % 4]}{second[number // 4 % 12]}{wxid[5]}{number // 48 % 97}"


ERAS = ("early", "late")


class Topic(NamedTuple):
    """A kind of thing the group talks about."""

    noun: str
    names: tuple[str, ...]
    questions: tuple[str, ...]
    remarks: tuple[str, ...]


class Bank(NamedTuple):
    """Everything that is said in one era; templates hold {e} name, {n} noun, {q} question, {r} remark."""

    kinds: dict[str, Topic]
    general_questions: tuple[str, ...]
    forms: dict[str, tuple[str, ...]]
    talk: dict[str, tuple[str, ...]]


@cache
def load_bank(era: str) -> Bank:
    """Read the bank of ``early`` or ``late`` from the TOML file beside this module."""
    raw = tomllib.loads((Path(__file__).parent / f"{era}.toml").read_text(encoding="utf-8"))
    kinds = {
        key: Topic(kind["noun"], tuple(kind["names"]), tuple(kind["questions"]), tuple(kind["remarks"]))
        for key, kind in raw["kinds"].items()
    }
    return Bank(
        kinds,
        tuple(raw["general"]["questions"]),
        {form: tuple(templates) for form, templates in raw["forms"].items()},
        {name: tuple(texts) for name, texts in raw["talk"].items()},
    )


BOT = "wxid_b0000000x"
_XML = '<?xml version="1.0"?>'
FIRST_MESSAGE_ID = 1_040_000_000
FIRST_SERVER_ID = 7_100_000_000_000_000_000


def dump_record(part: Part, index: int) -> str:
    """One message as the text of one JSON object, with a newline at its end.

    ``index`` counts the chat's messages from 0; identifiers follow from it, so quotes and recalls find their message.
    """
    if part.sender == ASSISTANT:
        fields = {"groupId": DEMO_GROUP, "answer": part.text, "timestamp": part.timestamp}
        return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"
    message_type, content, more = _body(part)
    lines = [
        "{",
        '  "wcId": "wxid_b0000000x",',
        '  "account": "1064930000",',
        f'  "messageType": "{message_type}",',
        '  "data": {',
        '    "wId": "f2b1c9d0",',
        f'    "fromUser": "{part.sender}",',
        f'    "fromGroup": "{DEMO_GROUP}",',
        f'    "toUser": "{BOT}",',
        f'    "msgId": {FIRST_MESSAGE_ID + index},',
        f'    "newMsgId": {server_id(index)},',
        f'    "timestamp": {part.timestamp},',
        *(f'    "{name}": {json.dumps(value, ensure_ascii=False)},' for name, value in more.items()),
        f'    "content": {json.dumps(content, ensure_ascii=False)},',
        '    "self": false',
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def server_id(index: int) -> int:
    """The identifier by which a later message quotes or recalls this one."""
    return FIRST_SERVER_ID + index * 1_009


def _body(part: Part) -> tuple[str, str, dict[str, object]]:
    """The number of the message's type, its content, and what else it has."""
    match part.kind:
        case "text":
            return "80001", part.text, {"atlist": list(part.mentions)} if part.mentions else {}
        case "quote":
            quoted = f"<refermsg><type>1</type><svrid>{server_id(part.refers_to)}</svrid></refermsg>"
            return "80014", _app(part, f"<type>57</type>{quoted}"), {"title": part.text}
        case "image":
            return "80002", f'{_XML}<msg><img length="48213" hdlength="0" /></msg>', {}
        case "file":
            pushed = f"{nickname(part.sender)}: [文件] {part.text}"
            return "80009", _XML + _app(part, "<type>6</type>"), {"pushContent": pushed}
        case "link":
            return "80007", _app(part, "<url>https://example.com/a</url><type>5</type>"), {}
        case "emoji":
            return "80006", '<msg><emoji type="2" len="9312" /></msg>', {}
        case "recall":
            said = f"<replacemsg>{nickname(part.sender)} 撤回了一条消息</replacemsg>"
            recalled = f"<revokemsg><newmsgid>{server_id(part.refers_to)}</newmsgid>{said}</revokemsg>"
            return "80010", f'<sysmsg type="revokemsg">{recalled}</sysmsg>', {}
        case _:
            joined = f"<content>{nickname(part.sender)} 加入了群聊</content>"
            return "80010", f'<sysmsg type="sysmsgtemplate">{joined}</sysmsg>', {}


def _app(part: Part, more: str) -> str:
    return f"<msg><appmsg><title>{escape(part.text)}</title>{more}</appmsg></msg>"
