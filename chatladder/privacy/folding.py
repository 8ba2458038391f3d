"""Texts folded for matching: lower case, composed, half width, without invisible characters.

A zero-width space inside a name or full-width digits in a phone number must not prevent a match, while text that is not
replaced must stay as it was typed. So matches are found in the folded text and mapped back to the original by position.
Letters of other scripts that only look alike (Cyrillic for Latin) stay different.
"""

import re
import unicodedata
from typing import NamedTuple

#: Full-width forms and unusual spaces, one character for one.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(
    (0xA0, 0x202F, 0x3000, *range(0x2000, 0x200B)), 0x20
)
_WIDE = re.compile("[\u00a0\u2000-\u200a\u202f\u3000\uff01-\uff5e]")
#: Invisible characters, combining characters, and letters that have other forms.
_IRREGULAR = re.compile(
    "[\u00ad\u0130\u034f\u061c\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u202a-\u202e\u2060-\u2069\u20d0-\u20ff"
    "\u1e9e\ufb00-\ufb06\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\U000e0001-\U000e01ef\U0001d400-\U0001d7ff\u24b6-\u24e9]"
)
#: A character with its accents, or an irregular one alone.
_CLUSTER = re.compile(
    r"(?s:.)[\u0300-\u034e\u0350-\u036f\u1ab0-\u1abd\u1abf-\u1ace\u1dc0-\u1dff\u20d0-\u20dc\u20e1\u20e5-\u20f0"
    rf"\ufe20-\ufe2f]+|{_IRREGULAR.pattern}"
)
#: Characters that select a glyph of the character before.
_SELECTOR = re.compile("[\u034f\ufe00-\ufe0f]")


class Folded(NamedTuple):
    """A text for matching, with the origins of its characters."""

    text: str
    #: Offset of each character in the original, with the original's length at the end; None if all are unchanged.
    origins: list[int] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original that corresponds to a span of the folded text."""
        if self.origins is None:
            return start, end
        # A ligature is one character there and several here, and is taken whole; an accent is taken with its letter.
        while self.origins[end] == self.origins[end - 1]:
            end += 1
        return self.origins[start], self.origins[end]


def narrow(text: str) -> Folded:
    """Return a text in half width and without invisible characters, in its original case."""
    if text.isascii():
        return Folded(text, None)
    if _IRREGULAR.search(text):
        return _by_cluster(text)
    return Folded(text.translate(_NARROW) if _WIDE.search(text) else text, None)


def fold(text: str) -> Folded:
    """Return a text as ``narrow`` does, in lower case."""
    if text.isascii():
        return Folded(text.lower(), None)
    plain, origins = narrow(text)
    return Folded(lower(plain), origins)


def lower(text: str) -> str:
    """Return a text in lower case, of the same length: a few capitals whose small form is longer stay."""
    small = text.lower()
    return (
        small if len(small) == len(text) else "".join(each.lower() if len(each.lower()) == 1 else each for each in text)
    )


def tidy(name: str) -> str:
    """Return a name in the form in which names are compared: folded, with one space between its words."""
    return " ".join(fold(name).text.split())


def _by_cluster(text: str) -> Folded:
    """Fold each cluster that has an irregular character, recording the origin of every character."""
    folded: list[str] = []
    origins: list[int] = []
    done = 0
    for match in _CLUSTER.finditer(text):
        start, end = match.span()
        folded.append(text[done:start].translate(_NARROW))
        origins.extend(range(done, start))
        # A long run of accents is not a name; composing it would take quadratic time.
        for each in unicodedata.normalize("NFKC", text[start : min(end, start + 8)]):
            if unicodedata.category(each) != "Cf" and not _SELECTOR.match(each):
                folded.append(each)
                origins.append(start)
        done = end
    folded.append(text[done:].translate(_NARROW))
    origins.extend(range(done, len(text) + 1))
    return Folded("".join(folded), origins)
