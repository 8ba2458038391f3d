"""The runs of stages: training of one rung, and k-fold answers by adapters that never saw an item's conversation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatladder.distributed import Workers
from chatladder.io.console import DataError
from chatladder.io.files import check_replaceable, whole_folder, write_json
from chatladder.models.devices import prepare_torch
from chatladder.models.prompts import read_alpaca
from chatladder.models.scoring import WorkerCheck, need_of, prediction_rows, score
from chatladder.training.checkpoints import SECONDS, KeptFolds, checkpoints_of
from chatladder.training.settings import TrainSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: What a run was trained with, in its folder of curves: plots over experiments read it.
SETTINGS = "settings.json"
#: The files of an adapter, or of a model whose weights were all trained; the first pattern is of a file that both have.
TRAINED = ("*config.json", "adapter_model.safetensors", "model*.safetensors", "model.safetensors.index.json")
CURVES = (SETTINGS, "metrics.json", "plots/metrics/*.tsv")


def train_rung(
    base: Path, alpaca: Path, settings: TrainSettings, out: Path, curves: Path, seconds: float = SECONDS
) -> str:
    """Fit, then write the adapter and its curves; return one line about what was done.

    Args:
        base: A folder written by ``stages.base``.
        alpaca: A folder written by ``stages.to_alpaca``.
        settings: The hyper-parameters.
        out: The folder of the adapter.
        curves: The folder of the curves.
        seconds: The time between checkpoints.

    Raises:
        DataError: If there is nothing to learn, or the training diverges; neither folder is then written.
    """
    prepare_torch()
    from chatladder.models.encoding import encode_rows
    from chatladder.models.loading import load, read_rung, within_context
    from chatladder.training.adapters import trainable, write
    from chatladder.training.processes import Processes
    from chatladder.training.trainer import fit

    check_replaceable(out, *TRAINED)  # before hours of training, not after
    check_replaceable(curves, *CURVES)
    rows = {split: read_alpaca(alpaca / f"{split}.json") for split in ("train", "validation")}
    if not rows["train"]:
        raise DataError(f"{alpaca / 'train.json'}: expected rows to learn, got none.")
    processes = Processes()
    model, tokenizer = load(base)
    room = within_context(model, settings.max_length)
    train, validation = (encode_rows(tokenizer, part, room) for part in rows.values())
    model = trainable(model, settings, read_rung(base)["name"])
    checkpoints = checkpoints_of(out, asdict(settings), [base, alpaca], seconds)
    logged: list[tuple[str, int, float]] = []
    filler = tokenizer.pad_token_id
    model = fit(model, filler, train, validation, settings, lambda *value: logged.append(value), checkpoints, processes)
    weights = processes.weights_of(model)
    if not processes.main:
        return ""
    # Opened this late, so that a run that is killed leaves no half-filled folders beside the outs.
    with whole_folder(out, *TRAINED) as adapter, whole_folder(curves, *CURVES) as folder:
        write(processes.accelerator.unwrap_model(model), adapter, weights)
        write_curves(folder, asdict(settings), logged)
    checkpoints.clear()
    last = {name: value for name, _, value in logged}
    return (
        f"{len(rows['train']):,} rows, {logged[-1][1]:,} steps, last loss {last['train/loss']:.3f} "
        f"(deciding token {last['train/deciding_loss']:.3f}), {train.shortened:,} prompts shortened to {room} tokens"
    )


def write_curves(folder: Path, settings: Mapping[str, Any], logged: Iterable[tuple[str, int, float]]) -> None:
    """Write curves as dvclive does, for ``dvc plots`` to draw: one value a step, no clock, no machine.

    Args:
        folder: A folder that exists; it gains ``plots/metrics/<name>.tsv``, the last values in ``metrics.json``, and
            what the run was trained with in ``settings.json``.
        settings: The hyper-parameters.
        logged: Name of the curve, step from 1, and value.
    """
    from dvclive.live import Live

    class Files(Live):
        """dvclive's files alone: the pipeline tracks them as an out, so git and experiments are not its business."""

        def _init_dvc(self) -> None:
            pass  # would open the repository, and fail in one that has no commit yet

        def _init_studio(self) -> None:
            # Would send each step to DVC Studio where an account is set up: data of a private chat stays here.
            self._studio_events_to_skip = {"start", "data", "done"}

    live = Files(str(folder), save_dvc_exp=False, dvcyaml=False)
    write_json(folder / SETTINGS, dict(settings))
    for name, step, value in logged:
        live.step = step
        live.log_metric(name, value)
    live.end()  # type: ignore[no-untyped-call]


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
    base: Path, folds: Sequence[Fold], settings: TrainSettings, orders: int, kept: KeptFolds, pool: Workers
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
    shared = (absolute, settings, orders, WorkerCheck(absolute))
    for number, answers in pool.as_done(answer_on_worker, missing, *shared, need=need_of(base)):
        kept.put(missing[number].learned, missing[number].asked, answers)
        yield missing[number], answers, "done"


def answer_on_worker(
    fold: Fold, base: Path, settings: TrainSettings, orders: int, worker: WorkerCheck
) -> list[dict[str, Any]]:
    """On a worker: ``answer_fold``."""
    worker.check()
    return answer_fold(base, fold.learned, fold.asked, settings, orders)


def answer_fold(
    base: Path,
    rows: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    settings: TrainSettings,
    orders: int = 1,
) -> list[dict[str, Any]]:
    """Fit an adapter to some alpaca rows, and answer other questions with it.

    Args:
        base: The base folder of the rung.
        rows: Alpaca rows that are learned.
        items: Alpaca rows of the questions that are answered; their labels are not looked at.
        settings: The hyper-parameters.
        orders: How many orders of the options each answer is averaged over.

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
    scores, _ = score(adapted.eval(), tokenizer, prompts, settings.max_length, orders)
    return prediction_rows(items, scores)
