r"""Answer every question with a rung that is served elsewhere: any OpenAI-compatible endpoint, untouched models only.

The model gets the same prompts as local rungs, and its base folder states its number of parameters, so that
check_scaling and rank_labels treat it like any other rung. The API key comes from the environment, answers are cached
in .chatladder/served, and an interrupted run resumes.

If the server lists the probabilities of the first tokens (vLLM, llama.cpp), each option has its probability. If not,
the model names an option, which gets probability 1: such a rung has no calibrated probabilities. An answer that is
none of the options is counted, and unknown. With --ask auto the first answer decides on one form for all answers. Each
question is asked in --orders orders of its options, one request per order, and the answer is averaged over them.

Example:
    python -m stages.predict_served --rung large --params 32763876352 --base-url http://localhost:8000/v1 \
        --model Qwen/Qwen2.5-32B-Instruct --ask auto --answer-limit max_tokens --max-answer-tokens 16 \
        --temperature 0 --concurrency 16 --requests-per-minute 0 --tokens-per-minute 0 --max-requests 20000 \
        --max-tokens 20000000 --timeout 60 --max-retries 5 --questions data/questions.parquet --language zh \
        --answer text --seed 0 --max-length 1400 --base data/bases/large --out data/predictions/vanilla/large.parquet
"""

from functools import partial
from pathlib import Path

import click

from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder, write_json
from chatladder.io.options import options_of
from chatladder.io.rows import QUESTIONS, read_rows, write_rows
from chatladder.models.prompts import PredictSettings, PromptSettings, render_row
from chatladder.models.served import CACHE_FOLDER, FAINT, PROBABILITIES, ServedSettings, answer_prompts
from chatladder.vocabulary import prediction_schema

#: As in chatladder.models.loading, which is not imported because it takes seconds to import torch.
RUNG = "rung.json"


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--rung", required=True, help="Name of the rung.")
@options_of(ServedSettings, "settings")
@click.option("--questions", type=InputFile, required=True, help="Questions, labelled or not (parquet).")
@options_of(PromptSettings, "prompt")
@options_of(PredictSettings, "predict", only=("orders",))
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
    settings: ServedSettings,
    questions: Path,
    prompt: PromptSettings,
    predict: PredictSettings,
    max_length: int,
    base: Path,
    out: Path,
) -> None:
    """Write what a model behind an endpoint answers to every question, and the base folder that describes it."""
    params, active = settings.params, settings.active_params
    if active and active > params:
        raise click.UsageError(f"--active-params: expected at most the {params:,} --params, got {active:,}.")
    items = read_rows(questions, QUESTIONS).to_pylist()
    if not items:
        raise DataError(f"{questions}: expected questions, got none.")
    ids = [item["item_id"] for item in items]
    prompts = [render_row(item, prompt) for item in items]
    echo = partial(click.echo, err=True)
    try:
        run = answer_prompts(
            ids,
            prompts,
            settings,
            orders=predict.orders,
            max_length=max_length,
            cache_folder=CACHE_FOLDER,
            echo=echo,
        )
    except DataError as error:
        raise DataError(f"{rung}, {questions}: {error.message}") from error
    described = run.describe(settings)
    write_rows(out, run.rows(ids), prediction_schema())
    with whole_folder(base, RUNG) as folder:
        write_json(folder / RUNG, {"source": "endpoint", "name": rung, **described})
    seen = (
        f" with {described['seen']:.3f} of the probability seen on average, less than {FAINT} in "
        f"{described['faint']:,} of them"
        if run.form == PROBABILITIES
        else " by name, without probabilities"
    )
    click.echo(
        f"{out}: {len(ids):,} answers{seen}; {described['unread']:,} are none of the options, {run.shortened:,} "
        f"prompts shortened to about {max_length} tokens"
    )


if __name__ == "__main__":
    main()
