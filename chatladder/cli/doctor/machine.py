"""What this machine has: memory, GPUs, and room for downloads."""

import shutil
from dataclasses import dataclass
from pathlib import Path

#: Where Linux says how much memory a container may use, and uses.
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Sizes are in bytes.

    Attributes:
        memory: What programs can still take.
        gpus: Free memory of each GPU that torch can use.
        gpu_names: Their names.
        disk: Free where the hub's models are kept.
        cache: That folder.
    """

    memory: int
    gpus: tuple[int, ...]
    gpu_names: tuple[str, ...]
    disk: int
    cache: Path


def this_machine() -> Machine:
    """The machine that this runs on, as it is now."""
    import psutil
    import torch
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    memory = min(psutil.virtual_memory().available, container_room(_CGROUP))
    return Machine(
        memory=memory,
        gpus=tuple(torch.cuda.mem_get_info(number)[0] for number in range(count)),
        gpu_names=tuple(torch.cuda.get_device_name(number) for number in range(count)),
        disk=shutil.disk_usage(there).free,
        cache=cache,
    )


def container_room(folder: Path) -> int:
    """Bytes that a container's limit leaves; more than any machine has where there is no limit."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        kept = (folder / "memory.stat").read_text().split()
        # Files that were read count as used, and are given up when memory is wanted.
        files = int(kept[kept.index("inactive_file") + 1]) if "inactive_file" in kept else 0
        return int(limit) - int(used) + files
    except (OSError, ValueError):
        return 2**62
