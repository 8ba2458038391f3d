"""What the judges agree on about a turn's text: who it is addressed to, its sentences, its marks."""

import re

#: The people a line is addressed to ("@u1a2b3c4d how do I ..."): not part of what is said. Valid in RE2 too.
ADDRESSED = r"(?m)^[ \t]*(?:@\S+[ \t,，:：]*)+"
#: Only ASCII, since Chinese text follows an address without a space.
LINK = r"(?:https?|ftp)://[!-~]+|\bwww\.[!-~]+"
#: Who is spoken of, which a judge must not see: the key of the pseudonyms would move scores.
PSEUDONYM = r"@?\bu[0-9a-f]{8}(?:[0-9a-f]{8})?\b"
MARKS = "?？"

_ADDRESSED = re.compile(ADDRESSED)
_LINK = re.compile(LINK, re.IGNORECASE)
_PSEUDONYM = re.compile(PSEUDONYM, re.ASCII)
# A dot ends a sentence only before white space: "12.04" and "a.py" do not. A mark inside a word
# ("a?b", a pattern or a query) ends none either.
_SENTENCE_END = re.compile(
    r"\n+|[。！？；]+[。！？；?!]*|[?!]+[?!？！]*(?=[\s)）\"'”’」』：:,，]|[^\x00-\x7f]|$)|[.;]+(?=\s|$)"
)


def spoken(text: str) -> str:
    """The text without the names it is addressed to, and with each address of a page, and each person, as one word."""
    return _PSEUDONYM.sub(" somebody ", _LINK.sub(" link ", _ADDRESSED.sub("", text)))


def sentences(text: str) -> list[tuple[str, str]]:
    """Split into (words, end) pairs; ``end`` is the punctuation that closed the sentence, if any did."""
    found = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        words = text[start : end.start()].strip()
        if words:
            found.append((words, end.group()))
        elif found:
            # "really? ?": a mark that stands alone belongs to the sentence before it.
            found[-1] = (found[-1][0], found[-1][1] + end.group())
        start = end.end()
    rest = text[start:].strip()
    return [*found, (rest, "")] if rest else found


def asked(end: str) -> bool:
    """Whether the punctuation that closed a sentence holds a question mark."""
    return any(mark in end for mark in MARKS)
