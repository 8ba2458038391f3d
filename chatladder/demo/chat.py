"""A simulated technical group chat of the paper's shape, with the true label of every question.

A year of one group: conversations of about a hundred messages, small talk and topics, questions split over several
messages, mentions, quotes, recalls, images, files, phone numbers.

The turns before a question decide whether it needs its history, never the question alone. To leave the match of the two
as the only cue, each script is told twice, about a thing of one kind and then about a thing of another: the turns and
questions are the same except for the thing. "Does it fit into 24 GB?" needs its history in the part about a model, and
does not in the part about a corpus. Both parts contain names, in small talk too, and names of things that do not fit;
the noun of a kind is never used for the thing itself. About a third of the questions depend on no match: they name what
they ask about, or the chat mentions nothing that they ask about.

The last quarter of the year uses other people, topics and phrasings than the months before: the bank of phrases
``late.toml`` shares no name, phrasing or remark with ``early.toml``, so that conversations of the late months test what
a model has learned and not what it has memorised.

The shape follows arXiv 2405.02817, section 3; every text is invented.
"""

import json
import random
import tomllib
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

from chatladder.privacy.secret import DEMO_GROUP

#: 2023-01-01 00:00 in China (UTC+8), as UTC seconds.
START = 1_672_502_400
YEAR = 365 * 86_400
#: When the late bank takes over: 2023-10-01 in China, as UTC seconds.
LATE_FROM = START + 273 * 86_400
LINES_A_CONVERSATION = 110
#: The most turns from an antecedent to its question, and the fewest without any antecedent: neither is near the edge of
#: an annotator's window of 12.
CLEARLY_INSIDE, CLEARLY_OUTSIDE = 10, 14
ASSISTANT = "assistant"

#: The weight of each form for the first and for the second question of a part. Only the second may name a thing, which
#: would be an antecedent for later questions.
FIRST_FORMS = {"with_noun": 33, "pronoun": 33, "dropped": 34}
SECOND_FORMS = {
    "with_noun": 14, "pronoun": 13, "dropped": 14, "incomplete": 14, "named": 21, "same_message": 15, "plain": 9,
}  # fmt: skip
TALK_FORMS = {"plain": 9, "named": 7, "pronoun": 6, "dropped": 6, "with_noun": 5, "rhetorical": 30, "pasted": 18}
#: Forms that need their history if it holds what they refer to.
REFERRING = ("with_noun", "pronoun", "dropped", "incomplete")


class Part(NamedTuple):
    """One raw message."""

    sender: str  # wxid, or ASSISTANT
    timestamp: int
    kind: str  # text, image, file, link, quote, emoji, recall, joined
    text: str
    mentions: tuple[str, ...] = ()  # wxids
    refers_to: int = -1  # index of the quoted or recalled message in the chat


class Truth(NamedTuple):
    """The truth about a question, stored apart from the chat; no stage reads it."""

    sender: str
    timestamp: int  # of the question's first message
    form: str
    label: str  # needed, not_needed, not_a_question
    hardness: float  # 0 (everybody sees it) to 1
    rewrite: str  # the question rewritten to stand alone, if it needs its history; else ""


class _Thing(NamedTuple):
    kind: str
    name: str


class _Question(NamedTuple):
    """A question as it is asked in both parts of a script.

    Attributes:
        form: A form of the bank.
        texts: Its messages; a greeting may come before it.
        kind: The kind that it asks about; "" if none.
        name: The name that it contains; "" if none.
        needed: Its rewrite, with {e} for the name of the thing that it refers to.
    """

    form: str
    texts: tuple[str, ...]
    kind: str
    name: str
    needed: str


class _Step(NamedTuple):
    """One turn of a script: a remark, a question, or an image.

    Attributes:
        template: The remark's text, with {e} and {r} for name and remark of the thing that a part is about.
        question: The question, if the turn is one.
        image: True if the turn is an image.
    """

    template: str = ""
    question: _Question | None = None
    image: bool = False


def simulate_chat(lines: int, seed: int) -> Iterator[tuple[Part, Truth | None]]:
    """Yield exactly ``lines`` raw messages in time order, the first message of each question with its truth.

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
    """One conversation of the group: its people, its messages so far, and the clock."""

    def __init__(self, rng: random.Random, era: str, start: int, first_index: int) -> None:
        self.rng, self.bank, self.clock = rng, load_bank(era), start
        self.people = [person(era, number) for number in rng.sample(range(60 if era == "early" else 30), 9)]
        self.last_sender = ""
        self.index = first_index
        self.out: list[tuple[Part, Truth | None]] = []
        self.last_text: tuple[int, str] | None = None

    def messages(self, count: int) -> list[tuple[Part, Truth | None]]:
        """Return the first ``count`` messages of the conversation."""
        while len(self.out) < count:
            if self.rng.random() < 0.62:
                self._small_talk(self.rng.randint(16, 44))
            else:
                self._topic(self.rng.randint(CLEARLY_OUTSIDE, CLEARLY_OUTSIDE + 4))
        return self.out[:count]

    def _small_talk(self, turns: int) -> None:
        """Add small talk; now and then somebody asks about something that was not mentioned."""
        for turn in range(turns):
            if turn > CLEARLY_OUTSIDE and self.rng.random() < 0.09:
                question = self._question(self._form(TALK_FORMS), self._any_thing())
                self._ask(question, None, 0)
                if question.name:
                    return  # the named thing would be an antecedent for later questions
            else:
                self._chatter()

    def _topic(self, turns: int) -> None:
        """Add one script, told about a thing of one kind and then about a thing of another."""
        kinds = self.rng.sample(sorted(self.bank.kinds), 3)
        first, second, other = (_Thing(kind, self.rng.choice(self.bank.kinds[kind].names)) for kind in kinds)
        script, last_mention = self._script(turns, first, second, other)
        for thing in (first, second):
            for step, since in zip(script, last_mention, strict=True):
                if step.image:
                    self._record(self._next_sender(), "image", "")
                elif step.question is not None:
                    self._ask(step.question, thing, since)
                elif step.template:
                    self._say(self._next_sender(), [self._told(step.template, thing)])
                else:
                    self._answer()

    def _script(self, turns: int, first: _Thing, second: _Thing, other: _Thing) -> tuple[list[_Step], list[int]]:
        """Return turns about a thing that is not chosen yet, and for each the number of turns since its last mention.

        Args:
            turns: The number of turns before the first question, at least ``CLEARLY_OUTSIDE``.
            first: The thing that one part is about.
            second: The thing that the other part is about.
            other: A thing that neither part is about.
        """
        asked = (turns, turns + self.rng.randint(3, 6))
        trouble = self.rng.choice(self.bank.talk["trouble"])
        steps = [self._filler(other) for _ in range(asked[1])]
        near = range(turns - CLEARLY_INSIDE + 2, turns)
        for place in self.rng.sample(near, self.rng.choice((1, 1, 2, 3))):
            steps[place] = _Step(self.rng.choice(self.bank.talk["mentions"]))
        told = self.rng.randrange(asked[1] - CLEARLY_INSIDE + 2, turns)
        forms = (self._form(FIRST_FORMS), self._form(SECOND_FORMS))
        if forms[1] == "incomplete" or self.rng.random() < 0.15:
            steps[told] = _Step("{e}" + trouble)
        else:
            steps[told] = _Step(self.rng.choice(self.bank.talk["mentions"]))
        for place, form in zip(asked, forms, strict=True):
            about = self.rng.choice((first, second))
            steps.insert(place, _Step(question=self._question(form, about, trouble)))
        since, count = [], 0
        for step in steps:
            since.append(count)
            count = 1 if "{e}" in step.template else count + 1
        return steps, since

    def _filler(self, other: _Thing) -> _Step:
        """Return a turn for both parts: an answer, small talk, a noun without a thing, an unrelated name, an image."""
        roll, talk = self.rng.random(), self.bank.talk
        if roll < 0.05:
            return _Step(self._told(self.rng.choice(talk["mentions"]), other))
        if roll < 0.11:
            noun = self.bank.kinds[self.rng.choice(sorted(self.bank.kinds))].noun
            return _Step(self.rng.choice(talk["nouns"]).format(n=noun))
        if roll < 0.15:
            return _Step(self._leisure())
        if roll < 0.19:
            return _Step(image=True)
        if roll < 0.60:
            return _Step()
        return _Step(self.rng.choice(talk["small"]))

    def _told(self, template: str, thing: _Thing) -> str:
        """Fill in a template for a thing; braces in other texts stay."""
        remark = self.rng.choice(self.bank.kinds[thing.kind].remarks)
        return template.replace("{e}", thing.name).replace("{r}", remark)

    def _leisure(self) -> str:
        """Return small talk that names something the group never asks about: a film, a café."""
        name = self.rng.choice(self.bank.talk["leisure_names"])
        return self.rng.choice(self.bank.talk["leisure"]).format(x=name)

    def _form(self, forms: dict[str, int]) -> str:
        return self.rng.choices(list(forms), weights=list(forms.values()))[0]

    def _question(self, form: str, about: _Thing, trouble: str = "") -> _Question:
        """Word one question about a thing, or about the trouble that somebody had with it."""
        template, mark = self.rng.choice(self.bank.forms[form]), self._mark()
        if form in ("rhetorical", "pasted"):
            return _Question(form, (template,), "", "", "")
        if form == "plain":
            return _Question(form, self._split(template + mark), "", "", "")
        if form == "incomplete":
            that = self.rng.choice(self.bank.forms["that_trouble"])
            text = template.format(e=about.name, p=that) + mark
            return _Question(
                form, self._split(text), about.kind, about.name, template.format(e="{e}", p=trouble) + mark
            )
        kind = self.bank.kinds[about.kind]
        any_kind = form in ("with_noun", "named", "same_message") and self.rng.random() < 0.25
        question = self.rng.choice(self.bank.general_questions if any_kind else kind.questions)
        if question.isascii():
            question = f" {question}"  # an English question after a Latin name must not become one word
        if form in ("named", "same_message") and self.rng.random() < 0.5:
            about = about._replace(name=self.rng.choice(kind.names))
        remark = self.rng.choice(kind.remarks)
        text = template.format(e=about.name, n=kind.noun, q=question, r=remark) + mark
        name = about.name if form in ("named", "same_message") else ""
        return _Question(form, self._split(text), about.kind, name, "{e}" + question + mark)

    def _ask(self, question: _Question, thing: _Thing | None, since: int) -> None:
        """Ask a question ``since`` turns after the last mention of a thing; None if nothing that fits was mentioned."""
        form, sender = question.form, self._next_sender()
        fits = thing is not None and (
            thing.name == question.name if form == "incomplete" else thing.kind == question.kind
        )
        label = "needed" if form in REFERRING and fits else "not_needed"
        if form in ("rhetorical", "pasted"):
            label = "not_a_question"
        rewrite = question.needed.replace("{e}", thing.name) if thing is not None and label == "needed" else ""
        truth = Truth(sender, 0, form, label, round(_hardness(form, label, since), 2), rewrite)
        texts = [*question.texts]
        mentions: tuple[str, ...] = ()
        if self.rng.random() < 0.12:
            mentions = (self.rng.choice([person for person in self.people if person != sender]),)
            texts[0] = f"@{nickname(mentions[0])}\u2005{texts[0]}"
        self._say(sender, texts, truth, mentions)

    def _split(self, text: str) -> tuple[str, ...]:
        """Return a question as people type it: sometimes after a greeting, sometimes split at its comma."""
        roll = self.rng.random()
        if roll > 0.3:
            return (text,)
        if "，" in text and roll < 0.18:
            head, _, tail = text.partition("，")
            return head, tail
        return self.rng.choice(("在吗", "hi", "打扰下", "诶")), text

    def _answer(self) -> None:
        text = self.rng.choice(self.bank.talk["answers"])
        if self.last_text is not None and self.rng.random() < 0.12:
            self._say(self._next_sender(), [text], quotes=self.last_text[0])
            return
        roll = self.rng.random()
        if roll < 0.04:
            text = self.rng.choice(self.bank.talk["links"]).format(k=self.rng.randrange(10_000))
        elif roll < 0.08:
            text = self.rng.choice(self.bank.talk["code"])
        self._say(ASSISTANT if roll > 0.99 else self._next_sender(), [text])

    def _chatter(self) -> None:
        """Add small talk, an image, a file, a sticker, a recalled message, or somebody's phone number."""
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
            self._say(sender, [self._contact()])
        elif roll < 0.22:
            self._say(sender, [self.rng.choice(self.bank.talk["small"])])
            self._record(sender, "recall", "", refers_to=self.index - 1)
        elif roll < 0.30:
            self._say(sender, [self._leisure()])
        else:
            texts = [self.rng.choice(self.bank.talk["small"]) for _ in range(self.rng.choice((1, 1, 1, 2)))]
            self._say(sender, texts)

    def _contact(self) -> str:
        phone = f"1{self.rng.choice('35789')}{self.rng.randrange(10**9):09d}"
        return self.rng.choice(self.bank.talk["contact"]).format(
            phone=phone, email=f"hr{self.rng.randrange(999)}@example.com"
        )

    def _say(
        self,
        sender: str,
        texts: list[str],
        truth: Truth | None = None,
        mentions: tuple[str, ...] = (),
        quotes: int = -1,
    ) -> None:
        """Add one turn: its texts follow each other within the merging gap, the next turn does not."""
        self._pause(sender)
        for number, text in enumerate(texts):
            if number:
                self.clock += self.rng.randint(1, 12)
                truth, mentions, quotes = None, (), -1
            kind = "quote" if quotes >= 0 else "text"
            known = truth._replace(timestamp=self.clock) if truth else None
            self._append(Part(sender, self.clock, kind, text, mentions, quotes), known)
        self.last_text = (self.index - 1, texts[-1])

    def _record(self, sender: str, kind: str, text: str, refers_to: int = -1) -> None:
        """Add one raw message that is not text."""
        self._pause(sender)
        self._append(Part(sender, self.clock, kind, text, (), refers_to), None)

    def _append(self, part: Part, truth: Truth | None) -> None:
        self.out.append((part, truth))
        self.index += 1

    def _pause(self, sender: str) -> None:
        """Let seconds to minutes pass; one person's next turn stays outside the merging gap."""
        seconds = self.rng.randint(3, 45) if self.rng.random() < 0.93 else self.rng.randint(60, 900)
        self.clock += max(seconds, 25) if sender == self.last_sender else seconds
        self.last_sender = sender

    def _next_sender(self) -> str:
        return self.rng.choice(self.people)

    def _any_thing(self) -> _Thing:
        kind = self.rng.choice(sorted(self.bank.kinds))
        return _Thing(kind, self.rng.choice(self.bank.kinds[kind].names))

    def _mark(self) -> str:
        return self.rng.choice(("？", "？", "？", "?", "??", "", ""))


def _hardness(form: str, label: str, since: int) -> float:
    """Return how easily people misread a question, 0 to 1; a distant antecedent and a noun without one are hard."""
    if label == "needed":
        return min(1.0, 0.1 + 0.06 * since + (0.2 if form == "incomplete" else 0.0))
    return {
        "named": 0.0,
        "plain": 0.0,
        "same_message": 0.3,
        "rhetorical": 0.2,
        "with_noun": 0.8,
        "incomplete": 0.9,
    }.get(form, 0.6 if form in REFERRING else 0.5)


def person(era: str, number: int) -> str:
    """Return the wxid of one member; the early and the late months have different members."""
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
    """All phrases of one era.

    In templates, {e} is a name, {n} a noun, {q} a question, {r} a remark, {p} a trouble, {x} a name in small talk.
    """

    kinds: dict[str, Topic]
    general_questions: tuple[str, ...]
    forms: dict[str, tuple[str, ...]]
    talk: dict[str, tuple[str, ...]]


@cache
def load_bank(era: str) -> Bank:
    """Read the bank of ``early`` or ``late`` from the TOML file next to this module."""
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
    """Return one message as the text of a JSON object, with a newline at its end.

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
    """Return the identifier by which a later message quotes or recalls this one."""
    return FIRST_SERVER_ID + index * 1_009


def _body(part: Part) -> tuple[str, str, dict[str, object]]:
    """Return the number of the message's type, its content, and its further fields."""
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
