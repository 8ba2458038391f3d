"""What a run may send: so much in all, and so much a minute.

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
from typing import NamedTuple

from aiolimiter import AsyncLimiter

from chatladder.io.console import DataError

MINUTE = 60.0
#: Of a minute's worth, what may go at once after a rest: a second's.
BURST = 1 / 60


class Limits(NamedTuple):
    """What may be sent.

    Attributes:
        max_requests: In this run.
        max_tokens: In this run, prompts and answers together.
        requests_per_minute: 0 for no limit.
        tokens_per_minute: 0 for no limit; prompts and the most that answers may take.
    """

    max_requests: int
    max_tokens: int
    requests_per_minute: int
    tokens_per_minute: int


class Spent(Exception):
    """The budget has no room for the next request; the message names the option that ended it."""


class Budget:
    """Counts requests and tokens, and holds them back.

    Attributes:
        requests: Sent so far, retries included.
        prompt_tokens: Taken by prompts so far, by the server's count where it gave one.
        completion_tokens: The same of answers.
    """

    def __init__(self, limits: Limits, largest: int) -> None:
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
            prompt_tokens: As guessed, see `chatladder.endpoint.prompt.guess_tokens`.
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
