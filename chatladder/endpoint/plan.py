"""Which texts an endpoint is asked about, and under which key each answer is kept."""

import json
from collections.abc import Iterator, Set
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from chatladder.endpoint.cache import AnswerCache
from chatladder.endpoint.options import ANSWER_LIMITS, FORMS, EndpointOptions, EndpointReport
from chatladder.endpoint.prompt import Prompt, guess_tokens
from chatladder.io.console import DataError

#: Keys looked up at once.
SLICE = 1000
KEY_BYTES = 32
#: Ids of turns that an error names.
SHOWN_TURNS = 10
#: What ``extra_body`` must not set: other options do, or the reading of answers relies on it.
RESERVED = {"model", "messages", "temperature", "seed", "response_format", "stream", "n", *ANSWER_LIMITS}


class Turns(Protocol):
    """What is scored, read as often as one likes; `chatladder.judges.turns.TextTurns` is one.

    Attributes:
        num_rows: Of all parts together.
    """

    num_rows: int

    def texts(self) -> Iterator[list[str]]:
        """Texts, part by part."""

    def ids(self) -> Iterator[pa.ChunkedArray]:
        """Turn ids, part by part; for errors to name."""


class Item(NamedTuple):
    """One text to be asked about.

    Attributes:
        position: Among the different texts.
        message: The user message.
        key: Of its answer.
        tokens: The guess of what the prompt takes.
    """

    position: int
    message: str
    key: bytes
    tokens: int


class Plan:
    """The different texts, how each is asked about, and the scores so far.

    Of a turn its key's place is held, of a different text its key: 50 bytes a turn at most, whatever its length.

    Attributes:
        options: Of the run.
        cache: Of answers.
        forms: Of a request, the first to be tried first.
        places: Where each turn's text stands among the different ones; shape ``(turns,)``.
        scores: Of the different texts; NaN where there is none yet. Shape ``(texts,)``.
        report: Of the run.
    """

    def __init__(self, turns: Turns, options: EndpointOptions, prompt: Prompt, cache: AnswerCache) -> None:
        """Read all texts once, and find the scores that are kept.

        Raises:
            DataError: If ``extra_body`` is no JSON object, or has a field that is not its to set.
        """
        self.options, self.cache = options, cache
        self.forms = FORMS[options.structured]
        self._turns, self._prompt = turns, prompt
        extra = extra_fields(options.extra_body)
        drawn = {"temperature": options.temperature, "seed": options.seed}
        chosen = {name: value for name, value in drawn.items() if value is not None} | extra
        limit = {options.answer_limit: options.max_answer_tokens}
        self._body: dict[str, Any] = {"model": options.model, **chosen, **limit}
        # Limits and time-outs change whether an answer comes, not what it says: raising them keeps the answers.
        asked = [options.base_url.rstrip("/"), options.model, prompt.system, chosen]
        self._asked = sha256(json.dumps(asked, sort_keys=True).encode("utf-8"))
        self._system_tokens = guess_tokens(prompt.system)
        keys, self.places, self._tokens = self._read()
        self._keys = keys
        # Where each different text comes first; ascending, for keys are in the order of their coming.
        self._first = np.unique(self.places, return_index=True)[1]
        self.scores = np.full(len(keys), np.nan)
        for start in range(0, len(keys), SLICE):
            some = keys[start : start + SLICE].to_pylist()
            kept = cache.scores(some, self.forms)
            self.scores[start : start + len(some)] = [kept.get(key, np.nan) for key in some]
        self.report = EndpointReport(texts=len(keys), cached=self.scored)

    @property
    def scored(self) -> int:
        """How many different texts have a score."""
        return int(np.count_nonzero(~np.isnan(self.scores)))

    def tokens(self) -> np.ndarray:
        """The most tokens that a request may take, for each text without a score."""
        tokens: np.ndarray = self._tokens[self._first[np.isnan(self.scores)]]
        return tokens + self.options.max_answer_tokens

    def answers_took(self) -> tuple[int, int]:
        """Prompt and completion tokens of the answers to all texts, whichever run asked for them."""
        prompt = completion = 0
        for start in range(0, len(self._keys), SLICE):
            some = self.cache.tokens(self._keys[start : start + SLICE].to_pylist(), self.forms)
            prompt, completion = prompt + some[0], completion + some[1]
        return prompt, completion

    def request(self, item: Item, again: int) -> dict[str, Any]:
        """The body of a request about one text; a seed moves on ``again``, or the same answer would come."""
        messages = [{"role": "system", "content": self._prompt.system}, {"role": "user", "content": item.message}]
        seed = {} if self.options.seed is None else {"seed": self.options.seed + again}
        return {**self._body, **seed, "messages": messages}

    def items(self) -> Iterator[Item]:
        """The texts without a score, read again; what another process has answered meanwhile is scored on the way."""
        wanted = np.flatnonzero(np.isnan(self.scores))
        for some in _batches(self._at(wanted), SLICE):
            kept = self.cache.scores([item.key for item in some], self.forms)
            for item in some:
                if item.key in kept:
                    self.scores[item.position] = kept[item.key]
                    self.report.cached += 1
                else:
                    yield item

    def unusable(self, whose: str, positions: list[int], refused: str, advice: str) -> DataError:
        """What to say of the texts at those positions, which got no score: whose answers, in which turns, what now.

        Args:
            whose: Answers: of a server or a model.
            positions: Of the texts.
            refused: That some were refused, and why; "" if none was.
            advice: What helps.
        """
        ids, turns = self._turn_ids(positions)
        more = f" and {turns - len(ids):,} more" if turns > len(ids) else ""
        why = f" ({refused})" if refused else ""
        return DataError(
            f"{whose}: {len(positions):,} texts got no answer that is a score from 0 to 10{why}: "
            f"turns {', '.join(ids)}{more}. {self.scored:,} of {self.report.texts:,} texts are scored, and their "
            f"answers kept; {advice}, and run again."
        )

    def _turn_ids(self, positions: list[int]) -> tuple[list[str], int]:
        """The first ids of turns with the texts at those positions, and how many such turns there are."""
        rows = np.flatnonzero(np.isin(self.places, positions))
        shown = rows[:SHOWN_TURNS]
        found: list[str] = []
        start = 0
        for ids in self._turns.ids():
            inside = shown[(shown >= start) & (shown < start + len(ids))]
            found += ids.take(pa.array(inside - start)).to_pylist()
            start += len(ids)
        return found, len(rows)

    def _read(self) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """The different keys in order of coming, each turn's place among them, and each turn's tokens."""
        keys, tokens = [], []
        with tqdm(total=self._turns.num_rows, desc="planning", unit=" turns", disable=None) as progress:
            for texts in self._turns.texts():
                items = [self._item(0, text) for text in texts]
                keys.append(pa.array([item.key for item in items], pa.binary(KEY_BYTES)))
                tokens.append(np.array([item.tokens for item in items], dtype=np.int32))
                progress.update(len(texts))
        encoded = pa.chunked_array(keys, pa.binary(KEY_BYTES)).combine_chunks().dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy(), np.concatenate([np.empty(0, np.int32), *tokens])

    def _at(self, positions: np.ndarray) -> Iterator[Item]:
        """The texts at those positions, which ascend."""
        rows = self._first[positions]
        start = 0
        for texts in self._turns.texts():
            inside = slice(*np.searchsorted(rows, [start, start + len(texts)]))
            for position, row in zip(positions[inside].tolist(), rows[inside].tolist(), strict=True):
                yield self._item(position, texts[row - start])
            start += len(texts)

    def _item(self, position: int, text: str) -> Item:
        message = self._prompt.user(text)
        asked = self._asked.copy()
        asked.update(message.encode("utf-8"))
        return Item(position, message, asked.digest(), self._system_tokens + guess_tokens(message))


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while some := list(islice(items, size)):
        yield some


def extra_fields(text: str, reserved: Set[str] = RESERVED) -> dict[str, Any]:
    """The fields of ``extra_body``.

    Raises:
        DataError: If it is no JSON object, or has a field of ``reserved``.
    """
    if not text:
        return {}
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise DataError('extra_body: expected a JSON object such as {"thinking": {"type": "disabled"}}.')
    if taken := sorted(fields.keys() & reserved):
        raise DataError(f"extra_body: expected other fields than {', '.join(taken)}, which have options of their own.")
    return fields
