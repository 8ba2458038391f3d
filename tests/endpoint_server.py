"""A scripted OpenAI-compatible endpoint on this machine, for tests and benchmarks, with nothing but asyncio.

Example:
    python -m tests.endpoint_server --delay 0.05

A script is called with each request and returns the reply: a status, a body, and a fault. The server records the
requests, and whether it has written their replies completely.
"""

import argparse
import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """A received request.

    Attributes:
        number: The number in order of arrival, from 0.
        at: The time of arrival by the server's clock, in seconds.
        path: The path of the URL.
        headers: The headers, with names in lower case.
        body: The JSON of a chat completion.
        port: The client's port.
        answered: True if the whole reply has been handed to the socket.
    """

    number: int
    at: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    port: int = 0
    answered: bool = False

    @property
    def system(self) -> str:
        return self.body["messages"][0]["content"]

    @property
    def user(self) -> str:
        return self.body["messages"][1]["content"]

    @property
    def text(self) -> str:
        """The chat message that the question is about."""
        return json.loads(self.user.split("\n")[1])


@dataclass
class Say:
    """A reply.

    Attributes:
        content: The body.
        status: The HTTP status.
        headers: Additional headers.
        delay: Seconds before the first byte.
        fault: "cut" closes in the middle of the body, "endless" never ends, "drip" writes a byte every 50 ms.
    """

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    fault: str = ""


Script = Callable[[Request], Say]


def completion(answer: Any, usage: Any = (100, 6), **say: Any) -> Say:
    """Return a chat completion with ``answer`` as its content."""
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)} if usage else None
    message = {"role": "assistant", "content": answer}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    body = {"id": "c1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": counts}
    return Say(json.dumps(body).encode(), **say)


def score(value: Any, **say: Any) -> Say:
    """Return an answer in the requested form."""
    return completion(json.dumps({"score": value}), **say)


def failure(status: int, code: str = "", message: str = "", **say: Any) -> Say:
    """Return an error of the endpoint."""
    return Say(json.dumps({"error": {"message": message, "type": code, "code": code}}).encode(), status, **say)


class EndpointServer:
    """A server that runs a script in its own thread.

    Attributes:
        requests: The received requests.
        base_url: The base URL of the endpoint.
        under_way: The number of requests in flight.
        busiest: The most requests that were in flight at once.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.base_url = ""
        self.under_way = self.busiest = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.requests]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=512)
        )
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        server.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class _Connection(asyncio.Protocol):
    def __init__(self, server: EndpointServer) -> None:
        self._server = server
        self._received = b""
        self._tasks: set[asyncio.Task] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = int(headers.get("content-length", 0))
            if len(rest) < size:
                return
            self._received = rest[size:]
            body = json.loads(rest[:size]) if size else {}
            number = len(self._server.requests)
            now = asyncio.get_running_loop().time()
            port = self._transport.get_extra_info("peername")[1]
            request = Request(number, now, first.split(" ")[1], headers, body, port)
            self._server.requests.append(request)
            task = asyncio.get_running_loop().create_task(self._reply(request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reply(self, request: Request) -> None:
        server = self._server
        server.under_way += 1
        server.busiest = max(server.busiest, server.under_way)
        try:
            say = server.script(request)
            if say.delay:
                await asyncio.sleep(say.delay)
            await self._write(request, say)
        finally:
            server.under_way -= 1

    async def _write(self, request: Request, say: Say) -> None:
        headers = {"content-type": "application/json", "content-length": str(len(say.content)), **say.headers}
        if say.fault == "endless":
            del headers["content-length"]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {say.status} Said\r\n{lines}\r\n".encode("latin-1")
        if say.fault == "cut":
            self._transport.write(head + say.content[: len(say.content) // 2])
            self._transport.close()
        elif say.fault == "endless":
            self._transport.write(head)
            while not self._transport.is_closing():
                self._transport.write(b" " * 65536)
                await asyncio.sleep(0.001)
        elif say.fault == "drip":
            self._transport.write(head)
            for byte in say.content:
                self._transport.write(bytes([byte]))
                await asyncio.sleep(0.05)
        else:
            self._transport.write(head + say.content)
            request.answered = True


#: Environment variables of clients that redirect requests; each also exists in lower case.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@contextmanager
def recording_proxy(setenv: Callable[[str, str], None]) -> Iterator[EndpointServer]:
    """Yield a proxy that all proxy variables of the environment name; it records requests and forwards none."""
    with serving(lambda request: failure(502)) as proxy:
        for name in PROXIES:
            setenv(name, proxy.base_url.removesuffix("/v1"))
            setenv(name.lower(), proxy.base_url.removesuffix("/v1"))
        yield proxy


@contextmanager
def serving(script: Script) -> Iterator[EndpointServer]:
    """Serve a script inside the block."""
    server = EndpointServer(script)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def main() -> None:
    """Answer 5 to everything after a delay; print the address."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--delay", type=float, default=0.05, help="Seconds before each reply.")
    delay = parser.parse_args().delay
    with serving(lambda request: score(5, delay=delay)) as server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
