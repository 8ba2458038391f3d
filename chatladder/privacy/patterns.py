"""The tables of ``patterns.toml``: what masking looks for, as data."""

import re
import tomllib
from pathlib import Path
from typing import Any

#: Where something stands in a text, and what it is: (start, end, kind).
Stretch = tuple[int, int, str]

TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("patterns.toml").read_text(encoding="utf-8"))


def expanded(text: str) -> str:
    """Return a pattern of the tables as one line, with its {PARTS} put in."""
    lines = (line.strip() for line in text.splitlines())
    joined = "".join(line for line in lines if not line.startswith("# "))
    return re.sub(r"\{([A-Z_]+)\}", lambda part: expanded(TABLES["parts"][part[1]]), joined)


#: Those that code asks for by their names.
PATTERNS = {name: re.compile(expanded(text)) for name, text in TABLES["patterns"].items()}
