r"""Score the test questions as one rung wrote them out: the texts, and what a search with them finds.

Three policies are compared: write out no question, every question, and those that the rung's own answers call needed.

Example:
    python -m stages.score_rewrites --labelled data/labelled.parquet --rewrites data/rewrites.parquet \
        --vanilla data/rewritten/vanilla/small.parquet --tuned data/rewritten/tuned/small.parquet \
        --gate data/predictions/tuned/small.parquet --language zh --turns data/turns.parquet --answer-seconds 600 \
        --seed 0 --metrics metrics/rewrites/small.json

With --turns, each text is a search query over these turns: does it find the turn that answered the question?
"""

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from chatladder.evaluation.predictions import read_items, read_seeds
from chatladder.evaluation.retrieval import Archive, find
from chatladder.evaluation.rewriting import Asked, policy_metrics, text_metrics
from chatladder.evaluation.scores import NEEDED, Draws, bootstrap
from chatladder.evaluation.threshold import choose, decide
from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    OutputFile,
    example,
    stoppable,
)
from chatladder.io.files import write_json
from chatladder.io.options import options_of
from chatladder.io.rows import REWRITTEN, TURNS, read_rows, read_written_out
from chatladder.models.prompts import LANGUAGES, plain, rewritten
from chatladder.vocabulary import POSITIVE


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--rewrites", type=InputFile, required=True, help="Rewrites by people (parquet).")
@click.option(
    "--vanilla",
    type=InputFile,
    required=True,
    help="Texts of the untouched model (parquet), at least for the rewrites by people.",
)
@click.option("--tuned", type=InputFile, required=True, help="Texts of the tuned model (parquet).")
@click.option("--gate", "answers", type=InputFile, required=True, help="The tuned rung's predictions (parquet).")
@click.option("--language", type=click.Choice(LANGUAGES), required=True, help="Language of the prompt.")
@click.option("--turns", type=InputFile, help="Turns to search (parquet).")
@click.option(
    "--answer-seconds",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="Seconds within which an answer counts.",
)
@options_of(Draws, "draws")
@click.option("--metrics", type=OutputFile, required=True, help="Metrics to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(
    labelled: Path,
    rewrites: Path,
    vanilla: Path,
    tuned: Path,
    answers: Path,
    language: str,
    turns: Path | None,
    answer_seconds: int,
    draws: Draws,
    metrics: Path,
) -> None:
    """Score the questions that a rung wrote out, and compare the policies."""
    rows = [row for row in read_written_out(labelled, rewrites).to_pylist() if row["split"] == "test"]
    if not any(row["rewrite"] for row in rows):
        raise DataError(
            f"{rewrites}: expected test questions that somebody wrote out, got none. Write some out (key w in "
            "annotate)."
        )
    asked = Asked(
        ["\n".join([*(rewritten(row, turn["text"], language) for turn in row["window"]), row["text"]]) for row in rows],
        [rewritten(row, plain(row["text"]), language) for row in rows],
        [row["rewrite"] and rewritten(row, row["rewrite"], language) for row in rows],
        np.array([row["label"] == POSITIVE for row in rows]),
        bootstrap([row["conversation"] for row in rows], draws),
    )
    result: dict[str, Any] = {"test_items": len(rows), "written_out": int(asked.written.sum())}
    search = None
    if turns:
        archive = Archive(read_rows(turns, TURNS).to_pylist())
        places = [archive.answer_to(row, answer_seconds) for row in rows]
        search = partial(find, archive, rows, places)
        result["answered"] = sum(place is not None for place in places)
    ids = [row["item_id"] for row in rows]
    chosen_on = read_items(labelled, "validation", is_small=True)
    seed, predictions = next(iter(read_seeds(answers, ids).items()))
    threshold = choose(read_seeds(answers, chosen_on.ids)[seed], chosen_on.references)
    gate = decide(predictions, threshold).answers == NEEDED
    texts = _texts(tuned, ids)
    written = iter(_texts(vanilla, [row["item_id"] for row in rows if row["rewrite"]]))
    before = [next(written) if row["rewrite"] else "" for row in rows]  # the others are not compared
    result |= {
        "copy": text_metrics(asked.plain, asked),
        "people": text_metrics(asked.ideals, asked),
        "vanilla": text_metrics(before, asked),
        "tuned": text_metrics(texts, asked),
        "policies": policy_metrics(texts, gate, asked, search),
        "policies_of_people": policy_metrics(asked.ideals, asked.needed, asked, search),
    }
    write_json(metrics, result)
    click.echo(f"{metrics}: {int(asked.written.sum()):,} test questions that people wrote out")
    for name in ("copy", "vanilla", "tuned"):
        score = result[name]
        click.echo(f"{name}: chrF {score['chrf']:.1f}, exact {score['exact']:.3f}, invented {score['invented']:.3f}")
    for name, score in result["policies"].items():
        found = f", recall at ten {score['recall']:.3f}" if score.get("recall") is not None else ""
        click.echo(
            f"{name}: chrF {score['chrf']:.1f} over all questions, {score['written']:.0f} of 100 written out, "
            f"{score['harm']:.3f} of those that need no rewrite changed{found}"
        )


def _texts(path: Path, ids: list[str]) -> list[str]:
    """Return the texts of a rung's first seed, in the order of the ids.

    Raises:
        DataError: If a question is missing.
    """
    table = read_rows(path, REWRITTEN)
    seeds = table["seed"].to_pylist()
    texts = {
        item_id: text
        for item_id, seed, text in zip(table["item_id"].to_pylist(), seeds, table["text"].to_pylist(), strict=True)
        if seed == seeds[0]
    }
    if missing := [item_id for item_id in ids if item_id not in texts]:
        raise DataError(
            f"{path}: expected a text for each of {len(ids):,} test questions, got none for {len(missing):,}, such as "
            f"{missing[0]!a}. Run dvc repro rewrite@{path.stem}."
        )
    return [texts[item_id] for item_id in ids]


if __name__ == "__main__":
    main()
