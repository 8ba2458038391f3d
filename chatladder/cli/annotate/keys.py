"""Which key does what, and how to change it: ``needed=a,not_needed=l``."""

import re
from typing import NamedTuple

from chatladder.vocabulary import KINDS, LABELS


class Key(NamedTuple):
    """What can be done by a key.

    Attributes:
        keys: Names of the keys that do it.
        words: What it does, in a word or two.
    """

    keys: tuple[str, ...]
    words: str


#: By action; the first four are the labels.
KEYS = {
    **{name: Key((KINDS[name].key,), KINDS[name].words) for name in LABELS},
    "undo": Key(("z", "backspace"), "undo"),
    "skip": Key(("s",), "skip"),
    "previous": Key(("b", "left"), "back"),
    "next": Key(("f", "right"), "forward"),
    "jump": Key(("g",), "go to"),
    "search": Key(("slash",), "search"),
    "again": Key(("n",), "next hit"),
    "expand": Key(("e",), "all text"),
    "definition": Key(("question_mark", "d"), "definition"),
    "quit": Key(("q",), "quit"),
}
#: They scroll, leave and confirm.
RESERVED = frozenset(
    ("up", "down", "pageup", "pagedown", "home", "end", "escape", "enter", "tab", "shift+tab", "ctrl+c", "ctrl+q")
)
#: Signs that have a name of their own as keys.
SIGNS = {
    "/": "slash", "?": "question_mark", ".": "full_stop", ";": "semicolon", "'": "apostrophe", "-": "minus",
    "[": "left_square_bracket", "]": "right_square_bracket", "\\": "backslash", "`": "grave_accent", " ": "space",
}  # fmt: skip
_NAME = re.compile(r"[a-z0-9_+]{1,40}")


def parse_keys(text: str) -> dict[str, tuple[str, ...]]:
    """Read ``action=key,action=key``; an action named twice has two keys, one not named keeps its own.

    Raises:
        ValueError: If an action or a key is unknown, or one key would do two things.
    """
    changed: dict[str, list[str]] = {}
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        action, _, key = (part.strip() for part in pair.partition("="))
        if action not in KEYS:
            raise ValueError(f"{action!a}: expected one of {', '.join(KEYS)}.")
        name = SIGNS.get(key, key.lower())
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(f"{key!a}: expected a letter, digit, sign or key name such as f5, and none that scrolls.")
        changed.setdefault(action, []).append(name)
    keys = {action: tuple(changed.get(action, key.keys)) for action, key in KEYS.items()}
    owners: dict[str, str] = {}
    for action, names in keys.items():
        for name in names:
            if owners.setdefault(name, action) != action:
                raise ValueError(f"{name}: expected one action for a key, got {owners[name]} and {action}.")
    return keys


def shown(key: str) -> str:
    """A key as it is written on a keyboard."""
    arrows = {"left": "←", "right": "→", "backspace": "⌫", "space": "space"}
    return arrows.get(key) or {name: sign for sign, name in SIGNS.items()}.get(key, key)
