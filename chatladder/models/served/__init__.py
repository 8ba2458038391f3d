"""A rung behind any OpenAI-compatible endpoint: a model too large for this machine, served elsewhere.

It is sent the prompts that local rungs read, and its answers are kept on disk (chatladder/models/served/kept.py), so a
run that was killed goes on where it was, and a repeated one asks nothing. What counts as an answer is in
chatladder/models/served/reading.py; limits, budget and the walls around the key are those of the judges behind
endpoints (chatladder/endpoint).

Where a server lists the probabilities of the first tokens, each option has its own, as from a local model; where it
does not, an option is named and has probability 1: such a rung has answers, but no calibrated probabilities.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from chatladder.endpoint.address import check_address, read_key
from chatladder.endpoint.options import Connection
from chatladder.endpoint.prompt import BYTES_A_TOKEN
from chatladder.io.console import DataError, printable
from chatladder.models.prompts import Prompt
from chatladder.models.served.kept import KeptAnswers
from chatladder.models.served.plan import PROBABILITIES, Ask, Plan

SHOWN_ITEMS = 10


def answer_prompts(
    ids: Sequence[str],
    prompts: Sequence[Prompt],
    connection: Connection,
    how: Ask,
    *,
    max_length: int,
    cache_folder: Path,
    echo: Callable[[str], None],
) -> Plan:
    """Answer prompts with a model behind an endpoint.

    Args:
        ids: Of the prompts' items, for errors to name.
        prompts: In any order; equal ones are asked about once.
        connection: To the endpoint.
        how: What is asked for.
        max_length: Most tokens of a prompt with its answer, as guessed.
        cache_folder: Where answers are kept.
        echo: Takes what is said before and while requests are sent.

    Returns:
        The plan, with an answer to every prompt.

    Raises:
        DataError: If options do not fit together, the run would not fit its budget or reaches the end of it, the
            server does not answer, a prompt is refused, or no answer is an option. What was answered is kept in each
            case.
    """
    check_address(connection.base_url, with_key=bool(connection.key_variable))
    with KeptAnswers(cache_folder) as cache:
        plan = Plan(prompts, connection, how, max_length, cache)
        missing = plan.missing()
        if missing and not plan.is_hopeless():
            _announce(plan, len(missing), sum(item.tokens for item in missing), echo)
            # Imported late: the client alone takes half a second, and a run that finds all answers needs none.
            from chatladder.models.served.asking import ask_endpoint

            run = ask_endpoint(plan, read_key(connection.key_variable), echo)
            if run.unusable:
                raise _refused(plan, ids, {item.key for item in run.unusable}, run.refused)
            if run.spent:
                raise DataError(
                    f"{connection.base_url}: the budget {run.spent} is used up; {run.so_far()}. Answers are kept: run "
                    "again to go on from here, or raise the budget."
                )
        if plan.unread() == len(plan.answers):
            raise _unread(plan)
        if plan.missing():
            raise DataError(
                f"{connection.base_url}: stopped, for hardly an answer was one of the options. Answers are kept: run "
                "again to go on from here."
            )
    return plan


def _announce(plan: Plan, missing: int, tokens: int, echo: Callable[[str], None]) -> None:
    """Say what the run will send.

    Raises:
        DataError: If that is more than its budget.
    """
    connection = plan.connection
    tokens += missing * connection.max_answer_tokens
    echo(
        f"{connection.model} at {connection.base_url}: {missing:,} of {len(plan.items):,} different questions to ask, "
        f"{plan.report.cached:,} answered before: {missing:,} requests and at most about {tokens:,} tokens "
        f"(UTF-8 bytes / {BYTES_A_TOKEN}, and {connection.max_answer_tokens} for each answer), before retries."
    )
    connection.refuse_beyond(missing, tokens, "ask fewer questions")


def _refused(plan: Plan, ids: Sequence[str], keys: set[bytes], why: str) -> DataError:
    items = [item_id for item_id, key in zip(ids, plan.keys, strict=True) if key in keys]
    more = f" and {len(items) - SHOWN_ITEMS:,} more" if len(items) > SHOWN_ITEMS else ""
    return DataError(
        f"{plan.connection.base_url}: {len(keys):,} questions were refused ({why}): items "
        f"{', '.join(map(printable, items[:SHOWN_ITEMS]))}{more}. {len(plan.answers):,} of {len(plan.items):,} are "
        "answered, and the answers kept; most likely these are too long for the server: lower max_length, or give the "
        "server a longer context, and run again."
    )


def _unread(plan: Plan) -> DataError:
    by_name = "--ask choice holds the model to the options, where the server can"
    otherwise = by_name if plan.forms == (PROBABILITIES,) else "a larger model may follow the prompt better"
    return DataError(
        f"{plan.connection.base_url}: none of {len(plan.answers):,} answers is one of the options. A model that thinks "
        'first is told not to with extra_body {"chat_template_kwargs": {"enable_thinking": false}}, or needs '
        f"max_answer_tokens in the thousands; {otherwise}. These answers are kept for these settings in "
        f"{plan.cache.path}."
    )
