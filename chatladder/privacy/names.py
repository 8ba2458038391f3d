"""Names of people inside texts, replaced by the pseudonyms of their owners.

Parsers and collector tell ``Names`` everybody they meet; once all files are read, ``replacer`` gives a function that
takes every known name out of a text. What counts as a name there depends on what it looks like, since people call
themselves by words too, and hiding "install" or "linux" would ruin a technical chat:

===========================  ==========================================================================
a known name like            is replaced
===========================  ==========================================================================
``dr_willis``, ``usr13``     everywhere: no word looks like it (four characters, letters and others)
``jhutchins``, ``bazhang``   everywhere: not a word of the language
``Alice Smith``, ``张伟``    everywhere: two words, or two Chinese characters that are no common word
``alice``, ``Sara``          everywhere: a word, but a given name
``Kestrel``                  where it has a capital letter: a word, but a rare one
``Rose``, ``Smith``          where it has a capital letter and no sentence starts with it
``linux``, ``the``, ``bo``   where it calls somebody: ``linux: try again``, ``@linux``, ``thanks yeats!``
===========================  ==========================================================================

A display name's parts count as names too (``Alice Smith`` is also ``Alice``, 欧阳娜娜 is 娜娜), unless more than two
different names share one that is neither a first name nor a surname: that is a team or a town. A name of several people
becomes ``<name>``. Case, width, accents (``Jose`` for ``José``) and invisible characters make no difference. Whether
something is a word is told from frequencies that do not depend on the chat (``wordfreq``), so a decision stays what it
was when the chat grows; a word that people also use as a name can be denied by hand, and a name that the chat uses as a
word can be kept.

Not found: nicknames that nobody registered, misspelt names, initials, and letters that only look alike.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

from chatladder.privacy.folding import fold, narrow
from chatladder.privacy.lexicon import Lexicon, without_accents
from chatladder.privacy.pseudonyms import ASSISTANT, Pseudonyms
from chatladder.privacy.replacing import CJK, CJK_LETTER, PLACEHOLDER, Known, Replacer

#: More names than this do not share a part by chance: unless it is a first name or a surname, it is a team or a town.
MOST_SHARED = 2
#: A name longer than this is a sentence; so much of it, with what nobody sees, is looked at.
LONGEST = 64
LONGEST_RAW = 4 * LONGEST

_ALL_CJK = re.compile(f"[{CJK}]+")
_PARTS = re.compile(rf"[{CJK}]+|[^\W{CJK}](?:[^\W{CJK}]|['’\-.](?=[^\W{CJK}]))*")
#: An address is somebody; qq.com is not.
_MAIL = re.compile(r"[^\s@]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+")
#: What sets a team apart in a name: [team] Ann, Ann | team.
_TAG_SIGNS = re.compile(r"[\d_(){}<>【】（）《》|/\\@#:：·•~+*\[\]]")
_LETTERS = re.compile(r"(?:[^\W\d_]|['’](?=[^\W\d_]))+")
#: Vowel signs and the like, which many scripts write as marks.
_MARK_CATEGORIES = ("Mn", "Mc")


class Names:
    """Everybody who is known, by identity, and the other names they go by."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        deny: Iterable[str] = (),
        keep: Iterable[str] = (),
        languages: Iterable[str] = ("en", "zh"),
    ) -> None:
        """Start with nobody.

        Args:
            pseudonyms: Where people's pseudonyms come from.
            deny: Words and phrases that are always replaced, by ``<name>``, in any case.
            keep: Names that are never replaced, since the chat uses them as words.
            languages: Of the chat, as ``wordfreq`` calls them; their common words are not replaced.
        """
        #: Where people's pseudonyms come from.
        self.pseudonyms = pseudonyms
        self._deny = sorted({folded for each in deny if (folded := _tidy(each))})
        self._keep = {_tidy(each) for each in keep}
        self._languages = tuple(languages)
        #: Folded name -> identities, in the order of knowing; and the form in which a name was seen (``_see``).
        self._owners: dict[str, dict[str, None]] = {}
        self._forms: dict[str, str] = {}
        #: Folded part of a name -> identities, and a name of each that it is a part of.
        self._parts: dict[str, dict[str, str]] = {}
        #: First names and surnames that stand without a blank in a name, and whether they are names for sure.
        self._split: dict[str, bool] = {}
        #: Parts of names without the signs that set a team apart, as in ``[team] Ann``.
        self._plain: set[str] = set()

    def __len__(self) -> int:
        """How many different names are known, parts of names not counted."""
        return len(self._owners)

    def know(self, identity: str, *aliases: str) -> None:
        """Learn that a person exists, and under which other names.

        Args:
            identity: What the pseudonym is made of; it may be a name itself.
            aliases: Display name, user name, nick; empty ones are passed over.
        """
        for alias in (identity, *aliases):
            form = " ".join(alias.strip()[:LONGEST_RAW].split())
            name = _tidy(form)
            if not name or alias == ASSISTANT or len(name) > LONGEST:
                continue
            owners = self._owners.setdefault(name, {})
            if identity in owners:
                continue
            owners[identity] = None
            self._see(name, form)
            is_plain = not _TAG_SIGNS.search(name)
            for piece, is_name in _parts_of(form) if not _MAIL.fullmatch(name) else ():
                part = _tidy(piece)
                if part and part != name:
                    bearers = self._parts.setdefault(part, {})
                    bearers[identity] = min(name, bearers.get(identity, name))
                    self._see(part, piece)
                    if is_name is not None:
                        self._split[part] = is_name or self._split.get(part, False)
                    if is_plain:
                        self._plain.add(part)

    def _see(self, name: str, form: str) -> None:
        """Keep the first form of a name, but that with a capital letter, since accounts have none: ``zelda``, Zelda."""
        if not _is_capitalised(self._forms.setdefault(name, form)) and _is_capitalised(form):
            self._forms[name] = form

    def is_known(self, name: str) -> bool:
        """Whether a whole value, such as a sender, is somebody's name, be it a word or not."""
        return _tidy(name) in self._owners

    def replacer(self, addresses: bool = True, only: Collection[str] | None = None) -> Replacer:
        """A function that takes every name known so far out of a text.

        Args:
            addresses: Whether a text is a message, so that ``linux: try again`` addresses somebody.
            only: Identities whose names are taken out; None for everybody's.

        It counts ``name`` and ``denied`` for each replacement. Its time is linear in the text, whatever the number
        of names, but for names that lie on top of each other.
        """
        lexicon = Lexicon(self._languages)
        owners: dict[str, Iterable[str]] = {
            part: bearers for part, bearers in self._parts.items() if not self._is_tag(part, bearers, lexicon)
        }
        owners.update(self._owners)
        forms = dict(self._forms)
        for name in [name for name in owners if not name.isascii()]:
            if (plain := without_accents(name)) not in owners:
                owners[plain], forms[plain] = owners[name], without_accents(forms[name])
        issued = {self._replacement(known) for known in owners.values()}
        anywhere: dict[str, Known] = {}
        addressed: dict[str, str] = {}
        for name, known in owners.items():
            if only is not None and set(only).isdisjoint(known):
                continue
            if name in self._keep or name in issued or (name.isdigit() and len(name) < 6):
                continue
            if addresses:
                addressed[name] = self._replacement(known)
            told = _policy(name, forms[name], self._replacement(known), lexicon, self._split.get(name, False))
            if told is not None:
                anywhere[name] = told
        for name in self._deny:
            whole = not CJK_LETTER.search(name)
            anywhere[name] = Known(PLACEHOLDER, len(name), False, None, whole, False, denied=True)
        for name, found in list(anywhere.items()):  # as in the names of files
            if " " in name and found.form is None:
                for sign in "_-":
                    anywhere.setdefault(name.replace(" ", sign), found)
        return Replacer(anywhere, addressed, lexicon)

    def _is_tag(self, part: str, bearers: dict[str, str], lexicon: Lexicon) -> bool:
        """Whether a part is what a team or a town has given many names, and nobody's own name."""
        if len(set(bearers.values())) <= MOST_SHARED or part in self._split:
            return False
        if lexicon.is_given_name(part) or lexicon.is_surname(part):
            return False
        return part not in self._plain or bool(CJK_LETTER.search(part)) or lexicon.frequency(part) >= lexicon.WORD

    def _replacement(self, identities: Iterable[str]) -> str:
        people = {self.pseudonyms.person(identity) for identity in identities}
        return people.pop() if len(people) == 1 else PLACEHOLDER


def _tidy(name: str) -> str:
    return " ".join(fold(name).text.split())


def _is_capitalised(form: str) -> bool:
    return form[:1].isupper() and not form.isupper()


def _parts_of(form: str) -> Iterator[tuple[str, bool | None]]:
    """The parts of a name that people go by, and of those that no blank parts whether each is a name for sure."""
    plain = narrow(form).text
    if any(unicodedata.category(each) in _MARK_CATEGORIES for each in plain):
        yield from ((word, None) for word in plain.split())
        return
    for piece in _PARTS.findall(form):
        yield piece, None
        if _ALL_CJK.fullmatch(piece):
            yield from Lexicon.name_parts(piece).items()
        elif "-" in piece:  # Anna-Lena
            words = piece.split("-")
            if all(word.isalpha() and _is_capitalised(word) for word in words):
                yield from ((word, None) for word in words)


def _policy(name: str, form: str, replacement: str, lexicon: Lexicon, is_personal: bool = False) -> Known | None:
    """How a known name is to be found inside sentences; None if it only counts as an address."""
    found = Known(replacement, len(name), False, None, True, False, False)
    if CJK_LETTER.search(name):
        found = found._replace(whole_word=False, crossing=len(name) == 2 and not lexicon.is_chinese_name(name))
        plain = len(name) < 2 or (_ALL_CJK.fullmatch(name) and lexicon.is_chinese_word(name, is_personal))
        return None if plain else found
    words = name.split(" ")
    if len(words) > 1:
        common = all(lexicon.frequency(word) >= lexicon.COMMON and not lexicon.is_given_name(word) for word in words)
        return found._replace(form=form) if common else found
    letters = "".join(each for each in name if unicodedata.category(each) not in _MARK_CATEGORIES)
    if not _LETTERS.fullmatch(letters):
        core = name.strip("-")  # "non-" is more often half a word
        plain = len(core) < 4 or lexicon.frequency(core) >= lexicon.HANDLE
        return None if plain else found
    if len(name) < 3:
        return None
    if lexicon.frequency(name) < lexicon.WORD or (lexicon.is_given_name(name) and not lexicon.is_ambiguous(name)):
        return found
    capitalised = _is_capitalised(form) and lexicon.frequency(name) < lexicon.VERY_COMMON
    is_rare = lexicon.frequency(name) < lexicon.RARE
    return found._replace(capital=True, starting=is_rare) if capitalised or lexicon.is_given_name(name) else None
