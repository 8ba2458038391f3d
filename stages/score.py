r"""Score every text turn: is it a question? One judge a run; see chatladder/judges for what each kind looks at.

Images, files, system notices and the like get no score. A judge of kind endpoint asks a model: its key comes from the
environment, its answers are kept in .chatladder/judges, and a run that was stopped goes on where it was. One of kind
batch asks a model in the same words, in batches where GPUs are, by Ray and vLLM; that has not been run on a GPU yet.

Example:
    python -m stages.score --judge rules --kind rules --seed 0 --turns data/turns.parquet \
        --out data/scores/rules.parquet --counts data/counts/score_rules.json
    python -m stages.score --judge local --kind endpoint --base-url http://localhost:8000/v1 --model qwen3-8b \
        --prompt chatladder/judges/prompts/question.txt --structured auto --answer-limit max_tokens \
        --max-answer-tokens 64 --max-characters 2000 --temperature 0 --concurrency 16 --requests-per-minute 0 \
        --tokens-per-minute 0 --max-requests 20000 --max-tokens 20000000 --timeout 60 --max-retries 5 \
        --turns data/turns.parquet --out data/scores/local.parquet --counts data/counts/score_local.json
    python -m stages.score --judge qwen --kind batch --repo Qwen/Qwen3-8B --revision <commit> \
        --prompt chatladder/judges/prompts/question.txt --structured always --max-answer-tokens 64 \
        --max-characters 2000 --temperature 0 --dtype bfloat16 --max-model-len 8192 --tensor-parallel-size 1 \
        --gpu-memory-utilization 0.9 --replicas 1 --batch-size 64 \
        --turns data/turns.parquet --out data/scores/qwen.parquet --counts data/counts/score_qwen.json
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from chatladder import endpoint
from chatladder.distributed import remote, workers
from chatladder.endpoint.command import endpoint_options, gather
from chatladder.endpoint.options import EndpointReport
from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFile, example, stoppable
from chatladder.io.files import write_json
from chatladder.io.rows import SCORES, TURNS, Rows, row_writer
from chatladder.judges import JUDGES, batch
from chatladder.judges.batch.options import batch_options
from chatladder.judges.batch.options import gather as gather_batch
from chatladder.judges.spread import SpreadTurns
from chatladder.judges.turns import TextTurns

ENDPOINT, BATCH = "endpoint", "batch"


def score_turns(turns: TextTurns, kind: str, options: dict[str, Any]) -> tuple[np.ndarray, dict[str, int]]:
    """Score text turns.

    Args:
        turns: In the order of the chat.
        kind: A name in chatladder.judges.JUDGES, ``ENDPOINT`` or ``BATCH``.
        options: ``seed`` for judges that draw at random; for the last two what EndpointOptions and BatchOptions name.

    Returns:
        A score from 0 to 10 for each turn, in order, shape ``(turns,)``; and what they cost, the same in every run.

    Raises:
        DataError: If there is no text to score, or the judge cannot score it.
    """
    if not turns.num_rows:
        raise DataError("expected text turns to score, got none.")
    cost = {"scored": turns.num_rows}
    if kind in (ENDPOINT, BATCH):
        answers, report = ask_model(turns, kind, options)
        cost["texts"] = report.texts
        cost["prompt_tokens"], cost["completion_tokens"] = report.answer_prompt_tokens, report.answer_completion_tokens
    elif options["seed"] is None:
        raise click.UsageError(f"a judge of kind {kind} needs --seed too.")
    else:
        answers = JUDGES[kind].score(turns, options["seed"])
    scores = np.asarray(answers, dtype=np.float32)
    # A judge that answers out of range or not at all is a bug in it; it must never pass as a score.
    if scores.shape != (turns.num_rows,) or not ((scores >= 0) & (scores <= 10)).all():
        raise ValueError(f"judge {kind}: expected {turns.num_rows} scores from 0 to 10.")
    return scores, cost


def ask_model(turns: TextTurns, kind: str, options: dict[str, Any]) -> tuple[np.ndarray, EndpointReport]:
    """Scores by a model, as of `score_turns`, and what its run did, of which a line tells.

    Raises:
        DataError: If the model does not score every text.
    """

    def tell(line: str) -> None:
        click.echo(line, err=True)

    if kind == ENDPOINT:
        answers, report = endpoint.score_texts(turns, gather(options), endpoint.CACHE_FOLDER, tell)
    else:
        answers, report = batch.score_texts(turns, gather_batch(options), endpoint.CACHE_FOLDER, tell)
    tell(
        f"{report.requests:,} requests ({report.retried:,} retried, {report.asked_again:,} asked again) with "
        f"{report.prompt_tokens:,} + {report.completion_tokens:,} tokens; {report.cached:,} of {report.texts:,} "
        "texts were answered before"
    )
    return answers, report


def write_scores(turns: TextTurns, scores: np.ndarray, out: Path) -> None:
    """Write rows of SCORES: one per text turn, in their order."""
    start = 0
    with row_writer(out, SCORES) as writer:
        for ids in turns.ids():
            own = scores[start : start + len(ids)]
            writer.write(pa.table({"turn_id": ids, "score": own}, schema=SCORES))
            start += len(ids)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--judge", required=True, help="Name of the judge.")
@click.option("--kind", type=click.Choice([*JUDGES, ENDPOINT, BATCH]), required=True, help="What it looks at.")
@click.option("--seed", type=int, help="Seed of what a judge draws at random, or of a model's answers.")
@endpoint_options
@batch_options
@click.option("--turns", type=InputFile, required=True, help="Turns to score (parquet).")
@click.option("--out", type=OutputFile, required=True, help="Scores to write (parquet).")
@click.option("--counts", type=OutputFile, required=True, help="What it cost to write (JSON).")
@stoppable("Answers of a model are kept in .chatladder/judges; the same command goes on.")
def main(judge: str, kind: str, turns: Path, out: Path, counts: Path, **options: Any) -> None:
    """Write one judge's score, 0 to 10, of every text turn.

    What stands between --seed and --turns is for judges of kind endpoint and batch.
    """
    rows = Rows(turns, TURNS)
    with workers() as any_pool:
        pool = remote(any_pool)
        texts = TextTurns(rows) if pool is None else SpreadTurns(rows, pool)
        try:
            scores, cost = score_turns(texts, kind, options)
        except DataError as error:
            raise DataError(f"{judge}, {turns}: {error.message}") from error
    write_scores(texts, scores, out)
    write_json(counts, cost)
    click.echo(f"{out}: {len(scores):,} of {rows.num_rows:,} turns scored by {judge}, mean {scores.mean():.2f}")


if __name__ == "__main__":
    main()
