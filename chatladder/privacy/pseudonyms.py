"""Names of people and groups as pseudonyms: the same name is the same pseudonym, and only the key leads back.

``u`` (people) or ``g`` (groups) and 8 hex digits of HMAC-SHA256(key, name). The key is a local secret (see
``chatladder.privacy.secret``); without one it is the public key below, so that the demo is the same everywhere. With
the public key anybody can test a guessed name, which is why ingest takes nothing but the demo under it. Pseudonyms and
the ids of messages change with the key.

32 bits keep most chats' names apart (1 % risk that any two of 9,300 people share one). Where two names do meet, the
one that comes later gets 16 digits, so two people never become one, and the meeting is counted.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable

from chatladder.privacy.secret import local_key

#: Sender of a bot's own answers; the one name that is kept, since it is nobody's.
ASSISTANT = "assistant"
#: Stands for a name whose owner is not one known person.
PLACEHOLDER = "<name>"
DEMO_KEY = "chatladder demo: a public key that hides nothing"


#: Names and their pseudonyms, in the order in which they were asked for, of each kind: u, g and f.
Known = dict[str, dict[str, str]]


class Pseudonyms:
    """Pseudonyms under one key; each name is computed once."""

    def __init__(self, key: str | None = None) -> None:
        """Take ``key``, else the local secret, else the public demo key.

        Raises:
            DataError: If the local secret cannot be used (see ``chatladder.privacy.secret.local_key``).
        """
        self._key = (key or local_key() or DEMO_KEY).encode()
        self._message_key = hashlib.sha256(b"messages\0" + self._key).digest()
        #: Every name that was asked for: of people, groups and files.
        self.known: Known = {"u": {}, "g": {}, "f": {}}
        self._taken: set[str] = set()
        #: Marks of people who have none: they become ``<name>``.
        self.forgotten: frozenset[str] = frozenset()
        self._is_forgotten: dict[str, bool] = {}
        #: How many names met a pseudonym that was taken.
        self.collisions = 0

    @property
    def is_demo(self) -> bool:
        """Return whether the key is the public one."""
        return self._key == DEMO_KEY.encode()

    @property
    def check(self) -> str:
        """Return a digest that is the same under the same key, and leads back to it no more than a pseudonym does."""
        return self._digits("\0which key is this?")[:16]

    def agree(self, known: Known) -> bool:
        """Ask for the same names in the same order, and say whether they have the same pseudonyms."""
        again = {kind: {name: self._pseudonym(kind, name) for name in names} for kind, names in known.items()}
        return again == known

    def forget(self, marks: Iterable[str]) -> None:
        """Give people of these marks no pseudonym; to be said before any is asked for."""
        self.forgotten = frozenset(marks)

    def mark(self, name: str) -> str:
        """Return what identifies a person under the same key and is neither name nor pseudonym."""
        return self._digits(f"\0forgotten\0{name}")[:32]

    def is_forgotten(self, name: str) -> bool:
        """Return whether a person is among those without a pseudonym."""
        if not self.forgotten:
            return False
        if name not in self._is_forgotten:
            self._is_forgotten[name] = self.mark(name) in self.forgotten
        return self._is_forgotten[name]

    def person(self, name: str) -> str:
        """Pseudonym of a person; the assistant keeps its name, and who is forgotten has none."""
        if name == ASSISTANT:
            return ASSISTANT
        if name == PLACEHOLDER or self.is_forgotten(name):
            return PLACEHOLDER
        return self._pseudonym("u", name)

    def group(self, name: str) -> str:
        """Pseudonym of a group."""
        return self._pseudonym("g", name)

    def file(self, name: str) -> str:
        """Pseudonym of a file: exports are named for the group, or for the person it is with."""
        return self._pseudonym("f", name)

    def message(self, *parts: str) -> int:
        """Return 64 bits that stand for a message, whatever is masked in it: a keyed hash of what identifies it.

        Args:
            parts: Names, times and texts as the export has them.
        """
        data = json.dumps(parts).encode()  # no name or text can pass for the end of one part and the start of another
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=self._message_key).digest(), "big")

    def digits(self, kind: str, name: str) -> str:
        """An id of 16 hex digits in place of another, such as that of a message, which may tell what it is of."""
        return self._digits(f"\0{kind}\0{name}")[:16]

    def _pseudonym(self, kind: str, name: str) -> str:
        known = self.known[kind]
        if name not in known:
            digits = self._digits(name)
            pseudonym = kind + digits[:8]
            if pseudonym in self._taken:
                self.collisions += 1
                pseudonym = kind + digits[:16]
            self._taken.add(pseudonym)
            known[name] = pseudonym
        return known[name]

    def _digits(self, name: str) -> str:
        # surrogatepass: a JSON escape can hold half a character, which is still a name.
        return hmac.new(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def repeated_message(key: int, ordinal: int) -> int:
    """Return the 64 bits of a later one of equal messages of one file.

    Args:
        key: The bits of the first, as of ``Pseudonyms.message``.
        ordinal: The number of those before it.
    """
    return int.from_bytes(hashlib.blake2b(f"{key}\0{ordinal}".encode(), digest_size=8).digest(), "big")
