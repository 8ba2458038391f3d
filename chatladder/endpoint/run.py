"""Asking an endpoint: so many requests at once, each until it is answered or given up.

What must be one for the whole run is here, in one process: what is asked, the limits, the retries and the answers. Only
the requests themselves are sent elsewhere where ``chatladder.distributed`` says so (chatladder/endpoint/ray_posts.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tqdm import tqdm

from chatladder.distributed import remote, workers
from chatladder.endpoint.budget import Budget, Limits, Spent
from chatladder.endpoint.client import Endpoint, Refused, Retry, Sender
from chatladder.endpoint.options import Connection, EndpointReport
from chatladder.io.console import DataError

#: Items refused one after the other before anything was answered: the server will not take these requests at all.
FIRST_REFUSED = 3
#: Items without an answer that end a run early; it fails in any case, and the rest would cost the same again.
GIVE_UP_AFTER = 20
#: Seconds before the first retry and before the last ones, and how much chance adds.
BACKOFF_FIRST, BACKOFF_MOST, BACKOFF_JITTER = 0.5, 30.0, 0.5


class _Stopped(Exception):
    """The run ends; nothing is sent any more."""


class Counted(Protocol):
    """What came back, with its tokens as the server counted; None where it did not."""

    @property
    def prompt_tokens(self) -> int | None:
        """Of the request."""

    @property
    def completion_tokens(self) -> int | None:
        """Of the answer."""


R = TypeVar("R", bound=Counted)


class Asking:
    """One run over items: a subclass says what is asked about one, and keeps its answer.

    Attributes:
        unusable: Items without an answer.
        refused: Why the server refused the last item that it refused; "" if it refused none.
        spent: The option whose budget ended the run; "" if none did.
    """

    def __init__(
        self, items: Iterator[Any], options: Connection, report: EndpointReport, endpoint: Sender, budget: Budget
    ) -> None:
        self.unusable: list[Any] = []
        self.refused = self.spent = ""
        self.endpoint = endpoint
        self._items, self._options, self._report, self._budget = items, options, report, budget
        self._error: Exception | None = None
        self._stopped = False
        self._workers: list[asyncio.Task[None]] = []
        self._sending: set[asyncio.Task[None] | None] = set()
        backoff = wait_exponential_jitter(multiplier=BACKOFF_FIRST, max=BACKOFF_MOST, jitter=BACKOFF_JITTER)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Retry),
            stop=stop_after_attempt(1 + options.max_retries),
            wait=lambda state: max(backoff(state), _failure(state).wait),
            before_sleep=self._before_retry,
            reraise=True,
        )
        self._send_until_replied = retrying.wraps(self._send)

    async def answer(self, item: Any) -> None:
        """Ask about one item with `send`, and keep its answer or give it up.

        Raises:
            Refused: If the server will not take the request.
            Retry: If it did not answer, however often it was asked.
        """
        raise NotImplementedError

    def so_far(self) -> str:
        """How many items have an answer."""
        raise NotImplementedError

    async def ask_all(self) -> None:
        """Ask about every item, first one by one until the server has answered.

        Raises:
            DataError: If the server does not answer, or takes no request.
        """
        if await self._ask_first():
            self._workers = [asyncio.create_task(self._work()) for _ in range(self._options.concurrency)]
            # Requests under way are paid for: whoever stops the run lets the others' replies come in.
            await asyncio.gather(*self._workers, return_exceptions=True)
        if self._error is not None:
            raise self._error

    async def send(self, post: Callable[[], Awaitable[R]], tokens: int) -> R:
        """Send one request until there is a reply, each time once its turn has come.

        Args:
            post: Sends it.
            tokens: The guess of what its prompt takes.
        """
        reply: R = await self._send_until_replied(post, tokens)
        return reply

    def give_up(self, item: Any) -> None:
        """Leave an item without an answer; after too many of them the run ends."""
        self.unusable.append(item)
        self._report.unusable += 1
        if len(self.unusable) >= GIVE_UP_AFTER:
            self.stop()

    def stop(self) -> None:
        """Send nothing any more; what is under way may come in."""
        self._stopped = True
        for worker in self._workers:
            if worker not in self._sending and worker is not asyncio.current_task():
                worker.cancel()

    async def _ask_first(self) -> bool:
        """Ask until one item is answered; False if the budget ended before."""
        for number, item in enumerate(self._items, start=1):
            try:
                if await self._settle(item):
                    return True
            except Spent as spent:
                self.spent = str(spent)
                return False
            if number == FIRST_REFUSED:
                raise DataError(
                    f"{self._options.base_url}: {self.refused} for each of the first {FIRST_REFUSED} texts; check "
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
            self.stop()
        except Exception as error:
            self._error = self._error or error
            self.stop()

    async def _settle(self, item: Any) -> bool:
        """Answer one item or give it up; whether the server answered at all."""
        try:
            await self.answer(item)
        except Refused as refused:
            self.refused = str(refused)
            self.give_up(item)
            return False
        except Retry as failure:
            raise DataError(
                f"{self._options.base_url}: {failure}, at the last of {1 + self._options.max_retries} tries of one "
                f"request; {self.so_far()}. Answers are kept: run again to go on."
            ) from None
        return True

    async def _send(self, post: Callable[[], Awaitable[R]], tokens: int) -> R:
        if self._stopped:
            raise _Stopped
        await self.endpoint.can_send()
        reserved = await self._budget.reserve(tokens, self._options.max_answer_tokens)
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            reply = await post()
        except Retry as failure:
            if failure.charged:
                self._budget.settle(reserved, tokens, None, None)
            else:
                self._budget.release(reserved)
            raise
        except Exception:
            self._budget.release(reserved)
            raise
        finally:
            self._sending.discard(task)
        self._budget.settle(reserved, tokens, reply.prompt_tokens, reply.completion_tokens)
        return reply

    def _before_retry(self, state: RetryCallState) -> None:
        if self._stopped:
            raise _Stopped
        self._report.retried += 1
        if wait := _failure(state).wait:
            self._budget.pause(wait)


def _failure(state: RetryCallState) -> Retry:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, Retry)
    return failure


A = TypeVar("A", bound=Asking)


def run_asking(
    start: Callable[[Sender, Budget, "tqdm[None]"], A],
    options: Connection,
    report: EndpointReport,
    key: str,
    *,
    missing: int,
    largest: int,
    unit: str,
) -> A:
    """Connect to an endpoint and run to the end.

    Args:
        start: Makes the run.
        options: Of the endpoint and its budget.
        report: Whose counts of requests and tokens are filled in.
        key: Of the endpoint, or "".
        missing: How many items have no answer.
        largest: The most tokens that one request may take.
        unit: What the items are.

    Raises:
        DataError: If the server does not answer, or takes no request; or if there are no workers to ask it.
    """
    limits = Limits(options.max_requests, options.max_tokens, options.requests_per_minute, options.tokens_per_minute)

    async def asking(sender: Sender, progress: "tqdm[None]") -> A:
        budget = Budget(limits, largest)
        async with sender as endpoint:
            run = start(endpoint, budget, progress)
            try:
                await run.ask_all()
            finally:
                report.requests = budget.requests
                report.prompt_tokens = budget.prompt_tokens
                report.completion_tokens = budget.completion_tokens
        return run

    with (
        _sender(options, key) as sender,
        tqdm(total=missing, desc=options.model, unit=f" {unit}", disable=None) as progress,
    ):
        return asyncio.run(asking(sender, progress))


@contextmanager
def _sender(options: Connection, key: str) -> Iterator[Sender]:
    """What sends the requests: this process, or the workers that the environment asks for."""
    with workers() as any_pool:
        pool = remote(any_pool)
        if pool is None:
            yield Endpoint(options.base_url, key, options.timeout, options.concurrency)
        else:
            from chatladder.endpoint.ray_posts import RayPosts

            # Without the key: each worker has it from its own environment.
            yield RayPosts(pool, options)
