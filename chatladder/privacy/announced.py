"""Secrets and ids that a text announces: ``the password is``, ``密码``, ``curl -u admin:``, ``加我v``.

One automaton finds every word that may announce something; that word's rules then read the text after it, or, for a
few, the text before it. So more words in any language cost nothing, and time is linear in the length of a text, since
no pattern reads further than a few hundred characters.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chatladder.privacy.folding import lower
from chatladder.privacy.patterns import PATTERNS, TABLES, Stretch, expanded


class _Rule(NamedTuple):
    """A pattern for the value that a word announces."""

    kind: str
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str], str], bool] | None
    before: bool  # True if the value precedes the word


def _is_password(match: re.Match[str], word: str) -> bool:
    """Return True if the value is not a word of a sentence: it does not look like a word, or nothing follows it."""
    value = match["quoted"] or match["value"]
    text, start = match.string, match.start()
    bare = match["bare"] is not None
    between = match[0][: match.start("value" if match["value"] else "quoted") - start]
    if value.rstrip(":,").lower().endswith(word) and value.replace("_", "").isalpha():
        return False  # password=password
    if match["quoted"] is not None and not bare:
        return not PATTERNS["no_word"].fullmatch(value)
    if PATTERNS["no_password"].match(value):
        return False
    # --password X
    option = text[max(0, start - len(word) - 12) : start - len(word)].rpartition(" ")[2].startswith("--")
    if word == "pass" and bare and not option:
        return _looks_made_up(value) and PATTERNS["user_before"].search(text, max(0, start - 40), start) is not None
    if _looks_made_up(value):
        return True
    if value.isdigit():
        return not bare or match["to"] is not None or not word.isascii() or len(value) >= 6
    if match["to"] or "==" in between or " -" in between or "|" in between:
        return False
    if match["quoted"] is not None or between.endswith("=") or (option and text[match.end() :].startswith(" -")):
        return True
    ends = not text[match.end() : match.end() + 80].strip(" \t\n.!?)\"'`。！？，、")
    return ends and "(" not in between and (option or not bare or not word.isascii())


def _looks_made_up(value: str) -> bool:
    """Return True if the value has digits among letters, or signs inside."""
    bare = value.strip(".,;:!?()[]{}*")
    letters = any(map(str.isalpha, bare))
    digits = any(map(str.isdigit, bare))
    signs = re.search(r"[^\w.'’/-]|\w[@#$%&*+=~^!]\w", bare) is not None
    return (letters and (digits or signs)) or (digits and signs)


def _is_before(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    is_likely = _looks_made_up(value) or (value.isdigit() and match["for"] is None)
    return is_likely and not PATTERNS["no_password"].match(value)


def _is_login(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    if "apart" in match.re.groupindex and match["apart"] and (match["strong"] or "").strip() not in (":", "=", "是"):
        return False
    return (_looks_made_up(value) or (value.isdigit() and len(value) >= 4)) and not PATTERNS["no_password"].match(value)


def _is_code(match: re.Match[str], word: str) -> bool:
    """Return True if the value is a code: in "PIN: a1b2" it is, in "pin int64" it is not."""
    value = match["value"]
    is_attached = match[0][: match.start("value") - match.start()].strip() in ("", "s")
    return not (word.isascii() and value.isalnum() and is_attached) or value.isdigit()


def _is_plain_code(match: re.Match[str], word: str) -> bool:
    start = match.start() - len(word)
    return PATTERNS["no_code"].search(match.string, max(0, start - 12), start) is None


def _is_attached(match: re.Match[str], word: str) -> bool:
    return _looks_made_up(match["value"]) or match["value"].isdigit() or " -u" in match[0]


def _is_slash(match: re.Match[str], word: str) -> bool:
    whole = match.start() == len(word) and match.end() == len(match.string)
    return (whole or match["tight"] is None) and _is_login(match, word)


def _is_wechat(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    between = match[0][: match.start("value") - match.start()]
    attached = not between.strip("\"'`([【「『“*") and not word.endswith(":")
    if attached and word.isascii() and (word != "vx" or match.string.isascii()):
        return False
    if value[0].isdigit() or any(map(str.isdigit, value)) or "_" in value:
        return bool(match["strong"] or match["called"]) or not word.isascii() or word in _SHORT_WECHAT
    if len(value) < 6 or not (
        match["called"] or match["strong"] or "v" in word[1:] or (word in _SHORT_WECHAT and not attached)
    ):
        return False
    # In a sentence the value would be followed by another word.
    return not re.match(r"[ ]?[A-Za-z.(]|[ ]\d", match.string[match.end() : match.end() + 3])


def _is_document(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    digits = sum(map(str.isdigit, value))
    # Some countries' ids mix in letters: C01X00T47
    return digits >= 5 or (digits >= 2 and len(value) >= 8 and value.isalnum() and value.isupper())


def _is_plate(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    return len(value) >= 5 and any(map(str.isdigit, value)) and not value.isdigit()


def _is_phone(match: re.Match[str], word: str) -> bool:
    value = match["value"]
    return re.fullmatch(r"(?:\d{1,3}\.){3}\d{1,3}|(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?.*", value) is None


_SHORT_WECHAT = ("vx", "wx", "+v", "v:")
_CHECKS = (
    *(_is_password, _is_before, _is_login, _is_code, _is_plain_code, _is_attached, _is_slash, _is_wechat),
    *(_is_document, _is_plate, _is_phone),
)
_ACCEPTS = {check.__name__.removeprefix("_is_"): check for check in _CHECKS}
#: The most characters before a word in which its value is searched.
_LONGEST_BEFORE = 120
#: A word next to one of these is part of a longer word.
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def _automaton() -> Any:
    import ahocorasick

    rules: dict[str, list[tuple[_Rule, bool]]] = {}
    for row in TABLES["announced"].values():
        accepts = _ACCEPTS[row["accepts"]] if "accepts" in row else None
        rule = _Rule(row["kind"], re.compile(expanded(row["pattern"])), accepts, row.get("is_before", False))
        for word in re.split(r" \| |\n\s*", row["words"].strip()):
            rules.setdefault(word.removeprefix("^"), []).append((rule, word.startswith("^")))
    automaton = ahocorasick.Automaton()
    for word, its_rules in rules.items():
        automaton.add_word(word, (word, its_rules))
    automaton.make_automaton()
    return automaton


_AUTOMATON = _automaton()


def find_announced(text: str) -> list[Stretch]:
    """Find the values that a text in half width announces."""
    small = lower(text)
    stretches: list[Stretch] = []
    for last, (word, rules) in _AUTOMATON.iter(small):
        end = last + 1
        start = end - len(word)
        in_word = start > 0 and small[start - 1] in _LETTERS
        for rule, starts_word in rules:
            if not (starts_word and in_word) and not (rule.before and small[end : end + 1] in _LETTERS):
                stretches += _find_value(text, start, end, word, rule)
    return stretches


def _find_value(text: str, start: int, end: int, word: str, rule: _Rule) -> Iterator[Stretch]:
    moved = max(0, start - _LONGEST_BEFORE) if rule.before else 0
    match = rule.pattern.search(text[moved:start]) if rule.before else rule.pattern.match(text, end)
    if match is None or (rule.accepts is not None and not rule.accepts(match, word)):
        return
    group = next(name for name in ("value", "quoted", "six") if match.groupdict().get(name) is not None)
    first, behind = match.span(group)
    if rule.kind == "key" and match[group].isdigit() and not rule.before:
        # A number with spaces in it is masked as a whole.
        longer = PATTERNS["more_digits"].match(text, behind)
        behind = longer.end() if longer else behind
    yield first + moved, behind + moved, rule.kind
