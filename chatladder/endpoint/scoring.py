"""Asking about every text of a plan until there is a score or it is given up."""

from typing import Any

from tqdm import tqdm

from chatladder.endpoint.client import Refused, Reply
from chatladder.endpoint.options import PLAIN_FORM, SCHEMA_FORM
from chatladder.endpoint.plan import Item, Plan
from chatladder.endpoint.run import Asking, run_asking

#: An answer that is no score is asked for so often in all.
ASKS = 3


class Scoring(Asking):
    """One run over a plan's texts."""

    def __init__(self, plan: Plan, progress: "tqdm[None]", *connected: Any) -> None:
        super().__init__(plan.items(), plan.options.connection(), plan.report, *connected)
        self._plan, self._progress = plan, progress
        # None until the first answer has shown which form the server takes.
        self._form = plan.forms[0] if len(plan.forms) == 1 else None

    async def answer(self, item: Item) -> None:
        """Keep one text's score, or give the text up."""
        reply, form = await self._reply(item)
        if reply.score is None:
            self.give_up(item)
            return
        # No other task runs between the last byte of a reply and this commit.
        taken = (item.tokens if reply.prompt_tokens is None else reply.prompt_tokens, reply.completion_tokens or 0)
        self._plan.scores[item.position] = self._plan.cache.keep(item.key, form, reply.score, *taken)
        self._progress.update()

    def so_far(self) -> str:
        """How many texts have a score."""
        return f"{self._plan.scored:,} of {self._plan.report.texts:,} texts have a score"

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
        reply = await self._send_one(item, form, 0)
        for again in range(1, ASKS):
            if reply.score is not None:
                break
            self._plan.report.asked_again += 1
            reply = await self._send_one(item, form, again)
        return reply

    async def _send_one(self, item: Item, form: str, again: int) -> Reply:
        body, structured = self._plan.request(item, again), form == SCHEMA_FORM
        return await self.send(lambda: self.endpoint.ask(body, structured=structured), item.tokens)


def ask_endpoint(plan: Plan, key: str, *, missing: int, largest: int) -> Scoring:
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
    return run_asking(
        lambda endpoint, budget, progress: Scoring(plan, progress, endpoint, budget),
        plan.options.connection(),
        plan.report,
        key,
        missing=missing,
        largest=largest,
        unit="texts",
    )
