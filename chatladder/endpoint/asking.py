"""What one run asks of an endpoint: the different questions, the answers so far, and what is left to be sent."""

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

#: Keys looked up at once.
SLICE = 1000
KEY_BYTES = 32
#: Rows that an error names.
SHOWN_ROWS = 10


class Question(NamedTuple):
    """A question: the key of its answer, a guess of its prompt's tokens, and what the job needs to ask it."""

    key: bytes
    tokens: int
    content: Any


class Unread(NamedTuple):
    """Why a reply holds no answer, and what to do.

    Attributes:
        reason: A phrase for an error.
        then: ``again`` asks anew, a few times; ``retry`` does as after a broken connection; ``other form`` asks in the
            next form, and without one ends the run.
    """

    reason: str
    then: Literal["again", "retry", "other form"]


class Job(ABC):
    """A kind of question: a subclass prepares its questions and reads the replies.

    Attributes:
        unit: The questions, in words.
        row_unit: The rows that they were made of, in words.
        columns: The numbers of an answer with their SQL type; the last one is never missing.
        forms: The forms of a request, the best first; the server's first reply shows which it takes.
        one_form: Whether all answers must have been asked in the same form.
        in_words: How the model is asked, by form, for a line of its own.
        unanswered: What befell questions without an answer, for errors.
        advice: What helps then.
        fewer: How to need less of a budget.
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
        """Read all rows, part by part; called more than once."""

    @abstractmethod
    def prepare(self, row: Any) -> Question:
        """Make a row's question; equal questions have equal keys."""

    @abstractmethod
    def body(self, question: Question, form: str, again: int) -> dict[str, Any]:
        """Return the body of a request, for the time number ``again`` that the question is asked."""

    @abstractmethod
    def read(self, question: Question, form: str, choice: Any) -> Values | Unread:
        """Read the first choice of a reply; None if it has none."""

    @abstractmethod
    def names(self, rows: np.ndarray) -> list[str]:
        """Name some rows, by their positions, for an error."""

    def took(self, values: Values) -> None:  # noqa: B027 - most jobs need not know
        """Learn of an answer, from the cache or from the server."""

    def is_hopeless(self) -> bool:
        """Return whether the answers so far make it useless to go on."""
        return False


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        texts: Different questions.
        cached: Those whose answer was kept from before.
        requests: Requests sent, retries included.
        retried: Requests sent again after a time-out, a broken connection or a passing error.
        asked_again: Requests sent again because the reply held no answer.
        prompt_tokens: Tokens by the server's count, guessed where it gave none.
        completion_tokens: The same.
        answer_prompt_tokens: Tokens of the answers that count, whichever run asked for them.
        answer_completion_tokens: The same.
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
    """The different questions of a job and the answers so far.

    Of a row its question's position is held, of a different question its key and its numbers: some 60 bytes a row at
    most, whatever its length.

    Attributes:
        job: What is asked.
        cache: The answers that are kept.
        places: Position of each row's question among the different ones; shape ``(rows,)``.
        values: Answers to the different questions, NaN where there is none; shape ``(questions, columns)``.
        report: What the run does.
    """

    def __init__(self, job: Job, cache: AnswerCache) -> None:
        """Read all rows once, and find the answers that are kept."""
        self.job, self.cache = job, cache
        self._keys, self.places, self._tokens = self._read()
        # Where each different question comes first; ascending, for keys are in the order of their coming.
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
        """Return how many questions have an answer, in words."""
        return f"{self.answered:,} of {self.report.texts:,} {self.job.unit} are answered"

    def tokens(self) -> np.ndarray:
        """Return the guess of what each unanswered question's prompt takes."""
        tokens: np.ndarray = self._tokens[self._first[np.isnan(self.values[:, -1])]]
        return tokens

    def questions(self) -> Iterator[tuple[int, Question]]:
        """Prepare the unanswered questions again, with their positions; those answered by another process are taken."""
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
        """Put the tokens of the answers that count into the report."""
        prompt, completion = self._took.sum(axis=0, dtype=np.int64).tolist()
        self.report.answer_prompt_tokens, self.report.answer_completion_tokens = prompt, completion

    def unanswered(self, base_url: str, positions: list[int], refused: str) -> DataError:
        """Return the error about the questions at some positions; ``refused`` is why the server refused one, or ""."""
        job, rows = self.job, np.flatnonzero(np.isin(self.places, positions))
        names = ", ".join(job.names(rows[:SHOWN_ROWS]))
        more = f" and {len(rows) - SHOWN_ROWS:,} more" if len(rows) > SHOWN_ROWS else ""
        why = f" (refused: {refused})" if refused else ""
        return DataError(
            f"{base_url}: {len(positions):,} {job.unit} {job.unanswered}{why}: {job.row_unit} {names}{more}. "
            f"{self.so_far()}, and the answers kept; {job.advice}, and run again."
        )

    def _read(self) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """The different keys in order of coming, each row's place among them, and each row's tokens."""
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
        """Take the kept answers to those questions at some positions that have none."""
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
        job: What is asked.
        connection: How the endpoint is reached, and what may be sent.
        cache_folder: The folder where answers are kept.
        echo: Takes the lines that say what the run will send, before anything is sent, and what it did.

    Returns:
        The plan, with an answer to each question, unless those so far make it useless to go on.

    Raises:
        DataError: If settings do not fit together, the run would exceed its budget or reaches the end of it, the
            server does not answer, or a question stays without an answer. What was answered is kept in each case.
    """
    check_address(connection.base_url, with_key=bool(connection.key_variable))
    with closing(AnswerCache(cache_folder, job.columns)) as cache:
        plan = Plan(job, cache)
        tokens = plan.tokens() + connection.max_answer_tokens
        if len(tokens) and not job.is_hopeless():
            _announce(plan, connection, len(tokens), int(tokens.sum()), echo)
            # Imported late: the client alone takes half a second, and a run that finds all answers needs none.
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
    """Say what the run will send.

    Raises:
        DataError: If that is more than its budget.
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
