r"""Where a stage does its work: on this machine, or over Ray. The outs are the same, byte for byte.

``CHATLADDER_ENGINE`` says which: ``local`` (also where it is not set) or ``ray``. A variable and no param, since it
changes how an out is made and not what it is, so DVC runs nothing again for it. A stage stays one process that ends
when its outs are whole. Each worker reads its own range of a file's rows, so no table goes through the process that
hands out; a range may only begin where the work on it can begin anew, and each stage knows where that is.

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
        threads: The threads that it computes with. Sums of another number of them may differ in their last digits, so
            a worker has as many as this process would have.
        gpu: Whether it uses a GPU where there is one; it then has that one to itself.
        small: Whether several fit beside each other into the memory of this machine, one for each of its processors.
    """

    threads: int
    gpu: bool
    small: bool = False


class Workers(Protocol):
    """Processes that a stage hands work to."""

    #: The size below which a file is read by another process, which holds all of it; 0 where there is none.
    most_bytes: int

    def share(self, size: int) -> int:
        """The rows that one call takes: ``size`` where another process holds them, else any number, as they stream."""

    def map(self, function: Callable[..., Any], items: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """``function(item, *shared)`` of each item, in their order, whatever finishes first.

        Args:
            function: A pure function of a module: it may run again where a worker was lost. One that yields gives its
                values as they come, or from another process all at once.
            items: Taken one by one as there is room, so they may be made on the way.
            shared: Arguments of every call; they are sent once and must not be changed.
        """

    def as_done(
        self, function: Callable[..., Any], items: Iterable[Any], *shared: Any, need: Need
    ) -> Iterator[tuple[int, Any]]:
        """The number of an item, from 0, and ``function(item, *shared)`` of it, in the order in which they are done.

        Args:
            function: As for ``map``.
            items: As for ``map``.
            shared: As for ``map``; on a worker, calls of one process have the same objects.
            need: The share of a machine that each call takes.
        """

    def parts(self, need: Need) -> int:
        """Into how many parts of like size to cut work of which each begins with loading a model."""


class LocalWorkers:
    """This machine alone: calls are made here one after another, as their results are taken.

    Those of small models are made in processes beside each other, where there are processors for more than one.
    """

    most_bytes = 0

    def share(self, size: int) -> int:
        """Return no limit; see ``Workers``."""
        return sys.maxsize

    def map(self, function: Callable[..., Any], items: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """``function(item, *shared)`` of each item, in order; see ``Workers``."""
        return (function(item, *shared) for item in items)

    def as_done(
        self, function: Callable[..., Any], items: Iterable[Any], *shared: Any, need: Need
    ) -> Iterator[tuple[int, Any]]:
        """Numbers and results of the items, as they are done; see ``Workers``."""
        calls = list(items)
        if need.small and cores() > 1 and len(calls) > 1:
            # Three calls share two processors; one after two, it would have one of them and leave the other idle.
            processes = len(calls) if len(calls) < 2 * cores() else cores()
            yield from side_by_side(function, calls, shared, processes, need.threads)
            return
        with computing_threads(need.threads):
            yield from enumerate(self.map(function, calls, *shared))

    def parts(self, need: Need) -> int:
        """Return 1, so that the model is loaded once; one a processor where it is small."""
        return cores() if need.small else 1


@contextmanager
def workers() -> Iterator[Workers]:
    """The workers that the environment asks for, until the block ends.

    Raises:
        DataError: If the environment names no engine of ours; or, once work is handed out, if Ray is not installed.
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
    """Refuse to work, on a worker, without what lies in the project's folder.

    Raises:
        DataError: If this machine does not see it.
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
    """Ranges of ``size`` rows, the last one shorter; none if there are no rows."""
    return [Range(start, min(start + size, rows)) for start in range(0, rows, size)]


class RowRange(Rows):
    """Some successive rows of a parquet file, as a worker reads them; see ``Rows`` for the arguments."""

    def __init__(self, path: Path, schema: pa.Schema, start: int, stop: int | None = None) -> None:
        """Open the file.

        Raises:
            DataError: As ``Rows``, and if this machine does not see the file.
        """
        check_seen(path)
        super().__init__(path, schema, start, stop)
