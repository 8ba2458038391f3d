"""Texts folded for matching: lower case, composed, half width, without characters that nobody sees.

Matching must not be put off by a zero-width space inside a name or by full-width digits in a phone number, while
whatever is not replaced has to stay as it was typed. So matches are found in the folded text and carried back to
the original by position. Letters of other scripts that only look alike (Cyrillic for Latin) stay different.
"""

import re
import unicodedata
from typing import NamedTuple

#: Full-width forms and unusual spaces, one character for one.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(
    (0xA0, 0x202F, 0x3000, *range(0x2000, 0x200B)), 0x20
)
_WIDE = re.compile("[\u00a0\u2000-\u200a\u202f\u3000\uff01-\uff5e]")
#: Invisible characters, characters that belong to the one before, and letters that have other forms.
_IRREGULAR = re.compile(
    "[\u00ad\u0130\u034f\u061c\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u202a-\u202e\u2060-\u2069\u20d0-\u20ff"
    "\u1e9e\ufb00-\ufb06\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\U000e0001-\U000e01ef\U0001d400-\U0001d7ff\u24b6-\u24e9]"
)
#: A character with its accents, or an irregular one alone.
_CLUSTER = re.compile(
    r"(?s:.)[\u0300-\u034e\u0350-\u036f\u1ab0-\u1abd\u1abf-\u1ace\u1dc0-\u1dff\u20d0-\u20dc\u20e1\u20e5-\u20f0"
    rf"\ufe20-\ufe2f]+|{_IRREGULAR.pattern}"
)
#: They choose between glyphs of the character before.
_SELECTOR = re.compile("[\u034f\ufe00-\ufe0f]")


class Folded(NamedTuple):
    """A text for matching, and where its characters come from."""

    text: str
    #: Where character i starts in the original, with the original's length at the end; None if nothing moved.
    origins: list[int] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the original that a stretch of the folded text stands for."""
        if self.origins is None:
            return start, end
        # A ligature is one character there and several here, and goes as a whole; an accent goes with its letter.
        while self.origins[end] == self.origins[end - 1]:
            end += 1
        return self.origins[start], self.origins[end]


def narrow(text: str) -> Folded:
    """A text in half width and without invisible characters, its case kept."""
    if text.isascii():
        return Folded(text, None)
    if _IRREGULAR.search(text):
        return _by_cluster(text)
    return Folded(text.translate(_NARROW) if _WIDE.search(text) else text, None)


def fold(text: str) -> Folded:
    """A text as ``narrow`` gives it, in lower case."""
    if text.isascii():
        return Folded(text.lower(), None)
    plain, origins = narrow(text)
    return Folded(lower(plain), origins)


def lower(text: str) -> str:
    """Return a text in lower case, of the same length: a few capitals have a longer small form, and stay."""
    small = text.lower()
    return (
        small if len(small) == len(text) else "".join(each.lower() if len(each.lower()) == 1 else each for each in text)
    )


def tidy(name: str) -> str:
    """Return a name as it is compared: folded, with one space between its words."""
    return " ".join(fold(name).text.split())


def _by_cluster(text: str) -> Folded:
    """Fold each irregular character, with the one that it belongs to, noting where everything comes from."""
    folded: list[str] = []
    origins: list[int] = []
    done = 0
    for match in _CLUSTER.finditer(text):
        start, end = match.span()
        folded.append(text[done:start].translate(_NARROW))
        origins.extend(range(done, start))
        # A heap of accents is nobody's name; composing it would take the square of its length.
        for each in unicodedata.normalize("NFKC", text[start : min(end, start + 8)]):
            if unicodedata.category(each) != "Cf" and not _SELECTOR.match(each):
                folded.append(each)
                origins.append(start)
        done = end
    folded.append(text[done:].translate(_NARROW))
    origins.extend(range(done, len(text) + 1))
    return Folded("".join(folded), origins)
