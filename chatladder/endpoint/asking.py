"""The plan of one run: its distinct questions, the answers so far, and the questions left to ask."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from chatladder.endpoint.cache import AnswerCache, KeptReply, Values
from chatladder.endpoint.completion import BYTES_A_TOKEN
from chatladder.endpoint.connection import Connection, check_address, read_key
from chatladder.io.console import DataError, bar

#: The number of keys looked up at a time.
SLICE = 1000
KEY_BYTES = 32
#: The number of rows that an error names.
SHOWN_ROWS = 10


class Question(NamedTuple):
    """A question: the key of its answer, an estimate of its prompt's tokens, and the job's content to ask it."""

    key: bytes
    tokens: int
    content: Any


class Unread(NamedTuple):
    """The reason why a reply holds no answer, and the next step.

    Attributes:
        reason: A phrase for an error.
        then: ``again`` asks anew, a few times; ``retry`` proceeds as after a broken connection; ``other form`` asks in
            the next form, and ends the run if there is none.
    """

    reason: str
    then: Literal["again", "retry", "other form"]


class Job(ABC):
    """A kind of question: a subclass prepares its questions and parses the replies.

    Attributes:
        unit: The plural noun for the questions.
        row_unit: The plural noun for the rows that the questions were made from.
        columns: The numbers of an answer with their SQL type; the last one is never missing.
        forms: The forms of a request, the best first; the server's first reply shows which one it accepts.
        one_form: True if all answers must come from the same form.
        in_words: The form of a request in words, by form, for a line of output.
        unanswered: The outcome of questions without an answer, for errors.
        advice: The remedy for that.
        fewer: The way to need less of a budget.
        rows: The number of rows.
    """

    unit: ClassVar[str]
    row_unit: ClassVar[str]
    columns: ClassVar[Mapping[str, str]]
    one_form: ClassVar[bool] = False
    in_words: ClassVar[Mapping[str, str]] = {}
    unanswered: ClassVar[str]
    advice: ClassVar[str]
    fewer: ClassVar[str]
    forms: tuple[str, ...]
    rows: int

    @abstractmethod
    def parts(self) -> Iterator[Sequence[Any]]:
        """Yield all rows, part by part; called more than once."""

    @abstractmethod
    def prepare(self, row: Any) -> Question:
        """Make the question of a row; equal questions have equal keys."""

    @abstractmethod
    def body(self, question: Question, form: str, again: int) -> dict[str, Any]:
        """Return the body of a request; ``again`` is the number of earlier attempts at the question."""

    @abstractmethod
    def read(self, question: Question, form: str, choice: Any) -> Values | Unread:
        """Parse the first choice of a reply, which is None if it has none."""

    @abstractmethod
    def names(self, rows: np.ndarray) -> list[str]:
        """Return names of some rows, given their positions, for an error."""

    def took(self, values: Values) -> None:  # noqa: B027 - most jobs need not know
        """Record an answer from the cache or from the server."""

    def is_hopeless(self) -> bool:
        """Return True if the answers so far make the rest useless."""
        return False


@dataclass
class RunReport:
    """The counts of a run.

    Attributes:
        texts: Distinct questions.
        cached: Those whose answer was in the cache.
        requests: Requests sent, including retries.
        retried: Requests sent again after a timeout, a broken connection or a transient error.
        asked_again: Requests sent again because the reply held no answer.
        prompt_tokens: Tokens of prompts by the server's count, estimated if it gave none.
        completion_tokens: Tokens of answers, likewise.
        answer_prompt_tokens: Prompt tokens of the answers that count, whichever run asked for them.
        answer_completion_tokens: Their answer tokens.
    """

    texts: int = 0
    cached: int = 0
    requests: int = 0
    retried: int = 0
    asked_again: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answer_prompt_tokens: int = 0
    answer_completion_tokens: int = 0


class Plan:
    """The distinct questions of a job and the answers so far.

    In memory are the position of each row's question, and the key and numbers of each distinct question: at most some
    60 bytes a row, whatever its length.

    Attributes:
        job: The questions.
        cache: The cached answers.
        places: The position of each row's question among the distinct ones; shape ``(rows,)``.
        values: The answers to the distinct questions, NaN if missing; shape ``(questions, columns)``.
        report: The counts of the run.
    """

    def __init__(self, job: Job, cache: AnswerCache) -> None:
        """Read all rows once, and look up the cached answers."""
        self.job, self.cache = job, cache
        self._keys, self.places, self._tokens = self._read()
        # The first row of each distinct question; ascending, since keys are in order of first appearance.
        self._first = np.unique(self.places, return_index=True)[1]
        self.values = np.full((len(self._keys), len(job.columns)), np.nan)
        self._took = np.zeros((len(self._keys), 2), np.int32)
        for form in job.forms:
            for start in range(0, len(self._keys), SLICE):
                self._find(np.arange(start, min(start + SLICE, len(self._keys))), form)
            if job.one_form and self.answered:
                job.forms = (form,)
                break
        self.report = RunReport(texts=len(self._keys), cached=self.answered)

    @property
    def answered(self) -> int:
        """The number of different questions with an answer."""
        return len(self._keys) - int(np.isnan(self.values[:, -1]).sum())

    def so_far(self) -> str:
        """Return the number of answered questions, in words."""
        return f"{self.answered:,} of {self.report.texts:,} {self.job.unit} are answered"

    def tokens(self) -> np.ndarray:
        """Return the estimated prompt tokens of each unanswered question."""
        tokens: np.ndarray = self._tokens[self._first[np.isnan(self.values[:, -1])]]
        return tokens

    def questions(self) -> Iterator[tuple[int, Question]]:
        """Prepare the unanswered questions again, with their positions; take the answers that another process gave."""
        unanswered = self._prepared(np.flatnonzero(np.isnan(self.values[:, -1])))
        while some := list(islice(unanswered, SLICE)):
            before = self.answered
            if not self.job.one_form or len(self.job.forms) == 1:
                for form in self.job.forms:
                    self._find(np.array([position for position, _ in some]), form)
            self.report.cached += self.answered - before
            yield from ((position, each) for position, each in some if np.isnan(self.values[position, -1]))

    def keep(self, position: int, question: Question, form: str, answer: KeptReply) -> None:
        """Commit an answer."""
        self._take(position, self.cache.keep(question.key, form, answer))

    def count_answers(self) -> None:
        """Write the tokens of the answers that count to the report."""
        prompt, completion = self._took.sum(axis=0, dtype=np.int64).tolist()
        self.report.answer_prompt_tokens, self.report.answer_completion_tokens = prompt, completion

    def unanswered(self, base_url: str, positions: list[int], refused: str) -> DataError:
        """Return the error for unanswered questions; ``refused`` is the server's reason for refusing one, or ""."""
        job, rows = self.job, np.flatnonzero(np.isin(self.places, positions))
        names = ", ".join(job.names(rows[:SHOWN_ROWS]))
        more = f" and {len(rows) - SHOWN_ROWS:,} more" if len(rows) > SHOWN_ROWS else ""
        why = f" (refused: {refused})" if refused else ""
        return DataError(
            f"{base_url}: {len(positions):,} {job.unit} {job.unanswered}{why}: {job.row_unit} {names}{more}. "
            f"{self.so_far()}, and the answers kept; {job.advice}, and run again."
        )

    def _read(self) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """Return the distinct keys in order of first appearance, each row's index into them, and each row's tokens."""
        keys, tokens = [], []
        with bar("planning", total=self.job.rows, unit=f" {self.job.unit}") as progress:
            for part in self.job.parts():
                questions = [self.job.prepare(row) for row in part]
                keys.append(pa.array([each.key for each in questions], pa.binary(KEY_BYTES)))
                tokens.append(np.array([each.tokens for each in questions], dtype=np.int32))
                progress.update(len(part))
        encoded = pa.chunked_array(keys, pa.binary(KEY_BYTES)).combine_chunks().dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy(), np.concatenate([np.empty(0, np.int32), *tokens])

    def _prepared(self, positions: np.ndarray) -> Iterator[tuple[int, Question]]:
        rows = self._first[positions]
        start = 0
        for part in self.job.parts():
            inside = slice(*np.searchsorted(rows, [start, start + len(part)]))
            for position, row in zip(positions[inside].tolist(), rows[inside].tolist(), strict=True):
                yield position, self.job.prepare(part[row - start])
            start += len(part)

    def _find(self, positions: np.ndarray, form: str) -> None:
        """Take the cached answers to the unanswered questions among some positions."""
        positions = positions[np.isnan(self.values[positions, -1])]
        keys = self._keys.take(pa.array(positions)).to_pylist()
        kept = self.cache.find(keys, form)
        for position, key in zip(positions.tolist(), keys, strict=True):
            if key in kept:
                self._take(position, kept[key])

    def _take(self, position: int, answer: KeptReply) -> None:
        self.values[position] = answer.values
        self._took[position] = answer[1:]
        self.job.took(answer.values)


def ask(job: Job, connection: Connection, cache_folder: Path, echo: Callable[[str], None]) -> Plan:
    """Answer a job's questions with a model behind an endpoint.

    Args:
        job: The questions.
        connection: The connection to the endpoint, and the limits of the run.
        cache_folder: The folder of the answer cache.
        echo: Receives lines about what the run will send, before it sends anything, and about what it did.

    Returns:
        The plan, with an answer to each question, unless the answers so far make the rest useless.

    Raises:
        DataError: If settings conflict, the run would exceed its budget or reaches its end, the server does not answer,
            or a question remains without an answer. Answers received so far are cached in each case.
    """
    check_address(connection.base_url, with_key=bool(connection.key_variable))
    with closing(AnswerCache(cache_folder, job.columns)) as cache:
        plan = Plan(job, cache)
        tokens = plan.tokens() + connection.max_answer_tokens
        if len(tokens) and not job.is_hopeless():
            _announce(plan, connection, len(tokens), int(tokens.sum()), echo)
            # Imported late: the client takes half a second to import, and a fully cached run needs none.
            from chatladder.endpoint.run import Run

            run = Run(plan, connection, read_key(connection.key_variable), int(tokens.max()), echo)
            asyncio.run(run.ask_all())
            if run.unusable:
                raise plan.unanswered(connection.base_url, run.unusable, run.refused)
            if run.spent:
                raise DataError(
                    f"{connection.base_url}: the budget {run.spent} is used up; {plan.so_far()}. Answers are kept: run "
                    "again to go on from here, or raise the budget."
                )
    plan.count_answers()
    did = plan.report
    echo(
        f"{did.requests:,} requests ({did.retried:,} retried, {did.asked_again:,} asked again) with "
        f"{did.prompt_tokens:,} + {did.completion_tokens:,} tokens; {did.cached:,} of {did.texts:,} {job.unit} were "
        "answered before"
    )
    return plan


def _announce(plan: Plan, connection: Connection, missing: int, tokens: int, echo: Callable[[str], None]) -> None:
    """Print what the run will send.

    Raises:
        DataError: If that exceeds its budget.
    """
    job, report = plan.job, plan.report
    echo(
        f"{connection.model} at {connection.base_url}: {missing:,} of {report.texts:,} different {job.unit} to ask, "
        f"{report.cached:,} answered before: {missing:,} requests and at most about {tokens:,} tokens "
        f"(UTF-8 bytes / {BYTES_A_TOKEN}, and {connection.max_answer_tokens} for each answer), before retries."
    )
    for name, needed in (("max_requests", missing), ("max_tokens", tokens)):
        if needed > (allowed := getattr(connection, name)):
            raise DataError(
                f"{name}: the run would take about {needed:,}, {needed - allowed:,} more than the {allowed:,} "
                f"allowed; nothing was sent. Raise {name}, or {job.fewer}."
            )
