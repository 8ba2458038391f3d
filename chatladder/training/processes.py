"""The processes that train one model together, as accelerate's launcher set them up; usually only this one.

``LAUNCHER="accelerate launch --num_processes 2" dvc repro`` starts them on two GPUs; on CPUs, where accelerate leaves
that to MPI, ``LAUNCHER="torchrun --nproc-per-node 2"`` with ``ACCELERATE_USE_CPU=true``. Each takes its share of every
step's rows, and gradients are summed, so the adapter is that of a single process; only dropout draws differ.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch

#: The variable that holds the command to start the processes, such as ``accelerate launch --num_processes 2``.
VARIABLE = "LAUNCHER"


def launch(module: str) -> None:
    """If ``LAUNCHER`` is set, run a module under it with this process's arguments, and exit with its status."""
    launcher = shlex.split(os.environ.get(VARIABLE, ""))
    if not launcher:
        return
    # The processes that it starts call this too, and must not start others.
    rest = {name: value for name, value in os.environ.items() if name != VARIABLE}
    try:
        ended = subprocess.run([*launcher, "-m", module, *sys.argv[1:]], check=False, env=rest)
    except FileNotFoundError:
        message = "expected a command such as 'accelerate launch --num_processes 2', got one that is not installed"
        click.echo(f"Error: {VARIABLE}: {message}: {launcher[0]}", err=True)
        sys.exit(2)
    sys.exit(ended.returncode)


class Processes:
    """The processes that train one model together: their number, and sums over them."""

    def __init__(self) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DistributedType

        self.accelerator = Accelerator()
        #: True if weights are sharded over the processes (FSDP, DeepSpeed), so that all must run in step.
        self.sharded = self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)

    @property
    def index(self) -> int:
        """Number of this process, from 0."""
        return int(self.accelerator.process_index)

    @property
    def count(self) -> int:
        """The number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def main(self) -> bool:
        """True if this is the process that writes and prints."""
        return bool(self.accelerator.is_main_process)

    def prepare(self, model: Any, optimizer: Any) -> tuple[Any, Any]:
        """Return the model and its optimizer, sharded over the processes if the launcher says so."""
        if self.sharded:
            sharded: tuple[Any, Any] = self.accelerator.prepare(model, optimizer)
            return sharded
        # Weights keep their identity, so their optimizer stays valid.
        return (model.to(self.accelerator.device) if self.count > 1 else model), optimizer

    def backward(self, loss: "torch.Tensor", *, last: bool) -> None:
        """Add a part's gradients to the step's.

        Args:
            loss: The part's share of the step's mean loss, over the rows of all processes.
            last: True for the step's last part, the only one after which sharded gradients are synchronised.
        """
        if not self.sharded:
            loss.backward()
            return
        self.accelerator.sync_gradients = last
        # Gradients of sharded weights are averaged over the processes; ours must be summed.
        self.accelerator.backward(loss * self.count)

    def add_gradients(self, weights: "Iterable[torch.Tensor]") -> None:
        """Give every process the sum of all processes' gradients."""
        import torch

        if self.sharded or self.count == 1:
            return
        for weight in weights:
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = self.accelerator.reduce(gradient, reduction="sum")

    def add(self, values: "torch.Tensor") -> "torch.Tensor":
        """Return the sum of all processes' values."""
        if self.count == 1:
            return values
        summed: torch.Tensor = self.accelerator.reduce(values.to(self.accelerator.device), reduction="sum").cpu()
        return summed

    def weights_of(self, model: Any) -> dict[str, Any] | None:
        """Return all weights of a sharded model, gathered; None if it is not sharded. All processes must call it."""
        return self.accelerator.get_state_dict(model) if self.sharded else None
