"""Every export format and layout: its description, the messages written and read, and the names left in clear.

Example:
    python -m benchmarks.formats --save benchmarks/results/formats.md

Invented people name themselves and speak of each other by whole names, in mentions, sentences and file names. The chat
is written in each layout as its description specifies, and read by ``stages.ingest``. A name is left in clear if it
occurs in any text as its owner writes it. The result depends neither on chance nor on the machine: a test recreates the
table.
"""

import importlib
import re
import tempfile
from functools import partial
from pathlib import Path

import click

from benchmarks import names
from benchmarks.results import publish, save_option
from chatladder.chat.exports import find_exports
from chatladder.chat.formats import find_format
from chatladder.io.console import SETTINGS, example

SEED = 1
#: A third of the people of benchmarks.names; all of them would take ten times as long.
PEOPLE = slice(None, None, 3)
#: Layouts where benchmarks.names is redundant, or impossible: sigtop's text mentions a person in each message.
MORE = {
    "KakaoTalk, CSV": "KakaoTalk.csv",
    "Signal, sigtop": "sigtop.json",
    "qq-chat-exporter, chunk": "c000001.jsonl",
}
LAYOUTS = names.FORMATS | {
    name: (file, partial(names.messenger if file in names.MESSENGERS else names.wechat_tool, file))
    for name, file in MORE.items()
}
URL = re.compile(r"https://(?!a\.org)[\w-]+\.[\w./#-]*\w")
#: A repository or a page without https; a.org is an example page inside a chat.
PLACE = re.compile(r"(?<![\w.])[A-Za-z][\w.-]*(?:/[A-Za-z][\w-]*)+")


def sources(description: str) -> list[str]:
    """Return the addresses of the format's descriptions in a module's docstring."""
    places = URL.findall(description) or [f"https://{_address(each)}" for each in PLACE.findall(description)[:1]]
    repositories = (re.sub(r"(github\.com/[^/]+/[^/]+)/.*", r"\1", each) for each in places)
    return list(dict.fromkeys(repositories))


def _address(place: str) -> str:
    return place if "." in place.partition("/")[0] else f"github.com/{place}"


def row(name: str) -> str:
    """Return one layout's row of the table."""
    file, make = LAYOUTS[name]
    chat = names.people(SEED)[PEOPLE]
    said = [each for each in names.conversation(chat, SEED, name != "IRC") if each.kind in ("", "whole")]
    content = make(chat, said)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file).write_bytes(content)
        found = [find_format(each) for each in find_exports(Path(folder), names.Counter())]
    description = importlib.import_module(found[0].__name__).__doc__ or ""  # type: ignore[attr-defined]
    links = [f"[{each.removeprefix('https://').removeprefix('github.com/')}]({each})" for each in sources(description)]
    rows = names.ingested({file: content})[1]
    texts = [names.blanks(each["text"], fold=False) for each in rows]
    told = {each.gone for each in said if each.kind}
    left = sum(any(names.blanks(each, fold=False) in text for text in texts) for each in sorted(told))
    described = ", ".join(links) or "this page"
    return f"| {name} | `{file}` | {described} | {len(said)} | {len(rows)} | {len(told)} | {left} |"


def as_table() -> str:
    """Return a Markdown table with a row for each layout."""
    head = ["| layout | file here | described by | messages | rows | names told | left in clear |"]
    return "\n".join([*head, "| --- | --- | --- | ---: | ---: | ---: | ---: |", *map(row, LAYOUTS)])


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@save_option
def main(save: Path | None) -> None:
    """Print the table of formats."""
    publish(save, "benchmarks.formats", as_table())


if __name__ == "__main__":
    main()
