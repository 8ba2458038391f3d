"""Requests to an endpoint, sent by workers of a Ray cluster: one for each that may be under way, as processors allow.

A worker gets the body of a request and gives that of its reply, or the failure. It counts nothing, waits for nothing
and asks nothing again: the run in the command's process does (chatladder/endpoint/run.py), so the limits, the budget
and the answers are those of all workers together.

- Ray hands a request to a worker once at most. Whatever becomes of a worker, what it was sending may have reached the
  server: it counts, keeps its reservation and is retried like a cut connection, and another worker starts in its place.
- The key is not sent to workers. Each reads it from its own environment, which is that in which its node's Ray started.
- An address such as localhost means the command's machine, so the workers on that machine alone are asked.

Sources:
    docs.ray.io/en/latest/ray-core/fault_tolerance/actors.html (at most once, unless ``max_task_retries`` says more).
"""

import asyncio
import platform
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from chatladder.distributed import Workers
from chatladder.distributed.ray_workers import RayWorkers
from chatladder.endpoint.address import is_this_machine, read_key
from chatladder.endpoint.client import Endpoint, Refused, Retry, Sender
from chatladder.endpoint.options import Connection
from chatladder.io.console import DataError

#: Each takes about 150 MB, and sends as many requests at once as are to be sent.
MOST_WORKERS = 32
#: A worker that takes longer to be there, on however busy a node, is given up, and so often another is tried instead.
START_SECONDS = 600.0
START_TRIES = 3
#: A worker keeps the time-out of a request; so much later it is taken to be lost, with everything it was sending.
GRACE_SECONDS = 30.0


class Poster:
    """On a worker: connections of its own."""

    def __init__(self, options: Connection) -> None:
        self._options = options

    async def open(self) -> DataError | None:
        """Prepare connections; what is wrong with this node, or None."""
        options = self._options
        try:
            key = read_key(options.key_variable)
        except DataError as error:
            return DataError(
                f"{platform.node()}: {error.message} Workers take the key from the environment in which Ray started on "
                "their node, it is not sent to them: set it on every node before ray start, or use "
                "CHATLADDER_ENGINE=local."
            )
        self._endpoint = Endpoint(options.base_url, key, options.timeout, options.concurrency)
        return None

    async def post(self, body: dict[str, Any]) -> bytes | Exception | None:
        """As ``Endpoint.post``, but a failure is handed back and not raised: Ray would wrap it, and write it down."""
        try:
            return await self._endpoint.post(body)
        except (Refused, Retry, DataError) as failure:
            return failure


@dataclass(eq=False)
class _Worker:
    actor: Any
    node: str
    sending: int = 0


class RayPosts(Sender):
    """One model behind one address, asked from the workers of a cluster."""

    def __init__(self, pool: Workers, options: Connection) -> None:
        """Join the cluster; workers start when this is entered.

        Raises:
            DataError: If there is no cluster where the environment says.
        """
        assert isinstance(pool, RayWorkers)
        self._ray = pool.join()
        self._options = options
        # More than Ray's own 1000 may be asked for. It retries nothing, restarts nothing.
        fixed = {"num_cpus": 0, "max_concurrency": options.concurrency + 1, "max_restarts": 0, "max_task_retries": 0}
        self._poster = self._ray.remote(**fixed)(Poster)
        self._ready: list[_Worker] = []
        self._starting: set[asyncio.Task[None]] = set()
        #: Workers that start or are ready, by node.
        self._on: Counter[str] = Counter()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        """Start the workers.

        Raises:
            DataError: If a node has no key, or workers do not start. Nothing was sent then.
        """
        processors = int(sum(self._nodes().values()))
        for _ in range(min(self._options.concurrency, max(1, processors), MOST_WORKERS)):
            self._start_one()
        try:
            await asyncio.gather(*self._starting)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def post(self, body: dict[str, Any]) -> bytes | None:
        """As of `Sender`."""
        worker = await self._next()
        worker.sending += 1
        try:
            async with asyncio.timeout(self._options.timeout + GRACE_SECONDS):
                said = await worker.actor.post.remote(body)
        except self._ray.exceptions.RayTaskError:
            raise  # a bug
        except (TimeoutError, self._ray.exceptions.RayError):
            self._lose(worker)
            # What Ray says names processes and nodes; its logs have it.
            raise Retry("the worker that sent it was lost", charged=True) from None
        finally:
            worker.sending -= 1
        if isinstance(said, Exception):
            raise said
        reply: bytes | None = said
        return reply

    async def can_send(self) -> None:
        """As of `Sender`: wait for a worker, where all were lost.

        Raises:
            DataError: If none can be started.
        """
        while not self._ready:
            if not self._starting:
                assert self._failure is not None
                raise self._failure
            await asyncio.wait(self._starting, return_when=asyncio.FIRST_COMPLETED)

    async def _next(self) -> _Worker:
        """The worker that sends least; of equal ones, that which was asked longest ago."""
        await self.can_send()
        worker = min(self._ready, key=lambda one: one.sending)
        self._ready.remove(worker)
        self._ready.append(worker)
        return worker

    def _lose(self, worker: _Worker) -> None:
        """Start another worker in place of one; what that was sending besides comes here too."""
        if worker in self._ready:
            self._ready.remove(worker)
            self._kill(worker)
            self._start_one()

    def _start_one(self) -> None:
        task = asyncio.create_task(self._start())
        self._starting.add(task)
        task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failure = error  # told when no worker is left

    async def _start(self) -> None:
        reason = ""
        for _ in range(START_TRIES):
            worker = self._begin(self._nodes())
            try:
                async with asyncio.timeout(START_SECONDS):
                    wrong = await worker.actor.open.remote()
            except (TimeoutError, self._ray.exceptions.RayError) as error:
                self._kill(worker)
                reason = type(error).__name__
                continue
            except BaseException:
                self._kill(worker)
                raise
            if wrong is not None:
                self._kill(worker)
                raise wrong
            self._ready.append(worker)
            return
        raise DataError(
            f"Ray: no worker could be started to ask {self._options.base_url}, tried {START_TRIES} times ({reason}). "
            "See whether every node has chatladder's packages and some memory, in Ray's logs under RAY_TMPDIR or "
            "/tmp/ray, and run again."
        )

    def _begin(self, nodes: dict[str, float]) -> _Worker:
        """Start a worker on the node that has fewest for its processors."""
        node = min(nodes, key=lambda name: (self._on[name] / nodes[name], name))
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        self._on[node] += 1
        return _Worker(self._poster.options(scheduling_strategy=strategy).remote(self._options), node)

    def _nodes(self) -> dict[str, float]:
        """The nodes that may send, and how many processors each has; a node without any does no work.

        Raises:
            DataError: If there is none.
        """
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        if is_this_machine(self._options.base_url):
            own = alive.get(self._ray.get_runtime_context().get_node_id(), {}).get("NodeManagerAddress")
            alive = {name: node for name, node in alive.items() if node["NodeManagerAddress"] == own}
        else:
            alive = {name: node for name, node in alive.items() if node["Resources"].get("CPU")} or alive
        if not alive:
            raise DataError(f"Ray: no node is left to ask {self._options.base_url}. See to the cluster and run again.")
        return {name: node["Resources"].get("CPU") or 1.0 for name, node in alive.items()}

    def _kill(self, worker: _Worker) -> None:
        self._on[worker.node] -= 1
        self._ray.kill(worker.actor)

    async def _end(self) -> None:
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        while self._ready:
            self._kill(self._ready.pop())
