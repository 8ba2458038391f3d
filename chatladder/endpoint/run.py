"""One run over a plan: so many requests at once, each until it is answered or given up, and never beyond the budget.

A request reserves its tokens before it is sent, for nobody knows how long an answer gets; what it did take replaces
the reservation afterwards. A request that got no reply (time-out, cut connection) keeps its reservation: the server
may charge for it. Every attempt counts, retries too.

In any 60 seconds at most the limits of a minute are sent. A leaky bucket of capacity C that leaks r a second lets
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
#: Share of a minute's worth that may go at once after a rest: a second's.
BURST = 1 / 60
#: Requests for one question, in all, whose reply held no answer.
ASKS = 3
#: Questions refused one after the other before anything was answered: the server will not take these requests at all.
FIRST_REFUSED = 3
#: Questions without an answer that end a run early; it fails in any case, and the rest would cost the same again.
GIVE_UP_AFTER = 20
#: Seconds before the first retry and before the last ones, and how much chance adds.
BACKOFF_FIRST, BACKOFF_MOST, BACKOFF_JITTER = 0.5, 30.0, 0.5


class Spent(Exception):
    """The budget has no room for the next request; the message names the option that ended it."""


class _Stopped(Exception):
    """The run ends; nothing is sent any more."""


class _OtherForm(Exception):
    """The server does not answer in this form; the message says so."""


class RequestBudget:
    """Counts requests and tokens, and holds them back.

    Attributes:
        requests: Sent so far, retries included.
        prompt_tokens: Taken by prompts so far, by the server's count where it gave one.
        completion_tokens: The same of answers.
    """

    def __init__(self, limits: Connection, largest: int) -> None:
        """Make a budget; ``largest`` is the most tokens that one request reserves.

        Raises:
            DataError: If the tokens of a minute do not let such a request through.
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
            prompt_tokens: The guess, see `chatladder.endpoint.completion.guess_tokens`.
            answer_tokens: The most that the answer may take.

        Returns:
            The tokens reserved, to be handed to `settle`.

        Raises:
            Spent: If the run's budget has no room for it.
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
        """Replace a reservation by what was taken; None where the server did not say."""
        self._reserved -= reserved
        if prompt_tokens is not None:
            self._guessed += guessed_prompt
            self._counted += prompt_tokens
        taken = self._corrected(guessed_prompt) if prompt_tokens is None else prompt_tokens
        self.prompt_tokens += taken
        self.completion_tokens += max(0, reserved - taken) if answer_tokens is None else answer_tokens

    def release(self, reserved: int) -> None:
        """Drop the reservation of a request that the server refused, and did not charge for."""
        self._reserved -= reserved

    def pause(self, seconds: float) -> None:
        """Send nothing for so long: the server asked for it."""
        self._resume_at = max(self._resume_at, asyncio.get_running_loop().time() + seconds)

    def _corrected(self, guessed: int) -> int:
        """A guess, once the server's own counts have shown guesses to be too low."""
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
    # Where a request fills the bucket, requests go one by one and evenly.
    leaked = a_minute if burst == largest == 1 else a_minute - burst
    return AsyncLimiter(burst, burst * MINUTE / leaked)


class Run:
    """One run over a plan's unanswered questions.

    Attributes:
        unusable: Positions of questions without an answer.
        refused: Why the server refused the last question that it refused; "" if it refused none.
        spent: The option whose budget ended the run; "" if none did.
    """

    def __init__(self, plan: Plan, connection: Connection, key: str, largest: int, echo: Callable[[str], None]) -> None:
        """Prepare a run; nothing is sent yet.

        Args:
            plan: Its answers and its report are filled in.
            connection: How the endpoint is reached.
            key: The endpoint's key, or "".
            largest: The most tokens that one request may take.
            echo: Takes the line that says how the model is asked.

        Raises:
            DataError: If the tokens of a minute are too few for one request.
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
        """Ask every question, first one by one until the server has answered.

        Raises:
            DataError: If the server does not answer, or takes no request.
        """
        with self._progress:
            try:
                if await self._ask_first():
                    self._workers = [asyncio.create_task(self._work()) for _ in range(self._connection.concurrency)]
                    # Requests under way are paid for: whoever stops the run lets the others' replies come in.
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
        """Send nothing any more; what is under way may come in."""
        self._stopped = True
        for worker in self._workers:
            if worker not in self._sending and worker is not asyncio.current_task():
                worker.cancel()

    async def _ask_first(self) -> bool:
        """Ask until one question got a reply; False if the budget ended before."""
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
        """Keep a question's answer or give it up; whether the server replied at all."""
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
        """Send one request until there is a reply; see `_send`."""
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
        """Send one request, once its turn has come.

        Raises:
            Refused: If the server will not take the request.
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
