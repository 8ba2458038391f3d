"""The options of ``stages.score`` for a judge behind an endpoint, as params.yaml has them."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from chatladder.endpoint.options import ANSWER_LIMITS, STRUCTURED, EndpointOptions
from chatladder.io.console import InputFile

#: What a section may leave out, and what that means.
MAY_LACK: dict[str, Any] = {"key_variable": "", "extra_body": "", "temperature": None, "seed": None}

#: How an endpoint is reached, and what it may be sent.
_CONNECTION = (
    click.option("--base-url", help="Up to where /chat/completions follows: http://localhost:8000/v1."),
    click.option("--model", help="Its name at that server."),
    click.option("--key-variable", help="Environment variable that holds the key; leave it out for none."),
    click.option("--answer-limit", type=click.Choice(ANSWER_LIMITS), help="What the server calls it."),
    click.option("--max-answer-tokens", type=click.IntRange(1), help="Of one answer, thoughts included."),
    click.option("--temperature", type=click.FloatRange(0), help="Leave it out where the server refuses it."),
    click.option("--extra-body", help="Further fields of the request, a JSON object."),
    click.option("--concurrency", type=click.IntRange(1), help="Requests at once."),
    click.option("--requests-per-minute", type=click.IntRange(0), help="0 for no limit."),
    click.option("--tokens-per-minute", type=click.IntRange(0), help="0 for no limit."),
    click.option("--max-requests", type=click.IntRange(0), help="Of one run, retries included."),
    click.option("--max-tokens", type=click.IntRange(0), help="Of one run, prompts and answers together."),
    click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Of one request, in seconds."),
    click.option("--max-retries", type=click.IntRange(0), help="Of one request."),
)
#: What a judge asks.
_QUESTION = (
    click.option("--prompt", type=InputFile, help="Text file with the task."),
    click.option("--structured", type=click.Choice(STRUCTURED), help="Hold the model to the answer's schema."),
    click.option("--max-characters", type=click.IntRange(1), help="Of one text; a longer one loses its middle."),
)


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of a judge behind an endpoint; none of them is required."""
    return with_options(command, (*_CONNECTION, *_QUESTION))


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `chatladder.endpoint.options.Connection`; none of them is required."""
    return with_options(command, _CONNECTION)


def with_options(command: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """Give a command options, which --help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def gather(given: dict[str, Any]) -> EndpointOptions:
    """The options that were given, as the judge takes them.

    Raises:
        click.UsageError: If one is missing that must be there.
    """
    return EndpointOptions(**pick(given, EndpointOptions._fields, "a judge of kind endpoint"))


def pick(given: dict[str, Any], names: Sequence[str], whose: str) -> dict[str, Any]:
    """Those of the options that were given, or what it means that they were not.

    Raises:
        click.UsageError: If one is missing that must be there.
    """
    values = {name: given[name] if given.get(name) is not None else MAY_LACK.get(name) for name in names}
    missing = [name for name, value in values.items() if value is None and name not in MAY_LACK]
    if missing:
        lacking = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise click.UsageError(f"{whose} needs {lacking} too.")
    return values
