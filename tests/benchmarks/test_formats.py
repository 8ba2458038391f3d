"""The table of formats is that of the code, names every format, and sees a name that stays."""

from benchmarks import formats, names
from benchmarks.results import RESULTS, read
from chatladder.chat.formats import FORMATS


def test_the_table_is_the_one_that_is_kept():
    assert formats.as_table() == read(RESULTS / "formats.md").text, "run python -m benchmarks.formats --save"


def test_every_format_says_what_describes_it_and_stands_in_the_table():
    described = {each.NAME: formats.sources(each.__doc__) for each in FORMATS}
    assert described.pop("table") == []
    assert all(described.values())
    table = (RESULTS / "formats.md").read_text(encoding="utf-8")
    assert [name for name, links in described.items() if not all(link in table for link in links)] == []


def test_a_name_that_stays_is_counted(monkeypatch):
    assert formats.row("QQ").endswith("| 37 | 0 |")
    chat = names.people(formats.SEED)[formats.PEOPLE]
    monkeypatch.setattr(names, "ingested", lambda files: ({}, [{"text": f"ask {chat[0].name}"}]))
    assert formats.row("QQ").endswith("| 1 | 37 | 1 |")
