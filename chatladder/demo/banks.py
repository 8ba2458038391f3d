"""The phrase banks of the simulated group: one for the early months, one for the late ones.

The late bank shares no name, phrasing or remark with the early one, so that conversations of the late months test
what a model learned and not what it remembers.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

ERAS = ("early", "late")


class Kind(NamedTuple):
    """A kind of thing the group talks about."""

    noun: str
    names: tuple[str, ...]
    questions: tuple[str, ...]
    remarks: tuple[str, ...]


class Bank(NamedTuple):
    """Everything that is said in one era; templates hold {e} name, {n} noun, {q} question, {r} remark."""

    kinds: dict[str, Kind]
    general_questions: tuple[str, ...]
    forms: dict[str, tuple[str, ...]]
    talk: dict[str, tuple[str, ...]]


@cache
def load_bank(era: str) -> Bank:
    """Read the bank of ``early`` or ``late`` from the TOML file beside this module."""
    raw = tomllib.loads((Path(__file__).parent / f"{era}.toml").read_text(encoding="utf-8"))
    kinds = {
        key: Kind(kind["noun"], tuple(kind["names"]), tuple(kind["questions"]), tuple(kind["remarks"]))
        for key, kind in raw["kinds"].items()
    }
    return Bank(
        kinds,
        tuple(raw["general"]["questions"]),
        {form: tuple(templates) for form, templates in raw["forms"].items()},
        {name: tuple(texts) for name, texts in raw["talk"].items()},
    )
