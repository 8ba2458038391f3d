r"""Answer every question with a rung that is served elsewhere: any OpenAI-compatible endpoint, untouched models only.

The model is asked what local rungs are asked, and its base folder says how many parameters it has, so that
check_scaling and rank_labels take it like any other rung. Its key comes from the environment, its answers are kept in
.chatladder/served, and a run that was stopped goes on where it was.

Where the server lists the probabilities of the first tokens (vLLM, llama.cpp), each option has its own. Where it does
not, the answer is an option by name with probability 1: such a rung has no calibrated probabilities. An answer that is
none of the options is counted, and unknown. The first answer decides (--ask auto), and one form holds for all answers.

Example:
    python -m stages.predict_served --rung large --params 32763876352 --base-url http://localhost:8000/v1 \
        --model Qwen/Qwen2.5-32B-Instruct --ask auto --answer-limit max_tokens --max-answer-tokens 16 \
        --temperature 0 --concurrency 16 --requests-per-minute 0 --tokens-per-minute 0 --max-requests 20000 \
        --max-tokens 20000000 --timeout 60 --max-retries 5 --questions data/questions.parquet --language zh \
        --answer text --seed 0 --max-length 1400 --base data/bases/large --out data/predictions/vanilla/large.parquet
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from chatladder.endpoint.command import connection_options, pick
from chatladder.endpoint.options import Connection
from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder, write_json
from chatladder.io.rows import PREDICTIONS, QUESTIONS, read_rows, write_rows
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, render_row
from chatladder.models.served import answer_prompts
from chatladder.models.served.kept import CACHE_FOLDER
from chatladder.models.served.plan import ASKS, PROBABILITIES, Ask, Plan
from chatladder.models.served.reading import Answer
from chatladder.vocabulary import ANSWERS

#: As chatladder.models.loading calls it, which no served rung needs otherwise: a change there asks nothing here.
RUNG = "rung.json"
#: Below this much of the probability seen, an answer is read from what the model hardly ever says.
FAINT = 0.5
DIGITS = 5


def rows_of(ids: Sequence[str], answers: Iterable[Answer]) -> list[dict[str, Any]]:
    """Rows of ``predictions``; an answer that is no option has no probabilities, is unknown and not parsed."""
    rows = []
    for item_id, answer in zip(ids, answers, strict=True):
        shares = answer.shares or (None,) * len(ANSWERS)
        said = ANSWERS[answer.shares.index(max(answer.shares))] if answer.shares else "unknown"
        chances = {f"p_{name}": share for name, share in zip(ANSWERS, shares, strict=True)}
        rows.append({"item_id": item_id, **chances, "answer": said, "parsed": answer.shares is not None})
    return rows


def describe(plan: Plan, sizes: dict[str, int]) -> dict[str, Any]:
    """What ``rung.json`` says of the model, beside its source and name.

    Args:
        plan: With an answer to every prompt.
        sizes: ``params`` and, of a mixture of experts, ``active_params``.
    """
    answers = list(plan.in_order())
    read = [answer.seen for answer in answers if answer.shares]
    return {
        **sizes,
        "model": plan.connection.model,
        "asked": plan.forms[0],
        "answers": len(answers),
        "unread": len(answers) - len(read),
        "seen": round(sum(read) / len(read), DIGITS),
        "faint": sum(seen < FAINT for seen in read),
    }


def in_words(said: dict[str, Any], shortened: int, max_length: int) -> str:
    """What came of the run, as a sentence."""
    seen = (
        f" with {said['seen']:.3f} of the probability seen on average, less than {FAINT} in {said['faint']:,} of them"
        if said["asked"] == PROBABILITIES
        else " by name, without probabilities"
    )
    return (
        f"{said['answers']:,} answers{seen}; {said['unread']:,} are none of the options, {shortened:,} prompts "
        f"shortened to about {max_length} tokens"
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--rung", required=True, help="Name of the rung.")
@click.option("--params", type=click.IntRange(1), required=True, help="Parameters of the model, all of them.")
@click.option("--active-params", type=click.IntRange(1), help="Of a mixture of experts: those that a token meets.")
@click.option(
    "--ask",
    type=click.Choice(tuple(ASKS)),
    default="auto",
    show_default=True,
    help="For the first tokens' probabilities, or an option by name; auto: what the server can.",
)
@click.option(
    "--top-logprobs",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many tokens the server is to list; OpenAI and vLLM list 20 at most.",
)
@connection_options
@click.option("--questions", type=InputFile, required=True, help="Questions, labelled or not (parquet).")
@click.option("--language", type=click.Choice(LANGUAGES), required=True, help="Language of the prompt.")
@click.option(
    "--answer", type=click.Choice(ANSWER_FORMS), required=True, help="Form of the answer: needed, or B: needed."
)
@click.option("--seed", type=int, required=True, help="Seed of the order of the options.")
@click.option(
    "--max-length",
    type=click.IntRange(64),
    required=True,
    help="Most tokens of prompt and answer, as guessed; the oldest history goes first.",
)
@click.option("--base", type=OutputFolder, required=True, help="Base folder to write.")
@click.option("--out", type=OutputFile, required=True, help="Predictions to write (parquet).")
@stoppable("Answers are kept in .chatladder/served; the same command goes on.")
def main(
    rung: str,
    params: int,
    active_params: int | None,
    ask: str,
    top_logprobs: int,
    questions: Path,
    language: str,
    answer: str,
    seed: int,
    max_length: int,
    base: Path,
    out: Path,
    **given: Any,
) -> None:
    """Write what a model behind an endpoint answers to every question, and the base folder that describes it."""
    if active_params and active_params > params:
        raise click.UsageError(f"--active-params: expected at most the {params:,} --params, got {active_params:,}.")
    connection = Connection(**pick(given, Connection._fields, "a served rung"))
    items = read_rows(questions, QUESTIONS).to_pylist()
    if not items:
        raise DataError(f"{questions}: expected questions, got none.")
    ids = [item["item_id"] for item in items]
    prompts = [render_row(item, language=language, answer=answer, seed=seed) for item in items]
    try:
        plan = answer_prompts(
            ids,
            prompts,
            connection,
            Ask(ask, top_logprobs),
            max_length=max_length,
            cache_folder=CACHE_FOLDER,
            echo=lambda line: click.echo(line, err=True),
        )
    except DataError as error:
        raise DataError(f"{rung}, {questions}: {error.message}") from error
    report = plan.report
    click.echo(
        f"{report.requests:,} requests ({report.retried:,} retried) with {report.prompt_tokens:,} + "
        f"{report.completion_tokens:,} tokens; {report.cached:,} of {report.texts:,} were answered before",
        err=True,
    )
    sizes = {"params": params} | ({"active_params": active_params} if active_params else {})
    said = describe(plan, sizes)
    write_rows(out, rows_of(ids, plan.in_order()), PREDICTIONS)
    with whole_folder(base, RUNG) as folder:
        write_json(folder / RUNG, {"source": "endpoint", "name": rung, **said})
    click.echo(f"{out}: {in_words(said, plan.shortened, max_length)}")


if __name__ == "__main__":
    main()
