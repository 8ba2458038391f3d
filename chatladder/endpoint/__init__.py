"""A judge behind any OpenAI-compatible endpoint: a hosted model, or one served on this machine.

Every different text is asked once: how much of a question is it, from 0 to 10? Answers are kept on disk
(chatladder/endpoint/cache.py), so a run that was killed goes on where it was, and a repeated one asks nothing.
An answer that is no score is asked for again, twice at most; if one text stays without a score, so does the run: it
fails and names the turns. A failure is never a score.

What "asked once" means: an answer counts from the moment it is committed, right after the last byte of its reply was
read. If the process is killed, the requests under way at that moment, at most ``concurrency`` of them, may have been
answered and not committed; those alone are asked again. Two runs at once share their answers, but not what they are
asking just now.

The prompt and the walls around a text are in chatladder/endpoint/prompt.py, those around the key in
chatladder/endpoint/address.py and endpoint/client.py, the limits in endpoint/budget.py. Over Ray only the requests
themselves are sent by workers (endpoint/ray_posts.py); all of this stays with the one process that counts and keeps.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from chatladder.endpoint.address import check_address, read_key
from chatladder.endpoint.cache import AnswerCache
from chatladder.endpoint.options import EndpointOptions, EndpointReport
from chatladder.endpoint.plan import Plan, Turns
from chatladder.endpoint.prompt import BYTES_A_TOKEN, read_prompt
from chatladder.io.console import DataError

#: Where answers are kept unless told otherwise; git and DVC pass over it.
CACHE_FOLDER = Path(".chatladder/judges")
ADVICE = "use a clearer prompt, a model that can follow it, or structured: always"


def score_texts(
    turns: Turns, options: EndpointOptions, cache_folder: Path, echo: Callable[[str], None]
) -> tuple[np.ndarray, EndpointReport]:
    """Score turns with a model behind an endpoint.

    Args:
        turns: Read part by part, once to plan and once to ask.
        options: Of the judge.
        cache_folder: Where answers are kept.
        echo: Takes the line that says, before anything is sent, what the run will send.

    Returns:
        Scores from 0 to 10, shape ``(turns,)``, float64, in the order of the turns; and what the run did.

    Raises:
        DataError: If options do not fit together, the run would not fit its budget or reaches the end of it, the
            server does not answer, or a text stays without a score. What was answered is kept in each case.
    """
    prompt = read_prompt(options.prompt, options.max_characters)
    check_address(options.base_url, with_key=bool(options.key_variable))
    with AnswerCache(cache_folder) as cache:
        plan = Plan(turns, options, prompt, cache)
        tokens = plan.tokens()
        if len(tokens):
            _announce(plan, len(tokens), int(tokens.sum()), echo)
            # Imported late: the client alone takes half a second, and a run that finds all answers needs none.
            from chatladder.endpoint.scoring import ask_endpoint

            key = read_key(options.key_variable)
            run = ask_endpoint(plan, key, missing=len(tokens), largest=int(tokens.max()))
            if run.unusable:
                refused = f"some were refused: {run.refused}" if run.refused else ""
                raise plan.unusable(options.base_url, [item.position for item in run.unusable], refused, ADVICE)
            if run.spent:
                raise DataError(
                    f"{options.base_url}: the budget {run.spent} ended with {plan.scored:,} of {plan.report.texts:,} "
                    "different texts scored. Answers are kept: run again to go on from here, or raise the budget."
                )
        plan.report.answer_prompt_tokens, plan.report.answer_completion_tokens = plan.answers_took()
    return plan.scores[plan.places], plan.report


def _announce(plan: Plan, missing: int, tokens: int, echo: Callable[[str], None]) -> None:
    """Say what the run will send.

    Raises:
        DataError: If that is more than its budget.
    """
    options, report = plan.options, plan.report
    echo(
        f"{options.model} at {options.base_url}: {missing:,} of {report.texts:,} different texts to ask, "
        f"{report.cached:,} answered before: {missing:,} requests and at most about {tokens:,} tokens "
        f"(UTF-8 bytes / {BYTES_A_TOKEN}, and {options.max_answer_tokens} for each answer), before retries."
    )
    options.connection().refuse_beyond(missing, tokens, "score fewer turns")
