"""Workers of a Ray cluster: the one that ``RAY_ADDRESS`` names, or one that is started here and stopped at the end.

Plain tasks in a window: at most two for each processor of the cluster are on their way, results come in the order of
the items, and no more is asked for until the oldest was taken. So what waits in the object store is bounded by the
window, whatever the size of the chat. Ray Data would give order and a bound too (``preserve_order``), but it wants to
know all items before it starts, where ingest makes them on the way, and it cuts results into blocks of its own, where
ours are rows and counts together.

A task whose worker or node is lost runs again, up to ``RETRIES`` times. Ray's talk is off: its logs are in its own
folder (``RAY_TMPDIR``, else /tmp/ray), and usage statistics are sent only where ``RAY_USAGE_STATS_ENABLED`` is 1.
"""

import importlib
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from stages.cli import DataError

ADDRESS = "RAY_ADDRESS"
RETRIES = 3
KNOCK_SECONDS = 10
#: Tasks on their way for each processor: one that computes, one that waits for it.
PER_PROCESSOR = 2
#: What Ray takes from the environment; what is set there already stays.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about GPUs on machines that have none
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
#: What the calls of one ``map`` share, on a worker: kept from task to task, by the reference's name.
_kept: dict[str, tuple[Any, ...]] = {}


class RayWorkers:
    """Ray's workers; the cluster is joined or started at the first ``map``."""

    def __init__(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._ray = _import_ray()
        self._joined = self._started = False

    def map(self, function: Callable[..., Any], items: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """``function(item, *shared)`` of each item, in order; see ``stages.engine.Workers``.

        Raises:
            DataError: As the function; or if the cluster cannot be reached, loses its workers again and again, or has
                no room for results.
        """
        self._join()
        ray = self._ray
        waiting: deque[Any] = deque()
        try:
            # In a list, since Ray would look a bare reference up for every task.
            sent = [ray.put(shared)] if shared else []
            task = ray.remote(_call).options(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")
            named = _importable(function)
            for item in items:
                waiting.append(task.remote(named, item, sent))
                while len(waiting) >= self._window():
                    yield ray.get(waiting.popleft())
            while waiting:
                yield ray.get(waiting.popleft())
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DataError):
                raise DataError(error.cause.message) from error
            raise  # a bug: Ray adds the worker's traceback
        except ray.exceptions.RayError as error:
            raise _lost(error) from error
        finally:
            for unwanted in waiting:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(unwanted, force=True)

    def stop(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._started:
            self._ray.shutdown()
        self._joined = self._started = False

    def _window(self) -> int:
        """How many tasks may be on their way: a cluster may grow while a stage runs."""
        return PER_PROCESSOR * max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def _join(self) -> None:
        if self._joined:
            return
        if not self._ray.is_initialized():
            _connect(self._ray, os.environ.get(ADDRESS) or None)
            self._started = True
        self._joined = True


def _call(function: Callable[..., Any], item: Any, sent: list[Any]) -> Any:
    """On a worker: one call."""
    if not sent:
        return function(item)
    import ray

    key = sent[0].hex()
    if key not in _kept:
        _kept.clear()
        _kept[key] = ray.get(sent[0])
    return function(item, *_kept[key])


def _import_ray() -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise DataError(
            "CHATLADDER_ENGINE=ray: Ray is not installed. Run pip install 'chatladder[ray]', or unset the variable to "
            "use this machine alone."
        ) from error
    return ray


def _connect(ray: ModuleType, address: str | None) -> None:
    """Join the cluster at the address, or start one on this machine.

    Raises:
        DataError: If there is none, or it runs another Ray or Python.
    """
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address:
        # The code of this checkout, not whatever version a node has installed.
        options["runtime_env"] = {"py_modules": [str(Path(__file__).resolve().parents[1])]}
    else:
        options["include_dashboard"] = False
    try:
        if address:
            _knock(address)
        ray.init(address or "local", **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        place = f"{ADDRESS}={address}" if address else "CHATLADDER_ENGINE=ray"
        raise DataError(
            f"{place}: expected a Ray cluster of this Ray ({ray.__version__}) and Python, got "
            f"{type(error).__name__}: {_first_line(error)}. Start one with ray start --head, or unset {ADDRESS}."
        ) from error


def _knock(address: str) -> None:
    """See whether anything listens there: Ray itself would try for minutes.

    Raises:
        OSError: If nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # else a word such as auto
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _importable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a worker can import it: of the stage that runs as ``__main__``, that of its module."""
    main = sys.modules["__main__"]
    if function.__module__ != "__main__" or main.__spec__ is None:
        return function
    found: Callable[..., Any] = getattr(importlib.import_module(main.__spec__.name), function.__name__)
    return found


def _lost(error: Exception) -> DataError:
    """What to say of a failure of the cluster; nothing of the rows is in it."""
    name = type(error).__name__
    if name in ("ObjectStoreFullError", "OutOfDiskError"):
        return DataError(
            f"Ray: no room for results ({name}). Give the nodes more (ray start --object-store-memory, or disk under "
            "RAY_TMPDIR) and run again."
        )
    if name == "OutOfMemoryError":
        return DataError(
            "Ray: workers were stopped since a node ran out of memory. Give the nodes fewer processors "
            "(ray start --num-cpus) or more memory, and run again."
        )
    return DataError(
        f"Ray: a task was lost and {RETRIES} further tries failed too ({name}). See whether nodes go away or end "
        "processes, in Ray's logs under RAY_TMPDIR or /tmp/ray, and run again. Nothing was written."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
