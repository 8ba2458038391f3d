"""The annotator in a browser: who gets in, what other pages of the same browser can do, and where it listens."""

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from chatladder.cli.annotate.command import annotate_command
from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.labels.answer import Label
from chatladder.labels.log import HeldError, LogWriter, replay
from tests.browser import chromium
from tests.cli.test_annotate import row
from tests.conftest import ROOT


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.parquet"
    write_rows(path, [row(number) for number in range(30)], QUESTIONS)
    return path


@pytest.fixture
def arguments(questions, tmp_path):
    return ["--annotator", "li", "--questions", str(questions), "--annotations", str(tmp_path / "annotations")]


@asynccontextmanager
async def started(command="true"):
    """The server on a port of its own, and a client without a memory for cookies."""
    from aiohttp import DummyCookieJar
    from aiohttp.test_utils import TestClient, TestServer, unused_port

    from chatladder.cli.annotate.web import GuardedServer

    server = GuardedServer(command, "127.0.0.1", unused_port())
    served = TestServer(await server._make_app(), port=server.port)
    async with TestClient(served, cookie_jar=DummyCookieJar()) as client:
        yield server, client


async def enter(server, client):
    """Spend the token; the app's folder and the cookie for it."""
    entered = await client.get(server.address.removeprefix(server.public_url), allow_redirects=False)
    assert entered.status == 303
    return entered.headers["Location"], entered.headers["Set-Cookie"]


def paths_of(app):
    """A path of every route that textual-serve has, whatever its release."""
    for resource in app.router.resources():
        if resource.canonical.startswith("/static"):
            yield f"{resource.canonical}/js/textual.js"
            yield f"{resource.canonical}/"
        else:
            yield resource.canonical.format(key="x")


async def textual_serves_paths():
    from textual_serve.server import Server

    return list(paths_of(await Server("true")._make_app()))


SOCKET = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
          "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip


class TestTheDoor:
    def test_every_route_needs_the_folder_the_cookie_the_host_and_no_other_origin(self):
        async def visit():
            paths = await textual_serves_paths()
            assert {"/", "/ws", "/static/js/textual.js", "/download/x"} <= set(paths)
            async with started() as (server, client):
                folder, cookie = await enter(server, client)
                cookie, own = cookie.partition(";")[0], server.public_url
                seen = {}

                async def status(path, **headers):
                    given = {name.capitalize(): value for name, value in headers.items() if value}
                    given |= SOCKET if path.endswith("/ws") else {}
                    async with client.get(path, headers=given, allow_redirects=False) as reply:
                        seen[reply.status] = seen.get(reply.status, 0) + 1
                        assert reply.headers["Cache-Control"] == "no-store"
                        return reply.status

                for path in paths:
                    inside = f"{folder}{path[1:]}"
                    origin = own if path.endswith("/ws") else None
                    for refused in (
                        (path, {"origin": origin}),
                        (path, {"origin": origin, "cookie": cookie}),
                        (path, {"origin": origin, "cookie": f"chatladder_{server.port}={cookie.partition('=')[2]}"}),
                        (f"{path}?token={cookie.partition('=')[2]}", {"origin": origin}),
                        (inside, {"origin": origin}),
                        (inside, {"origin": origin, "cookie": f"{cookie}x"}),
                        (inside, {"origin": origin, "cookie": "chatladder="}),
                        (inside, {"origin": "null", "cookie": cookie}),
                        (inside, {"origin": "http://127.0.0.1:1", "cookie": cookie}),
                        (inside, {"origin": f"{own}.example", "cookie": cookie}),
                        (inside, {"origin": own.replace("127.0.0.1", "localhost"), "cookie": cookie}),
                        (inside, {"origin": origin, "cookie": cookie, "host": "evil.example"}),
                        (inside, {"origin": origin, "cookie": cookie, "host": f"evil.example:{server.port}"}),
                        (inside, {"origin": origin, "cookie": cookie, "host": f"localhost:{server.port}"}),
                        (inside, {"origin": origin, "cookie": cookie, "host": "127.0.0.1"}),
                    ):
                        assert await status(refused[0], **refused[1]) == 403, refused
                    if path.endswith("/ws"):
                        assert await status(inside, cookie=cookie) == 403  # no page says that it asks
                    expected = {"/ws": 101, "/download/x": 404}.get(path, 200)
                    assert await status(inside, cookie=cookie, origin=origin) == expected
                return seen

        seen = asyncio.run(visit())
        assert seen[403] > 15 * 4
        assert set(seen) == {101, 200, 403, 404}

    @pytest.mark.parametrize("other", ["chatladder=x", 'broken"="; ,=', '_xsrf=2|a|b|1; session="a b"'])
    def test_cookies_of_other_ports_keep_nobody_out(self, other):
        async def visit():
            async with started() as (server, client):
                folder, cookie = await enter(server, client)
                own = cookie.partition(";")[0]
                for both in (f"{own}; {other}", f"{other}; {own}"):
                    assert (await client.get(folder, headers={"Cookie": both})).status == 200
                assert (await client.get(folder, headers={"Cookie": other})).status == 403

        asyncio.run(visit())

    def test_the_address_opens_once_and_another_is_printed(self, capsys):
        async def visit():
            async with started() as (server, client):
                first = server.address
                path = first.removeprefix(server.public_url)
                for wrong in ("/", "/?token=", "/?token=wrong", "/?token=%ff", f"{path}x", f"/x{path[1:]}"):
                    assert (await client.get(wrong)).status == 403, wrong
                for method in ("HEAD", "POST", "OPTIONS"):
                    assert (await client.request(method, path)).status == 403
                assert (await client.get(path, headers={"Host": "evil.example"})).status == 403
                assert server.address == first  # nothing of that spent it
                folder, cookie = await enter(server, client)
                assert (await client.get(path)).status == 403
                assert first.rpartition("=")[2] not in folder + cookie
                assert {word.strip() for word in cookie.split(";")[1:]} == {
                    "HttpOnly",
                    f"Path={folder}",
                    "SameSite=Lax",
                }
                assert (await enter(server, client))[0] == folder
                return first, server.address

        first, last = asyncio.run(visit())
        printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("http://")]
        assert (printed[0], printed[-1]) == (first, last)
        assert len(set(printed)) == 3

    def test_the_page_is_for_no_other_page_no_cache_and_no_other_host(self):
        async def visit():
            async with started() as (server, client):
                folder, cookie = await enter(server, client)
                page = await client.get(folder, headers={"Cookie": cookie.partition(";")[0]})
                return server, folder, page.headers, await page.text()

        server, folder, headers, text = asyncio.run(visit())
        policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert not any("http:" in sources or "*" in sources for sources in policy.values())
        assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
        assert f"ws{server.public_url[4:]}{folder}ws" in text
        assert f"{server.public_url}{folder}static/js/textual.js" in text
        assert "terminal.focus()" in text
        assert server.address.rpartition("=")[2] not in text

    @pytest.mark.parametrize(
        ("host", "port", "expected"),
        [("127.0.0.1", 8765, "127.0.0.1:8765"), ("127.0.0.1", 80, "127.0.0.1"), ("::1", 8765, "[::1]:8765")],
    )
    def test_the_address_is_spelled_as_browsers_spell_it(self, host, port, expected):
        from chatladder.cli.annotate.web import GuardedServer

        assert GuardedServer("true", host, port).address.startswith(f"http://{expected}/?token=")

    def test_a_page_that_is_loaded_again_goes_on_where_it_was(self, arguments, tmp_path):
        async def visit():
            async with started(f"{sys.executable} -m chatladder.cli.annotate.command {' '.join(arguments)}") as (
                server,
                client,
            ):
                folder, cookie = await enter(server, client)
                headers = {"Cookie": cookie.partition(";")[0], "Origin": server.public_url}
                for key, shown in (("j", b"0 done"), ("k", b"1 done")):
                    async with client.ws_connect(f"{folder}ws?width=100&height=30", headers=headers) as socket:
                        drawn = b""
                        while shown not in drawn:
                            drawn += (await socket.receive(timeout=30)).data
                        await socket.send_json(["stdin", key])
                        while b"takes it back" not in drawn:
                            drawn += (await socket.receive(timeout=30)).data
                        if key == "k":
                            await socket.send_json(["stdin", "q"])
                            while not socket.closed:
                                await socket.receive(timeout=30)
            path = tmp_path / "annotations" / "round_1" / "li.jsonl"
            for _ in range(50):
                await asyncio.sleep(0.1)
                with suppress(HeldError):
                    LogWriter(path).close()  # the app let go of it
                    break
            else:
                pytest.fail("the app outlives its page")
            await asyncio.sleep(1)  # textual-serve waits for no process; the loop must outlive them
            return replay(path).answers

        assert [answer.label for answer in asyncio.run(visit()).values()] == [Label.NEEDED, Label.NOT_NEEDED]


class TestWhereItListens:
    @pytest.mark.parametrize(
        ("host", "message"),
        [
            ("0.0.0.0", "expected the one address"),
            ("::ffff:192.0.2.7", "Add --expose if that is meant"),
            ("192.0.2.7", "Add --expose if that is meant"),
            ("example.org", "expected an address such as 127.0.0.1"),
        ],
    )
    def test_other_machines_are_kept_out_unless_asked_for(self, arguments, host, message):
        result = CliRunner().invoke(annotate_command, [*arguments, "--web", "--host", host])
        assert result.exit_code == 1
        assert message in result.output

    @pytest.mark.parametrize(
        "host",
        ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::0.0.0.0", "::ffff:0.0.0.0", "::ffff:0:0", "::FFFF:0000:0000", "::%lo",
         "0", "0x0", "00.0.0.0", "0.0", "", " ", "*", "0.0.0.0 ", "localhost.", "ip6-localhost", "2130706433", "127.1",
         "[::1]", "fe80::1%eth0"],
    )  # fmt: skip
    def test_no_spelling_of_every_address_or_of_a_name_passes_even_exposed(self, host):
        from chatladder.cli.annotate.web import listening_address

        with pytest.raises(DataError, match="--host"):
            listening_address(host, is_exposed=True)

    @pytest.mark.parametrize(
        ("host", "is_exposed", "expected"),
        [
            ("127.0.0.1", False, "127.0.0.1"),
            ("localhost", False, "127.0.0.1"),
            ("127.8.8.8", False, "127.8.8.8"),
            ("::ffff:127.0.0.1", False, "127.0.0.1"),
            ("::1", False, "::1"),
            ("0:0:0:0:0:0:0:1", False, "::1"),
            ("192.0.2.7", True, "192.0.2.7"),
            ("::ffff:192.0.2.7", True, "192.0.2.7"),
            ("2001:DB8::07", True, "2001:db8::7"),
        ],
    )
    def test_an_address_is_taken_for_what_it_is(self, host, is_exposed, expected):
        from chatladder.cli.annotate.web import listening_address

        assert listening_address(host, is_exposed=is_exposed) == expected
        if is_exposed:
            with pytest.raises(DataError, match="Add --expose"):
                listening_address(host, is_exposed=False)

    def test_the_browsers_app_gets_the_options_that_were_given(self, questions, monkeypatch):
        import chatladder.cli.annotate.web

        started = []
        monkeypatch.setattr(chatladder.cli.annotate.web, "serve", lambda *args, **_options: started.append(args))
        arguments = ["--annotator", "li", "--questions", str(questions), "--web", "--port", "9000", "--keys", "undo=x"]
        CliRunner().invoke(annotate_command, [*arguments, "--allow_changed_guidelines"], catch_exceptions=False)
        assert started[0][1:] == ("127.0.0.1", 9000)
        words = started[0][0].split()
        assert words[1:3] == ["-m", "chatladder.cli.annotate.command"]
        assert words[3:7] == ["--annotator", "li", "--questions", str(questions)]
        assert words[7:] == ["--allow-changed-guidelines", "--keys", "undo=x"]


# In a browser, beside a page of another port

#: All that a page may try on these addresses with the browser's cookies: what it could read, and over which way.
ATTACK = """async (addresses) => {
  const read = [];
  for (const address of addresses) {
    for (const mode of ["cors", "no-cors"]) {
      try {
        const reply = await fetch(address, {credentials: "include", mode});
        const text = await reply.text();
        if (text) read.push([address, mode, text.length]);
      } catch (error) {}
    }
    const size = await new Promise((done) => {
      const socket = new WebSocket(address.replace("http:", "ws:") + "?width=80&height=24");
      let size = 0;
      socket.onopen = () => { socket.send('["stdin", "j"]'); setTimeout(() => done(size || 1), 4000); };
      socket.onmessage = (message) => { size += message.data.size; socket.send('["stdin", "j"]'); };
      socket.onerror = socket.onclose = () => done(size);
    });
    if (size) read.push([address, "websocket", size]);
    await new Promise((done) => {
      const script = document.createElement("script");
      script.onload = () => { read.push([address, "script"]); done(); };
      script.onerror = done;
      script.src = address;
      document.body.append(script);
    });
  }
  return read;
}"""

FRAME = """(address) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.onload = done;
  frame.src = address;
  document.body.append(frame);
})"""
FORM = """(address) => {
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action: address, target: "_blank"});
  document.body.append(form);
  form.submit();
}"""


@contextmanager
def other_port():
    """Another program's page on loopback: its address, and what each request for it brought as cookies."""
    cookies = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            cookies.append(self.headers.get("Cookie"))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><body>other</body>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", cookies
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def annotator(arguments):
    """The command itself; a function that gives the next address it prints."""
    from aiohttp.test_utils import unused_port

    command = [
        sys.executable,
        "-m",
        "chatladder.cli.annotate.command",
        *arguments,
        "--web",
        "--port",
        str(unused_port()),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield lambda: next(line.strip() for line in process.stdout if line.startswith("http://"))
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()


@pytest.mark.slow
def test_no_page_of_another_port_or_name_reads_or_answers_and_a_person_goes_on(arguments, tmp_path):
    log = tmp_path / "annotations" / "round_1" / "li.jsonl"

    def answers():
        return len(replay(log).answers) if log.exists() else 0

    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with annotator(arguments) as next_address, chromium(rebound) as browser, other_port() as (other, cookies):
        context = browser.new_context()
        page = context.new_page()
        first = next_address()
        root = f"http://{urlsplit(first).netloc}"
        page.goto(first)
        page.wait_for_selector("body.-first-byte .xterm-helper-textarea:focus", state="attached", timeout=60_000)
        assert "token" not in page.url
        page.keyboard.press("j")
        until = time.monotonic() + 60
        while answers() < 1 and time.monotonic() < until:
            page.wait_for_timeout(100)
        assert answers() == 1
        until, written = time.monotonic() + 60, False
        while not written and time.monotonic() < until:
            page.keyboard.press("w")
            page.wait_for_timeout(500)  # no person types while the line opens
            page.keyboard.type("用 2.1")
            page.keyboard.press("Enter")
            page.wait_for_timeout(500)
            written = any((answer.rewrite or "").endswith("用 2.1") for answer in replay(log).answers.values())
        assert written
        assert answers() == 1

        # Another port, even one that has learned the folder's name.
        attacker = context.new_page()
        attacker.goto(other)
        places = ["/", "/ws", "/static/js/textual.js", "/download/x"]
        addresses = [f"{base.rstrip('/')}{place}" for base in (root, page.url) for place in places]
        assert attacker.evaluate(ATTACK, addresses) == []
        attacker.evaluate(FRAME, page.url)
        assert [frame.locator("#terminal").count() for frame in attacker.frames] == [0, 0]
        with context.expect_page() as opened:
            attacker.evaluate(FORM, page.url)
        assert "Open the address" in opened.value.inner_text("body")
        assert cookies
        assert not any(cookies)

        # A name that leads here, with the token that is still good.
        second = next_address()
        reply = attacker.goto(second.replace(root, f"http://evil.example:{urlsplit(root).port}"))
        assert (reply.status, "Open the address" in attacker.inner_text("body")) == (403, True)
        assert attacker.goto(first).status == 403
        assert answers() == 1

        # The person: loads the page again, opens a second tab, and opens the address that was printed last.
        page.reload()
        page.wait_for_selector("body.-first-byte", timeout=60_000)
        page.keyboard.press("k")
        until = time.monotonic() + 60
        while answers() < 2 and time.monotonic() < until:
            page.wait_for_timeout(100)
            page.keyboard.press("k") if answers() < 2 else None
        assert answers() >= 2
        for address in (page.url, second):
            tab = context.new_page()
            tab.goto(address)
            tab.wait_for_selector("body.-first-byte", timeout=60_000)
            assert tab.url == page.url
        elsewhere = browser.new_context().new_page()
        assert elsewhere.goto(page.url).status == 403
