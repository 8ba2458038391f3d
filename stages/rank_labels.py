r"""Rank the labels by how likely they are wrong, and make the queue of those to look at again.

Evidence is what models say that never saw the label: untouched models of all sizes, adapters tuned on other
conversations, classifiers of words. A regression over other conversations weighs it
(chatladder/evaluation/evidence.py). Both directions count, "needed" and "not needed". Items of the test split are never
looked at again: they measure.

Example:
    python -m stages.rank_labels --labelled data/labelled.parquet --bases data/bases --rung tiny --rung small \
        --vanilla data/predictions/vanilla --tuned-rung small --tuned data/predictions/out_of_fold \
        --words data/predictions/words --share 0.1 --controls 0.15 --seed 0 \
        --out data/review --metrics metrics/review.json

data/review/queue.jsonl is what chatladder review shows; ranking.parquet says why, and which items are controls: whoever
reviews should not open it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chatladder.evaluation.baselines import BASELINES
from chatladder.evaluation.evidence import DIGITS, Evidence, contradicted_by_size, probability_needed
from chatladder.evaluation.features import Floats, overlap
from chatladder.evaluation.predictions import Predictions, centre, read_mixtures, read_predictions, read_rungs
from chatladder.evaluation.queue import CONTROL, SUSPECT, Queue, make_queue
from chatladder.evaluation.reasons import reasons
from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    example,
    stoppable,
)
from chatladder.io.files import whole_folder, write_json, write_jsonl
from chatladder.io.rows import RANKING, write_rows
from chatladder.labels.folds import reviewable

#: Below this area under the curve the evidence hardly knows the labels from each other.
_BLIND = 0.6


def read_answers(path: Path, item_ids: Sequence[str], stage: str) -> Predictions:
    """What one source says of the items, in their order.

    Args:
        path: Rows of ``PREDICTIONS``.
        item_ids: Of the items.
        stage: What writes such a file.

    Raises:
        DataError: If there is no such file, or it cannot be used.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected predictions, got no file. Run {stage}.")
    said = read_predictions(path, item_ids)
    if not np.isfinite([*said.log_odds, said.mean_log_odds]).all():
        raise DataError(f"{path}: expected probabilities from 0 to 1, got one without an end. Run {stage} again.")
    return said


def read_evidence(
    item_ids: Sequence[str],
    vanilla: Path,
    rungs: Sequence[str],
    tuned: Path | None,
    tuned_rungs: Sequence[str],
    words: Path,
) -> Evidence:
    """What every source says of the items.

    Args:
        item_ids: In this order.
        vanilla: Folder of untouched predictions.
        rungs: Keys, smallest first.
        tuned: Folder of out-of-fold predictions; None where no rung has any.
        tuned_rungs: Keys of rungs that have some.
        words: Folder of the word baselines.

    Raises:
        DataError: If predictions are missing or do not fit.
    """

    def read(folder: Path, name: str, stage: str) -> Predictions:
        return read_answers(folder / f"{name}.parquet", item_ids, stage)

    return Evidence(
        vanilla={rung: centre(read(vanilla, rung, "stages.predict")).log_odds for rung in rungs},
        tuned={rung: read(tuned, rung, "stages.out_of_fold").log_odds for rung in tuned_rungs if tuned},
        baselines={name: read(words, name, "stages.word_baselines").log_odds for name in BASELINES},
    )


def counts(is_needed: NDArray[np.int64], p_needed: Floats, queue: Queue) -> dict[str, Any]:
    """What ``metrics/review.json`` holds.

    Args:
        is_needed: The labels, 0 or 1, shape ``(n,)``.
        p_needed: Their probability on all evidence, shape ``(n,)``.
        queue: The queue.

    Returns:
        ``items`` that were ranked, ``contradicted`` (labels that the evidence holds for more likely wrong than right),
        ``suspects`` and of them those labelled ``suspects_needed`` and ``suspects_not_needed``, ``controls``, and
        ``auroc``, how well the evidence tells the labels apart: at 0.5 the queue is no better than chance.
    """
    from sklearn.metrics import roc_auc_score

    suspects = np.array([role == SUSPECT for role in queue.roles])
    return {
        "items": len(is_needed),
        "contradicted": int((np.where(is_needed == 1, p_needed, 1 - p_needed) < 0.5).sum()),
        "suspects": int(suspects.sum()),
        "suspects_needed": int((suspects & (is_needed == 1)).sum()),
        "suspects_not_needed": int((suspects & (is_needed == 0)).sum()),
        "controls": queue.roles.count(CONTROL),
        "auroc": round(float(roc_auc_score(is_needed, p_needed)), 5),
    }


def ranking_table(items: Sequence[dict[str, Any]], suspicion: Floats, why: Sequence[str], queue: Queue) -> pa.Table:
    """Rows of ``RANKING``, the most suspicious first."""
    order = sorted(range(len(items)), key=lambda row: (-suspicion[row], items[row]["item_id"]))
    p_label = np.round(1 - suspicion, DIGITS)
    rows = [
        {
            **{name: items[row][name] for name in ("item_id", "split", "label")},
            "p_label": float(p_label[row]),
            "suspicion": float(suspicion[row]),
            "reason": why[row],
            "role": queue.roles[row],
        }
        for row in order
    ]
    return pa.Table.from_pylist(rows, schema=RANKING)


def in_words(found: Mapping[str, Any]) -> str:
    """What ``counts`` gives, as a sentence."""
    return (
        f"{found['suspects']:,} of {found['items']:,} labels to look at again ({found['suspects_needed']:,} needed, "
        f"{found['suspects_not_needed']:,} not needed), {found['controls']:,} controls among them; the evidence "
        f"contradicts {found['contradicted']:,} labels."
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--bases", type=InputFolder, required=True, help="Folder of base folders, one a rung.")
@click.option("--rung", "keys", multiple=True, required=True, help="Key of a rung; repeat it for each.")
@click.option("--vanilla", type=InputFolder, required=True, help="Folder of predictions before LoRA.")
@click.option(
    "--tuned-rung", "tuned_keys", multiple=True, help="Key of a rung with out-of-fold predictions; repeat it."
)
@click.option("--tuned", type=InputFolder, help="Folder of out-of-fold predictions.")
@click.option("--words", type=InputFolder, required=True, help="Folder that stages.word_baselines wrote.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), required=True, help="Of the items, suspects.")
@click.option("--controls", type=click.FloatRange(0, 0.9), required=True, help="Of the queue, controls.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Seed of the folds and of the controls.")
@click.option("--out", type=OutputFolder, required=True, help="Folder for queue.jsonl and ranking.parquet.")
@click.option("--metrics", type=OutputFile, required=True, help="Counts to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(
    labelled: Path,
    bases: Path,
    keys: tuple[str, ...],
    vanilla: Path,
    tuned_keys: tuple[str, ...],
    tuned: Path | None,
    words: Path,
    share: float,
    controls: float,
    seed: int,
    out: Path,
    metrics: Path,
) -> None:
    """Write the labels by how likely they are wrong, and the queue to look at again."""
    if tuned_keys and tuned is None:
        raise click.UsageError("--tuned-rung needs --tuned, the folder where its predictions are.")
    items = reviewable(labelled)
    ids = [item["item_id"] for item in items]
    rungs, tuned_rungs = read_rungs(bases, keys), read_rungs(bases, tuned_keys)
    evidence = read_evidence(
        ids, vanilla, [rung.key for rung in rungs], tuned, [rung.key for rung in tuned_rungs], words
    )
    is_needed = np.array([item["label"] == "needed" for item in items], dtype=np.int64)
    conversations = [item["conversation"] for item in items]
    p_needed = probability_needed(evidence, overlap(items), is_needed, conversations, seed=seed)
    suspicion: Floats = np.abs(is_needed - p_needed).round(DIGITS)
    mixtures = read_mixtures(bases, rungs)
    dense = {rung.key: rung.params for rung in rungs if rung.key not in mixtures}
    why = list(reasons(evidence, is_needed, contradicted_by_size(evidence.vanilla, dense, is_needed)))
    queue = make_queue(
        ids,
        [item["text"] for item in items],
        suspicion,
        [item["agreement"] == 1 for item in items],
        share=share,
        controls=controls,
        seed=seed,
    )
    found = counts(is_needed, p_needed, queue)
    with whole_folder(out, "queue.jsonl", "ranking.parquet") as folder:
        write_jsonl(folder / "queue.jsonl", ({"item_id": ids[row]} for row in queue.order))
        write_rows(folder / "ranking.parquet", ranking_table(items, suspicion, why, queue), RANKING)
    write_json(metrics, found)
    if found["auroc"] < _BLIND:
        click.echo(
            f"The evidence hardly tells the labels apart (AUROC {found['auroc']:.2f}): the queue is little better "
            "than chance. Let a larger rung answer out of fold, or label more.",
            err=True,
        )
    click.echo(f"{out}: {in_words(found)} Next: chatladder review")


if __name__ == "__main__":
    main()
