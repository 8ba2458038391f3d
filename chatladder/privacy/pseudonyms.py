"""Names of people and groups as pseudonyms: equal names have equal pseudonyms, and only the key leads back.

A pseudonym is ``u`` (people) or ``g`` (groups) and 8 hex digits of HMAC-SHA256(key, name). The key is a local secret
(see ``chatladder.privacy.secret``); without one it is the public key below, so that the demo is the same everywhere.
With the public key anybody can test a guessed name, so ingest accepts only the demo under it. Pseudonyms and the ids of
messages change with the key.

32 bits separate most chats' names (1 % risk that any two of 9,300 people share a pseudonym). If two names do collide,
the later one gets 16 digits, so two people never become one, and the collision is counted.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable

from chatladder.privacy.secret import local_key

#: The sender of a bot's own answers; the only name that is kept, since it is no person's.
ASSISTANT = "assistant"
#: Stands for a name that does not belong to exactly one known person.
PLACEHOLDER = "<name>"
DEMO_KEY = "chatladder demo: a public key that hides nothing"


#: Names and their pseudonyms by kind (u, g and f), in the order in which they were requested.
Known = dict[str, dict[str, str]]


class Pseudonyms:
    """Pseudonyms under one key; each name is computed once."""

    def __init__(self, key: str | None = None) -> None:
        """Use ``key``, or else the local secret, or else the public demo key.

        Raises:
            DataError: If the local secret cannot be used (see ``chatladder.privacy.secret.local_key``).
        """
        self._key = (key or local_key() or DEMO_KEY).encode()
        self._message_key = hashlib.sha256(b"messages\0" + self._key).digest()
        #: All names that were requested: of people, groups and files.
        self.known: Known = {"u": {}, "g": {}, "f": {}}
        self._taken: set[str] = set()
        #: Marks of people without a pseudonym: they become ``<name>``.
        self.forgotten: frozenset[str] = frozenset()
        self._is_forgotten: dict[str, bool] = {}
        #: The number of names whose pseudonym was taken.
        self.collisions = 0

    @property
    def is_demo(self) -> bool:
        """True if the key is the public one."""
        return self._key == DEMO_KEY.encode()

    @property
    def check(self) -> str:
        """A digest that identifies the key, and leads back to it no more than a pseudonym does."""
        return self._digits("\0which key is this?")[:16]

    def agree(self, known: Known) -> bool:
        """Request the same names in the same order; return True if they have the same pseudonyms."""
        again = {kind: {name: self._pseudonym(kind, name) for name in names} for kind, names in known.items()}
        return again == known

    def forget(self, marks: Iterable[str]) -> None:
        """Give people with these marks no pseudonym; call this before any pseudonym is requested."""
        self.forgotten = frozenset(marks)

    def mark(self, name: str) -> str:
        """Return an identifier of a person under the key that is neither name nor pseudonym."""
        return self._digits(f"\0forgotten\0{name}")[:32]

    def is_forgotten(self, name: str) -> bool:
        """Return True if a person has no pseudonym because they are forgotten."""
        if not self.forgotten:
            return False
        if name not in self._is_forgotten:
            self._is_forgotten[name] = self.mark(name) in self.forgotten
        return self._is_forgotten[name]

    def person(self, name: str) -> str:
        """Return the pseudonym of a person; the assistant keeps its name, and a forgotten person has none."""
        if name == ASSISTANT:
            return ASSISTANT
        if name == PLACEHOLDER or self.is_forgotten(name):
            return PLACEHOLDER
        return self._pseudonym("u", name)

    def group(self, name: str) -> str:
        """Return the pseudonym of a group."""
        return self._pseudonym("g", name)

    def file(self, name: str) -> str:
        """Return the pseudonym of a file: exports are named after the group or the other person."""
        return self._pseudonym("f", name)

    def message(self, *parts: str) -> int:
        """Return the 64-bit id of a message, a keyed hash of its identity that masking does not change.

        Args:
            parts: Names, times and texts as in the export.
        """
        data = json.dumps(parts).encode()  # unambiguous: no name or text can contain a boundary between parts
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=self._message_key).digest(), "big")

    def digits(self, kind: str, name: str) -> str:
        """Return 16 hex digits in place of another id, such as a message's, which may reveal its origin."""
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
    """Return the 64-bit id of a repetition of an equal message in one file.

    Args:
        key: The id of the first one, from ``Pseudonyms.message``.
        ordinal: The number of equal messages before it.
    """
    return int.from_bytes(hashlib.blake2b(f"{key}\0{ordinal}".encode(), digest_size=8).digest(), "big")
