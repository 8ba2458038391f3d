"""The JSON of a chat completion, parsed defensively: a part that is not as expected counts as missing."""

import json
import re
from collections.abc import Sequence
from typing import Any

#: Digits of a whole number. Longer ones may have no float, and Python parses none of more than 4,300 digits.
MOST_DIGITS = 20
#: A longer answer holds more than an answer and its reasoning.
MAX_ANSWER_CHARACTERS = 200_000
#: Tokens are estimated from bytes: about 4 a token in English, about 4 in Chinese, fewer in code and rare scripts.
BYTES_A_TOKEN = 3
#: The tokens that a chat template adds around two messages.
TEMPLATE_TOKENS = 24
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)
THOUGHT, THOUGHT_ENDS = "<think>", "</think>"


def guess_tokens(*messages: str) -> int:
    """Return an upper estimate of the tokens of a prompt of these messages, from their bytes in UTF-8."""
    return TEMPLATE_TOKENS + sum(-(-len(message.encode("utf-8")) // BYTES_A_TOKEN) for message in messages)


def response_format(name: str, kind: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return a request's ``response_format``, for servers that enforce a schema: ``{name: one of values}``.

    Args:
        name: The name of the object's only entry.
        kind: JSON Schema's type of the values.
        values: All values, since every structured-output engine supports ``enum``, but not every one ``maximum``.
    """
    schema = {
        "type": "object",
        "properties": {name: {"type": kind, "enum": list(values)}},
        "required": [name],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def read_completion(content: bytes) -> tuple[Any, int | None, int | None]:
    """Return the first choice of a chat completion, None if there is none, and the tokens of prompt and answer."""
    try:
        reply = json.loads(content, parse_int=_whole)
    except (ValueError, RecursionError):
        return None, None, None
    choices, usage = entry(reply, "choices"), entry(reply, "usage")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first, _count(entry(usage, "prompt_tokens")), _count(entry(usage, "completion_tokens"))


def entry(value: Any, name: str) -> Any:
    """Return an entry of a JSON object; None if it is not an object or lacks the entry."""
    return value.get(name) if isinstance(value, dict) else None


def content_of(choice: Any) -> Any:
    """Return the text of a choice, or whatever the server wrote in its place."""
    return entry(entry(choice, "message"), "content")


def bare(answer: object) -> str:
    """Return an answer without surrounding white space and a leading ``<think>`` block; "" if not text, or too long."""
    if not isinstance(answer, str) or len(answer) > MAX_ANSWER_CHARACTERS:
        return ""
    answer = answer.strip()
    if answer.startswith(THOUGHT):
        answer = answer.partition(THOUGHT_ENDS)[2].strip()
    return answer


def only_entry(text: str, name: str) -> Any:
    """Return the value of ``name`` in a text that is a JSON object with only that entry, fenced or not; else None."""
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1]
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return pairs[0][1] if isinstance(pairs, _Pairs) and len(pairs) == 1 and pairs[0][0] == name else None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as a list of pairs, repeated keys included; an array is a plain list."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _whole(digits: str) -> int | float:
    """Return a whole number of JSON; a float if it has more digits than any count, infinite beyond 1e308."""
    return int(digits) if len(digits) < MOST_DIGITS else float(digits)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 10**9 else None
