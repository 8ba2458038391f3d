"""The server's requests and responses, and the conversion of messages into the form that the model was trained on."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from chatladder.chat.exports import listed_names
from chatladder.chat.file_names import DENY, KEEP
from chatladder.cli.answering import passing_key
from chatladder.cli.export.record import Settings
from chatladder.cli.resolve.reading import no_question
from chatladder.io.rows import PSEUDONYM
from chatladder.privacy.masking import mask
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.vocabulary import ITEMS, KINDS, NEGATIVE, POSITIVE, TASK

#: Limits of one request: messages before a question, of which the model reads the last; questions; turns of a chat.
MOST_HISTORY, MOST_QUESTIONS, MOST_TURNS = 100, 64, 200
#: The most characters of a name, and of a text: messages of the largest chat apps have at most a quarter of that.
MOST_OF_NAME, MOST_OF_TEXT = 256, 16_384
#: Control characters except tabs and line breaks.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PSEUDONYM = re.compile(PSEUDONYM)


def _plain(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"expected text, got a control character (U+{ord(found[0]):04X})")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("expected text, got none")
    return text


_Name = Annotated[str, Field(min_length=1, max_length=MOST_OF_NAME), AfterValidator(_plain)]
_Text = Annotated[str, Field(max_length=MOST_OF_TEXT), AfterValidator(_plain)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Message(_Strict):
    """A message of a chat; it may be empty, as that of a picture is."""

    sender: _Name
    text: _Text


class Question(_Strict):
    """A message that asks."""

    sender: _Name
    text: Annotated[_Text, AfterValidator(_not_blank)]


class Asked(_Strict):
    """A question and the messages before it, oldest first."""

    history: Annotated[list[Message], Field(max_length=MOST_HISTORY)] = []
    question: Question
    #: An id of the pipeline decides in which orders the options are read, if not in all.
    item_id: Annotated[_Name | None, Field(description="The question's id in the pipeline, if it has one.")] = None


class Chat(_Strict):
    """Turns of a chat, oldest first."""

    turns: Annotated[list[Message], Field(min_length=1, max_length=MOST_TURNS)]


class Answered(BaseModel):
    """The answer to a question: does it need its history, with which probability, and the question written out.

    ``rewritten`` is null if the history is not needed or the model was not trained to write. It numbers people in the
    order in which they speak in the messages that are read.
    """

    needed: bool
    p_needed: float
    rewritten: str | None = None


class Turn(BaseModel):
    """A turn of a chat: whether it is one that the task asks about, and if so its answer."""

    is_question: bool
    answer: Answered | None = None


class Health(BaseModel):
    """The question that is asked, the words for both answers, the model, its settings, and the questions that wait."""

    status: Literal["ok"] = "ok"
    ask: str = TASK.ask["en"]
    items: str = f"{TASK.item[0]}s"
    labels: tuple[str, str] = (KINDS[POSITIVE].words, KINDS[NEGATIVE].words)
    model: str
    threshold: float | None
    window: int
    gap_seconds: int
    waiting: int


class Problem(BaseModel):
    """The reason why a request was refused."""

    detail: str


def _many(value: Any) -> str:
    return "many" if isinstance(value, list) else "one"


#: One question, or several that are answered together.
OneOrMany = Annotated[
    Annotated[Asked, Tag("one")] | Annotated[list[Asked], Field(min_length=1, max_length=MOST_QUESTIONS), Tag("many")],
    Discriminator(_many),
]


class Reader:
    """Converts messages into the pipeline's form: names as pseudonyms, personal data masked.

    Only people who speak in a request are known, and nothing is kept for the next request.
    """

    def __init__(self, settings: Settings, lists: Path | None = None, phone_regions: Sequence[str] = ()) -> None:
        """Read the lists.

        Args:
            settings: The model's settings.
            lists: Folder of ``*.deny`` and ``*.keep``.
            phone_regions: Countries whose phone numbers are masked without their +.
        """
        self._settings, self._regions = settings, phone_regions
        self._deny, self._keep = (listed_names(lists, kind) if lists else [] for kind in (DENY, KEEP))
        self._key = passing_key()
        self.row(Asked(question=Question(sender="a", text="a")))  # lists of names and words are read now

    def row(self, asked: Asked) -> dict[str, Any]:
        """Return a question as a row of QUESTIONS."""
        said = self._said([*asked.history, asked.question])
        return self._row(said, len(said) - 1, asked.item_id)

    def questions(self, chat: Chat) -> list[dict[str, Any] | None]:
        """Return each turn that the task asks about as a row of QUESTIONS, else None.

        Those are the turns that the judge of rules takes for questions, or all with a text if it asks about messages.
        """
        said = self._said(chat.turns)
        if TASK.item == ITEMS["questions"]:
            reasons = no_question(pa.chunked_array([[each["text"] for each in said]], pa.string()), self._settings)
            left_out = np.logical_or.reduce([*reasons.values()])
        else:
            left_out = np.array([not each["text"].strip() for each in said])
        return [None if left_out[place] else self._row(said, place) for place in range(len(said))]

    def _said(self, messages: Sequence[Message | Question]) -> list[dict[str, Any]]:
        pseudonyms = Pseudonyms(self._key)
        names = Names(pseudonyms, self._deny, self._keep)
        senders = []
        for message in messages:
            is_pseudonym = _PSEUDONYM.fullmatch(message.sender)
            senders.append(message.sender if is_pseudonym else pseudonyms.person(message.sender))
            if not is_pseudonym:
                names.know(message.sender)
        replace, counts = names.replacer(), Counter[str]()
        return [
            {"sender": sender, "text": replace(mask(message.text, counts, self._regions), counts), "timestamp": None}
            for sender, message in zip(senders, messages, strict=True)
        ]

    def _row(self, said: list[dict[str, Any]], place: int, item_id: str | None = None) -> dict[str, Any]:
        window = said[max(0, place - self._settings.window) : place]
        asked = said[place]
        if item_id is None:
            item_id = hashlib.sha256(json.dumps([window, asked]).encode()).hexdigest()[:16]
        return {"item_id": item_id, "sender": asked["sender"], "text": asked["text"], "window": window}
