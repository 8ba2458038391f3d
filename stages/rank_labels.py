r"""Rank the labels by how likely they are wrong, and write the queue of those to review.

Evidence comes from models that never saw the label: untouched models of all sizes, adapters tuned on other
conversations, and classifiers of words. A regression fitted on other conversations weighs it
(chatladder/evaluation/label_errors.py). All labels are ranked together. Items of the test split are excluded: they
measure, so no model may choose them.

Example:
    python -m stages.rank_labels --params params.yaml --labelled data/labelled.parquet --bases data/bases \
        --predictions data/predictions --share 0.1 --seed 0 --out data/review \
        --metrics metrics/review.json

chatladder review shows data/review/queue.jsonl, mixed with a random share of all labels; ranking.parquet has the
reasons. Reviewers should open neither.
"""

from pathlib import Path

import click

from chatladder.evaluation.label_errors import SUSPECTS, QueueSettings, rank, read_evidence
from chatladder.evaluation.rungs import Gathered, read_named, read_rungs
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFolder, OutputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder, write_json, write_jsonl
from chatladder.io.options import options_of
from chatladder.io.rows import RANKING, write_rows
from chatladder.labels.folds import reviewable

#: Below this AUROC the evidence hardly separates the labels.
_BLIND = 0.6


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@options_of(Gathered, "inputs")
@click.option("--predictions", type=InputFolder, required=True, help="Folder of vanilla, out_of_fold and words.")
@options_of(QueueSettings, "settings")
@click.option("--out", type=OutputFolder, required=True, help="Folder for queue.jsonl and ranking.parquet.")
@click.option("--metrics", type=OutputFile, required=True, help="Counts to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(inputs: Gathered, predictions: Path, settings: QueueSettings, out: Path, metrics: Path) -> None:
    """Write the labels by how likely they are wrong, and the queue to look at again."""
    items = reviewable(inputs.labelled)
    named = read_named(inputs.params, judges=True)
    named.check(inputs.bases, "", named.untouched("base"))
    named.check(predictions / "vanilla", ".parquet", named.untouched("predict_vanilla"))
    named.check(predictions / "out_of_fold", ".parquet", {rung: f"out_of_fold@{rung}" for rung in named.judges})
    ladder = read_rungs(inputs.bases, (*named.ladder, *named.served))
    judges = read_rungs(inputs.bases, named.judges)
    evidence = read_evidence([item["item_id"] for item in items], predictions, ladder, judges)
    ranking = rank(items, evidence, ladder, settings)
    with whole_folder(out, "queue.jsonl", "ranking.parquet") as folder:
        write_jsonl(folder / "queue.jsonl", ({"item_id": item_id} for item_id in ranking.queue))
        write_rows(folder / "ranking.parquet", ranking.table, RANKING)
    counts = ranking.metrics
    write_json(metrics, counts)
    if counts["auroc"] < _BLIND:
        click.echo(
            f"The evidence hardly tells the labels apart (AUROC {counts['auroc']:.2f}): the queue is little better "
            "than chance. Let a larger rung answer out of fold, or label more.",
            err=True,
        )
    of_each = ", ".join(f"{counts[key]:,} {words}" for key, words in SUSPECTS.items())
    click.echo(
        f"{out}: {counts['suspects']:,} of {counts['items']:,} labels to look at again "
        f"({of_each}); the evidence contradicts {counts['contradicted']:,} labels. Next: chatladder review"
    )


if __name__ == "__main__":
    main()
