"""The JSON of a chat completion, read without trust: whatever is not as it should be is not there."""

import json
from typing import Any

#: Of a whole number. Longer ones may have no float, and Python reads none of more than 4,300 digits.
MOST_DIGITS = 20


def read_completion(content: bytes) -> tuple[Any, int | None, int | None]:
    """The first choice of a chat completion, None where there is none, and the tokens of prompt and answer."""
    try:
        reply = json.loads(content, parse_int=_whole)
    except (ValueError, RecursionError):
        return None, None, None
    choices, usage = entry(reply, "choices"), entry(reply, "usage")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first, _count(entry(usage, "prompt_tokens")), _count(entry(usage, "completion_tokens"))


def entry(value: Any, name: str) -> Any:
    """What an object of JSON has under a name; None where it is no object or has nothing there."""
    return value.get(name) if isinstance(value, dict) else None


def _whole(digits: str) -> int | float:
    """A whole number of JSON; as a float where no count or probability has so many digits, infinite beyond 1e308."""
    return int(digits) if len(digits) < MOST_DIGITS else float(digits)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 10**9 else None
