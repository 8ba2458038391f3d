"""Asking about every prompt of a plan, in the form that the server's first answer shows to be the best it has."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tqdm import tqdm

from chatladder.endpoint.client import Refused, Retry
from chatladder.endpoint.completion import entry, read_completion
from chatladder.endpoint.run import Asking, run_asking
from chatladder.io.console import DataError
from chatladder.models.served.plan import IN_WORDS, PROBABILITIES, Item, Plan
from chatladder.models.served.reading import UNREAD, Answer, is_blank, read_name, read_probabilities


class Reply(NamedTuple):
    """What came back.

    Attributes:
        answer: None where the server lists no tokens although it was asked to.
        blank: Whether nothing was generated, so that there was nothing to list.
        prompt_tokens: As the server counted; None where it did not.
        completion_tokens: The same.
    """

    answer: Answer | None
    blank: bool
    prompt_tokens: int | None
    completion_tokens: int | None


class Answering(Asking):
    """One run over a plan's prompts."""

    def __init__(self, plan: Plan, echo: Callable[[str], None], progress: "tqdm[None]", *connected: Any) -> None:
        super().__init__(iter(plan.missing()), plan.connection, plan.report, *connected)
        self._plan, self._echo, self._progress = plan, echo, progress

    async def answer(self, item: Item) -> None:
        """Keep one prompt's answer.

        Raises:
            DataError: If the server lists no tokens and may not be asked otherwise.
        """
        reply, form = await self._reply(item)
        if reply.answer is None and not reply.blank:
            raise DataError(
                f"{self._plan.connection.base_url}: expected the probabilities of the answer's first tokens "
                "(top_logprobs), got none; this server does not tell them. Use --ask choice, whose answers have no "
                "probabilities, or serve the model with vLLM or llama.cpp."
            )
        if not self._plan.answers:
            self._plan.forms = (form,)
            self._echo(f"{self._plan.connection.model} is asked {IN_WORDS[form]}.")
        found = reply.answer or UNREAD
        # No other task runs between the last byte of a reply and this commit.
        taken = (item.tokens if reply.prompt_tokens is None else reply.prompt_tokens, reply.completion_tokens or 0)
        self._plan.answers[item.key] = self._plan.cache.keep(item.key, form, found, *taken)
        self._progress.update()
        if self._plan.is_hopeless():
            self.stop()

    def so_far(self) -> str:
        """How many prompts have an answer."""
        return f"{len(self._plan.answers):,} of {len(self._plan.items):,} questions are answered"

    async def _reply(self, item: Item) -> tuple[Reply, str]:
        """The reply for a prompt, and the form of the request; the first one settles the form."""
        *others, last = self._plan.forms
        for form in others:
            try:
                reply = await self._ask(item, form)
            except Refused:
                continue
            if reply.answer is not None:
                return reply, form
        return await self._ask(item, last), last

    async def _ask(self, item: Item, form: str) -> Reply:
        body = self._plan.request(item, form)
        return await self.send(lambda: self._post(body, form, item), item.tokens)

    async def _post(self, body: dict[str, Any], form: str, item: Item) -> Reply:
        content = await self.endpoint.post(body)
        choice, *counts = read_completion(content) if content is not None else (None,)
        if not isinstance(entry(choice, "message"), dict):
            raise Retry("the reply is no chat completion", charged=True)
        read = read_probabilities if form == PROBABILITIES else read_name
        return Reply(read(choice, item.options), is_blank(choice), *counts)


def ask_endpoint(plan: Plan, key: str, echo: Callable[[str], None]) -> Answering:
    """Ask an endpoint about the prompts of a plan that have no answer, and fill their answers in.

    Args:
        plan: Whose answers and report are filled in.
        key: Of the endpoint, or "".
        echo: Takes the line that says how the server is asked.

    Returns:
        The run: which prompts have no answer still, and why it ended.

    Raises:
        DataError: If the server does not answer, takes no request, or does not say what it is asked for.
    """
    missing = plan.missing()
    return run_asking(
        lambda endpoint, budget, progress: Answering(plan, echo, progress, endpoint, budget),
        plan.connection,
        plan.report,
        key,
        missing=len(missing),
        largest=max(item.tokens for item in missing) + plan.connection.max_answer_tokens,
        unit="questions",
    )
