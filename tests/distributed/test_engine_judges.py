"""Endpoints asked from Ray's workers: the run stays one, with one budget, one rate, and an answer to each text once."""

import asyncio
import importlib.util
import logging
import os
import pickle
import platform
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from model_fixtures import write_questions

from chatladder.distributed.ray_workers import RayWorkers
from chatladder.endpoint import ray_posts
from chatladder.endpoint.client import Refused, Retry, Sender
from chatladder.endpoint.ray_posts import RayPosts
from chatladder.io.console import DataError
from chatladder.io.rows import TURNS, write_rows
from tests.endpoint import test_score_endpoint
from tests.endpoint_chat import by_length, options
from tests.endpoint_server import completion, failure, recording_proxy, serving
from tests.endpoint_server import score as scored
from tests.served_scripts import knows
from tests.stages import test_predict_served
from tests.turn_rows import turn

pytest_plugins = ["tests.endpoint_fixtures"]

over_ray = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: chatladder[ray]"),
]
KEY = "sk-Zq8vW1-do-not-show"
VARIABLE = "CHATLADDER_TEST_KEY"
WORKERS = 8


# What a worker says of a failure


@pytest.mark.parametrize(
    "failure",
    [
        Refused("HTTP 400 (content_filter)"),
        Retry("HTTP 429", 2.5, charged=False),
        Retry("no reply within 10 s", charged=True),
        DataError("http://host/v1: HTTP 401: check the key."),
    ],
    ids=lambda failure: str(failure)[:12],
)
def test_a_failure_comes_from_another_process_as_it_was(failure):
    found = pickle.loads(pickle.dumps(failure))
    assert type(found) is type(failure)
    assert str(found) == str(failure)
    assert vars(found) == vars(failure)


# Which workers, where: a cluster of no processes


class Lost(Exception):
    """Any error of Ray."""


class Actor:
    """Answers everything; or fails to start, or is lost at once."""

    def __init__(self, cluster, node, options):
        self.cluster, self.node, self.options = cluster, node, options
        self.open, self.post = SimpleNamespace(remote=self._open), SimpleNamespace(remote=self._post)
        self.posted = 0

    async def _open(self):
        if len(self.cluster.actors) > self.cluster.starts:
            raise Lost

    async def _post(self, body):
        self.posted += 1
        if body.get("kills"):
            raise Lost
        if body.get("stops"):
            await asyncio.Event().wait()
        return b"{}"


class NoProcesses(RayWorkers):
    """What is asked of Ray; the command is on the node with that address."""

    def __init__(self, nodes, own="head", starts=1000):
        self.actors, self.killed, self.starts = [], [], starts
        node_of = lambda node, soft: node  # noqa: E731
        begin = lambda node, options: self.actors.append(Actor(self, node, options)) or self.actors[-1]  # noqa: E731
        made = SimpleNamespace(
            options=lambda scheduling_strategy: SimpleNamespace(
                remote=lambda options: begin(scheduling_strategy, options)
            )
        )
        self.ray = SimpleNamespace(
            remote=lambda **fixed: lambda poster: made,
            nodes=lambda: [
                {"NodeID": name, "Alive": alive, "NodeManagerAddress": address, "Resources": {"CPU": processors}}
                for name, (address, processors, alive) in nodes.items()
            ],
            get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: own),
            exceptions=SimpleNamespace(RayError=Lost, RayTaskError=ZeroDivisionError),
            util=SimpleNamespace(scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=node_of)),
            kill=self.killed.append,
        )

    def join(self):
        return self.ray


NODES = {"head": ("10.0.0.1", 0, True), "b": ("10.0.0.2", 2, True), "c": ("10.0.0.3", 6, True), "d": ("", 9, False)}


def asked(cluster, bodies, **changes):
    """The failure of each request, one after the other; workers end in any case."""
    given = options(changes.pop("base_url", "https://host/v1"), **{"concurrency": 8, **changes}).connection()

    async def run():
        async with RayPosts(cluster, given) as posts:
            return [await asyncio.gather(posts.post(body), return_exceptions=True) for body in bodies]

    try:
        return [said for (said,) in asyncio.run(run())]
    finally:
        assert sorted(map(id, cluster.killed)) == sorted(map(id, cluster.actors))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"b": 2, "c": 6}),
        ({"concurrency": 4}, {"b": 1, "c": 3}),
        ({"concurrency": 1000}, {"b": 2, "c": 6}),
        ({"base_url": "http://localhost:8000/v1"}, {"head": 1}),
        ({"base_url": "http://127.0.0.1:8000/v1"}, {"head": 1}),
    ],
    ids=["by processors", "few", "many", "localhost", "127.0.0.1"],
)
def test_workers_are_where_processors_are_and_here_alone_for_a_server_here(changes, expected):
    cluster = NoProcesses(NODES)
    assert asked(cluster, [{}] * 24, **changes) == [b"{}"] * 24
    assert Counter(actor.node for actor in cluster.actors) == expected
    # One after the other, each worker is asked equally often.
    assert {actor.posted for actor in cluster.actors} == {24 // len(cluster.actors)}
    assert not any(KEY in repr(actor.options) for actor in cluster.actors)


def test_so_many_workers_and_no_more():
    cluster = NoProcesses({"head": ("10.0.0.1", 500, True)})
    asked(cluster, [], concurrency=400)
    assert len(cluster.actors) == ray_posts.MOST_WORKERS


def test_workers_that_do_not_start_are_told_and_nothing_is_sent():
    cluster = NoProcesses(NODES, starts=7)
    with pytest.raises(DataError, match=r"no worker could be started to ask https://host/v1, tried 3 times \(Lost\)"):
        asked(cluster, [{}])
    assert sum(actor.posted for actor in cluster.actors) == 0
    with pytest.raises(DataError, match="no node is left to ask"):
        asked(NoProcesses({"d": NODES["d"]}), [{}])


def test_a_lost_worker_counts_and_the_others_go_on_until_none_is_left():
    cluster = NoProcesses(NODES, starts=3)
    *lost, last = asked(cluster, [{"kills": True}, {}, {"kills": True}, {}, {"kills": True}, {}], concurrency=2)
    assert [type(said) for said in lost] == [Retry, bytes, Retry, bytes, Retry]
    assert all(said.charged for said in lost[::2])
    assert isinstance(last, DataError)
    assert "no worker could be started" in last.message


def test_a_worker_that_hangs_is_lost_too(monkeypatch):
    monkeypatch.setattr(ray_posts, "GRACE_SECONDS", 0.1)
    cluster = NoProcesses(NODES)
    hung, *others = asked(cluster, [{"stops": True}, {}, {}], concurrency=1, timeout=0.1)
    assert type(hung) is Retry
    assert hung.charged
    assert others == [b"{}"] * 2
    assert [actor.posted for actor in cluster.actors] == [1, 2]


# Over a real cluster


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with four processors each, which have the key and a proxy in their environment."""
    from chatladder.distributed.ray_workers import QUIET

    with pytest.MonkeyPatch.context() as patch:
        # Ray's workers would give way to everything else on a busy machine.
        for name, value in {**QUIET, VARIABLE: KEY, "RAY_worker_niceness": "0"}.items():
            patch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        nodes = {"num_cpus": WORKERS // 2, "object_store_memory": 80 * 2**20}
        # Every node's environment names a proxy. No request to an endpoint comes there; Ray has some of its own.
        with recording_proxy(patch.setenv) as proxy:
            started = Cluster(initialize_head=True, head_node_args={**nodes, "include_dashboard": False})
            started.add_node(**nodes)
            # As _connect does, but without sending the code along: then the processes that are there already do.
            ray.init(started.address, logging_level="ERROR", log_to_driver=False)
            yield started
            ray.shutdown()
            started.shutdown()
            assert not [request.path for request in proxy.requests if "completions" in request.path]


@pytest.fixture(scope="module")
def shared_server():
    with serving(by_length) as server:
        yield server


@pytest.fixture
def server(shared_server):
    shared_server.requests.clear()
    shared_server.busiest = 0
    return shared_server


class Lasting(Sender):
    """Workers that stay from test to test, since it takes seconds until all are there."""

    def __init__(self, posts):
        self.posts = posts

    async def __aenter__(self):
        return self.posts if self.posts._ready else await self.posts.__aenter__()

    async def __aexit__(self, *error):
        await asyncio.gather(*self.posts._starting)


@pytest.fixture(scope="module")
def lasting(cluster, shared_server):
    given = options(shared_server.base_url, concurrency=WORKERS, key_variable=VARIABLE).connection()
    posts = RayPosts(RayWorkers(), given)
    yield posts
    asyncio.run(posts.__aexit__(None, None, None))


@pytest.fixture
def ray_engine(cluster, monkeypatch):
    """This process asks endpoints over the cluster."""
    monkeypatch.setenv("CHATLADDER_ENGINE", "ray")
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def eight(ray_engine, lasting, monkeypatch):
    """The same, with workers that are there already."""
    monkeypatch.setattr(ray_posts, "RayPosts", lambda pool, options: Lasting(lasting))
    return lasting


class Senders:
    """Which process each request came from, looked up while its connection is open."""

    def __init__(self):
        self.by_port = {}

    def __call__(self, request):
        if request.port not in self.by_port:
            found = psutil.net_connections(kind="tcp4")
            self.by_port.update({each.laddr.port: each.pid for each in found if each.laddr.port == request.port})
        return self.by_port.get(request.port)


def many(number, start=0):
    """Texts of one length, so that each takes the same number of tokens."""
    return [f"text {place}" for place in range(1000 + start, 1000 + start + number)]


def wait_for(condition):
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def everything_under(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


class TestOverRay:
    pytestmark = over_ray

    def test_eight_workers_of_two_nodes_write_what_one_process_writes(
        self, eight, server, cluster, tmp_path, monkeypatch, soon, caplog, capfd
    ):
        caplog.set_level(logging.DEBUG)
        texts = [text for text in many(90) for _ in range(3)]
        texts = [texts[place * 71 % len(texts)] for place in range(len(texts))]
        senders, processes, raylets = Senders(), Counter(), {}

        def script(request):
            process = senders(request)
            processes[process] += 1
            if process not in raylets:  # now: a worker that ends may have another parent
                raylets[process] = psutil.Process(process).ppid()
            return scored(int(request.text[-1]), delay=0.05)

        server.script, shown, made = script, [], []
        for engine in ("ray", "local"):
            monkeypatch.setenv("CHATLADDER_ENGINE", engine)
            (tmp_path / engine).mkdir()
            monkeypatch.chdir(tmp_path / engine)
            turns = tmp_path / engine / "turns.parquet"
            write_rows(turns, [turn(number, text, "text") for number, text in enumerate(texts)], TURNS)
            for asked in (90, 0):
                server.requests.clear()
                given = {"concurrency": WORKERS, "key_variable": VARIABLE, "max_requests": asked}
                result = test_score_endpoint.run(turns, server.base_url, **given)
                assert result.exit_code == 0, result.output
                assert len(server.requests) == asked
                assert Counter(server.texts) == (Counter(set(texts)) if asked else Counter())
                assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.requests)
                made.append(test_score_endpoint.outs(turns))
                shown.append(result.output)
            if engine == "ray":
                assert server.busiest <= WORKERS  # all at once, however many workers
                assert os.getpid() not in processes
                assert len(processes) == WORKERS
                assert sorted(Counter(raylets.values()).values()) == [WORKERS // 2] * 2
        assert len(set(made)) == 1
        # What Ray writes down, on both nodes, and what is kept here.
        logs = Path(cluster.head_node.get_session_dir_path())
        assert len(list(logs.glob("logs/worker-*"))) >= WORKERS
        written = everything_under(logs) + everything_under(tmp_path / "ray" / ".chatladder")
        said = "".join([*shown, caplog.text, *capfd.readouterr(), repr(vars(eight))])
        assert KEY.encode() not in written + said.encode()
        assert texts[0].encode() not in written + said.encode()

    def test_never_one_request_more_than_the_budget(self, eight, server, judge):
        server.script = lambda request: failure(500) if request.number % 7 == 3 else scored(5, delay=0.01)
        with pytest.raises(DataError) as caught:
            judge(server, many(60), concurrency=WORKERS, max_requests=63)
        assert len(server.requests) == 63
        assert "the budget max_requests=63 ended with 54 of 60 different texts scored" in caught.value.message
        server.script = lambda request: scored(5)
        _, report = judge(server, many(60), concurrency=WORKERS, max_requests=63)
        assert (report.cached, report.requests) == (54, 6)

    def test_no_more_tokens_than_the_budget_whatever_was_lost(self, eight, server, judge):
        with pytest.raises(DataError):
            judge(server, many(40), max_requests=1)
        tokens = int(judge.said[0].split(" tokens")[0].split()[-1].replace(",", "")) // 40

        def script(request):
            said = completion('{"score": 5}', usage=None, delay=0.01)
            said.fault = "cut" if request.number % 4 == 3 else ""
            return said

        server.script = script
        with pytest.raises(DataError, match=r"the budget max_tokens=\d+ ended"):
            judge(server, many(40), concurrency=WORKERS, max_tokens=43 * tokens + tokens // 2)
        assert len(server.requests) == 43

    def test_the_rate_is_that_of_all_workers(self, eight, server, judge, monkeypatch):
        """A minute that takes a day: what may go at once goes, and nothing after it."""
        monkeypatch.setattr("chatladder.endpoint.budget.MINUTE", 86400.0)

        def script(request):
            return failure(401, delay=1.0) if request.number == 9 else scored(5)

        server.script = script
        with pytest.raises(DataError, match="HTTP 401"):
            judge(server, many(60), concurrency=WORKERS, requests_per_minute=10 * 60)
        assert len(server.requests) == 10

    def test_a_wait_that_the_server_asks_of_one_is_kept_by_all(self, eight, server, judge):
        """Of those under way when one is told to wait, each is answered, and none sends another before the run ends."""

        def script(request):
            if request.number < 8:
                return scored(5)
            says = {8: failure(429, headers={"retry-after": "300"}), 9: failure(401, delay=1.6)}
            return says.get(request.number, scored(5, delay=0.8))

        server.script = script
        with pytest.raises(DataError, match="HTTP 401"):
            judge(server, many(60), concurrency=WORKERS)
        assert 10 <= len(server.requests) <= 8 + WORKERS

    def test_workers_that_are_killed_while_they_ask_change_no_score(self, eight, server, judge):
        senders, killed = Senders(), []

        def script(request):
            if request.number in (20, 50):
                killed.append(senders(request))
                os.kill(killed[-1], signal.SIGKILL)
            return scored(int(request.text[-1]), delay=0.05)

        server.script = script
        scores, report = judge(server, many(90), concurrency=WORKERS)
        assert scores == [int(text[-1]) for text in many(90)]
        assert len(set(killed)) == 2
        assert report.requests >= len(server.requests) > 90
        assert report.requests == 90 + report.retried
        assert max(Counter(server.texts).values()) == 2
        assert len(eight._ready) == WORKERS  # others in their place

    def test_a_killed_worker_costs_of_the_budget(self, eight, server, judge):
        senders = Senders()

        def script(request):
            if request.number == 5:
                os.kill(senders(request), signal.SIGKILL)
            return scored(5, delay=0.02)

        server.script = script
        with pytest.raises(DataError, match="the budget max_requests=20 ended with"):
            judge(server, many(20), concurrency=WORKERS, max_requests=20)
        assert len(server.requests) <= 20

    def test_served_rungs_are_asked_by_workers_too(self, eight, server, tmp_path, monkeypatch, soon):
        senders, processes, made = Senders(), set(), []

        def script(request):
            processes.add(senders(request))
            return knows(request, delay=0.02)

        server.script = script
        for engine in ("ray", "local"):
            monkeypatch.setenv("CHATLADDER_ENGINE", engine)
            (tmp_path / engine).mkdir()
            monkeypatch.chdir(tmp_path / engine)
            write_questions(tmp_path / engine / "questions.parquet")
            result = test_predict_served.predict(server.base_url, concurrency=WORKERS)
            assert result.exit_code == 0, result.output
            made.append(test_predict_served.outs(tmp_path / engine))
            if engine == "ray":
                assert os.getpid() not in processes
                assert len(processes) > 1
        assert made[0] == made[1]

    def test_an_engine_that_is_none_is_refused(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv("CHATLADDER_ENGINE", "spark")
        monkeypatch.chdir(tmp_path)
        write_questions(tmp_path / "questions.parquet")
        result = test_predict_served.predict(server.base_url)
        assert result.exit_code == 1
        assert "CHATLADDER_ENGINE: expected local or ray, got 'spark'." in result.output

    def test_workers_that_are_all_lost_at_once_are_replaced_and_those_left_end_with_the_run(
        self, ray_engine, server, judge
    ):
        senders, started, killed = Senders(), set(), set()

        def script(request):
            started.add(senders(request))
            if request.number >= 6 and not killed and len(started) == 2:
                killed.update(started)
                for process in killed:
                    os.kill(process, signal.SIGKILL)
            return failure(401, "no_key") if request.number == 30 else scored(5, delay=0.02)

        server.script = script
        with pytest.raises(DataError) as caught:
            judge(server, many(40), concurrency=2, key_variable=VARIABLE)
        said = "HTTP 401 (no_key): check the key in the variable named by key_variable, and that it belongs to this"
        assert caught.value.message == f"{server.base_url}: {said} base_url."
        assert len(killed) == 2
        assert len(started - killed) >= 1
        wait_for(lambda: not any(map(psutil.pid_exists, started)))

    def test_a_node_without_the_key_is_named_before_anything_is_sent(self, ray_engine, server, judge, monkeypatch):
        monkeypatch.setenv("CHATLADDER_OTHER_KEY", KEY)
        with pytest.raises(DataError) as caught:
            judge(server, many(3), concurrency=1, key_variable="CHATLADDER_OTHER_KEY")
        assert server.requests == []
        assert caught.value.message.startswith(f"{platform.node()}: key_variable: ")
        assert "CHATLADDER_OTHER_KEY, which is not set" in caught.value.message
        assert "set it on every node before ray start" in caught.value.message
        assert KEY not in caught.value.message
