"""Names of people and groups as pseudonyms: the same name is the same pseudonym, and only the key leads back.

``u`` (people) or ``g`` (groups) and 8 hex digits of HMAC-SHA256(key, name). The key comes from the
environment variable CHATLADDER_PRIVACY_KEY; without it the key below is used, which is public, so that the
demo is the same everywhere. With the public key anybody can test a guessed name: set your own for a real
chat, keep it out of git, and keep it the same, since pseudonyms and ids change with it. 32 bits keep names
apart up to some thousand people (1 % risk of one shared pseudonym at 9,300).
"""

import hashlib
import hmac
import os

from stages.chat.message import ASSISTANT

KEY_VARIABLE = "CHATLADDER_PRIVACY_KEY"
DEMO_KEY = "chatladder demo: a public key that hides nothing"


class Pseudonyms:
    """Pseudonyms under one key; each name is computed once."""

    def __init__(self, key: str | None = None) -> None:
        """Take ``key``, else the environment's, else the public demo key."""
        self._key = (key or os.environ.get(KEY_VARIABLE) or DEMO_KEY).encode()
        self._people: dict[str, str] = {}
        self._groups: dict[str, str] = {}

    @property
    def is_demo(self) -> bool:
        """Whether the key is the public one."""
        return self._key == DEMO_KEY.encode()

    def person(self, name: str) -> str:
        """Pseudonym of a person; the assistant keeps its name."""
        if name == ASSISTANT:
            return ASSISTANT
        if name not in self._people:
            self._people[name] = "u" + self._digest(name)
        return self._people[name]

    def group(self, name: str) -> str:
        """Pseudonym of a group."""
        if name not in self._groups:
            self._groups[name] = "g" + self._digest(name)
        return self._groups[name]

    def _digest(self, name: str) -> str:
        # surrogatepass: a JSON escape can hold half a character, which is still a name.
        return hmac.new(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:8]
