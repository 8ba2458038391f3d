"""Workers of a Ray cluster: the one that ``RAY_ADDRESS`` names, or a local one that is stopped at the end.

Tasks are submitted in a window: at most two for each running one, and no more until a result was taken. So the window
bounds what waits in the object store, whatever the size of the chat. Ray Data would give order and a bound too
(``preserve_order``), but it needs all items before it starts, where ingest makes them lazily, and it cuts results into
blocks of its own, where ours combine rows and counts.

Models, too, are loaded by plain tasks and not by long-lived actors: if several stages share a cluster, each could hold
GPUs that another's actors wait for, and neither would end. Tasks return theirs.

A task whose worker or node is lost runs again, up to ``RETRIES`` times. Ray's own output is off: its logs are in its
folder (``RAY_TMPDIR``, or else /tmp/ray), and usage statistics are sent only if ``RAY_USAGE_STATS_ENABLED`` is 1.
"""

import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from chatladder.distributed import Need
from chatladder.io.console import DataError
from chatladder.io.task_folder import VARIABLE, task_folder, task_name

ADDRESS = "RAY_ADDRESS"
#: GPUs of a task with a model, by default 1 if there are any. 0.5 lets two tasks share one, several are for a model
#: that one does not hold, 0 runs on processors.
GPUS = "CHATLADDER_TASK_GPUS"
RETRIES = 3
KNOCK_SECONDS = 10
#: Submitted tasks for each slot: one that runs, one that waits for it.
PER_SLOT = 2
#: Parts for each slot of a model's work: a lost worker costs one of them.
PARTS_PER_SLOT = 4
#: Variables that a model's bytes, or where it is loaded from, depend on: a worker gets this process's values. No keys.
PASSED = (
    "CHATLADDER_ATTENTION",
    "CHATLADDER_DTYPE",
    "CUBLAS_WORKSPACE_CONFIG",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
)
#: Ray's settings in the environment; values that are already set stay.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or else it warns about GPUs on machines without any
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of tasks whose results are no longer needed, since an earlier one failed
}
#: The shared arguments of one ``map``, on a worker: kept from task to task, by the reference's name.
_kept: dict[str, tuple[Any, ...]] = {}


class RayWorkers:
    """Ray's workers; Ray is imported, and the cluster joined or started, at the first call."""

    most_bytes = 256 * 2**20

    def __init__(self) -> None:
        self._ray: Any = None
        self._started = False

    def share(self, size: int) -> int:
        """Return ``size``; see ``chatladder.distributed.Workers``."""
        return size

    def map(self, function: Callable[..., Any], items: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """Yield ``function(item, *shared)`` for each item, in order; see ``chatladder.distributed.Workers``.

        Raises:
            DataError: As the function; or if Ray is not installed, the cluster cannot be reached, repeatedly loses its
                workers, or has no room for results.
        """
        self._join()
        for _, result in self._calls(function, items, shared, {"num_cpus": 1}, in_order=True):
            yield result

    def as_done(
        self, function: Callable[..., Any], items: Iterable[Any], *shared: Any, need: Need
    ) -> Iterator[tuple[int, Any]]:
        """Yield numbers and results of the items in order of completion; see ``chatladder.distributed.Workers``.

        Raises:
            DataError: As for ``map``; or if no node has the GPUs that ``CHATLADDER_TASK_GPUS`` requests.
        """
        self._join()
        resources = self._resources(need)
        environment = {"env_vars": _environment(need, bool(resources.get("num_gpus")))}
        yield from self._calls(function, items, shared, resources, in_order=False, runtime_env=environment)

    def parts(self, need: Need) -> int:
        """Return one part for each slot with GPUs, and several for each slot without.

        Ray ends a process that had a GPU with its call, so that the next one finds all memory free: each part loads
        the model again. Other processes keep the model for the next part.
        """
        self._join()
        resources = self._resources(need)
        return self._slots(resources) * (1 if resources.get("num_gpus") else PARTS_PER_SLOT)

    def stop(self) -> None:
        """Leave the cluster; a local one is stopped."""
        if self._started:
            self._ray.shutdown()
        self._ray, self._started = None, False

    def _calls(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        shared: tuple[Any, ...],
        resources: Mapping[str, float],
        *,
        in_order: bool,
        **options: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Yield number and result of each item's call; no more are submitted than ``PER_SLOT`` allows."""
        ray = self._ray
        waiting: dict[Any, int] = {}  # reference of a result -> number of its item

        def take() -> tuple[int, Any]:
            first = next(iter(waiting)) if in_order else ray.wait(list(waiting))[0][0]
            return waiting.pop(first), ray.get(first)

        with self._told(waiting):
            # In a list, since Ray would resolve a bare reference for every task.
            sent = [ray.put(shared)] if shared else []
            task = ray.remote(max_retries=RETRIES, scheduling_strategy="SPREAD", **resources, **options)(_call)
            for number, item in enumerate(items):
                waiting[task.remote(function, item, sent)] = number
                while len(waiting) >= PER_SLOT * self._slots(resources):
                    yield take()
            while waiting:
                yield take()

    @contextmanager
    def _told(self, waiting: Collection[Any]) -> Iterator[None]:
        """Turn failures into errors that say what a user can do, and cancel the submitted tasks."""
        ray = self._ray
        try:
            yield
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

    def _nodes(self) -> list[dict[str, float]]:
        """Return the resources that each node has for tasks."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _slots(self, resources: Mapping[str, float]) -> int:
        """Return how many tasks with these resources run at once; a cluster may grow while a stage runs."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU"}
        room = (
            min(int(node.get(names[name], 0) / amount) for name, amount in resources.items()) for node in self._nodes()
        )
        return max(1, sum(room))

    def _resources(self, need: Need) -> dict[str, float]:
        """Return Ray's resources for a call with a model: GPUs if there are any, else a processor for each thread."""
        nodes = self._nodes()
        gpus = _gpus(max((node.get("GPU", 0.0) for node in nodes), default=0.0)) if need.gpu else 0.0
        if gpus:
            return {"num_cpus": 1, "num_gpus": gpus}
        # If no node has that many processors, a task that asks for them would wait for ever.
        most = max((int(node.get("CPU", 0)) for node in nodes), default=1)
        return {"num_cpus": max(1, min(need.threads, most))}

    def _join(self) -> Any:
        """Return Ray, connected to its cluster."""
        if self._ray is None:
            for name, value in QUIET.items():
                os.environ.setdefault(name, value)
            ray = _import_ray()
            if not ray.is_initialized():
                _connect(ray, os.environ.get(ADDRESS) or None)
                self._started = True
            self._ray = ray
        return self._ray


def _gpus(most: float) -> float:
    """Return the GPUs of a task, at most as many as one node has.

    Raises:
        DataError: If the environment asks for an amount that Ray cannot give, or for more than that.
    """
    said = os.environ.get(GPUS, "")
    if not said:
        return min(1.0, most)
    try:
        wanted = float(said)
    except ValueError:
        wanted = -1.0
    if not (0 <= wanted <= 1 or (wanted > 1 and wanted.is_integer())):
        raise DataError(f"{GPUS}: expected 0, a share of a GPU such as 0.5, or a whole number of them, got {said!a}.")
    if wanted > most:
        raise DataError(
            f"{GPUS}={said}: expected a node with so many GPUs, got {most:g} on the one that has most. Join one that "
            "has them (ray start), or ask for fewer."
        )
    return wanted


def _environment(need: Need, gpu: bool) -> dict[str, str]:
    """Return the environment of a worker with a model: Ray would give it a thread for each processor."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    passed[VARIABLE] = task_name(task_folder())
    # A task without a GPU would see all of them, and use those of others.
    return passed | {"OMP_NUM_THREADS": str(need.threads)} | ({} if gpu else {"CUDA_VISIBLE_DEVICES": ""})


def _call(function: Callable[..., Any], item: Any, sent: list[Any]) -> Any:
    """Make one call, on a worker."""
    shared: tuple[Any, ...] = ()
    if sent:
        import ray

        key = sent[0].hex()
        if key not in _kept:
            _kept.clear()
            _kept[key] = ray.get(sent[0])
        shared = _kept[key]
    result = function(item, *shared)
    return list(result) if isinstance(result, Iterator) else result


def _import_ray() -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise DataError(
            "CHATLADDER_ENGINE=ray: Ray is not installed. Run pip install ray, or unset the variable to "
            "use this machine alone."
        ) from error
    return ray


def _connect(ray: ModuleType, address: str | None) -> None:
    """Join the cluster at the address, or start one on this machine.

    Raises:
        DataError: If there is no cluster, or it runs another version of Ray or Python.
    """
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address:
        # The code of this checkout, not the version that a node has installed.
        options["runtime_env"] = {"py_modules": [str(Path(__file__).resolve().parents[1])]}
    else:
        options["include_dashboard"] = False
    try:
        if address:
            _knock(address)
        ray.init(address or "local", **options)
    except Exception as error:
        # Ray raises a bare Exception if a node takes too long to start.
        known = isinstance(error, OSError | RuntimeError | ValueError | ray.exceptions.RayError)
        if not known and type(error) is not Exception:
            raise
        place = f"{ADDRESS}={address}" if address else "CHATLADDER_ENGINE=ray"
        raise DataError(
            f"{place}: expected a Ray cluster of this Ray ({ray.__version__}) and Python, got "
            f"{type(error).__name__}: {_first_line(error)}. Start one with ray start --head, or unset {ADDRESS}."
        ) from error


def _knock(address: str) -> None:
    """Check that a server listens at the address: Ray itself would try for minutes.

    Raises:
        OSError: If none does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # otherwise a word such as auto
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _lost(error: Exception) -> DataError:
    """Return the error for a failure of the cluster, without any content of the rows."""
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
        "processes, in Ray's logs under RAY_TMPDIR or /tmp/ray, and run again. No out was written."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
