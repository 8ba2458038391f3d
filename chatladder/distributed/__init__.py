r"""Where a stage runs: locally, or on Ray. The outputs are identical, byte for byte.

``CHATLADDER_ENGINE`` is ``local`` (the default) or ``ray``. It is a variable rather than a param, since it changes how
an output is made and not its content, so DVC reruns nothing for it. A stage stays one process that ends when its
outputs are complete. Each worker reads its own range of a file's rows, so no table passes through the main process. A
range may only begin where the work on it can start afresh; each stage knows where that is.

Example:
    CHATLADDER_ENGINE=ray python -m stages.merge --messages data/messages.parquet --gap-seconds 18 \
        --out data/turns.parquet --counts data/counts/merge.json
    CHATLADDER_ENGINE=ray RAY_ADDRESS=head:6379 dvc repro merge
"""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from chatladder.distributed.side_by_side import computing_threads, cores, side_by_side
from chatladder.io.console import DataError
from chatladder.io.rows import Rows

VARIABLE = "CHATLADDER_ENGINE"


class Need(NamedTuple):
    """The share of a machine that a call with a model takes.

    Attributes:
        threads: The number of threads that it computes with. Sums over another number of threads may differ in their
            last digits, so a worker uses as many as the main process would.
        gpu: True if it uses a GPU where one exists; the call then has that GPU to itself.
        small: True if several calls fit into the memory of this machine, one for each of its processors.
    """

    threads: int
    gpu: bool
    small: bool = False


class Workers(Protocol):
    """The processes that a stage distributes work to."""

    #: The size below which another process reads a file, which it has in memory whole; 0 if there is no other process.
    most_bytes: int

    def share(self, size: int) -> int:
        """Return the rows of one call: ``size`` if another process has them in memory, no limit if they stream."""

    def map(self, function: Callable[..., Any], items: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """Yield ``function(item, *shared)`` for each item, in their order, whichever finishes first.

        Args:
            function: A pure module-level function: it may run again if a worker was lost. A generator's values are
                yielded as they come, or from another process all at once.
            items: Items, taken one by one as workers become free, so they may be made lazily.
            shared: Arguments of every call; they are sent once and must not be modified.
        """

    def as_done(
        self, function: Callable[..., Any], items: Iterable[Any], *shared: Any, need: Need
    ) -> Iterator[tuple[int, Any]]:
        """Yield the number of each item, from 0, and ``function(item, *shared)``, in order of completion.

        Args:
            function: As for ``map``.
            items: As for ``map``.
            shared: As for ``map``; on a worker, all calls of one process get the same objects.
            need: The share of a machine that each call takes.
        """

    def parts(self, need: Need) -> int:
        """Return into how many equal parts to cut work, if each part begins with loading a model."""


class LocalWorkers:
    """This machine only: calls are made one after another, as their results are requested.

    Calls with small models run in parallel processes, if there is more than one processor.
    """

    most_bytes = 0

    def share(self, size: int) -> int:
        """Return no limit; see ``Workers``."""
        return sys.maxsize

    def map(self, function: Callable[..., Any], items: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """Yield ``function(item, *shared)`` for each item, in order; see ``Workers``."""
        return (function(item, *shared) for item in items)

    def as_done(
        self, function: Callable[..., Any], items: Iterable[Any], *shared: Any, need: Need
    ) -> Iterator[tuple[int, Any]]:
        """Yield numbers and results of the items in order of completion; see ``Workers``."""
        calls = list(items)
        if need.small and cores() > 1 and len(calls) > 1:
            # Three calls share two processors: after two, a third alone would leave one processor idle.
            processes = len(calls) if len(calls) < 2 * cores() else cores()
            yield from side_by_side(function, calls, shared, processes, need.threads)
            return
        with computing_threads(need.threads):
            yield from enumerate(self.map(function, calls, *shared))

    def parts(self, need: Need) -> int:
        """Return 1, so that the model is loaded once; for a small model one part a processor."""
        return cores() if need.small else 1


@contextmanager
def workers() -> Iterator[Workers]:
    """Yield the workers that the environment selects, until the block ends.

    Raises:
        DataError: If the environment names an unknown engine; or, once work is distributed, if Ray is not installed.
    """
    name = os.environ.get(VARIABLE) or "local"
    if name == "local":
        yield LocalWorkers()
        return
    if name != "ray":
        raise DataError(f"{VARIABLE}: expected local or ray, got {name!a}.")
    from chatladder.distributed.ray_workers import RayWorkers

    pool = RayWorkers()
    try:
        yield pool
    finally:
        pool.stop()


def check_seen(path: Path) -> None:
    """Refuse to work on a worker that cannot see a path in the project's folder.

    Raises:
        DataError: If the path does not exist on this machine.
    """
    if not path.exists():
        raise DataError(
            f"{path}: not there on {platform.node()}. Every node needs the project's folder under the same path, "
            "on storage that they share."
        )


class Range(NamedTuple):
    """Rows from ``start`` to before ``stop``."""

    start: int
    stop: int


def cut_evenly(rows: int, size: int) -> list[Range]:
    """Return ranges of ``size`` rows, the last one shorter; none if there are no rows."""
    return [Range(start, min(start + size, rows)) for start in range(0, rows, size)]


class RowRange(Rows):
    """Some successive rows of a Parquet file, as a worker reads them; see ``Rows`` for the arguments."""

    def __init__(self, path: Path, schema: pa.Schema, start: int, stop: int | None = None) -> None:
        """Open the file.

        Raises:
            DataError: As for ``Rows``, or if this machine cannot see the file.
        """
        check_seen(path)
        super().__init__(path, schema, start, stop)
