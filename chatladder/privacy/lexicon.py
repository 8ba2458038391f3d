"""Words and given names, from lists that do not depend on the chat.

Frequencies are those of ``wordfreq`` (Speer, 2022), on the Zipf scale: the base-10 logarithm of a word's occurrences
in a billion words, 3 for once in a million. Given names and Chinese surnames are those of ``faker``.
"""

import importlib
import math
import pkgutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from typing import ClassVar

from chatladder.io.console import DataError
from chatladder.privacy.patterns import TABLES

#: Locales whose first names count even if no other locale has them.
_LARGE_LOCALES = ("en_US", "en_GB", "en_IN")
_EAST_ASIAN = ("zh", "ja", "ko")
_AMBIGUOUS = frozenset(TABLES["names"]["ambiguous"].split())
_COMPOUND = frozenset(TABLES["names"]["compound"].split())


class Lexicon:
    """The words of some languages by frequency, and the names of all languages."""

    #: A nick of letters is a word from this Zipf frequency on. In chats of #ubuntu, xubuntu and helpers' nicks lie
    #: below it, grep and tty above.
    WORD: ClassVar = 2.0
    #: A nick with digits or signs in it, such as mp3.
    HANDLE: ClassVar = 2.5
    #: If such a rare word starts a sentence in a chat with a person of that name, it is that person.
    RARE: ClassVar = 3.0
    #: A word that everyone uses (hi, help, note).
    COMMON: ClassVar = 4.0
    #: A word that even a capital letter does not make a name.
    VERY_COMMON: ClassVar = 5.5
    #: Chinese: without a surname in front; with one, for two characters and for more (诸葛亮 lies below).
    CHINESE: ClassVar = (3.5, 4.2, 4.0)

    def __init__(self, languages: tuple[str, ...]) -> None:
        """Load the languages' frequencies (about 30 MB and a quarter of a second each)."""
        self._tables = [_frequencies(language) for language in languages]

    def frequency(self, word: str) -> float:
        """Return the Zipf frequency of a word in lower case, in the language that uses it most; 0 for no word."""
        most = max((table.get(word, 0.0) for table in self._tables), default=0.0)
        return 9 + math.log10(most) if most else 0.0

    def is_given_name(self, word: str) -> bool:
        """Return True if a word in lower case is a first name in some locale."""
        return word in _given_names() or without_accents(word) in _given_names()

    def is_ambiguous(self, word: str) -> bool:
        """Return True if a given name is also a word."""
        return word in _AMBIGUOUS or self.frequency(word) >= self.VERY_COMMON

    @staticmethod
    def is_surname(word: str) -> bool:
        """Return True if a word in lower case is a last name in some locale."""
        return word in _COMPOUND or word in _surnames()

    @staticmethod
    def name_parts(name: str) -> dict[str, bool]:
        """Return the parts of a Chinese, Japanese or Korean name, surname and given name, by which friends call people.

        Args:
            name: A name of characters of these scripts only.

        Returns:
            Each part of two characters or more, and True if it is certainly a name: 娜娜 of 欧阳娜娜 and 丽丽
            of 王丽丽 are, 开水 of 白开水 may be a word.
        """
        parts: dict[str, bool] = {}
        is_compound = name[:2] in _COMPOUND
        for surname, given in ((name[:length], name[length:]) for length in (2, 3)):
            if 1 <= len(given) <= 3 and (surname in _COMPOUND or surname in _surnames()):
                is_sure = surname in _COMPOUND or given in _given_names()  # 清水河畔 is not a person called 清水
                parts.update(dict.fromkeys((surname, given), is_sure))
        if len(name) == 3 and not is_compound and name[0] in _surnames():
            given = name[1:]
            parts[given] = given in _given_names() or given[0] == given[1]
        return {part: is_sure for part, is_sure in parts.items() if len(part) > 1}

    def is_chinese_name(self, name: str) -> bool:
        """Return True if a name starts as Chinese names do: with a surname, or with 小, 老 or 阿 before one."""
        first, second = name[0], name[1:2]
        surnames = _chinese_surnames()
        return first in surnames or first + second in _COMPOUND or (first in "小老阿" and second in surnames)

    def is_chinese_word(self, name: str, is_name: bool = False) -> bool:
        """Return True if a nick of Chinese characters is a word that texts use; a name must be a common one."""
        bare, with_surname, longer_with_surname = self.CHINESE
        if not (is_name or self.is_chinese_name(name)):
            return self.frequency(name) >= bare
        return self.frequency(name) >= (with_surname if len(name) == 2 else longer_with_surname)

    def crosses(self, before: str, name: str, after: str) -> bool:
        """Return True if two characters belong to two words, as 子明 does in 孩子明天."""
        return self.frequency(before + name[0]) >= self.COMMON or self.frequency(name[-1] + after) >= self.COMMON


def without_accents(word: str) -> str:
    """Return ``jose`` for ``josé``; other scripts are unchanged, since their marks are letters."""
    if word.isascii():
        return word
    plain = "".join(each for each in unicodedata.normalize("NFD", word) if not unicodedata.combining(each))
    return plain if plain.isascii() else word


@cache
def _frequencies(language: str) -> dict[str, float]:
    from wordfreq import available_languages, get_frequency_dict

    if language not in available_languages("best"):
        known = ", ".join(sorted(available_languages("best")))
        raise DataError(f"names: expected a language among {known}, got {language!a}.")
    return get_frequency_dict(language, wordlist="best")


@cache
def _given_names() -> frozenset[str]:
    """Return the first names in lower case that two locales have, or one locale of a continent or a script."""
    locales = Counter(
        name
        for locale, names in _of_every_locale("first_names")
        for name in {name.lower() for name in names}
        for _ in range(2 if locale in _LARGE_LOCALES or locale.startswith(_EAST_ASIAN) else 1)
    )
    return frozenset(name for name, count in locales.items() if count > 1 and name.isalpha())


@cache
def _surnames() -> frozenset[str]:
    return frozenset(name.lower() for _, names in _of_every_locale("last_names") for name in names)


@cache
def _chinese_surnames() -> frozenset[str]:
    chinese = (names for locale, names in _of_every_locale("last_names") if locale.startswith("zh"))
    return frozenset(name for names in chinese for name in names if len(name) == 1)


def _of_every_locale(attribute: str) -> Iterator[tuple[str, Iterable[str]]]:
    from faker.providers import person

    for module in pkgutil.iter_modules(person.__path__):
        if module.name == "en":
            continue  # a long list of everything that was ever given as a name
        provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
        yield module.name, getattr(provider.__new__(provider), attribute, None) or ()
