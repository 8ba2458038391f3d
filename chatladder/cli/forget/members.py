"""Who is in the exports of a project, under which names, and how much each of them wrote."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from chatladder.chat.exports import KEEP, find_exports, listed_names
from chatladder.chat.formats import Format, with_formats
from chatladder.chat.message import Context, Message
from chatladder.chat.options import ExportOptions
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.io.params import read_yaml
from chatladder.privacy.folding import fold
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms


@dataclass
class Exports:
    """The exports of a folder and everybody in them.

    Attributes:
        raw: The folder.
        options: Of ingest, as params.yaml has them.
        pseudonyms: Of everybody, forgotten or not.
        aliases: Identity -> the names it goes by.
        messages: Identity -> how many it wrote.
        files: The exports and their formats.
        files_of: Identity -> the exports that it wrote in.
    """

    raw: Path
    options: ExportOptions
    pseudonyms: Pseudonyms
    aliases: dict[str, set[str]] = field(default_factory=dict)
    messages: Counter[str] = field(default_factory=Counter)
    files: list[tuple[Source, Format]] = field(default_factory=list)
    files_of: dict[str, set[str]] = field(default_factory=dict)

    def context(self, know: Callable[..., None], pseudonyms: Pseudonyms | None = None) -> Context:
        """Return what the exports are read with, as ingest does."""
        return self.options.context(pseudonyms or self.pseudonyms, know)

    def know(self, identity: str, *aliases: str) -> None:
        """Learn of a person, as ``Context.know``."""
        self.aliases.setdefault(identity, {identity}).update(filter(None, aliases))

    def called(self, name: str) -> list[str]:
        """Identities that go by a name, however it is spelt, or have it as their pseudonym."""
        wanted = _tidy(name)
        return [
            identity
            for identity, names in self.aliases.items()
            if self.pseudonyms.person(identity) == name or wanted in map(_tidy, names)
        ]

    def names(self, pseudonyms: Pseudonyms) -> Names:
        """Everybody, for finding names in texts."""
        names = Names(pseudonyms, keep=listed_names(self.raw, KEEP))
        for identity, aliases in self.aliases.items():
            names.know(identity, *sorted(aliases))
        return names


def read_exports(raw: Path, params: Path, pseudonyms: Pseudonyms, may_be_empty: bool = False) -> Exports:
    """Read all exports for who is in them.

    Args:
        raw: Their folder.
        params: The file that says how ingest reads them.
        pseudonyms: That have forgotten nobody.
        may_be_empty: Whether there need be none.

    Raises:
        DataError: If one cannot be read.
    """
    ingest = read_yaml(params)["ingest"].items()
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in ingest}
    exports = Exports(raw, ExportOptions(**given), pseudonyms)
    context = exports.context(exports.know)
    try:
        sources = find_exports(raw, Counter())
    except DataError:
        if not may_be_empty:
            raise
        sources = []
    found = tqdm(sources, desc="exports", unit=" files", disable=None)
    for source, format_ in with_formats(found, exports.options.format, Counter()):
        exports.files.append((source, format_))
        for item in format_.parse(source, context):
            if isinstance(item, Message):
                if item.sender not in exports.messages:
                    pseudonyms.person(item.sender)  # in ingest's order: of two that meet, the later one's is longer
                    exports.know(item.sender)
                exports.messages[item.sender] += 1
                exports.files_of.setdefault(item.sender, set()).add(str(source))
    return exports


def _tidy(name: str) -> str:
    return " ".join(fold(name).text.split())
