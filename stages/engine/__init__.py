r"""Where a data stage does its work: in this process, or over Ray. The outs are the same, byte for byte.

``CHATLADDER_ENGINE`` says which: ``local`` (also where it is not set) or ``ray``. A variable and no param, since it
changes how an out is made and not what it is, so DVC runs nothing again for it. A stage stays one process that ends
when its outs are whole.

Example:
    CHATLADDER_ENGINE=ray python -m stages.merge --messages data/messages.parquet --gap-seconds 18 \
        --out data/turns.parquet --counts data/counts/merge.json
    CHATLADDER_ENGINE=ray RAY_ADDRESS=head:6379 dvc repro merge
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from stages.cli import DataError

VARIABLE = "CHATLADDER_ENGINE"


class Workers(Protocol):
    """Processes that a stage hands work to."""

    def map(self, function: Callable[..., Any], items: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """``function(item, *shared)`` of each item, in their order, whatever finishes first.

        Args:
            function: Of a module, and pure: it may run again where a worker was lost.
            items: Taken one by one as there is room, so they may be made on the way.
            shared: What every call needs; it is sent once and must not be changed.
        """


@contextmanager
def workers() -> Iterator[Workers | None]:
    """The workers that the environment asks for, until the block ends; None for this process alone.

    Raises:
        DataError: If the environment names no engine of ours, or Ray is not installed.
    """
    name = os.environ.get(VARIABLE) or "local"
    if name == "local":
        yield None
        return
    if name != "ray":
        raise DataError(f"{VARIABLE}: expected local or ray, got {name!a}.")
    from stages.engine.ray_workers import RayWorkers

    pool = RayWorkers()
    try:
        yield pool
    finally:
        pool.stop()
