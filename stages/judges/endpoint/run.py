"""Asking about every text of a plan: so many at once, each until there is a score or it is given up."""

import asyncio

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tqdm import tqdm

from stages.cli import DataError
from stages.judges.endpoint.budget import Budget, Limits, Spent
from stages.judges.endpoint.client import Endpoint, Refused, Reply, Retry
from stages.judges.endpoint.options import PLAIN_FORM, SCHEMA_FORM
from stages.judges.endpoint.plan import Item, Plan

#: An answer that is no score is asked for so often in all.
ASKS = 3
#: Texts refused one after the other before anything was answered: the server will not take these requests at all.
FIRST_REFUSED = 3
#: Texts without a score that end a run early; it fails in any case, and the rest would cost the same again.
GIVE_UP_AFTER = 20
#: Seconds before the first retry and before the last ones, and how much chance adds.
BACKOFF_FIRST, BACKOFF_MOST, BACKOFF_JITTER = 0.5, 30.0, 0.5


class _Stopped(Exception):
    """The run ends; nothing is sent any more."""


class Run:
    """One run over a plan's texts.

    Attributes:
        unusable: Positions of texts without a score.
        refused: Why the server refused the last text that it refused; "" if it refused none.
        spent: The option whose budget ended the run; "" if none did.
    """

    def __init__(self, plan: Plan, endpoint: Endpoint, budget: Budget, progress: "tqdm[None]") -> None:
        self.unusable: list[int] = []
        self.refused = self.spent = ""
        self._plan, self._endpoint, self._budget, self._progress = plan, endpoint, budget, progress
        self._items = plan.items()
        # None until the first answer has shown which form the server takes.
        self._form = plan.forms[0] if len(plan.forms) == 1 else None
        self._error: Exception | None = None
        self._stopped = False
        self._workers: list[asyncio.Task[None]] = []
        self._sending: set[asyncio.Task[None] | None] = set()
        backoff = wait_exponential_jitter(multiplier=BACKOFF_FIRST, max=BACKOFF_MOST, jitter=BACKOFF_JITTER)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Retry),
            stop=stop_after_attempt(1 + plan.options.max_retries),
            wait=lambda state: max(backoff(state), _failure(state).wait),
            before_sleep=self._before_retry,
            reraise=True,
        )
        self._send_until_replied = retrying.wraps(self._send)

    async def ask_all(self) -> None:
        """Ask about every text without a score, first one by one until the server has answered.

        Raises:
            DataError: If the server does not answer, or takes no request.
        """
        if await self._ask_first():
            self._workers = [asyncio.create_task(self._work()) for _ in range(self._plan.options.concurrency)]
            # Requests under way are paid for: whoever stops the run lets the others' replies come in.
            await asyncio.gather(*self._workers, return_exceptions=True)
        if self._error is not None:
            raise self._error

    async def _ask_first(self) -> bool:
        """Ask until one text is answered; False if the budget ended before."""
        for item in self._items:
            try:
                if await self._settle(item):
                    return True
            except Spent as spent:
                self.spent = str(spent)
                return False
            if len(self.unusable) == FIRST_REFUSED:
                raise DataError(
                    f"{self._plan.options.base_url}: {self.refused} for each of the first {FIRST_REFUSED} texts; check "
                    "model, temperature, seed, answer_limit and extra_body against what the server takes."
                )
        return False

    async def _work(self) -> None:
        try:
            for item in self._items:
                await self._settle(item)
                if self._stopped:
                    return
        except _Stopped:
            return
        except Spent as spent:
            self.spent = str(spent)
            self._stop()
        except Exception as error:
            self._error = self._error or error
            self._stop()

    def _stop(self) -> None:
        self._stopped = True
        for worker in self._workers:
            if worker not in self._sending and worker is not asyncio.current_task():
                worker.cancel()

    async def _settle(self, item: Item) -> bool:
        """Score one text or give it up; whether the server answered at all."""
        try:
            reply, form = await self._reply(item)
        except Refused as refused:
            self.refused = str(refused)
            self._give_up(item)
            return False
        except Retry as failure:
            tries = 1 + self._plan.options.max_retries
            raise DataError(
                f"{self._plan.options.base_url}: {failure}, at the last of {tries} tries of one request; "
                f"{self._plan.scored:,} of {self._plan.report.texts:,} texts have a score. Answers are kept: "
                "run again to go on."
            ) from None
        if reply.score is None:
            self._give_up(item)
            return True
        # No other task runs between the last byte of a reply and this commit.
        taken = (item.tokens if reply.prompt_tokens is None else reply.prompt_tokens, reply.completion_tokens or 0)
        self._plan.scores[item.position] = self._plan.cache.keep(item.key, form, reply.score, *taken)
        self._progress.update()
        return True

    def _give_up(self, item: Item) -> None:
        self.unusable.append(item.position)
        self._plan.report.unusable += 1
        if len(self.unusable) >= GIVE_UP_AFTER:
            self._stop()

    async def _reply(self, item: Item) -> tuple[Reply, str]:
        """The last reply for a text, and the form of the request."""
        if self._form is not None:
            return await self._ask(item, self._form), self._form
        try:
            reply = await self._ask(item, SCHEMA_FORM)
        except Refused:
            reply = await self._ask(item, PLAIN_FORM)
            self._form = PLAIN_FORM
        else:
            self._form = SCHEMA_FORM
        return reply, self._form

    async def _ask(self, item: Item, form: str) -> Reply:
        reply = await self._send_until_replied(item, form, 0)
        for again in range(1, ASKS):
            if reply.score is not None:
                break
            self._plan.report.asked_again += 1
            reply = await self._send_until_replied(item, form, again)
        return reply

    async def _send(self, item: Item, form: str, again: int) -> Reply:
        """Send one request, once its turn has come."""
        if self._stopped:
            raise _Stopped
        reserved = await self._budget.reserve(item.tokens, self._plan.options.max_answer_tokens)
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            reply = await self._endpoint.ask(self._plan.request(item, again), structured=form == SCHEMA_FORM)
        except Retry as failure:
            if failure.charged:
                self._budget.settle(reserved, item.tokens, None, None)
            else:
                self._budget.release(reserved)
            raise
        except Exception:
            self._budget.release(reserved)
            raise
        finally:
            self._sending.discard(task)
        self._budget.settle(reserved, item.tokens, reply.prompt_tokens, reply.completion_tokens)
        return reply

    def _before_retry(self, state: RetryCallState) -> None:
        if self._stopped:
            raise _Stopped
        self._plan.report.retried += 1
        if wait := _failure(state).wait:
            self._budget.pause(wait)


def _failure(state: RetryCallState) -> Retry:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, Retry)
    return failure


def ask_endpoint(plan: Plan, key: str, *, missing: int, largest: int) -> Run:
    """Ask an endpoint about the texts of a plan that have no score, and fill their scores in.

    Args:
        plan: Whose scores and report are filled in.
        key: Of the endpoint, or "".
        missing: How many texts have no score.
        largest: The most tokens that one request may take.

    Returns:
        The run: which texts have no score still, and why it ended.

    Raises:
        DataError: If the server does not answer, or takes no request.
    """
    options = plan.options
    limits = Limits(options.max_requests, options.max_tokens, options.requests_per_minute, options.tokens_per_minute)

    async def asking(progress: "tqdm[None]") -> Run:
        budget = Budget(limits, largest)
        async with Endpoint(options.base_url, key, options.timeout, options.concurrency) as endpoint:
            run = Run(plan, endpoint, budget, progress)
            try:
                await run.ask_all()
            finally:
                plan.report.requests = budget.requests
                plan.report.prompt_tokens = budget.prompt_tokens
                plan.report.completion_tokens = budget.completion_tokens
        return run

    with tqdm(total=missing, desc=options.model, unit=" texts", disable=None) as progress:
        return asyncio.run(asking(progress))
