"""What may be set of a judge behind an endpoint, and what its run reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from chatladder.io.console import DataError

#: ``auto`` holds the model to the answer's schema if the server can do it.
STRUCTURED = ("auto", "always", "never")
#: How the most tokens of an answer are called; servers differ (Ollama knows the second alone).
ANSWER_LIMITS = ("max_completion_tokens", "max_tokens")
#: Forms of a request, as kept with its answer.
SCHEMA_FORM, PLAIN_FORM = "json_schema", "plain"
FORMS = {"auto": (SCHEMA_FORM, PLAIN_FORM), "always": (SCHEMA_FORM,), "never": (PLAIN_FORM,)}


class Connection(NamedTuple):
    """What every request to an endpoint needs, whatever it asks; `EndpointOptions` says what each means."""

    base_url: str
    model: str
    key_variable: str
    answer_limit: str
    max_answer_tokens: int
    temperature: float | None
    extra_body: str
    concurrency: int
    requests_per_minute: int
    tokens_per_minute: int
    max_requests: int
    max_tokens: int
    timeout: float
    max_retries: int

    def refuse_beyond(self, requests: int, tokens: int, fewer: str) -> None:
        """Hold what a run will send, before retries, to its budget; ``fewer`` says how to need less.

        Raises:
            DataError: If it is more.
        """
        budget = (("max_requests", requests, self.max_requests), ("max_tokens", tokens, self.max_tokens))
        for name, needed, allowed in budget:
            if needed > allowed:
                raise DataError(
                    f"{name}: the run would take about {needed:,}, {needed - allowed:,} more than the {allowed:,} "
                    f"allowed; nothing was sent. Raise {name}, or {fewer}."
                )


class EndpointOptions(NamedTuple):
    """Everything that a judge's section of params.yaml may set.

    Attributes:
        base_url: Up to where ``/chat/completions`` follows, for instance ``http://localhost:8000/v1``.
        model: Its name at that server.
        prompt: Text file with the task.
        key_variable: Environment variable that holds the key; "" sends none.
        structured: One of `STRUCTURED`.
        answer_limit: One of `ANSWER_LIMITS`.
        max_answer_tokens: Of one answer, thoughts included.
        max_characters: Of one text; a longer one loses its middle.
        temperature: None where the server wants it left out.
        seed: None where the server wants it left out.
        extra_body: Further fields of the request as a JSON object, for instance to switch thinking off; "" for none.
        concurrency: Requests at once.
        requests_per_minute: 0 for no limit.
        tokens_per_minute: 0 for no limit.
        max_requests: Of one run, retries included.
        max_tokens: Of one run, prompts and answers together.
        timeout: Seconds of one request.
        max_retries: Of one request, after time-outs, broken connections and passing errors.
    """

    base_url: str
    model: str
    prompt: Path
    key_variable: str
    structured: str
    answer_limit: str
    max_answer_tokens: int
    max_characters: int
    temperature: float | None
    seed: int | None
    extra_body: str
    concurrency: int
    requests_per_minute: int
    tokens_per_minute: int
    max_requests: int
    max_tokens: int
    timeout: float
    max_retries: int

    def connection(self) -> Connection:
        """The options that do not depend on what is asked."""
        return Connection(*(getattr(self, name) for name in Connection._fields))


@dataclass
class EndpointReport:
    """What a run did.

    Attributes:
        texts: Different ones among the turns.
        cached: Texts whose score was kept from before.
        requests: Sent, retries included.
        retried: Requests sent again after a time-out, a broken connection or a passing error.
        asked_again: Requests sent again because the answer was no score.
        unusable: Texts without a score; a run that ends well has none.
        prompt_tokens: By the server's count, guessed where it gave none.
        completion_tokens: The same.
        answer_prompt_tokens: Of the answers that count, whichever run asked for them: the same in a repeated run.
        answer_completion_tokens: The same.
    """

    texts: int = 0
    cached: int = 0
    requests: int = 0
    retried: int = 0
    asked_again: int = 0
    unusable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answer_prompt_tokens: int = 0
    answer_completion_tokens: int = 0
