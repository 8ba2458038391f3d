"""Names of people inside texts, replaced by their pseudonyms.

Parsers and the collector report all people to ``Names``; once all files are read, ``replacer`` returns a function that
replaces every known name in a text. The form of a name decides where it counts as one, since people also use words as
nicks, and hiding "install" or "linux" would ruin a technical chat:

===========================  ==========================================================================
a known name like            is replaced
===========================  ==========================================================================
``dr_willis``, ``usr13``     everywhere: no word looks like it (four characters, letters and others)
``jhutchins``, ``bazhang``   everywhere: not a word of the language
``Alice Smith``, ``张伟``    everywhere: two words, or two Chinese characters that are not a common word
``alice``, ``Sara``          everywhere: a word, but also a given name
``Kestrel``                  with a capital letter: a word, but a rare one
``Rose``, ``Smith``          with a capital letter that does not start a sentence
``linux``, ``the``, ``bo``   as an address: ``linux: try again``, ``@linux``, ``thanks yeats!``
===========================  ==========================================================================

A display name's parts count as names too (``Alice Smith`` is also ``Alice``, 欧阳娜娜 is 娜娜), unless more than two
different names share a part that is neither a first name nor a surname: that is a team or a town. A name of
several people becomes ``<name>``. Case, width, accents (``Jose`` for ``José``) and invisible characters make no
difference. Frequencies that do not depend on the chat (``wordfreq``) decide whether a name is a word, so a
decision does not change when the chat grows. A word that people also use as a name can be denied by hand, and a
name that the chat uses as a word can be kept.

Not found: nicknames that nobody registered, misspelt names, initials, and names with look-alike letters.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from chatladder.privacy.folding import fold, narrow, tidy
from chatladder.privacy.lexicon import Lexicon, without_accents
from chatladder.privacy.patterns import PATTERNS
from chatladder.privacy.pseudonyms import ASSISTANT, PLACEHOLDER, Pseudonyms

#: If more names than this share a part, it is a team or a town, unless it is a first name or a surname.
MOST_SHARED = 2
#: A longer name is a sentence; the raw limit includes invisible characters.
LONGEST = 64
LONGEST_RAW = 4 * LONGEST
#: Shorter numbers are not names, except after an @.
SHORTEST_NUMBER, SHORTEST_MENTIONED = 6, 3
#: The placeholders that masking and parsers write in angle brackets.
PLACEHOLDERS = frozenset({"phone", "email", "id", "ip", "key", "name", "user", "url", "file", "image"})
#: Scripts that are written without spaces between words.
CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
CJK_LETTER = re.compile(f"[{CJK}]")
#: The longest message that may consist of a name only.
LONGEST_CALL = 80
#: The addressee at the start of a message.
_ADDRESS = re.compile(r"\s*@?([^\s:,：，]{1,64})([:,：，])\s*")
#: A possible name after an @, with the text after it.
_MENTION = re.compile(rf"(?:(?<![A-Za-z0-9._%+/-])@|@(?=[{CJK}]))([^\s@][^@\n]{{0,63}})")
#: The end of a name after an @.
_MENTION_END = re.compile(r"[\s:,：，。!！?？、;；…~～)）\]】\"'”’」』》>*|]|\.(?=\s|$)|$")
#: A person whom no export names: apps end a mention with a space; without one, only a short name is taken.
_UNKNOWN = re.compile(
    rf"[{CJK}](?:[^\s@,，。:：;；!！?？、…()（）\[\]【】<>《》\"'“”‘’/\\]{{0,15}}(?=\s)|[{CJK}]{{1,3}}(?=[\s,，。:：!！?？、)）]|$))"
)
_EVERYBODY = ("所有人", "全体成员", "全体", "大家", "管理员", "群主")
#: The text before the first word of a sentence.
_SENTENCE_START = re.compile(r"(?:^|[.!?。！？…\n:：;；\"“'(\[>*-])\s*$")
_ALL_CJK = re.compile(f"[{CJK}]+")
_PARTS = re.compile(rf"[{CJK}]+|[^\W{CJK}](?:[^\W{CJK}]|['’\-.](?=[^\W{CJK}]))*")
#: An address identifies a person; qq.com does not.
_MAIL = re.compile(r"[^\s@]+@[a-z0-9-]+(?:\.[a-z0-9-]+)+")
#: Signs that separate a team in a name: [team] Ann, Ann | team.
_TAG_SIGNS = re.compile(r"[\d_(){}<>【】（）《》|/\\@#:：·•~+*\[\]]")
_LETTERS = re.compile(r"(?:[^\W\d_]|['’](?=[^\W\d_]))+")
#: Vowel signs and the like, which many scripts write as marks.
_MARK_CATEGORIES = ("Mn", "Mc")


class KnownName(NamedTuple):
    """A name and the conditions under which it is replaced."""

    replacement: str
    length: int  # of the folded name
    capital: bool = False  # only with a capital letter
    form: str | None = None  # only as its owner typed it
    whole_word: bool = True  # only if its neighbours are not letters or digits
    crossing: bool = False  # two Chinese characters that may belong to two words
    denied: bool = False
    starting: bool = True  # also at the start of a sentence, if it has a capital letter


class Replacer:
    """Replaces names in texts; see ``Names.replacer``."""

    def __init__(self, anywhere: dict[str, KnownName], addressed: dict[str, str], lexicon: Lexicon) -> None:
        """Compile the names that count anywhere; ``addressed`` names count only as addresses."""
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
        replaced = self._replace(text, counts, is_file_name)
        # The space that comes with a pseudonym may end the mention of an unknown person: @赵ok张伟.
        return self._replace(replaced, counts, is_file_name) if "@" in text and replaced != text else replaced

    def _replace(self, text: str, counts: Counter[str], is_file_name: bool) -> str:
        folded, origins = original = fold(text)
        typed = text if origins is None else None
        matches = [
            (end + 1 - known.length, -known.length, known.replacement, known.denied)
            for end, known in self._iterate(folded)
            if self._counts_here(known, end + 1 - known.length, end + 1, folded, typed, is_file_name)
        ]
        matches += self._addresses(folded)
        if not matches:
            return text
        pieces: list[str] = []
        done = finished = 0
        for start, minus_length, replacement, denied in sorted(matches):
            if start < done:
                continue
            done = start - minus_length
            first, last = original.span(start, done)
            pieces += (text[finished:first], _apart(text[first - 1 : first], replacement, text[last : last + 1]))
            finished = last
            counts["denied" if denied else "name"] += 1
        return "".join((*pieces, text[finished:]))

    def in_file_name(self, name: str, counts: Counter[str]) -> str:
        """Replace names as in a text, also next to underscores: apps write them for spaces (``Ann_Lee_CV.pdf``)."""
        replacements: Counter[str] = Counter()
        replaced = self(name, replacements, is_file_name=True)
        counts.update(replacements)
        return " ".join(replaced.replace("_", " ").split()) if replacements else name

    def _counts_here(
        self, known: KnownName, start: int, end: int, folded: str, text: str | None, is_file_name: bool
    ) -> bool:
        """Return True if a match is a name, and not a part of a word or of a placeholder."""
        before = folded[start - 1] if start else " "
        after = folded[end] if end < len(folded) else " "
        if known.whole_word:
            if "_" in (before, after) and (is_file_name or PATTERNS["document"].match(folded, end)):
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
    def _has_capital(known: KnownName, start: int, text: str | None) -> bool:
        if text is None or not text[start].isupper() or text[start + 1 : start + 2].isupper():
            return False
        return known.starting or not _SENTENCE_START.search(text, max(0, start - 8), start)

    def _addresses(self, folded: str) -> Iterator[tuple[int, int, str, bool]]:
        """Yield the names at the start (``ann: ``, ``ann, bob: ``) and after an @."""
        position = 0
        waiting: list[tuple[int, int, str, bool]] = []
        while (match := _ADDRESS.match(folded, position)) and (person := self._called(match[1])):
            waiting.append((match.start(1), -len(match[1]), person, False))
            # "hi, all" does not address a person called hi; "hi, all: ..." does.
            if match[2] in ":：" or self._lexicon.frequency(match[1]) < self._lexicon.COMMON:
                yield from waiting
                waiting.clear()
            position = match.end()
        if "@" in folded:
            for match in _MENTION.finditer(folded):
                if name := self._mentioned(match[1]):
                    yield match.start(1), -len(name), self._addressed[name], False
                elif (unknown := _UNKNOWN.match(match[1])) and unknown[0] not in _EVERYBODY:
                    yield match.start(1), -len(unknown[0]), PLACEHOLDER, False
        for start, name in _vocatives(folded):
            if (person := self._called(name)) and self._lexicon.frequency(name) < self._lexicon.COMMON:
                yield start, -len(name), person, False

    def _called(self, name: str) -> str | None:
        """Return the person called by a name without an @. One letter is nobody: "E: ..." is an error of apt."""
        is_nobody = (len(name) < 2 and not CJK_LETTER.match(name)) or (name.isdigit() and len(name) < SHORTEST_NUMBER)
        return None if is_nobody else self._addressed.get(name)

    def _mentioned(self, words: str) -> str:
        """Return the longest name at the start of the text after an @, up to a possible end; empty if there is none."""
        ends = [match.start() for match in _MENTION_END.finditer(words)]
        # In @anna你好 only the change of script ends the mention; and 你好 may follow 月亮 directly.
        ends += [place + 1 for place in range(len(words) - 1) if CJK_LETTER.match(words, place + 1)]
        ends += [place + 1 for place in range(len(words) - 1) if CJK_LETTER.match(words, place)]
        return next((words[:end] for end in sorted(ends, reverse=True) if words[:end] in self._addressed), "")


def _vocatives(folded: str) -> Iterator[tuple[int, str]]:
    """Yield (place, word) of words where people are called by name."""
    if len(folded) < LONGEST_CALL:
        yield folded.find(alone := folded.strip(" .!?:;()")), alone
    first, gap, _ = folded.partition("  ")
    if gap and " " not in first:
        yield 0, first
    before, comma, last = folded.rpartition(",")
    if comma and " " not in (name := last.strip(" .!?:;()")):
        yield len(before) + 1 + last.find(name), name
    for match in PATTERNS["greeting"].finditer(folded):
        yield match.start(1), match[1]


def _apart(before: str, replacement: str, after: str) -> str:
    """Return a replacement with spaces where it would join a neighbouring letter, as in ``问张伟ok``."""
    return (" " if before and _joins(before) else "") + replacement + (" " if after and _joins(after) else "")


def _joins(character: str) -> bool:
    """Return True if a character next to a name makes it part of a longer word."""
    if character.isascii():
        return character.isalnum() or character == "_"
    return (character.isalnum() or unicodedata.category(character)[0] == "M") and not CJK_LETTER.match(character)


class Names:
    """All known people by identity, and their other names."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        deny: Iterable[str] = (),
        keep: Iterable[str] = (),
        languages: Iterable[str] = ("en", "zh"),
    ) -> None:
        """Start empty.

        Args:
            pseudonyms: The pseudonyms of people.
            deny: Words and phrases that are always replaced, by ``<name>``, in any case.
            keep: Names that are never replaced, since the chat uses them as words.
            languages: The languages of the chat, by ``wordfreq``'s codes; their common words are not replaced.
        """
        #: The pseudonyms of people.
        self.pseudonyms = pseudonyms
        self._deny = sorted({folded for each in deny if (folded := tidy(each))})
        self._keep = {tidy(each) for each in keep}
        self._languages = tuple(languages)
        #: Folded name -> identities, in the order in which they were reported; and the typed form of a name (``_see``).
        self._owners: dict[str, dict[str, None]] = {}
        self._forms: dict[str, str] = {}
        #: Folded part of a name -> identities, and for each a name that contains the part.
        self._parts: dict[str, dict[str, str]] = {}
        #: First names and surnames that are written without a blank, and True if they are certainly names.
        self._split: dict[str, bool] = {}
        #: Parts of names without the signs that separate a team, as in ``[team] Ann``.
        self._plain: set[str] = set()

    def __len__(self) -> int:
        """Return the number of different names, without parts of names."""
        return len(self._owners)

    def know(self, identity: str, *aliases: str) -> None:
        """Record that a person exists, and their other names.

        Args:
            identity: The text that the pseudonym is made from; it may be a name itself.
            aliases: Display name, user name, nick; empty ones are skipped.
        """
        for alias in (identity, *aliases):
            form = " ".join(alias.strip()[:LONGEST_RAW].split())
            name = tidy(form)
            if not name or alias == ASSISTANT or len(name) > LONGEST:
                continue
            owners = self._owners.setdefault(name, {})
            if identity in owners:
                continue
            owners[identity] = None
            self._see(name, form)
            is_plain = not _TAG_SIGNS.search(name)
            for piece, is_name in _parts_of(form) if not _MAIL.fullmatch(name) else ():
                part = tidy(piece)
                if part and part != name:
                    bearers = self._parts.setdefault(part, {})
                    bearers[identity] = min(name, bearers.get(identity, name))
                    self._see(part, piece)
                    if is_name is not None:
                        self._split[part] = is_name or self._split.get(part, False)
                    if is_plain:
                        self._plain.add(part)

    def _see(self, name: str, form: str) -> None:
        """Keep the first form of a name, or one with a capital letter, since accounts have none: ``zelda``, Zelda."""
        if not _is_capitalised(self._forms.setdefault(name, form)) and _is_capitalised(form):
            self._forms[name] = form

    def is_known(self, name: str) -> bool:
        """Return True if a whole value, such as a sender, is a known name, even if it is a word."""
        return tidy(name) in self._owners

    def replacer(self, addresses: bool = True, only: Collection[str] | None = None) -> Replacer:
        """Return a function that replaces every name known so far in a text.

        Args:
            addresses: True if a text is a message, so that ``linux: try again`` addresses a person.
            only: Identities whose names are replaced; None for all.

        It counts each replacement as ``name`` or ``denied``. Its time is linear in the text, whatever the number of
        names, except for overlapping names.
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
        anywhere: dict[str, KnownName] = {}
        addressed: dict[str, str] = {}
        for name, known in owners.items():
            if only is not None and set(only).isdisjoint(known):
                continue
            if name in self._keep or name in issued or (name.isdigit() and len(name) < SHORTEST_MENTIONED):
                continue
            if addresses:
                addressed[name] = self._replacement(known)
            if name.isdigit() and len(name) < SHORTEST_NUMBER:
                continue
            policy = _policy(name, forms[name], self._replacement(known), lexicon, self._split.get(name, False))
            if policy is not None:
                anywhere[name] = policy
        for name in self._deny:
            anywhere[name] = KnownName(PLACEHOLDER, len(name), whole_word=not CJK_LETTER.search(name), denied=True)
        for name, policy in list(anywhere.items()):  # as in file names
            if " " in name and policy.form is None:
                for sign in "_-":
                    anywhere.setdefault(name.replace(" ", sign), policy)
        return Replacer(anywhere, addressed, lexicon)

    def _is_tag(self, part: str, bearers: dict[str, str], lexicon: Lexicon) -> bool:
        """Return True if a part is a team or a town that many names share, and not a person's name."""
        if len(set(bearers.values())) <= MOST_SHARED or part in self._split:
            return False
        if lexicon.is_given_name(part) or lexicon.is_surname(part):
            return False
        return part not in self._plain or bool(CJK_LETTER.search(part)) or lexicon.frequency(part) >= lexicon.WORD

    def _replacement(self, identities: Iterable[str]) -> str:
        people = {self.pseudonyms.person(identity) for identity in identities}
        return people.pop() if len(people) == 1 else PLACEHOLDER


def _is_capitalised(form: str) -> bool:
    return form[:1].isupper() and not form.isupper()


def _parts_of(form: str) -> Iterator[tuple[str, bool | None]]:
    """Yield the parts of a name that people go by; for parts without a blank between, True if certainly a name."""
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


def _policy(name: str, form: str, replacement: str, lexicon: Lexicon, is_personal: bool = False) -> KnownName | None:
    """Return the conditions under which a name is found inside sentences; None if it only counts as an address."""
    policy = KnownName(replacement, len(name))
    if CJK_LETTER.search(name):
        policy = policy._replace(whole_word=False, crossing=len(name) == 2 and not lexicon.is_chinese_name(name))
        plain = len(name) < 2 or (_ALL_CJK.fullmatch(name) and lexicon.is_chinese_word(name, is_personal))
        return None if plain else policy
    words = name.split(" ")
    if len(words) > 1:
        common = all(lexicon.frequency(word) >= lexicon.COMMON and not lexicon.is_given_name(word) for word in words)
        return policy._replace(form=form) if common else policy
    letters = "".join(each for each in name if unicodedata.category(each) not in _MARK_CATEGORIES)
    if not _LETTERS.fullmatch(letters):
        core = name.strip("-")  # "non-" is mostly half a word
        plain = len(core) < 4 or lexicon.frequency(core) >= lexicon.HANDLE
        return None if plain else policy
    if len(name) < 3:
        return None
    if lexicon.frequency(name) < lexicon.WORD or (lexicon.is_given_name(name) and not lexicon.is_ambiguous(name)):
        return policy
    capitalised = _is_capitalised(form) and lexicon.frequency(name) < lexicon.VERY_COMMON
    is_rare = lexicon.frequency(name) < lexicon.RARE
    return policy._replace(capital=True, starting=is_rare) if capitalised or lexicon.is_given_name(name) else None
