"""Answer each labelled question with an adapter that was not trained on its conversation: k-fold LoRA on one rung."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatladder.distributed import Workers
from chatladder.models.devices import prepare_torch
from chatladder.models.scoring import WorkerCheck, need_of, prediction_rows, score
from chatladder.training.checkpoints import KeptFolds
from chatladder.training.settings import TrainSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Fold(NamedTuple):
    """The rows that one adapter learns and answers.

    Attributes:
        number: Its number, from 1.
        learned: Alpaca rows.
        asked: Alpaca rows, of other conversations.
    """

    number: int
    learned: list[dict[str, Any]]
    asked: list[dict[str, Any]]


def cut_folds(rows: Sequence[dict[str, Any]], places: "NDArray[np.int64]") -> list[Fold]:
    """Return the alpaca rows by the fold that each is in; each fold is answered by one that learned the others."""
    return [
        Fold(
            number,
            [row for row, place in zip(rows, places, strict=True) if place != fold],
            [row for row, place in zip(rows, places, strict=True) if place == fold],
        )
        for number, fold in enumerate(np.unique(places), start=1)
    ]


def answer_folds(
    base: Path, folds: Sequence[Fold], settings: TrainSettings, kept: KeptFolds, pool: Workers
) -> Iterator[tuple[Fold, list[dict[str, Any]], str]]:
    """Yield folds, their answers, and how they came by them: first those that were kept, then as workers are done.

    Raises:
        DataError: If a training diverges, or a worker does not see the base, or has other libraries.
    """
    missing = []
    for fold in folds:
        if (answers := kept.get(fold.learned, fold.asked)) is None:
            missing.append(fold)
        else:
            yield fold, answers, "kept from a run that was stopped"
    if not missing:
        return
    absolute = base.resolve()
    shared = (absolute, settings, WorkerCheck(absolute))
    for number, answers in pool.as_done(answer_on_worker, missing, *shared, need=need_of(base)):
        kept.put(missing[number].learned, missing[number].asked, answers)
        yield missing[number], answers, "done"


def answer_on_worker(fold: Fold, base: Path, settings: TrainSettings, worker: WorkerCheck) -> list[dict[str, Any]]:
    """On a worker: ``answer_fold``."""
    worker.check()
    return answer_fold(base, fold.learned, fold.asked, settings)


def answer_fold(
    base: Path, rows: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]], settings: TrainSettings
) -> list[dict[str, Any]]:
    """Fit an adapter to some alpaca rows, and answer other questions with it.

    Args:
        base: The base folder of the rung.
        rows: Alpaca rows that are learned.
        items: Alpaca rows of the questions that are answered; their labels are not looked at.
        settings: The hyper-parameters.

    Returns:
        Rows of ``PREDICTIONS``, in the order of ``items``.

    Raises:
        DataError: If the training diverges.
    """
    prepare_torch()
    from chatladder.models.encoding import Encoded, encode_rows
    from chatladder.models.loading import load, read_rung, within_context
    from chatladder.models.prompts import Prompt
    from chatladder.training.adapters import trainable
    from chatladder.training.trainer import fit

    # A fold has no validation rows to stop by: it trains all epochs.
    settings = replace(settings, early_stopping_patience=0)
    model, tokenizer = load(base)
    adapted = trainable(model, settings, read_rung(base)["name"])
    encoded = encode_rows(tokenizer, rows, within_context(model, settings.max_length))
    fit(adapted, tokenizer.pad_token_id, encoded, Encoded([], [], [], 0), settings, lambda *_: None)
    prompts = [Prompt(item["instruction"], item["options"]) for item in items]
    scores, _ = score(adapted.eval(), tokenizer, prompts, settings.max_length)
    return prediction_rows(items, scores)
