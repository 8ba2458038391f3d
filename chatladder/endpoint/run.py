"""One run of a plan: concurrent requests, each until it is answered or given up, and never beyond the budget.

A request reserves tokens before it is sent, since the length of an answer is unknown; the actual count replaces the
reservation afterwards. A request without a reply (timeout, broken connection) keeps its reservation: the server may
charge for it. Every attempt counts, including retries.

In any 60 seconds at most the per-minute limits are sent. A leaky bucket of capacity C that leaks r a second lets
through up to C + 60 r in a minute, so r is (limit - C) / 60.

Source:
    aiolimiter.readthedocs.io (leaky bucket; bursts up to its capacity).
"""

import asyncio
import math
import random
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from chatladder.endpoint.asking import Plan, Question, Unread
from chatladder.endpoint.cache import KeptReply, Values
from chatladder.endpoint.client import Endpoint, Refused, Retry
from chatladder.endpoint.completion import read_completion
from chatladder.endpoint.connection import Connection
from chatladder.io.console import DataError, bar, printable

MINUTE = 60.0
#: The share of a per-minute limit that may be sent at once after a pause: one second's.
BURST = 1 / 60
#: The most requests for one question, if the replies hold no answer.
ASKS = 3
#: Successive questions refused before the first answer: the server accepts no such requests at all.
FIRST_REFUSED = 3
#: Questions without an answer that end a run early; it would fail anyway, and the rest would cost as much again.
GIVE_UP_AFTER = 20
#: Seconds before the first retry, the most seconds before a retry, and the share of random jitter.
BACKOFF_FIRST, BACKOFF_MOST, BACKOFF_JITTER = 0.5, 30.0, 0.5


class Spent(Exception):
    """Raised if the budget does not allow the next request; the message names the option that limits it."""


class _Stopped(Exception):
    """Raised once the run ends; nothing more is sent."""


class _OtherForm(Exception):
    """Raised if the server does not answer in this form; the message says so."""


class RequestBudget:
    """Counts requests and tokens, and delays requests to keep the limits.

    Attributes:
        requests: Requests sent so far, including retries.
        prompt_tokens: Tokens of prompts so far, by the server's count where it gave one.
        completion_tokens: Tokens of answers so far, likewise.
    """

    def __init__(self, limits: Connection, largest: int) -> None:
        """Create a budget; ``largest`` is the most tokens that one request reserves.

        Raises:
            DataError: If the tokens per minute do not allow such a request.
        """
        if 0 < limits.tokens_per_minute < 2 * largest:
            raise DataError(
                f"tokens_per_minute: expected at least {2 * largest:,}, since one request may take {largest:,}, "
                f"got {limits.tokens_per_minute:,}; raise it, or lower max_characters or max_answer_tokens."
            )
        self.requests = self.prompt_tokens = self.completion_tokens = 0
        self._limits = limits
        self._reserved = 0
        self._guessed = self._counted = 0
        self._resume_at = 0.0
        self._request_rate = _limiter(limits.requests_per_minute, 1)
        self._token_rate = _limiter(limits.tokens_per_minute, largest)

    async def reserve(self, prompt_tokens: int, answer_tokens: int) -> int:
        """Wait for a request's turn and count it.

        Args:
            prompt_tokens: The estimate of `chatladder.endpoint.completion.guess_tokens`.
            answer_tokens: The most tokens of the answer.

        Returns:
            The tokens reserved, to be passed to `settle`.

        Raises:
            Spent: If the run's budget does not allow it.
        """
        self._refuse_beyond(prompt_tokens, answer_tokens)
        if self._request_rate:
            await self._request_rate.acquire()
        if self._token_rate:
            wanted = self._corrected(prompt_tokens) + answer_tokens
            await self._token_rate.acquire(min(wanted, self._token_rate.max_rate))
        while (seconds := self._resume_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(seconds)
        tokens = self._refuse_beyond(prompt_tokens, answer_tokens)
        self.requests += 1
        self._reserved += tokens
        return tokens

    def settle(self, reserved: int, guessed_prompt: int, prompt_tokens: int | None, answer_tokens: int | None) -> None:
        """Replace a reservation by the actual counts; None if the server gave none."""
        self._reserved -= reserved
        if prompt_tokens is not None:
            self._guessed += guessed_prompt
            self._counted += prompt_tokens
        taken = self._corrected(guessed_prompt) if prompt_tokens is None else prompt_tokens
        self.prompt_tokens += taken
        self.completion_tokens += max(0, reserved - taken) if answer_tokens is None else answer_tokens

    def release(self, reserved: int) -> None:
        """Drop the reservation of a request that the server refused without charging for it."""
        self._reserved -= reserved

    def pause(self, seconds: float) -> None:
        """Send nothing for so many seconds, as the server asked."""
        self._resume_at = max(self._resume_at, asyncio.get_running_loop().time() + seconds)

    def _corrected(self, guessed: int) -> int:
        """Return an estimate, scaled up if the server's counts have shown the estimates to be too low."""
        if self._counted <= self._guessed:
            return guessed
        return math.ceil(guessed * self._counted / self._guessed)

    def _refuse_beyond(self, prompt_tokens: int, answer_tokens: int) -> int:
        tokens = self._corrected(prompt_tokens) + answer_tokens
        if self.requests + 1 > self._limits.max_requests:
            raise Spent(f"max_requests={self._limits.max_requests}")
        if self.prompt_tokens + self.completion_tokens + self._reserved + tokens > self._limits.max_tokens:
            raise Spent(f"max_tokens={self._limits.max_tokens}")
        return tokens


def _limiter(a_minute: int, largest: int) -> AsyncLimiter | None:
    if not a_minute:
        return None
    burst = max(a_minute * BURST, largest)
    # If one request fills the bucket, requests are sent one by one and evenly.
    leaked = a_minute if burst == largest == 1 else a_minute - burst
    return AsyncLimiter(burst, burst * MINUTE / leaked)


class Run:
    """One run over a plan's unanswered questions.

    Attributes:
        unusable: Positions of questions without an answer.
        refused: The server's reason for its last refusal; "" if it refused nothing.
        spent: The option whose budget ended the run; "" if none did.
    """

    def __init__(self, plan: Plan, connection: Connection, key: str, largest: int, echo: Callable[[str], None]) -> None:
        """Prepare a run without sending anything.

        Args:
            plan: The plan, whose answers and report are filled in.
            connection: The connection to the endpoint.
            key: The endpoint's key, or "".
            largest: The most tokens that one request may take.
            echo: Receives the line that says how the model is asked.

        Raises:
            DataError: If the tokens per minute are too few for one request.
        """
        self.unusable: list[int] = []
        self.refused = self.spent = ""
        self._plan, self._job, self._report = plan, plan.job, plan.report
        self._connection, self._endpoint, self._echo = connection, Endpoint(connection, key), echo
        self._budget = RequestBudget(connection, largest)
        self._questions = plan.questions()
        self._says_form = not plan.answered
        self._error: Exception | None = None
        self._stopped = False
        self._workers: list[asyncio.Task[None]] = []
        self._sending: set[asyncio.Task[None] | None] = set()
        self._progress = bar(
            printable(connection.model), total=plan.report.texts - plan.answered, unit=f" {plan.job.unit}"
        )

    async def ask_all(self) -> None:
        """Ask all questions, one by one until the server has answered for the first time.

        Raises:
            DataError: If the server does not answer, or accepts no request.
        """
        with self._progress:
            try:
                if await self._ask_first():
                    self._workers = [asyncio.create_task(self._work()) for _ in range(self._connection.concurrency)]
                    # Requests in flight are paid for: a stop waits for their replies.
                    await asyncio.gather(*self._workers, return_exceptions=True)
                if self._error is not None:
                    raise self._error
            finally:
                budget = self._budget
                self._report.requests = budget.requests
                self._report.prompt_tokens = budget.prompt_tokens
                self._report.completion_tokens = budget.completion_tokens
                await self._endpoint.aclose()

    def stop(self) -> None:
        """Send nothing more; requests in flight may still be answered."""
        self._stopped = True
        for worker in self._workers:
            if worker not in self._sending and worker is not asyncio.current_task():
                worker.cancel()

    async def _ask_first(self) -> bool:
        """Ask until one question got a reply; return False if the budget ended before."""
        for number, (position, question) in enumerate(self._questions, start=1):
            try:
                if await self._answer(position, question):
                    return True
            except Spent as spent:
                self.spent = str(spent)
                return False
            if number == FIRST_REFUSED:
                raise DataError(
                    f"{self._connection.base_url}: {self.refused} for each of the first {FIRST_REFUSED} "
                    f"{self._job.unit}; check model, temperature, seed, answer_limit and extra_body against what the "
                    "server takes."
                )
        return False

    async def _work(self) -> None:
        try:
            for position, question in self._questions:
                await self._answer(position, question)
                if self._stopped:
                    return
        except _Stopped:
            return
        except Spent as spent:
            self.spent = str(spent)
            self.stop()
        except Exception as error:
            self._error = self._error or error
            self.stop()

    async def _answer(self, position: int, question: Question) -> bool:
        """Store a question's answer or give it up; return True if the server replied."""
        *others, last = self._job.forms
        try:
            for form in others:
                try:
                    return await self._ask(position, question, form)
                except (Refused, _OtherForm):
                    continue
            return await self._ask(position, question, last)
        except Refused as refused:
            self.refused = str(refused)
            self._give_up(position)
            return False
        except _OtherForm as error:
            raise DataError(f"{self._connection.base_url}: {error}") from None
        except Retry as failure:
            raise DataError(
                f"{self._connection.base_url}: {failure}, at the last of {1 + self._connection.max_retries} tries of "
                f"one request; {self._plan.so_far()}. Answers are kept: run again to go on."
            ) from None

    async def _ask(self, position: int, question: Question, form: str) -> bool:
        for again in range(ASKS):
            self._report.asked_again += bool(again)
            answer = await self._send_until_replied(question, form, again)
            if isinstance(answer, KeptReply):
                # No other task runs between the last byte of a reply and this commit.
                self._settle_form(form)
                self._plan.keep(position, question, form, answer)
                self._progress.update()
                if self._job.is_hopeless():
                    self.stop()
                return True
        self._settle_form(form)
        self._give_up(position)
        return True

    def _settle_form(self, form: str) -> None:
        """Ask all other questions in the form of the first reply."""
        self._job.forms = (form,)
        if self._says_form and form in self._job.in_words:
            self._echo(f"{self._connection.model} is asked {self._job.in_words[form]}.")
        self._says_form = False

    def _give_up(self, position: int) -> None:
        """Leave a question without an answer; after too many of them the run ends."""
        self.unusable.append(position)
        if len(self.unusable) >= GIVE_UP_AFTER:
            self.stop()

    async def _send_until_replied(self, question: Question, form: str, again: int) -> KeptReply | Unread:
        """Send one request, with retries, until there is a reply; see `_send`."""
        backoff = BACKOFF_FIRST
        for _ in range(self._connection.max_retries):
            try:
                return await self._send(question, form, again)
            except Retry as failure:
                if self._stopped:
                    raise _Stopped from None
                self._report.retried += 1
                self._budget.pause(failure.wait)
                await asyncio.sleep(max(failure.wait, min(backoff + BACKOFF_JITTER * random.random(), BACKOFF_MOST)))
                backoff *= 2
        return await self._send(question, form, again)

    async def _send(self, question: Question, form: str, again: int) -> KeptReply | Unread:
        """Send one request, once the budget allows it.

        Raises:
            Refused: If the server refuses the request.
            Retry: If it may be answered later.
            _OtherForm: If the server does not answer in this form.
        """
        if self._stopped:
            raise _Stopped
        reserved = await self._budget.reserve(question.tokens, self._connection.max_answer_tokens)
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            choice, prompt, completion = read_completion(
                await self._endpoint.post(self._job.body(question, form, again))
            )
            answer: Values | Unread = self._job.read(question, form, choice)
            if isinstance(answer, Unread) and answer.then == "retry":
                raise Retry(answer.reason, charged=True)
        except Retry as failure:
            if failure.charged:
                self._budget.settle(reserved, question.tokens, None, None)
            else:
                self._budget.release(reserved)
            raise
        except Exception:
            self._budget.release(reserved)
            raise
        finally:
            self._sending.discard(task)
        self._budget.settle(reserved, question.tokens, prompt, completion)
        if not isinstance(answer, Unread):
            return KeptReply(answer, question.tokens if prompt is None else prompt, completion or 0)
        if answer.then == "other form":
            raise _OtherForm(answer.reason)
        return answer
