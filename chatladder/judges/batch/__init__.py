"""A judge that runs in batches where GPUs are: Ray Data hands the texts to vLLM, and nothing is served.

It asks what a judge behind an endpoint asks, with the same prompt and the same reading of answers
(chatladder/endpoint/prompt.py), and keeps answers in the same cache: a repeated run asks nothing, one that was
killed goes on. An answer that is no score is asked for again where answers are drawn (``temperature`` above 0); a text
that stays without one fails the run and is named. A failure is never a score.

**Not run: this has seen neither a GPU nor vLLM yet.** What is checked without them: Ray's own class takes the
configuration, Ray's stages that need no GPU run for real, and what goes in and what comes of it are as they must be
(tests/judges/test_judge_batch.py). In place of the engine a stand-in answers there.

Which model is asked is a commit on the hub, and no code of its repository is ever run. At temperature 0 another GPU, or
another number of them, may still round otherwise and answer otherwise; answers that are kept do not change.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from chatladder.endpoint.cache import AnswerCache
from chatladder.endpoint.options import EndpointReport
from chatladder.endpoint.plan import Plan, Turns
from chatladder.endpoint.prompt import BYTES_A_TOKEN, read_prompt
from chatladder.judges.batch.options import BatchOptions

ADVICE = "raise max_answer_tokens or max_model_len, use a clearer prompt, or structured: always"


def score_texts(
    turns: Turns, options: BatchOptions, cache_folder: Path, echo: Callable[[str], None]
) -> tuple[np.ndarray, EndpointReport]:
    """Score turns with a model in batches.

    Args:
        turns: Read part by part, once to plan and once to ask.
        options: Of the judge.
        cache_folder: Where answers are kept, those of endpoints too.
        echo: Takes the line that says, before the engine starts, what it will be asked.

    Returns:
        Scores from 0 to 10, shape ``(turns,)``, float64, in the order of the turns; and what the run did.

    Raises:
        DataError: If options do not fit together, Ray, a GPU, vLLM or the model is not there, the engine is lost, or
            a text stays without a score. What was answered is kept in each case.
    """
    prompt = read_prompt(options.prompt, options.max_characters)
    with AnswerCache(cache_folder) as cache:
        plan = Plan(turns, options.asked(), prompt, cache)
        tokens = plan.tokens()
        if len(tokens):
            echo(
                f"{options.repo}: {len(tokens):,} of {plan.report.texts:,} different texts to ask, "
                f"{plan.report.cached:,} answered before: at most about {tokens.sum():,} tokens, {tokens.max():,} of "
                f"the longest (UTF-8 bytes / {BYTES_A_TOKEN}, and {options.max_answer_tokens} for each answer)."
            )
            # Imported late: a run that finds all answers needs neither Ray nor a GPU.
            from chatladder.judges.batch.run import ask_engine

            failed = ask_engine(plan, options, len(tokens))
            if failed.positions:
                refused = f"the engine refused some: {failed.why}" if failed.why else ""
                raise plan.unusable(options.repo, failed.positions, refused, ADVICE)
        plan.report.answer_prompt_tokens, plan.report.answer_completion_tokens = plan.answers_took()
    return plan.scores[plan.places], plan.report
