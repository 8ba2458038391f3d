"""The runs of stages: training of one rung, and held-out answers by adapters that never saw an item's conversation."""

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatladder.distributed import LocalWorkers, Workers
from chatladder.io.console import DataError, working_on
from chatladder.io.files import check_replaceable, read_json, whole_folder, write_json
from chatladder.models.devices import LAUNCHED, prepare_torch
from chatladder.models.loading import SEED_FOLDER, TRAINING, base_of
from chatladder.models.prompts import read_alpaca
from chatladder.models.scoring import WorkerCheck, need_of, prediction_rows, score
from chatladder.training.checkpoints import SECONDS, Checkpoints, KeptFolds, checkpoint_path
from chatladder.training.settings import TrainSettings
from chatladder.training.trainer import STEPS as LAST_STEPS

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: The file of a run's hyper-parameters, in its folder of curves; plots over experiments read it.
SETTINGS = "settings.json"
ADAPTER_FOLDER, CURVES_FOLDER = "adapter", "curves"


def _with_seeds(*files: str) -> tuple[str, ...]:
    """Return patterns of files in a folder, and in its subfolders of further seeds."""
    return (*files, *(f"{SEED_FOLDER.format('[0-9]*')}/{file}" for file in files))


#: The files of an adapter, or of a model whose weights were all trained; the first pattern matches a file of both.
TRAINED = _with_seeds(
    "*config.json", "adapter_model.safetensors", "model*.safetensors", "model.safetensors.index.json", TRAINING
)
CURVES = _with_seeds(SETTINGS, "metrics.json", "plots/metrics/*/*.tsv")
#: Loss of a coin toss between two options, in nats.
COIN = math.log(2)


class SeedRun(NamedTuple):
    """The training of one seed.

    Attributes:
        base: The base folder of the model to train.
        alpaca: A folder written by ``stages.to_alpaca``.
        settings: The hyper-parameters, of this seed alone.
        name: The rung's name.
        checkpoint: The checkpoint's file, named when the run began: an edit of the code meanwhile must not lose it.
        seconds: The time between checkpoints.
    """

    base: Path
    alpaca: Path
    settings: TrainSettings
    name: str
    checkpoint: Path
    seconds: float

    def checkpoints(self) -> Checkpoints:
        """Return the run's checkpoint."""
        return Checkpoints(self.checkpoint, self.seconds)


def train_rung(
    base: Path, alpaca: Path, settings: TrainSettings, out: Path, curves: Path, seconds: float = SECONDS
) -> str:
    """Fit one adapter per seed, then write all of them and their curves; return a one-line summary.

    The first seed's adapter is in the folder itself, each other in a subfolder, as for bases. Each is trained on the
    base model of its own seed if there is one, else on the first.

    Args:
        base: A folder written by ``stages.base``.
        alpaca: A folder written by ``stages.to_alpaca``.
        settings: The hyper-parameters.
        out: The folder of the adapters.
        curves: The folder of the curves.
        seconds: The time between checkpoints.

    Returns:
        The line; empty in a process that does not write.

    Raises:
        DataError: If there are no rows to train on, or a training diverges; neither folder is then written.
    """
    check_replaceable(out, *TRAINED)  # before hours of training, not after
    check_replaceable(curves, *CURVES)
    if not read_alpaca(alpaca / "train.json"):
        raise DataError(f"{alpaca / 'train.json'}: expected rows to learn, got none.")
    need = need_of(base)
    if LAUNCHED in os.environ:
        need = need._replace(small=False)  # this process is one of several already, which train each seed together
    runs = [_seed_run(base_of(base, seed), alpaca, settings.of_seed(seed), out, seconds) for seed in settings.seeds]
    told = dict(LocalWorkers().as_done(train_seed, runs, need=need))
    ended = [told[number] for number in range(len(runs))]
    if None in ended:
        return ""
    # Opened this late, so that a killed run leaves no half-filled folders next to the outs.
    with whole_folder(out, *TRAINED) as adapters, whole_folder(curves, *CURVES) as all_curves:
        for run in runs:
            further = "" if run is runs[0] else SEED_FOLDER.format(run.settings.seed)
            for name, folder in ((ADAPTER_FOLDER, adapters), (CURVES_FOLDER, all_curves)):
                shutil.copytree(run.checkpoints().made / name, folder / further, dirs_exist_ok=True)
    runs[0].checkpoints().clear()
    return _summary(ended)


def _seed_run(base: Path, alpaca: Path, settings: TrainSettings, out: Path, seconds: float) -> SeedRun:
    checkpoint = checkpoint_path(out, asdict(settings), [base, alpaca])
    return SeedRun(base, alpaca, settings, out.name, checkpoint, seconds)


def train_seed(run: SeedRun) -> dict[str, Any] | None:
    """Fit the adapter of one seed, and store it and its curves until those of all seeds are done.

    Returns:
        The content of its ``training.json``, and the tokens that prompts were shortened to; None in a process that does
        not write.

    Raises:
        DataError: If the training diverges.
    """
    prepare_torch()
    from chatladder.models.encoding import encode_rows
    from chatladder.models.loading import load, read_rung, within_context
    from chatladder.training.adapters import trainable, write
    from chatladder.training.processes import Processes
    from chatladder.training.trainer import fit

    processes, checkpoints, settings = Processes(), run.checkpoints(), run.settings
    is_done = checkpoints.made.is_dir()
    processes.accelerator.wait_for_everyone()  # the one that writes removes files that others still look for
    if is_done:
        ended: dict[str, Any] = read_json(checkpoints.made / ADAPTER_FOLDER / TRAINING)
        return ended if processes.main else None
    model, tokenizer = load(run.base)
    room = within_context(model, settings.max_length)
    splits = (read_alpaca(run.alpaca / f"{split}.json") for split in ("train", "validation"))
    train, validation = (encode_rows(tokenizer, rows, room) for rows in splits)
    model = trainable(model, settings, read_rung(run.base)["name"])
    logged: list[tuple[str, int, float]] = []
    filler = tokenizer.pad_token_id
    with working_on(f"{run.name} seed {settings.seed}"):
        log = lambda *value: logged.append(value)  # noqa: E731
        model = fit(model, filler, train, validation, settings, log, checkpoints, processes)
    weights = processes.weights_of(model)
    ended = {
        "seed": settings.seed,
        "rows": len(train.examples),
        **ending(logged, settings),
        "shortened": train.shortened,
        "room": room,
    }
    if processes.main:
        with whole_folder(checkpoints.made) as made:
            adapter, curves = made / ADAPTER_FOLDER, made / CURVES_FOLDER
            adapter.mkdir()
            curves.mkdir()
            write(processes.accelerator.unwrap_model(model), adapter, weights)
            write_json(adapter / TRAINING, ended)
            write_curves(curves, settings.described(), logged)
        checkpoints.path.unlink(missing_ok=True)
    del model, weights
    processes.accelerator.free_memory()  # a GPU cannot hold the next seed's model as well
    return ended if processes.main else None


def ending(logged: Sequence[tuple[str, int, float]], settings: TrainSettings) -> dict[str, Any]:
    """Return the number of steps of a training and its final losses.

    Args:
        logged: Name of each curve, step from 1, and value.
        settings: The hyper-parameters.

    Returns:
        ``steps`` and the last ``loss``. If rows have options, also the last ``deciding_loss``, and
        ``validation_deciding_loss`` of the final weights if there are validation rows, else ``mean_deciding_loss`` over
        the last steps. All losses are in nats.
    """
    curves: dict[str, list[float]] = {}
    for name, _, value in logged:
        curves.setdefault(name, []).append(value)
    ended = {"steps": logged[-1][1], "loss": curves["train/loss"][-1]}
    deciding = curves.get("train/deciding_loss")
    if not deciding:
        return ended
    ended["deciding_loss"] = deciding[-1]
    if validation := curves.get("validation/deciding_loss"):
        kept = min(validation) if settings.early_stopping_patience else validation[-1]
        return {**ended, "validation_deciding_loss": kept}
    latest = deciding[-LAST_STEPS:]
    return {**ended, "mean_deciding_loss": sum(latest) / len(latest)}


def _summary(ended: Sequence[Mapping[str, Any]]) -> str:
    """Return one line about the trainings of all seeds."""

    def each(name: str, form: str) -> str:
        return ", ".join(format(seed[name], form) for seed in ended)

    steps = ", ".join(dict.fromkeys(f"{seed['steps']:,}" for seed in ended))
    seeds = f", {len(ended)} seeds" if len(ended) > 1 else ""
    first = ended[0]
    has_options = "deciding_loss" in first
    deciding = f" (deciding token {each('deciding_loss', '.3f')})" if has_options else ""
    line = (
        f"{first['rows']:,} rows, {steps} steps{seeds}, last loss {each('loss', '.3f')}{deciding}, "
        f"{first['shortened']:,} prompts shortened to {first['room']} tokens"
    )
    if not has_options:
        return line
    by_validation = "validation_deciding_loss" in first
    name = "validation_deciding_loss" if by_validation else "mean_deciding_loss"
    lost = [seed for seed in ended if seed[name] >= COIN]
    if not lost:
        return line
    which = "It"
    if len(ended) > 1:
        which = f"Seed{'s' if len(lost) > 1 else ''} {', '.join(str(seed['seed']) for seed in lost)}"
    losses = ", ".join(f"{seed[name]:.3f}" for seed in lost)
    where = "on validation rows" if by_validation else f"over the last {LAST_STEPS} steps"
    return (
        f"{line}. {which} ended no better than a coin ({losses} nats for the deciding token {where}, a "
        f"coin {COIN:.3f}): try another train.learning_rate, or more train.num_train_epochs"
    )


def write_curves(folder: Path, settings: Mapping[str, Any], logged: Iterable[tuple[str, int, float]]) -> None:
    """Write curves as dvclive does, for ``dvc plots`` to draw: one value per step, without times or machine data.

    Args:
        folder: A folder that exists; it gains ``plots/metrics/<name>.tsv``, the last values in ``metrics.json``, and
            the hyper-parameters in ``settings.json``.
        settings: The hyper-parameters.
        logged: Name of the curve, step from 1, and value.
    """
    from dvclive.live import Live

    class Files(Live):
        """dvclive without git and experiments, since the pipeline tracks its files as an out."""

        def _init_dvc(self) -> None:
            pass  # would open the repository, and fail in one that has no commit yet

        def _init_studio(self) -> None:
            # Would send each step to DVC Studio if an account is set up: data of a private chat stays local.
            self._studio_events_to_skip = {"start", "data", "done"}

    live = Files(str(folder), save_dvc_exp=False, dvcyaml=False)
    write_json(folder / SETTINGS, dict(settings))
    for name, step, value in logged:
        live.step = step
        live.log_metric(name, value)
    live.end()  # type: ignore[no-untyped-call]


class Fold(NamedTuple):
    """The rows that one adapter is trained on and answers.

    Attributes:
        number: The fold's number, from 1.
        learned: Alpaca rows to train on.
        asked: Alpaca rows to answer, of other conversations.
    """

    number: int
    learned: list[dict[str, Any]]
    asked: list[dict[str, Any]]


def cut_folds(rows: Sequence[dict[str, Any]], places: "NDArray[np.int64]") -> list[Fold]:
    """Return the folds of the alpaca rows; each is answered by an adapter that is trained on the others."""
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
    """Yield folds, their answers, and where these come from: first stored folds, then others as workers finish.

    Raises:
        DataError: If a training diverges, or a worker does not see the base or has other libraries.
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
    """Run ``answer_fold`` on a worker."""
    worker.check()
    with working_on(f"{base.name} fold {fold.number}"):
        return answer_fold(base, fold.learned, fold.asked, settings, orders)


def answer_fold(
    base: Path,
    rows: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    settings: TrainSettings,
    orders: int = 1,
) -> list[dict[str, Any]]:
    """Fit an adapter, with the first seed, to some alpaca rows, and answer other questions with it.

    Args:
        base: The base folder of the rung.
        rows: Alpaca rows to train on.
        items: Alpaca rows of the questions to answer; their labels are not used.
        settings: The hyper-parameters.
        orders: The number of orders of the options that each answer is averaged over.

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

    # A fold has no validation rows for early stopping: it trains all epochs.
    settings = replace(settings, early_stopping_patience=0)
    base = base_of(base, settings.seed)
    model, tokenizer = load(base)
    adapted = trainable(model, settings, read_rung(base)["name"])
    encoded = encode_rows(tokenizer, rows, within_context(model, settings.max_length))
    fit(adapted, tokenizer.pad_token_id, encoded, Encoded([], [], [], 0), settings, lambda *_: None)
    prompts = [Prompt(item["instruction"], item["options"]) for item in items]
    scores, _ = score(adapted.eval(), tokenizer, prompts, settings.max_length, orders)
    return prediction_rows(items, scores, settings.seed)
