"""Train one rung: rows and a base in, an adapter (or a whole model) and its curves out."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvclive.live import Live

from chatladder.io.console import DataError
from chatladder.io.files import check_replaceable, whole_folder, write_json
from chatladder.models.devices import prepare_torch
from chatladder.models.prompts import read_alpaca
from chatladder.training.checkpoints import SECONDS, checkpoints_of
from chatladder.training.settings import TrainSettings

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


class _Files(Live):
    """dvclive's files alone: the pipeline tracks them as an out, so git and experiments are not its business."""

    def _init_dvc(self) -> None:
        # Would open the repository, and fail in one that has no commit yet.
        pass

    def _init_studio(self) -> None:
        # Would send each step to DVC Studio where an account is set up: data of a private chat stays here.
        self._studio_events_to_skip = {"start", "data", "done"}


def write_curves(folder: Path, settings: Mapping[str, Any], logged: Iterable[tuple[str, int, float]]) -> None:
    """Write curves as dvclive does, for ``dvc plots`` to draw: one value a step, no clock, no machine.

    Args:
        folder: A folder that exists; it gains ``plots/metrics/<name>.tsv``, the last values in ``metrics.json``, and
            what the run was trained with in ``settings.json``.
        settings: The hyper-parameters.
        logged: Name of the curve, step from 1, and value.
    """
    live = _Files(str(folder), save_dvc_exp=False, dvcyaml=False)
    write_json(folder / SETTINGS, dict(settings))
    for name, step, value in logged:
        live.step = step
        live.log_metric(name, value)
    live.end()  # type: ignore[no-untyped-call]
