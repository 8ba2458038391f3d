"""The tables of ``patterns.toml``: masking's patterns, as data."""

import re
import tomllib
from pathlib import Path
from typing import Any

#: A finding in a text: (start, end, kind).
Stretch = tuple[int, int, str]

TABLES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("patterns.toml").read_text(encoding="utf-8"))


def expanded(text: str) -> str:
    """Return a pattern of the tables as one line, with its {PARTS} substituted."""
    lines = (line.strip() for line in text.splitlines())
    joined = "".join(line for line in lines if not line.startswith("# "))
    return re.sub(r"\{([A-Z_]+)\}", lambda part: expanded(TABLES["parts"][part[1]]), joined)


#: The patterns that code refers to by name.
PATTERNS = {name: re.compile(expanded(text)) for name, text in TABLES["patterns"].items()}
