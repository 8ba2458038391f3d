"""Detection of the national charset of lines that are not UTF-8.

Old channels hold lines of several charsets, because each client sent its own. A charset is the more likely, the more of
the letters that it yields are common in its languages, or occur in the file's other lines. Lines that only lost a few
bytes in transit stay UTF-8 with U+FFFD, and so do lines that make sense in none of the charsets.

charset-normalizer is not used: it looks at a whole file or at one short line, not at the lines around it.
"""

from collections.abc import Iterable

#: Letters of the languages that use a single-byte charset.
LETTERS = {
    "cp1252": "äöüßéèêàçñáíóúâîôûëïåæøõãìòù°«»¿¡€–…’“”",
    "cp1257": "ąčęėįšųūžāēģīķļņōõäöü–…“”„",
    "cp1250": "ąćęłńóśźżáéíóúýčďěňřšťůžőűäöüß–…“”„",
    "iso8859_2": "ąćęłńóśźżáéíóúýčďěňřšťůžőűäöüß",
    "cp1251": "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїє",
    "koi8_r": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
}
#: First bytes of the common characters of a double-byte charset: punctuation, then syllables or the first level.
LEADS = {
    "euc_kr": ((0xA1, 0xA3), (0xB0, 0xC8)),
    "gb18030": ((0xA1, 0xA3), (0xB0, 0xD7)),
    "euc_jp": ((0xA1, 0xA5), (0xB0, 0xCF)),
    "shift_jis": ((0x81, 0x97),),
    "big5": ((0xA1, 0xC6),),
}
#: If several charsets fit equally well, the first is used.
CHARSETS = (*LETTERS, *LEADS)
#: The smallest share of common letters in a line that is in a charset.
LEAST = 0.6
#: Samples of this size suffice: lines that are not UTF-8, and letters of the others.
MOST_LINES, MOST_LETTERS = 2_000, 20_000


class Charsets:
    """Detects the charsets of one file's lines."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Read all lines of a file."""
        self._seen: set[str] = set()
        self._ranks = dict.fromkeys(CHARSETS, 0.0)
        wrong: list[bytes] = []
        for line in lines:
            if line.isascii():
                continue
            text, damaged = _utf_8(line)
            if text is None:
                wrong += [line] if len(wrong) < MOST_LINES else []
            elif not damaged and len(self._seen) < MOST_LETTERS:
                self._seen.update(text)
        for line in wrong:
            for charset in CHARSETS:
                self._ranks[charset] += self._score(line, charset)

    def decode(self, line: bytes) -> tuple[str, bool]:
        """Return the text of a line, and True if some of its bytes became U+FFFD."""
        text, damaged = _utf_8(line)
        if text is not None:
            return text, damaged
        for charset in sorted(CHARSETS, key=lambda each: -self._ranks[each]):
            if self._score(line, charset) >= LEAST:
                return line.decode(charset), False
        return line.decode("utf-8", "replace"), True

    def _score(self, line: bytes, charset: str) -> float:
        """Return the share of common letters plus that of letters in other lines; 0 if the line cannot be decoded."""
        try:
            letters = [each for each in line.decode(charset) if not each.isascii()]
        except UnicodeDecodeError:
            return 0
        if charset in LETTERS:
            common = sum(each in LETTERS[charset] for each in letters)
        else:
            leads = [each.encode(charset)[0] for each in letters]
            common = sum(any(low <= lead <= high for low, high in LEADS[charset]) for lead in leads)
        return (common + sum(each in self._seen for each in letters)) / max(len(letters), 1)


def _utf_8(line: bytes) -> tuple[str | None, bool]:
    """Return a line's text in UTF-8, and True if bytes were lost; the text is None for another charset."""
    try:
        return line.decode("utf-8"), False
    except UnicodeDecodeError as error:
        cut_off = error.reason == "unexpected end of data"
    text = line.decode("utf-8", "replace")
    whole = sum(not each.isascii() and each != "\ufffd" for each in text)
    # A few bytes of another charset are valid UTF-8 by chance, but most are not.
    return (text, True) if cut_off or whole >= text.count("\ufffd") else (None, True)
