"""Known names found in a text and replaced; ``chatladder.privacy.names`` decides which and how."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from chatladder.privacy.folding import fold
from chatladder.privacy.lexicon import Lexicon

#: Stands for a name whose owner is not one known person.
PLACEHOLDER = "<name>"
#: What masking and parsers write in angle brackets.
PLACEHOLDERS = frozenset({"phone", "email", "id", "ip", "key", "name", "user", "url", "file", "image"})
#: Scripts that are written without spaces between words.
CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
CJK_LETTER = re.compile(f"[{CJK}]")
#: A message that is nothing but a name is no longer.
LONGEST_CALL = 80
#: At the start of a message: who it is for.
_ADDRESS = re.compile(r"\s*@?([^\s:,：，]{1,64})([:,：，])\s*")
#: What may be somebody's name, with all that may follow it.
_MENTION = re.compile(r"(?<![A-Za-z0-9._%+/-])@([^\s@][^@\n]{0,63})")
#: Where a name after an @ may end.
_MENTION_END = re.compile(r"[\s:,：，。!！?？、]|\.(?=\s|$)|$")
#: A word after one of these, at a sentence's end, is somebody; and so are a last word after a comma, and a first one
#: that two spaces follow.
_GREETING = re.compile(
    r"(?<!\w)(?:hi|hello|hey|hiya|thanks|thank you|thanx|thx|ty|welcome|bye|sorry|agree|ask|cc)[ ,]+([^\s,.!?]{2,64})"
    r"(?=[\s.!?:;)]*(?:$|[.!?,\n]))"
)
#: What a sentence has before its first word.
_SENTENCE_START = re.compile(r"(?:^|[.!?。！？…\n:：;；\"“'(\[>*-])\s*$")

#: The rest of a document's name, behind a part of it; underscores are blanks there, and not in ``max_len.py``.
_DOCUMENT = re.compile(
    r"[^\s/\\]{0,120}\.(?:pdf|docx?|xlsx?|pptx?|od[tsp]|rtf|pages|key|numbers|txt|md|csv|zip|rar|7z|jpe?g|png|gif|heic"
    r"|mp[34]|m4a|mov|wav|psd|ai)(?![a-z0-9])"
)


class Known(NamedTuple):
    """A name and how it is to be found."""

    replacement: str
    length: int  # of the folded name
    capital: bool  # only with a capital letter
    form: str | None  # only as it was typed by its owner
    whole_word: bool  # neighbours must not be letters or digits
    crossing: bool  # two Chinese characters that may belong to two words
    denied: bool
    starting: bool = True  # also where a sentence starts, with a capital letter in any case


class Replacer:
    """Replaces names in texts; see ``Names.replacer``."""

    def __init__(self, anywhere: dict[str, Known], addressed: dict[str, str], lexicon: Lexicon) -> None:
        """Compile the names that count anywhere; the others only count as addresses."""
        import ahocorasick

        self._addressed = addressed
        self._lexicon = lexicon
        self._automaton = ahocorasick.Automaton()
        for name, known in sorted(anywhere.items()):
            self._automaton.add_word(name, known)
        self._automaton.make_automaton()
        self._iterate = self._automaton.iter if anywhere else lambda text: ()

    def __call__(self, text: str, counts: Counter[str], is_file_name: bool = False) -> str:
        """Replace the names in one text and count each as ``name`` or ``denied``."""
        folded, origins = original = fold(text)
        typed = text if origins is None else None
        found = [
            (end + 1 - known.length, -known.length, known.replacement, known.denied)
            for end, known in self._iterate(folded)
            if self._counts_here(known, end + 1 - known.length, end + 1, folded, typed, is_file_name)
        ]
        found += self._addresses(folded)
        if not found:
            return text
        pieces: list[str] = []
        done = finished = 0
        for start, minus_length, replacement, denied in sorted(found):
            if start < done:
                continue
            done = start - minus_length
            first, last = original.span(start, done)
            pieces += (text[finished:first], _apart(text[first - 1 : first], replacement, text[last : last + 1]))
            finished = last
            counts["denied" if denied else "name"] += 1
        return "".join((*pieces, text[finished:]))

    def in_file_name(self, name: str, counts: Counter[str]) -> str:
        """As for a text, but underscores part words, as they do where apps take spaces out: ``Ann_Lee_CV.pdf``."""
        found: Counter[str] = Counter()
        replaced = self(name, found, is_file_name=True)
        counts.update(found)
        return " ".join(replaced.replace("_", " ").split()) if found else name

    def _counts_here(
        self, known: Known, start: int, end: int, folded: str, text: str | None, is_file_name: bool
    ) -> bool:
        """Whether a name found at this place is one, and not a part of a word or of a placeholder."""
        before = folded[start - 1] if start else " "
        after = folded[end] if end < len(folded) else " "
        if known.whole_word:
            if "_" in (before, after) and (is_file_name or _DOCUMENT.match(folded, end)):
                before, after = before.replace("_", " "), after.replace("_", " ")
            if _joins(before) and (_joins(folded[start]) or folded[start] == "-"):
                return False
            if _joins(after) and (_joins(folded[end - 1]) or folded[end - 1] == "-"):
                return False
            if after in "'’" and folded[end + 1 : end + 2].isalpha() and folded[end + 1] != "s":
                return False  # don't is not Don
        if before == "<" and after == ">" and folded[start:end] in PLACEHOLDERS:
            return False
        if known.capital and not self._has_capital(known, start, text):
            return False
        if known.form is not None and (text is None or text[start:end] != known.form):
            return False
        return not (known.crossing and self._lexicon.crosses(before, folded[start:end], after))

    @staticmethod
    def _has_capital(known: Known, start: int, text: str | None) -> bool:
        if text is None or not text[start].isupper() or text[start + 1 : start + 2].isupper():
            return False
        return known.starting or not _SENTENCE_START.search(text, max(0, start - 8), start)

    def _addresses(self, folded: str) -> Iterator[tuple[int, int, str, bool]]:
        """Names at the start (``ann: ``, ``ann, bob: ``) and after an @."""
        position = 0
        waiting: list[tuple[int, int, str, bool]] = []
        while (match := _ADDRESS.match(folded, position)) and (found := self._called(match[1])):
            waiting.append((match.start(1), -len(match[1]), found, False))
            # "hi, all" greets nobody called hi; "hi, all: ..." does.
            if match[2] in ":：" or self._lexicon.frequency(match[1]) < self._lexicon.COMMON:
                yield from waiting
                waiting.clear()
            position = match.end()
        if "@" in folded:
            for match in _MENTION.finditer(folded):
                if name := self._mentioned(match[1]):
                    yield match.start(1), -len(name), self._addressed[name], False
        for start, name in _vocatives(folded):
            if (found := self._called(name)) and self._lexicon.frequency(name) < self._lexicon.COMMON:
                yield start, -len(name), found, False

    def _called(self, name: str) -> str | None:
        """Who is called by a name without an @. One letter is nobody: "E: ..." is an error of apt's."""
        return self._addressed.get(name) if len(name) > 1 or CJK_LETTER.match(name) else None

    def _mentioned(self, words: str) -> str:
        """The longest name at the start of what follows an @, where a name may end; empty if there is none."""
        ends = [match.start() for match in _MENTION_END.finditer(words)]
        # @anna你好: nothing says where a mention ends, but a change of script does; and 你好 follows 月亮 as it likes.
        ends += [place + 1 for place in range(len(words) - 1) if CJK_LETTER.match(words, place + 1)]
        ends += [place + 1 for place in range(len(words) - 1) if CJK_LETTER.match(words, place)]
        return next((words[:end] for end in sorted(ends, reverse=True) if words[:end] in self._addressed), "")


def _vocatives(folded: str) -> Iterator[tuple[int, str]]:
    """Words that stand where people are called by name: (place, word)."""
    if len(folded) < LONGEST_CALL:
        yield folded.find(alone := folded.strip(" .!?:;()")), alone
    first, gap, _ = folded.partition("  ")
    if gap and " " not in first:
        yield 0, first
    before, comma, last = folded.rpartition(",")
    if comma and " " not in (name := last.strip(" .!?:;()")):
        yield len(before) + 1 + last.find(name), name
    for match in _GREETING.finditer(folded):
        yield match.start(1), match[1]


def _apart(before: str, replacement: str, after: str) -> str:
    """A replacement that does not grow together with a letter beside it, as in ``问张伟ok``."""
    return (" " if before and _joins(before) else "") + replacement + (" " if after and _joins(after) else "")


def _joins(character: str) -> bool:
    """Whether a character beside a name makes it a part of a longer word."""
    if character.isascii():
        return character.isalnum() or character == "_"
    return (character.isalnum() or unicodedata.category(character)[0] == "M") and not CJK_LETTER.match(character)
