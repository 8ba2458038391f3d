"""Checkpoints, stored outside the outs until a run is done, so that a killed run resumes.

The training of a seed loses a minute at most: one safetensors file holds the trainable weights, the optimizer's state,
the state of the random generators, and the curves so far; it is replaced as a whole. On a CPU, a resumed run ends with
exactly the weights of an uninterrupted one. The result of a seed is stored until all seeds are done. A run of several
folds loses the folds in progress.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatladder.io.console import DataError
from chatladder.io.files import whole_file
from chatladder.io.rows import read_rows, write_rows
from chatladder.models.kept import CODE, beginning, described, digest
from chatladder.vocabulary import prediction_schema

if TYPE_CHECKING:
    import torch


#: Outside the outs, which DVC removes before it runs a stage.
FOLDER, FOLDS = Path(".chatladder/checkpoints"), Path(".chatladder/folds")
#: Seconds between two checkpoints.
SECONDS = 60.0


@dataclass
class TrainingProgress:
    """The state of a training run.

    Attributes:
        step: The number of completed steps.
        logged: (curve, step, value) of every logged value.
        best: Lowest validation loss of the deciding token so far; None before the first.
        waited: Epochs since the lowest loss.
        kept: Weights of the epoch with the lowest loss, by name; empty if early stopping is off.
    """

    step: int = 0
    logged: list[tuple[str, int, float]] = field(default_factory=list)
    best: float | None = None
    waited: int = 0
    kept: "dict[str, torch.Tensor]" = field(default_factory=dict)


class Checkpoints:
    """The checkpoint of one run, and its result until the runs of other seeds are done, too.

    Args:
        path: The checkpoint's file.
        seconds: Seconds between two checkpoints; 0 writes one after each step.

    Attributes:
        made: The folder of a finished run's result.
    """

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        self.path = path
        self.made = path.with_suffix("")
        self._seconds = seconds
        self._took = 0.0
        self._written = time.monotonic()

    def due(self) -> bool:
        """Return True if a checkpoint is due; large ones are less frequent, so as to take a twentieth of the time."""
        return time.monotonic() - self._written >= max(self._seconds, 20 * self._took)

    def write(
        self, progress: TrainingProgress, weights: "dict[str, torch.Tensor]", optimizer: "torch.optim.Optimizer"
    ) -> None:
        """Write the checkpoint.

        Raises:
            DataError: If the disk is full or the folder cannot be written.
        """
        import torch
        from safetensors.torch import save_file

        begun = time.monotonic()
        tensors = {f"weights/{name}": weight for name, weight in weights.items()}
        tensors |= {f"kept/{name}": weight for name, weight in progress.kept.items()}
        numbers: dict[str, Any] = {}
        for number, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                # Some optimizers count their steps in a tensor, others in a number.
                (tensors if isinstance(value, torch.Tensor) else numbers)[f"optimizer/{number}/{key}"] = value
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        elif torch.backends.mps.is_available():
            tensors["random/mps"] = torch.mps.get_rng_state()
        counters = {key: getattr(progress, key) for key in ("step", "logged", "best", "waited")}
        with whole_file(self.path) as temporary:
            copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            save_file(copies, temporary, metadata={"progress": json.dumps(counters), "numbers": json.dumps(numbers)})
        self._written = time.monotonic()
        self._took = self._written - begun if self._seconds else 0.0

    def read(self, weights: "dict[str, torch.Tensor]", optimizer: "torch.optim.Optimizer") -> TrainingProgress | None:
        """Restore the checkpoint into weights and optimizer; return None if there is no usable one."""
        import torch
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                counters = json.loads(file.metadata()["progress"])
                numbers = json.loads(file.metadata()["numbers"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None  # training anew costs time once, an error would stop every further run
        groups = _by_group(tensors | numbers)
        if groups["weights"].keys() != weights.keys():
            return None
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(groups["weights"][name])
        states: dict[int, dict[str, Any]] = {}
        for name, tensor in groups["optimizer"].items():
            number, key = name.split("/", 1)
            states.setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(groups["random"]["cpu"])
        if torch.cuda.is_available() and "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"])
        elif torch.backends.mps.is_available() and "mps" in groups["random"]:
            torch.mps.set_rng_state(groups["random"]["mps"])
        counters["logged"] = [(name, step, value) for name, step, value in counters["logged"]]
        return TrainingProgress(**counters, kept=groups["kept"])

    def clear(self) -> None:
        """Remove it, and those of other settings and seeds: names that differ only after the last dash."""
        alike, dash, _ = self.path.name.rpartition("-")
        for path in self.path.parent.glob(f"{escape(alike)}-*") if dash else [self.path]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _by_group(tensors: "dict[str, torch.Tensor]") -> "dict[str, dict[str, torch.Tensor]]":
    groups: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "kept": {}, "optimizer": {}, "random": {}}
    for name, tensor in tensors.items():
        group, rest = name.split("/", 1)
        groups[group][rest] = tensor
    return groups


def checkpoint_path(out: Path, settings: Mapping[str, Any], sources: Sequence[Path]) -> Path:
    """Return the checkpoint of the run that produces an out from these sources, with these settings and this code."""
    run = digest([dict(settings), described([*sources, *CODE])])
    return FOLDER / f"{beginning(out)}-{run}.safetensors"


class KeptFolds:
    """The finished folds of one run, each stored under the out's name and a digest of all that its answers depend on.

    Args:
        out: The predictions that the folds become.
        sources: Files, and folders with their content: the base, and the code that trains and answers.
        settings: The hyper-parameters.
        folder: The folder to store them in.
    """

    def __init__(self, out: Path, sources: Sequence[Path], settings: Mapping[str, Any], folder: Path = FOLDS) -> None:
        self._folder, self._beginning = folder, beginning(out)
        self._run = [dict(settings), described(sources)]

    def get(
        self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]] | None:
        """Return the stored answers of a fold; None if there are none or their file is damaged.

        Args:
            learned: Alpaca rows that the fold's adapter is trained on.
            asked: Alpaca rows that it answers; their labels do not matter.
        """
        path = self._path(learned, asked)
        if not path.is_file():
            return None
        try:
            answers = read_rows(path, prediction_schema()).to_pylist()
        except (DataError, UnicodeDecodeError):
            return None  # training anew costs time once, an error would stop every further run
        return answers if [row["item_id"] for row in answers] == [row["item_id"] for row in asked] else None

    def put(
        self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]], answers: list[dict[str, Any]]
    ) -> None:
        """Store the answers of a fold: rows of ``PREDICTIONS``, in the order of ``asked``.

        Raises:
            DataError: If the disk is full or the folder cannot be written.
        """
        write_rows(self._path(learned, asked), answers, prediction_schema())

    def clear(self) -> None:
        """Remove the folds of this run, since its out holds them all, and those of other settings."""
        for path in self._folder.glob(f"{escape(self._beginning)}-*.parquet"):
            path.unlink(missing_ok=True)

    def _path(self, learned: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]) -> Path:
        questions = [[row["item_id"], row["instruction"], row["options"]] for row in asked]
        run = digest([self._run, list(map(dict, learned)), questions])
        return self._folder / f"{self._beginning}-{run}.parquet"
