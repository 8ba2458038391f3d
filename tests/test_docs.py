"""The documentation holds together: pages, links, commands, what is made from sources, and the built site."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import click
import pytest
import yaml

from chatladder.cli.app import main as chatladder
from chatladder.evaluation.scores import METRICS
from tests.browser import chromium
from tests.conftest import ROOT

DOCS = ROOT / "docs"
CONFIG = DOCS / "mkdocs" / "mkdocs.yml"
HOOKS = (CONFIG.parent / "hooks.py").read_text(encoding="utf-8")
WORKFLOW = ROOT / ".github" / "workflows" / "report.yml"
PAGES = sorted(DOCS.rglob("*.md"))
WRITTEN = [
    *PAGES,
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "benchmarks/README.md", "CONTRIBUTING.md")),
]
FENCE = re.compile(r"^(```|~~~)(\w*)[^\n]*\n(.*?)^\1\s*$", flags=re.M | re.S)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def making():
    """The modules that make parts of pages, without MkDocs."""
    folder = str(CONFIG.parent)
    sys.path.insert(0, folder)
    yield importlib.import_module("made"), importlib.import_module("graph")
    sys.path.remove(folder)
    for module in ("made", "graph"):
        sys.modules.pop(module)


def config():
    class Loader(yaml.SafeLoader):
        pass

    for tag in ("!relative", "tag:yaml.org,2002:python/"):
        Loader.add_multi_constructor(tag, lambda loader, suffix, node: suffix)
    return yaml.load(CONFIG.read_text(encoding="utf-8"), Loader)


def leaves(nav):
    for entry in nav:
        for value in entry.values():
            yield from leaves(value) if isinstance(value, list) else [value]


def elsewhere():
    """Pages that hooks.py takes from outside docs/: page -> path."""
    return {page: path for path, page in re.findall(r'^    "([^"]+\.md)": "([^"]+\.md)",$', HOOKS, flags=re.M)}


def prose(text):
    """A page without its code blocks and comments."""
    return re.sub(r"<!--.*?-->", "", FENCE.sub("", text), flags=re.S)


def slug(heading):
    """A heading's anchor, as the forge and our configuration of MkDocs make it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]|\s+$", "", text).lower()).replace(" ", "-")


def anchors(path):
    """Anchors of a page; None where it is made from sources, so that only the built site knows them."""
    text = path.read_text(encoding="utf-8")
    if re.search(r"<!-- made: (?:stages|stage-commands|commands) -->", text):
        return None
    found = Counter()
    names = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(text), flags=re.M):
        own = re.search(r"\{ #([\w-]+) \}$", heading)
        name = own[1] if own else slug(heading)
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def broken_links(path):
    for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8"))):
        address, _, anchor = target.partition("#")
        if re.match(r"https?://|mailto:", address):
            continue
        to = (path.parent / unquote(address)).resolve() if address else path
        # The built site checks what lies in pages that are made.
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in (anchors(to) or {anchor})):
            yield target


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_links_and_anchors_lead_somewhere(path):
    assert list(broken_links(path)) == []


def test_a_broken_link_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n## A `b`, c?\n[ok](#a-b-c) [no](#a-b) [gone](other.md) [web](https://example.org)\n")
    assert list(broken_links(page)) == ["#a-b", "other.md"]


def test_the_navigation_names_every_page_and_no_other():
    named = list(leaves(config()["nav"]))
    assert [name for name, count in Counter(named).items() if count > 1] == []
    assert all((ROOT / path).is_file() for path in elsewhere().values())
    assert set(named) == {page.relative_to(DOCS).as_posix() for page in PAGES} | set(elsewhere())


def commands(text):
    """Our commands in a page's shell blocks: (program, arguments). In a console's block those after a prompt."""
    for _, language, block in FENCE.findall(text):
        if language not in ("bash", "console", "sh"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if language == "console" and not line.startswith("$ "):
                continue  # what a command printed
            line = line.removeprefix("$ ")
            for part in re.split(r"&&|\|\||;|\|", line.split(" #")[0]):
                words = [word for word in shlex.split(part.split(" > ")[0]) if not re.fullmatch(r"[A-Z_]+=.*", word)]
                if words[:1] == ["chatladder"]:
                    yield "chatladder", words[1:]
                elif words[:2] == ["python", "-m"] and words[2].startswith("stages."):
                    yield words[2], words[3:]


def unchecked(command):
    """Let any path pass: the files of an example are not here."""
    for option in command.params:
        if isinstance(option.type, click.Path):
            option.type = click.Path()
    return command


def parse(program, arguments):
    """Parse as the command itself would, required options included."""
    if program != "chatladder":
        command = importlib.import_module(program).main
    else:
        command = chatladder
        while isinstance(command, click.Group):
            if not arguments or arguments[0].startswith("-"):
                command.make_context(program, [*arguments], resilient_parsing=True)
                return
            name, *arguments = arguments
            command = command.commands[name]
    types = [option.type for option in command.params]
    try:
        unchecked(command).make_context(program, list(arguments))
    finally:
        for option, kind in zip(command.params, types, strict=True):
            option.type = kind


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_commands_parse_with_their_click_command(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for program, arguments in commands(path.read_text(encoding="utf-8")):
        try:
            parse(program, arguments)
        except (click.UsageError, KeyError) as error:
            pytest.fail(f"{name_of(path)}: {program} {shlex.join(arguments)}: {error}")


def test_a_wrong_command_would_be_found():
    text = "```bash\nchatladder annotate --annotater li\n```\n```text\nchatladder nothing\n```\n"
    assert list(commands(text)) == [("chatladder", ["annotate", "--annotater", "li"])]
    with pytest.raises(click.UsageError):
        parse(*next(commands(text)))


def test_there_are_commands_to_check():
    found = [command for path in PAGES for command in commands(path.read_text(encoding="utf-8"))]
    assert len({(program, *arguments[:1]) for program, arguments in found}) > 10


#: Beginnings of a sentence that leave its subject to the reader; titles of links may be questions.
OPENERS = re.compile(r"(?:^|[.;:?!|] )[-*_>\d. ]*(?:Of|What)\b[^.]*", flags=re.M)


def helped(command, name):
    """What --help of a command and of those in it says: (name, text)."""
    for text in (command.help, command.short_help, *(getattr(each, "help", "") for each in command.params)):
        yield name, text or ""
    for key in getattr(command, "commands", ()):
        yield from helped(command.commands[key], f"{name} {key}")


def test_no_sentence_of_a_page_or_of_a_help_begins_with_of_or_what():
    pages = {
        name_of(path): re.sub(r"^#.*", "", prose(path.read_text(encoding="utf-8")), flags=re.M) for path in WRITTEN
    }
    del pages["benchmarks/README.md"]  # its questions are headings of what was measured
    stages = [f"stages.{path.stem}" for path in (ROOT / "stages").glob("[a-z]*.py")]
    commands = [(chatladder, "chatladder"), *((importlib.import_module(name).main, name) for name in stages)]
    texts = [*pages.items(), *(text for command, name in commands for text in helped(command, name))]
    found = [f"{name}: {hit[0].strip()}" for name, text in texts for hit in OPENERS.finditer(text)]
    assert not found, "\n".join(found)


#: The same in code: a docstring, and the description of an argument or an attribute, begin with their subject.
IN_CODE = re.compile(r'^\s*(?:r?"""|\w+: )(?:Of|What|Whether|Whose) .*', flags=re.M)


def test_no_docstring_begins_with_of_or_what():
    paths = [path for folder in ("chatladder", "stages", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    found = [
        f"{name_of(path)}: {hit[0].strip()}" for path in paths for hit in IN_CODE.finditer(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_such_a_docstring_would_be_found():
    assert IN_CODE.search('def f():\n    """What is f."""')
    assert IN_CODE.search("    Args:\n        rows: Of each question, shape (n,).")
    assert not IN_CODE.search('    """Return what it is."""')


def test_such_a_sentence_would_be_found():
    for text in (
        "What is not named fails.",
        "It runs. Of those it takes one.",
        "- **What** counts",
        "Times: Of one run.",
    ):
        assert OPENERS.search(text)
    assert not OPENERS.search("It says what is wrong, and takes one of those. A part of it is what counts.")


def test_params_rows_and_stages_are_all_told(making):
    made, _ = making
    params = (DOCS / "reference" / "params.md").read_text(encoding="utf-8")
    sections = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert re.findall(r"<!-- made: params (\w+) -->", params) == list(sections) == list(made.settings())
    rows = (DOCS / "reference" / "rows.md").read_text(encoding="utf-8")
    assert re.findall(r"<!-- made: rows (\w+) -->", rows) == list(made.schemas())


def test_the_table_of_a_section_holds_its_values_and_comments(making):
    made, _ = making
    lines = made.make("params", "merge", None).splitlines()
    assert lines[2].startswith("| `gap_seconds` | `18` | successive messages")
    assert "[`merge`](stages.md#merge)" in lines[-1]
    for section, value in yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")).items():
        told = {name: shown for name, shown, _ in made.settings()[section][1]}
        for name, expected in value.items() if isinstance(value, dict) else []:
            if not isinstance(expected, dict):
                assert yaml.safe_load(told[name]) == expected, f"{section}.{name}"


def test_columns_are_those_of_the_schemas(making):
    made, _ = making
    rows = importlib.import_module("chatladder.io.rows")
    for name, columns in made.schemas().items():
        assert [column for column, _, _ in columns] == getattr(rows, name).names


def test_the_metrics_page_names_every_metric():
    page = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(\w+)`", page))
    assert set(METRICS) <= told
    ladder = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["ladder"]
    for path in sorted((ROOT / "metrics").glob("*.json")):
        assert f"## `metrics/{path.name}`" in page
        for key in json.loads(path.read_text(encoding="utf-8")):
            kind = re.sub(r"_(text|image|file|link|system|other)$", "", key)
            assert kind in told or key in ladder, f"{path.name}: {key}"


def test_the_picture_shows_every_stage_that_runs_below_what_it_reads(making):
    _, graph = making
    pipeline, params = (
        yaml.safe_load((ROOT / name).read_text(encoding="utf-8")) for name in ("dvc.yaml", "params.yaml")
    )
    stages = graph.active(pipeline, params)
    assert "predict_served" not in stages  # nothing is served in the demo
    picture = graph.draw(stages, lambda stage: f"#{stage}")
    assert set(re.findall(r'<a href="#(\w+)">', picture)) == set(stages)
    edges = graph.edges_of(stages)
    places, _ = graph.places_of(edges)
    assert all(places[node].y < places[to].y for node, to in edges.edges)
    assert "summarize" in edges["evaluate"]
    assert "ingest" in edges["data/raw"]
    boxes = [tuple(map(float, box)) for box in re.findall(r'<rect x="([\d.-]+)" y="([\d.-]+)"', picture)]
    width, height = graph.BOX
    for at, (x, y) in enumerate(boxes):
        assert not [1 for a, b in boxes[:at] if abs(a - x) < width and abs(b - y) < height], "boxes overlap"
    assert picture == graph.draw(stages, lambda stage: f"#{stage}")


def test_the_glossary_is_short_sorted_and_of_words_that_pages_use():
    path = DOCS / "reference" / "glossary.md"
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", path.read_text(encoding="utf-8"), flags=re.M)[2:]
    terms = [term for term, _ in rows]
    assert 0 < len(terms) <= 25
    assert terms == sorted(terms)
    others = " ".join(page.read_text(encoding="utf-8") for page in WRITTEN if page != path).lower()
    assert [word for term in terms for word in term.split(", ") if word not in others] == []


# The workflow of pull requests.


def steps():
    for job in yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values():
        yield from job["steps"]


def test_the_workflow_of_pull_requests_holds_no_secret_and_may_only_read():
    text = WORKFLOW.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert list(workflow[True]) == ["pull_request"]  # YAML 1.1 reads the key "on" as true
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())
    assert "secrets." not in text
    for step in steps():
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/x@v1")), step["uses"]
        assert "${{" not in step.get("run", ""), "the event's words come through the environment"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_workflow_runs_the_checks_of_contributing_and_shows_metrics():
    run = "\n".join(step.get("run", "") for step in steps())
    checks = re.search(r"^ruff check .*$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.M)[0]
    for check in checks.split(" && "):
        assert check in run.splitlines(), check
    assert "dvc metrics diff --md" in run
    assert "dvc plots show" in run


# The built site.


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="the site wants the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = ["mkdocs", "build", "--strict", "--quiet", "-f", str(CONFIG), "-d", str(folder)]
    # Material tells at every build that MkDocs 2 will not suit it.
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=folder, env=env, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Requests(HTMLParser):
    """What a browser loads by itself for a page, and what is on it."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.classes, self.ids = [], set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = {name: value or "" for name, value in attrs}
        self.classes |= set(attributes.get("class", "").split())
        self.ids.add(attributes.get("id"))
        rel = attributes.get("rel", "").split()
        if tag == "link" and not {"canonical", "prev", "next", "alternate"} & set(rel):
            self.loaded.append(attributes.get("href", ""))
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "input"):
            self.loaded += [attributes.get("src", ""), *attributes.get("srcset", "").split()[:1]]
        if tag in ("use", "image"):
            self.loaded += [attributes.get("href", ""), attributes.get("xlink:href", "")]
        if tag == "object":
            self.loaded.append(attributes.get("data", ""))
        self.loaded += re.findall(r"url\(['\"]?([^'\")]+)", attributes.get("style", ""))


def test_what_would_ask_another_host_is_seen():
    page = Requests('<link rel="preconnect" href="https://a.example"><img src="//b.example/x.png"><a href="https://c">')
    assert [urlsplit(address).netloc for address in page.loaded if address] == ["a.example", "b.example"]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        found = Requests(page.read_text(encoding="utf-8"))
        assert [address for address in found.loaded if urlsplit(address).netloc] == [], page.name
        # Material's script would fetch mermaid for such a block, and facts of a repository for such a link.
        assert not {"mermaid", "md-source"} & found.classes, page.name
        assert "Content-Security-Policy" in page.read_text(encoding="utf-8")
        for address in filter(None, found.loaded):
            path = urlsplit(address).path
            if path and not address.startswith("data:") and page.name != "404.html":
                assert (page.parent / unquote(path)).exists(), f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", text), sheet.name


@pytest.mark.slow
def test_what_is_made_stands_in_the_site(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    table = (ROOT / "metrics" / "summary.md").read_text(encoding="utf-8").splitlines()
    figures = [cell.strip() for cell in table[4].split("|")[3:6]]
    assert all(f">{figure}<" in home for figure in figures)
    assert "<svg" in home
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(stages) <= Requests((site / "reference/stages/index.html").read_text(encoding="utf-8")).ids
    told = Requests((site / "reference/commands/index.html").read_text(encoding="utf-8")).ids
    assert {f"chatladder-{name}" for name in chatladder.commands} <= told
    assert {path.name for path in site.rglob("*.py")} == {"bot.py"}  # the example that a page shows


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_browser_shows_the_picture_and_finds_words_without_another_host(served):
    asked, told = [], []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.goto(f"{served}/")
        boxes = page.locator(".graph svg a")
        shown, wide = boxes.count(), boxes.first.bounding_box()["width"]
        page.locator("input.md-search__input").click()
        page.keyboard.type("pseudonyms")
        page.wait_for_selector(".md-search-result__link")
    assert shown > 10
    assert wide > 60
    assert {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in ("data", "blob")} == {served[7:]}
    assert told == []
