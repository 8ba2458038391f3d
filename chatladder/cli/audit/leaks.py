"""What must not be in derived data, and where in a file it is: the searching part of ``chatladder audit``."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from chatladder.chat.exports import find_exports
from chatladder.chat.formats import with_formats
from chatladder.chat.message import Message
from chatladder.chat.options import ExportOptions
from chatladder.cli.audit.contents import OPAQUE, PARQUET, Text, UnreadableError, chunks, kind_of, texts
from chatladder.privacy.masking import mask
from chatladder.privacy.names import Names
from chatladder.privacy.secret import KEY_FILE

SECRET_VARIABLE = re.compile(r"(?:.*_)?(?:KEY|TOKEN|SECRET|PASSWORD)")
SHORTEST_SECRET = 8
#: Fields whose whole value is somebody.
PEOPLE_FIELDS = ("sender", "group")
#: A digest alone or as a value of YAML, or a file's size: DVC's lock files are full of them.
DIGEST = re.compile(
    r"\s*(?:-\s*)?(?:[\w.-]{1,40}:\s*)?[\"']?(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?:\.dir)?[\"']?,?\s*"
    r"|\s*(?:size|nfiles): \d+\s*"
)
#: Digests in a page that ``chatladder report`` wrote: of its style, and of the files that it was made of.
PAGE_DIGEST = re.compile(r"(?:'|&#39;)sha256-[A-Za-z0-9+/]{43}=(?:'|&#39;)|(?<=<td class=\"id\">)[0-9a-f]{64}(?=</td>)")
#: Ids of messages, turns and questions, 16 hex digits that may happen to look like a number.
OWN_ID_FIELD = re.compile(r"(?:\w+_)?ids?|reply_to|conversation")
OWN_ID = re.compile(r"[0-9a-f]{16}")
#: Clean texts that are remembered: windows of questions repeat every message a dozen times.
MOST_REMEMBERED = 200_000
_NOTHING: Counter[str] = Counter()


class Finding(NamedTuple):
    """How often a kind was found in a file, and where first."""

    kind: str
    times: int
    places: list[str]  # the first few


def identities(raw: Path, names: Names, options: ExportOptions) -> None:
    """Let ``names`` know everybody in the exports of a folder, as ingest does.

    Args:
        raw: Folder of exports.
        names: Gains their names.
        options: The settings with which ingest reads them.

    Raises:
        DataError: If an export cannot be read.
    """
    context = options.context(names.pseudonyms, names.know)
    sources = tqdm(find_exports(raw, Counter()), desc="exports", unit=" files", disable=None)
    for source, format_ in with_formats(sources, options.format, Counter()):
        known: set[str] = set()
        for item in source.counted(format_.parse(source, context)):
            if isinstance(item, Message) and item.sender not in known:
                known.add(item.sender)
                names.know(item.sender)


class Search:
    """Looks for everything that must not be in a text."""

    def __init__(self, names: Names, secrets: Iterable[str], phone_regions: tuple[str, ...] = ()) -> None:
        self._names = names
        self._phone_regions = phone_regions
        self._replace = names.replacer(addresses=False)
        self._secrets = sorted(secrets)
        self._secret_bytes = [secret.encode() for secret in self._secrets]
        self._clean: set[str] = set()

    def __call__(self, found: Text) -> Counter[str]:
        """What a text holds: counts by kind."""
        _, field, text = found
        if field in PEOPLE_FIELDS and self._names.is_known(text):
            return Counter(name=1)
        if text in self._clean:
            return _NOTHING
        counts: Counter[str] = Counter()
        counts["secret"] += sum(text.count(secret) for secret in self._secrets)
        own_id = OWN_ID.fullmatch(text) and OWN_ID_FIELD.fullmatch(field)
        if not own_id and not DIGEST.fullmatch(text):
            self._replace(mask(PAGE_DIGEST.sub("", text), counts, self._phone_regions), counts)
        counts = +counts
        if not counts and len(self._clean) < MOST_REMEMBERED and len(text) < 1000:
            self._clean.add(text)
        return counts

    def in_bytes(self, data: bytes) -> int:
        """How many secrets are in a file that has no texts."""
        return sum(data.count(secret) for secret in self._secret_bytes)


def search_file(path: Path, search: Search, most_places: int) -> tuple[list[Finding], bool]:
    """What is found in a file, and whether it is opaque."""
    counts: Counter[str] = Counter()
    places: dict[str, dict[str, None]] = {}
    kind = OPAQUE
    try:
        kind = kind_of(path)
        for text in texts(path, kind):
            for what, count in search(text).items():
                counts[what] += count
                where = places.setdefault(what, {})
                if len(where) < most_places:
                    where[_place(text, kind)] = None
        if kind == OPAQUE:
            counts["secret"] += sum(map(search.in_bytes, chunks(path)))
    except UnreadableError:
        counts["unreadable"] += 1
    findings = [Finding(what, count, list(places.get(what, ()))) for what, count in sorted((+counts).items())]
    return findings, kind == OPAQUE


def _place(text: Text, kind: str) -> str:
    # A key of JSON can be anything, a column's name cannot.
    return f"{text.field} row {text.number}" if kind == PARQUET else f"line {text.number}"


def secrets_at_hand(environment: Mapping[str, str], key_file: Path = KEY_FILE) -> set[str]:
    """Values of secret environment variables, and the local secret."""
    found = {value for name, value in environment.items() if SECRET_VARIABLE.fullmatch(name.upper())}
    if key_file.is_file():
        found.add(key_file.read_text(encoding="utf-8", errors="replace").strip())
    return {value for value in found if len(value) >= SHORTEST_SECRET}
