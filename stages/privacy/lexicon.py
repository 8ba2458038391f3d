"""What is a word and what is a given name, told from lists that do not depend on the chat.

Frequencies are those of ``wordfreq`` (Speer, 2022), on the Zipf scale: the base-10 logarithm of a word's occurrences
in a billion words, 3 for once in a million. Given names and Chinese surnames are those of ``faker``.
"""

import importlib
import math
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from typing import ClassVar

from stages.cli import DataError

#: Their first names count although no other locale has them.
_LARGE_LOCALES = ("en_US", "en_GB", "en_IN")
#: Given names that are words first, as chats use them; these need a capital letter.
_WORDS = """
abby ace ada alma amber amity angel april arch art ash asia august aurora austin autumn ava basic basil bay bear beau
bill bird blue boston brandy brook brooke bud buddy candy carol carolina carter case cash chad chance charity chase
chip christian christmas clay cliff comfort coral crystal daisy dale dallas dawn day dean denver diamond dick dixie
don drew duke dusty earl early ebony echo eden elder else essence eve ever faith fern floor flora forest fox france
francisco frank free gale gay gene genesis georgia german ginger glen glory grace grant gray green guy happy harm
harmony harry hazel heath heather heaven helm holly honey hope hudson hunter india iris israel iva ivory ivy jack jade
jan jasmine java jay jean jenkins jewel job jordan joy july june jupyter justice karma king lady lance lane large
laurel lee legend liberty lily line london long love lucky lynx mac marina mark mars mason max maximum may mercedes
mercy merry mile miles miller misty mo mode myrtle nick noble nova olive opal page paris parker pascal pat patience
patty pearl penny pepper per perl phoenix pierce poppy porter precious preston prince princess queen rain raven ray
reed reign rich river rob robin rocky rod roman rose rosemary royal ruby rusty sage said sandy santa skip sky sol
sonny star sterling storm sue summer sunny sunshine swift sydney tea temple terry tiger till time tor trinity true
unique urban van victoria viola violet virginia virtue ward washington wave west will willow winter wolf wren young
zion
"""
_AMBIGUOUS = frozenset(_WORDS.split())


class Lexicon:
    """The words of some languages by frequency, and the names of all."""

    #: A nick of letters is a word from here on (Zipf). Chats of #ubuntu: below lie xubuntu and helpers' nicks, above
    #: grep and tty.
    WORD: ClassVar = 2.0
    #: A nick with digits or signs in it, such as mp3.
    HANDLE: ClassVar = 2.5
    #: A word that everybody uses (hi, help, note).
    COMMON: ClassVar = 4.0
    #: Not even a capital letter makes it a name.
    VERY_COMMON: ClassVar = 5.5
    #: Chinese: two characters without, two with a surname in front, and more.
    CHINESE: ClassVar = (3.5, 4.2, 4.0)

    def __init__(self, languages: tuple[str, ...]) -> None:
        """Load the languages' frequencies (about 30 MB and a quarter of a second each)."""
        self._tables = [_frequencies(language) for language in languages]

    def frequency(self, word: str) -> float:
        """Zipf frequency of a word in lower case, in the language that uses it most; 0 for no word."""
        most = max((table.get(word, 0.0) for table in self._tables), default=0.0)
        return 9 + math.log10(most) if most else 0.0

    def is_given_name(self, word: str) -> bool:
        """Whether a word in lower case is somebody's first name somewhere."""
        return word in _given_names()

    def is_ambiguous(self, word: str) -> bool:
        """Whether a given name is a word as well."""
        return word in _AMBIGUOUS or self.frequency(word) >= self.VERY_COMMON

    @staticmethod
    def surnames() -> frozenset[str]:
        """Chinese surnames of one character."""
        return _surnames()

    def is_chinese_name(self, name: str) -> bool:
        """Whether it starts as Chinese names do: with a surname, or with 小, 老 or 阿 before one."""
        return name[0] in _surnames() or (name[0] in "小老阿" and name[1:2] in _surnames())

    def is_chinese_word(self, name: str) -> bool:
        """Whether a nick of Chinese characters is a word that texts use."""
        bare, with_surname, longer = self.CHINESE
        if len(name) == 2:
            return self.frequency(name) >= (with_surname if self.is_chinese_name(name) else bare)
        return self.frequency(name) >= longer

    def crosses(self, before: str, name: str, after: str) -> bool:
        """Whether two characters belong to two words, as 子明 does in 孩子明天."""
        return self.frequency(before + name[0]) >= self.COMMON or self.frequency(name[-1] + after) >= self.COMMON


@cache
def _frequencies(language: str) -> dict[str, float]:
    from wordfreq import available_languages, get_frequency_dict

    if language not in available_languages("best"):
        known = ", ".join(sorted(available_languages("best")))
        raise DataError(f"names: expected a language among {known}, got {language!a}.")
    return get_frequency_dict(language, wordlist="best")


@cache
def _given_names() -> frozenset[str]:
    """First names in lower case: what two locales have, or one of those that stand for a continent."""
    locales = Counter(
        name
        for locale, names in _of_every_locale("first_names")
        for name in {name.lower() for name in names}
        for _ in range(2 if locale in _LARGE_LOCALES else 1)
    )
    return frozenset(name for name, count in locales.items() if count > 1 and name.isalpha())


@cache
def _surnames() -> frozenset[str]:
    chinese = (names for locale, names in _of_every_locale("last_names") if locale.startswith("zh"))
    return frozenset(name for names in chinese for name in names if len(name) == 1)


def _of_every_locale(attribute: str) -> Iterator[tuple[str, Iterable[str]]]:
    from faker.providers import person

    for module in pkgutil.iter_modules(person.__path__):
        if module.name == "en":
            continue  # a long list of anything that was ever given as a name
        provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
        yield module.name, getattr(provider.__new__(provider), attribute, None) or ()
