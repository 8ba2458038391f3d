"""Calls in parallel processes of this machine, for models so small that each computes fastest with one thread.

On Linux the processes are forked from one that has loaded the libraries and computed nothing yet, so that they start
immediately. Windows cannot fork, and on macOS the system's own libraries may not survive a fork: there each process
loads the libraries. They end with this process, however it ends: normally, by Ctrl+C or by a kill.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from chatladder.io.console import DataError, share_terminal

THREADS, GPUS, USE_CPU = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU"
METHOD = "forkserver" if sys.platform == "linux" else "spawn"
#: Loaded once for all processes. None is ours, since each process imports our code from the command's path.
LIBRARIES = ("peft", "tokenizers", "torch", "transformers.models.qwen2.modeling_qwen2")


def cores() -> int:
    """Return how many processors this command may use: ``OMP_NUM_THREADS`` if it is set, or else all available ones."""
    wanted = os.environ.get(THREADS, "").partition(",")[0].strip()
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Let torch compute with ``count`` threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(
    function: Callable[..., Any], items: Iterable[Any], shared: tuple[Any, ...], processes: int, threads: int
) -> Iterator[tuple[int, Any]]:
    """Yield number and result of ``function(item, *shared)`` for each item, in order of completion.

    Args:
        function: A module-level function.
        items: Its first arguments.
        shared: Its other arguments.
        processes: The most calls at once.
        threads: The number of threads of each call.

    Raises:
        DataError: As the function, at its first failure, when the other calls are stopped; or if a process is lost.
    """
    context = get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(list(LIBRARIES))
        _start_server()
    leash, ours = context.Pipe(duplex=False)
    started = (leash, context.Value("i", 0), context.RLock())
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=started)
    try:
        calls: dict[Future[Any], int] = {
            pool.submit(_call, function, item, shared, threads): number for number, item in enumerate(items)
        }
        for call in as_completed(calls):
            yield calls[call], call.result()
    except BrokenProcessPool as error:
        raise DataError(
            "A process that computed beside others was ended from outside, as where memory is short. Set "
            f"{THREADS}=1 to compute in one process, and run again."
        ) from error
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        leash.close()


def _start_server() -> None:
    """Start the process that the others are forked from, if it is not running.

    Like them it ignores Ctrl+C, since the main process ends them, and sees no GPU: small models need none, and a GPU
    that a library has initialised cannot be used after a fork.
    """
    handler, gpus = signal.signal(signal.SIGINT, signal.SIG_IGN), os.environ.get(GPUS)
    os.environ[GPUS] = ""  # the child inherits both
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)
        if gpus is None:
            del os.environ[GPUS]
        else:
            os.environ[GPUS] = gpus


def _begin(leash: Connection, begun: Any, lock: Any) -> None:
    """Set up a child process: no GPU, no Ctrl+C, ending with the main process, its own line of the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ |= {GPUS: "", USE_CPU: "true"}
    Thread(target=_end_with, args=(leash,), daemon=True).start()
    with begun.get_lock():
        line = begun.value
        begun.value += 1
    share_terminal(line, lock)


def _end_with(leash: Connection) -> None:
    """End this process once the other end is closed, or its process is gone."""
    with suppress(OSError):  # Windows reports this way that it is gone
        leash.poll(None)
    os._exit(1)


def _call(function: Callable[..., Any], item: Any, shared: tuple[Any, ...], threads: int) -> Any:
    with computing_threads(threads):
        return function(item, *shared)
