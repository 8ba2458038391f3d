"""Who is met in one file of an export, and who is only named there."""

from collections.abc import Callable

#: No app takes a longer name; a longer one is cut before anything looks at it.
LONGEST_NAME = 256


class People:
    """Everybody of one file, made known under each of their names once."""

    def __init__(self, know: Callable[..., None]) -> None:
        """Start with nobody; ``know`` is that of ``chatladder.chat.message.Context``."""
        self._know = know
        self._met: dict[str, set[str]] = {}
        self._names: set[str] = set()
        self._strangers: set[str] = set()

    def meet(self, identity: str, *names: str) -> None:
        """Make those of a person's names known that are new; who speaks is known without one."""
        met = self._met.setdefault(identity, set())
        if new := [name for name in dict.fromkeys(map(cut_name, names)) if name and name not in met]:
            met.update(new)
            self._names.update(new)
            self._know(*dict.fromkeys((identity, *new)))

    def stranger(self, name: str) -> None:
        """Note somebody who is named without an id."""
        if name := cut_name(name):
            self._strangers.add(name)

    def tell_strangers(self) -> None:
        """Make known who was only named; at the end, since who speaks up in the meantime has an id."""
        for name in sorted(self._strangers - self._names - self._met.keys()):
            self._know(name)


def cut_name(name: str) -> str:
    """A name without blanks around it, and no longer than any app allows."""
    return name.strip()[:LONGEST_NAME]
