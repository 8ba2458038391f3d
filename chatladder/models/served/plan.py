"""What an endpoint is asked for a rung, under which key each answer is kept, and the answers so far."""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from chatladder.endpoint.options import ANSWER_LIMITS, Connection, EndpointReport
from chatladder.endpoint.plan import extra_fields
from chatladder.endpoint.prompt import guess_tokens, response_format
from chatladder.models.prompts import Prompt
from chatladder.models.served.kept import KeptAnswers
from chatladder.models.served.messages import message
from chatladder.models.served.reading import NAME, Answer
from chatladder.vocabulary import ANSWERS

#: Forms of a request: the first tokens' probabilities; an option by name, held to a schema; the same, held to nothing.
PROBABILITIES, SCHEMA, PLAIN = "probabilities", "schema", "plain"
#: What ``--ask`` allows, the first to be tried first.
ASKS = {"auto": (PROBABILITIES, SCHEMA, PLAIN), "logprobs": (PROBABILITIES,), "choice": (SCHEMA, PLAIN)}
IN_WORDS = {
    PROBABILITIES: "by the probabilities of its first tokens (logprobs)",
    SCHEMA: "by name (choice), held to a schema: its answers have no probabilities",
    PLAIN: "by name (choice), held to nothing: its answers have no probabilities",
}
#: What ``extra_body`` must not set: other options do, or the reading of answers relies on it.
RESERVED = {
    *("model", "messages", "temperature", "logprobs", "top_logprobs", "response_format", "stream", "n"),
    *ANSWER_LIMITS,
}
#: With so many answers and none of them an option, the rest will be no better.
FIRST_UNREAD = 20


class Ask(NamedTuple):
    """What a model is asked for.

    Attributes:
        ask: One of `ASKS`.
        top_logprobs: How many of the likeliest tokens are to be listed.
    """

    ask: str
    top_logprobs: int


class Item(NamedTuple):
    """One prompt to be asked about.

    Attributes:
        key: Of its answer.
        message: What is sent.
        options: Text of each option.
        tokens: The guess of what the prompt takes.
    """

    key: bytes
    message: str
    options: dict[str, str]
    tokens: int


class Plan:
    """The different prompts, how each is asked about, and the answers so far.

    Attributes:
        connection: To the endpoint.
        items: The different prompts, in order of coming.
        keys: Of each prompt, in the order of the prompts.
        shortened: How many prompts were shortened.
        forms: Of a request; one alone once it is known which the server takes.
        cache: Of answers.
        answers: So far, by key.
        report: Of the run.
    """

    def __init__(
        self, prompts: Sequence[Prompt], connection: Connection, how: Ask, max_length: int, cache: KeptAnswers
    ) -> None:
        """Prepare every request, and find the answers that are kept.

        Raises:
            DataError: If ``extra_body`` is no JSON object, or has a field that is not its to set.
        """
        self.connection, self.cache = connection, cache
        self._listed = how.top_logprobs
        drawn = {} if connection.temperature is None else {"temperature": connection.temperature}
        chosen = drawn | extra_fields(connection.extra_body, RESERVED)
        limit = {connection.answer_limit: connection.max_answer_tokens}
        self._body: dict[str, Any] = {"model": connection.model, **chosen, **limit}
        # The limit decides what is an answer, too: one that is cut off is none.
        self._asked = [connection.base_url.rstrip("/"), connection.model, chosen, connection.max_answer_tokens]
        self._asked.append(how.top_logprobs)
        self.keys: list[bytes] = []
        self.shortened = 0
        different: dict[bytes, Item] = {}
        for prompt in prompts:
            item, shortened = self._item(prompt, max_length)
            self.keys.append(item.key)
            self.shortened += shortened
            different.setdefault(item.key, item)
        self.items = list(different.values())
        self.forms: tuple[str, ...] = ASKS[how.ask]
        self.answers: dict[bytes, Answer] = {}
        for form in ASKS[how.ask]:
            # One form for all: answers with probabilities and without cannot be compared.
            if kept := cache.find([*different], form):
                self.answers, self.forms = kept, (form,)
                break
        self.report = EndpointReport(texts=len(self.items), cached=len(self.answers))

    def missing(self) -> list[Item]:
        """The prompts without an answer."""
        return [item for item in self.items if item.key not in self.answers]

    def request(self, item: Item, form: str) -> dict[str, Any]:
        """The body of a request about one prompt."""
        body = {**self._body, "messages": [{"role": "user", "content": item.message}]}
        if form == PROBABILITIES:
            return {**body, "logprobs": True, "top_logprobs": self._listed}
        if form == SCHEMA:
            return {**body, "response_format": response_format(NAME, "string", [*item.options.values()])}
        return body

    def unread(self) -> int:
        """How many answers are none of the options."""
        return sum(answer.shares is None for answer in self.answers.values())

    def is_hopeless(self) -> bool:
        """Whether it is no use to go on: the first answers are all none of the options."""
        return len(self.answers) >= FIRST_UNREAD and not any(answer.shares for answer in self.answers.values())

    def in_order(self) -> Iterator[Answer]:
        """The answer to each prompt, in the order of the prompts."""
        return (self.answers[key] for key in self.keys)

    def _item(self, prompt: Prompt, max_length: int) -> tuple[Item, bool]:
        options = {name: prompt.options[name] for name in ANSWERS}
        text, shortened = message(prompt.instruction, max(options.values(), key=len), max_length)
        key = sha256(json.dumps([*self._asked, text, options], sort_keys=True).encode("utf-8")).digest()
        return Item(key, text, options, guess_tokens(text)), shortened
