"""Lines that are not UTF-8: which national charset they are in, told from what they would say.

Old channels hold lines of several charsets: each client sent its own. A charset is the likelier, the more of the
letters that it makes of such lines are common in its languages, or stand in the file's other lines. Lines that only
lost a few bytes on their way stay UTF-8 with U+FFFD, and so do lines that no charset makes sense of.

Read here and not by charset-normalizer, which looks at a whole file or one short line, and not at the lines around it.
"""

from collections.abc import Iterable

#: Letters of the languages that write in a charset of single bytes.
LETTERS = {
    "cp1252": "äöüßéèêàçñáíóúâîôûëïåæøõãìòù°«»¿¡€–…’“”",
    "cp1257": "ąčęėįšųūžāēģīķļņōõäöü–…“”„",
    "cp1250": "ąćęłńóśźżáéíóúýčďěňřšťůžőűäöüß–…“”„",
    "iso8859_2": "ąćęłńóśźżáéíóúýčďěňřšťůžőűäöüß",
    "cp1251": "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїє",
    "koi8_r": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
}
#: First bytes of the common characters of a charset of two bytes: punctuation, then syllables or the first level.
LEADS = {
    "euc_kr": ((0xA1, 0xA3), (0xB0, 0xC8)),
    "gb18030": ((0xA1, 0xA3), (0xB0, 0xD7)),
    "euc_jp": ((0xA1, 0xA5), (0xB0, 0xCF)),
    "shift_jis": ((0x81, 0x97),),
    "big5": ((0xA1, 0xC6),),
}
#: Of charsets that fit equally well the first is taken.
CHARSETS = (*LETTERS, *LEADS)
#: The least share of common letters of a line that is in a charset.
LEAST = 0.6
#: Enough to tell, of lines and of what stands in the others.
MOST_LINES, MOST_LETTERS = 2_000, 20_000


class Charsets:
    """The charsets of one file."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Look through all of a file's lines."""
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
        """Text of a line, and whether bytes of it stand as U+FFFD."""
        text, damaged = _utf_8(line)
        if text is not None:
            return text, damaged
        for charset in sorted(CHARSETS, key=lambda each: -self._ranks[each]):
            if self._score(line, charset) >= LEAST:
                return line.decode(charset), False
        return line.decode("utf-8", "replace"), True

    def _score(self, line: bytes, charset: str) -> float:
        """Share of common letters, and that of letters that stand in the file's other lines; 0 if it is none."""
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
    """Text of a line in UTF-8, and whether bytes were lost; no text if it is in another charset."""
    try:
        return line.decode("utf-8"), False
    except UnicodeDecodeError as error:
        cut_off = error.reason == "unexpected end of data"
    text = line.decode("utf-8", "replace")
    whole = sum(not each.isascii() and each != "\ufffd" for each in text)
    # Bytes of another charset are UTF-8 by chance now and then, and most of them are not.
    return (text, True) if cut_off or whole >= text.count("\ufffd") else (None, True)
