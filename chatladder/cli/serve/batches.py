"""Questions that arrive at once, answered together by one thread.

No question waits for others: an idle thread answers what there is, and questions that arrive meanwhile are its next
batch. So a single client has the lowest latency, and many have the throughput of a batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from chatladder.cli.answering import Answer

#: The most questions of one batch; a request is never split.
MOST_AT_ONCE = 64
Answers = Callable[[Sequence[dict[str, Any]]], list[Answer]]


class FullError(Exception):
    """Too many questions are waiting."""


class _Waiting(NamedTuple):
    rows: list[dict[str, Any]]
    answers: "asyncio.Future[list[Answer]]"


class Batches:
    """Takes requests on one event loop, and answers them in a thread of its own."""

    def __init__(self, answer: Answers, most_waiting: int) -> None:
        """Start with an empty queue.

        Args:
            answer: Answers some rows of QUESTIONS; it is called by one thread alone.
            most_waiting: The most questions that may wait.
        """
        self._answer, self._most = answer, most_waiting
        self._requests: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, "answers")
        self._running: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of questions that wait."""
        return sum(len(request.rows) for request in self._requests if not request.answers.done())

    async def ask(self, rows: list[dict[str, Any]]) -> list[Answer]:
        """Return the answers to some rows of QUESTIONS, in their order.

        Raises:
            FullError: If too many questions wait already.
        """
        if self.waiting + len(rows) > self._most:
            raise FullError
        request = _Waiting(rows, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await request.answers

    async def _run(self) -> None:
        while batch := self._next():
            try:
                await self._settle(batch)
            except Exception:
                # One request must not fail the others in its batch.
                for request in batch:
                    try:
                        await self._settle([request])
                    except Exception as error:
                        if not request.answers.done():
                            request.answers.set_exception(error)

    def _next(self) -> list[_Waiting]:
        """Take the requests of the next batch, without those whose client has gone."""
        batch: list[_Waiting] = []
        size = 0
        while self._requests and (not batch or size + len(self._requests[0].rows) <= MOST_AT_ONCE):
            request = self._requests.popleft()
            if not request.answers.done():
                batch.append(request)
                size += len(request.rows)
        return batch

    async def _settle(self, batch: list[_Waiting]) -> None:
        rows = [row for request in batch for row in request.rows]
        given = iter(await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, rows))
        for request in batch:
            own = [next(given) for _ in request.rows]
            if not request.answers.done():
                request.answers.set_result(own)
