"""``stages.train`` as accelerate's launcher starts it, without a GPU.

    accelerate launch --config_file chatladder/training/launchers/fsdp_14b.yaml --module tests.launched_training TELL
    ARGUMENTS...

accelerate shards weights only over GPUs. Here a CPU stands in for the GPU of each process; all else is unchanged.
TELL is a file to write: the number of processes that the weights were sharded over, and the share that each holds.
"""

import json
import os
import sys
from pathlib import Path


def pass_for_gpu() -> None:
    """Make accelerate use this CPU as the device, and gloo as the backend."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    # DeepSpeed detects this by itself, given a backend.
    fsdp = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    found = ("gloo", DistributedType.MULTI_GPU if fsdp else DistributedType.NO)
    PartialState._prepare_backend = lambda *_arguments, **_options: found


def tell(path: Path) -> None:
    """Make the main process report to a file how it shards the weights."""
    from chatladder.training.processes import Processes

    prepare = Processes.prepare

    def prepare_and_tell(self, model, optimizer):
        spread, optimizer = prepare(self, model, optimizer)
        weights = list(spread.parameters())
        held = [own.to_local() if hasattr(own, "to_local") else getattr(own, "ds_tensor", own) for own in weights]
        whole = sum(getattr(own, "ds_numel", own.numel()) for own in weights)
        names = [type(module).__name__ for module in spread.modules()]
        told = {
            "kind": self.accelerator.distributed_type.value,
            "processes": self.count,
            "share": sum(own.numel() for own in held) / whole,
            "layers": names.count("FSDPQwen2DecoderLayer"),
        }
        if self.main:
            path.write_text(json.dumps(told), encoding="utf-8")
        return spread, optimizer

    Processes.prepare = prepare_and_tell


if __name__ == "__main__":
    pass_for_gpu()
    tell(Path(sys.argv.pop(1)))
    from stages.train import main

    main()
