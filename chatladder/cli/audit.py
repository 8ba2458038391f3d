"""Search everything derived from a chat for personal data and secrets, before any of it leaves the machine.

Example:
    chatladder audit
    chatladder audit --raw data/raw --derived data --derived metrics --cache .dvc/cache --deny names.deny

Every file below the derived folders and in the DVC cache is searched for

* personal data that masking would still replace: phone numbers, addresses, ids, keys;
* names of the people in the exports, which are read again with the settings of ``ingest`` in params.yaml, by the rules
  of ingest, so a nick that is a word is not reported; and any of their names as a whole sender or group;
* the words of deny-lists: those in the folder of exports, and those of --deny;
* the local secret, and the values of environment variables that end in _KEY, _TOKEN, _SECRET or _PASSWORD.

Tables, text, JSON and compressed text are searched in full, safetensors in their header, other files for secrets only.
The cache's copies of the exports themselves are left out, if DVC tracks them (``data/raw/*.dvc``). The report gives the
place and kind of a finding, never its text. The exit code is 1 if there are findings.
"""

import fnmatch
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from chatladder.chat.exports import listed_names, read_names
from chatladder.chat.file_names import DENY
from chatladder.chat.source import UNREADABLE, BudgetError, Source
from chatladder.cli.forget.exports import read_exports
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example, printable
from chatladder.io.params import PARAMS
from chatladder.privacy.masking import mask
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.secret import KEY_FILE

#: The paths to search if none is given.
USUAL = ("data", "metrics", "params.yaml", "dvc.lock")
USUAL_CACHE = Path(".dvc") / "cache"
#: The most places to report of a finding.
MOST_PLACES = 5
#: The demo's truth contains the ids of its invented people.
INVENTED = "data/demo/*"

PARQUET, SAFETENSORS, TEXT, OPAQUE = "parquet", "safetensors", "text", "opaque"
HEAD_BYTES = 8192
#: Longer lines are read in pieces of this many bytes.
PIECE = 2**20
#: The overlap of two pieces, in characters, so that nothing is cut in two.
OVERLAP = 256
#: A JSON string without its end is searched once it is this long.
LONGEST_LITERAL = 8 * 2**20
BATCH_ROWS = 4096
#: A safetensors header is JSON; the format's own library accepts no longer one.
LONGEST_HEADER = 100_000_000
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
#: The text of JSON between strings.
_PUNCTUATION = re.compile(r"(?:[\s\d{}\[\],:.eE+-]|true|false|null|NaN|Infinity)*")

SECRET_VARIABLE = re.compile(r"(?:.*_)?(?:KEY|TOKEN|SECRET|PASSWORD)")
SHORTEST_SECRET = 8
#: Fields whose whole value is a name.
PEOPLE_FIELDS = ("sender", "group")
#: A digest alone or as a value of YAML, or a file's size: DVC's lock files are full of them.
DIGEST = re.compile(
    r"\s*(?:-\s*)?(?:[\w.-]{1,40}:\s*)?[\"']?(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?:\.dir)?[\"']?,?\s*"
    r"|\s*(?:size|nfiles): \d+\s*"
)
#: Digests in a page that ``chatladder report`` wrote: of its style sheet, and of its input files.
PAGE_DIGEST = re.compile(r"(?:'|&#39;)sha256-[A-Za-z0-9+/]{43}=(?:'|&#39;)|(?<=<td class=\"id\">)[0-9a-f]{64}(?=</td>)")
#: Ids of messages, turns and questions, 16 hex digits that may happen to look like a number.
OWN_ID_FIELD = re.compile(r"(?:\w+_)?ids?|reply_to|conversation")
OWN_ID = re.compile(r"[0-9a-f]{16}")
#: The most clean texts to remember: windows of questions repeat every message a dozen times.
MOST_REMEMBERED = 200_000
_NOTHING: Counter[str] = Counter()


class Text(NamedTuple):
    """A text and its place."""

    number: int  # line, or row of a table, from 1
    field: str  # column of a table or key of a JSON object; empty if there is none
    text: str


class Finding(NamedTuple):
    """The number of times that a kind was found in a file, and the first places."""

    kind: str
    times: int
    places: list[str]  # the first few


class AuditReport(NamedTuple):
    """The findings, and the numbers of files: searched, opaque, raw_copies (of exports, in the cache) and left_out."""

    findings: dict[Path, list[Finding]]
    counts: Counter[str]


class UnreadableError(Exception):
    """A file that does not have the format of its first bytes, or cannot be opened."""


# The texts of a file of any kind. The kind is detected from the first bytes and not from the name, since files in a DVC
# cache have none. Files are read as a stream.


def kind_of(path: Path) -> str:
    """Return the kind of a file: parquet, safetensors, text (JSON and compressed text as well) or opaque.

    Raises:
        UnreadableError: If it cannot be read.
    """
    try:
        with path.open("rb") as raw:
            head = raw.read(HEAD_BYTES)
        if head.startswith(b"PAR1"):
            return PARQUET
        if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER:
            return SAFETENSORS
        with Source(path).open() as file:
            head = file.read(HEAD_BYTES)
    except (*UNREADABLE, BudgetError) as error:
        raise UnreadableError from error
    return OPAQUE if b"\0" in head or _mostly_binary(head) else TEXT


def _mostly_binary(head: bytes) -> bool:
    """Return True if more than a tenth of the characters are invalid UTF-8 or control characters."""
    text = head.decode("utf-8", "replace")
    strange = sum(
        1 for each in text if each == "\ufffd" or (each < " " and each not in "\t\n\r\f\x02\x03\x0f\x16\x1d\x1f")
    )
    return 10 * strange > len(text)


def texts(path: Path, kind: str) -> Iterator[Text]:
    """Yield the texts of a file of a kind; an opaque file has none.

    Raises:
        UnreadableError: If the file is damaged.
    """
    try:
        if kind == PARQUET:
            yield from _of_parquet(path)
        elif kind == SAFETENSORS:
            with path.open("rb") as file:
                header = file.read(int.from_bytes(file.read(8), "little"))
            yield from _of_json(1, header.decode("utf-8", "replace"))
        elif kind == TEXT:
            yield from _of_text(path)
    except (*UNREADABLE, BudgetError, pa.ArrowException) as error:
        raise UnreadableError from error


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, each chunk beginning with the end of the one before.

    Raises:
        UnreadableError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(PIECE):
                yield tail + chunk
                tail = chunk[-4 * OVERLAP :]
    except OSError as error:
        raise UnreadableError from error


def _of_parquet(path: Path) -> Iterator[Text]:
    with pq.ParquetFile(path) as file:
        for key, value in sorted((file.schema_arrow.metadata or {}).items()):
            yield from _of_json(0, f"{key.decode('utf-8', 'replace')} {value.decode('utf-8', 'replace')}")
        first = 1
        for batch in file.iter_batches(BATCH_ROWS):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                for row, value in enumerate(column.to_pylist(), start=first):
                    for field, text in _strings(value, name):
                        yield Text(row, field, text)
            first += batch.num_rows


def _strings(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """Yield the strings in a value of a table, each with the innermost name it has."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, bytes):
        yield field, value.decode("utf-8", "replace")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner, field)


def _of_text(path: Path) -> Iterator[Text]:
    """Yield lines as they are, or in JSON (whose strings never span lines) the strings of each."""
    with Source(path).open() as file:
        is_json: bool | None = None
        number = 1
        rest = ""
        while line := file.readline(PIECE):
            piece = line.decode("utf-8", "replace")
            ends = piece.endswith("\n")
            if is_json is None and piece.strip():
                is_json = piece.lstrip("\ufeff \t\r\n").startswith(("{", "["))
            piece = rest + piece
            if is_json and not ends and len(piece) < LONGEST_LITERAL:
                done = max((match.end() for match in _LITERAL.finditer(piece)), default=0)
                piece, rest = piece[:done], piece[done:]
            else:
                rest = "" if ends else piece[-OVERLAP:]
            yield from _of_json(number, piece) if is_json else (Text(number, "", piece),)
            number += ends
        if rest and is_json:  # text was searched already
            yield from _of_json(number, rest)


def _of_json(number: int, text: str) -> Iterator[Text]:
    """Yield the strings in a piece of JSON, and the text between them if it is not JSON."""
    between: list[str] = []
    done = 0
    field = ""
    for match in _LITERAL.finditer(text):
        between.append(text[done : match.start()])
        done = match.end()
        value = _unescaped(match[0])
        if text[done : done + 2].lstrip().startswith(":"):
            field = value
            yield Text(number, "", value)
        else:
            yield Text(number, field, value)
    between.append(text[done:])
    yield from (Text(number, "", piece) for piece in between if not _PUNCTUATION.fullmatch(piece))


def _unescaped(literal: str) -> str:
    try:
        return str(json.loads(literal, strict=False)) if "\\" in literal else literal[1:-1]
    except ValueError:
        return literal[1:-1]


# The search for personal data and secrets.


class Search:
    """Searches texts for names, personal data and secrets."""

    def __init__(self, names: Names, secrets: Iterable[str], phone_regions: tuple[str, ...] = ()) -> None:
        self._names = names
        self._phone_regions = phone_regions
        self._replace = names.replacer(addresses=False)
        self._secrets = sorted(secrets)
        self._clean: set[str] = set()

    def __call__(self, found: Text) -> Counter[str]:
        """Return the number of findings in a text, by kind."""
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
        """Return the number of secrets in a file that has no texts."""
        return sum(data.count(secret.encode()) for secret in self._secrets)


def secrets_at_hand(environment: Mapping[str, str], key_file: Path = KEY_FILE) -> set[str]:
    """Return the values of secret environment variables, and the local secret."""
    found = {value for name, value in environment.items() if SECRET_VARIABLE.fullmatch(name.upper())}
    if key_file.is_file():
        found.add(key_file.read_text(encoding="utf-8", errors="replace").strip())
    return {value for value in found if len(value) >= SHORTEST_SECRET}


def search_file(path: Path, search: Search) -> tuple[list[Finding], bool]:
    """Return the findings in a file, and whether it is opaque."""
    counts: Counter[str] = Counter()
    places: dict[str, dict[str, None]] = {}
    kind = OPAQUE
    try:
        kind = kind_of(path)
        for text in texts(path, kind):
            for what, count in search(text).items():
                counts[what] += count
                where = places.setdefault(what, {})
                if len(where) < MOST_PLACES:
                    # A key of JSON can be anything, a column's name cannot.
                    where[f"{text.field} row {text.number}" if kind == PARQUET else f"line {text.number}"] = None
        if kind == OPAQUE:
            counts["secret"] += sum(map(search.in_bytes, chunks(path)))
    except UnreadableError:
        counts["unreadable"] += 1
    findings = [Finding(what, count, list(places.get(what, ()))) for what, count in sorted((+counts).items())]
    return findings, kind == OPAQUE


# The files to search, and the report.


def files_below(paths: Sequence[Path], without: Path) -> Iterator[Path]:
    """Yield every regular file of the paths, sorted, each once even if it is linked; none below ``without``."""
    seen: set[tuple[int, int]] = set()
    for start in paths:
        found = [start] if start.is_file() else sorted(path for path in start.rglob("*") if path.is_file())
        for path in found:
            if without.resolve() in path.resolve().parents and without.resolve() not in start.resolve().parents:
                continue
            status = path.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield path


def raw_digests(raw: Path, cache: Path | None) -> set[str]:
    """Return the MD5 digests of the exports that DVC tracks: from ``raw.dvc``, ``raw/**/*.dvc`` and their folders."""
    digests: set[str] = set()
    for tracked in filter(Path.is_file, (raw.with_name(f"{raw.name}.dvc"), *sorted(raw.rglob("*.dvc")))):
        content = tracked.read_text(encoding="utf-8", errors="replace")
        for digest, folder in re.findall(r"\bmd5: ([0-9a-f]{32})(\.dir)?", content):
            digests.add(digest)
            if folder and cache is not None:
                digests |= _listed(cache, digest)
    return digests


def _listed(cache: Path, digest: str) -> set[str]:
    for root in (cache / "files" / "md5", cache):
        listing = root / digest[:2] / f"{digest[2:]}.dir"
        if listing.is_file():
            return set(re.findall(r'"md5": ?"([0-9a-f]{32})"', listing.read_text(encoding="utf-8", errors="replace")))
    return set()


def audit(
    raw: Path, derived: Sequence[Path], cache: Path | None, search: Search, skip: Sequence[str] = ()
) -> AuditReport:
    """Search all files of the derived folders and the cache.

    Args:
        raw: Folder of exports, which is not derived data.
        derived: Files and folders.
        cache: DVC's cache.
        search: The search to apply.
        skip: Patterns of paths to leave out, such as ``data/bases/*``.
    """
    digests = raw_digests(raw, cache)
    report = AuditReport({}, Counter())
    files = list(files_below([*derived, *([cache] if cache else [])], raw))
    with tqdm(total=sum(path.stat().st_size for path in files), unit="B", unit_scale=True, disable=None) as progress:
        for path in files:
            progress.update(path.stat().st_size)
            if any(fnmatch.fnmatch(path.as_posix(), pattern) for pattern in skip):
                report.counts["left_out"] += 1
            elif (path.parent.name + path.name).removesuffix(".dir") in digests:
                report.counts["raw_copies"] += 1
            else:
                findings, is_opaque = search_file(path, search)
                report.counts.update(opaque=is_opaque, searched=1)
                if findings:
                    report.findings[path] = findings
    return report


def as_json(report: AuditReport, names: int) -> dict[str, Any]:
    """Return the report as a JSON object."""
    findings = [
        {"path": path.as_posix(), **finding._asdict()}
        for path, findings in report.findings.items()
        for finding in findings
    ]
    counts = {name: report.counts[name] for name in ("searched", "opaque", "raw_copies", "left_out")}
    return {"findings": findings, **counts, "names": names}


def lines_of(report: AuditReport, names: int) -> Iterator[str]:
    """Yield the report as lines of text."""
    for path, findings in report.findings.items():
        for kind, times, places in findings:
            more = ", ..." if times > len(places) == MOST_PLACES else ""
            where = f" ({', '.join(places)}{more})" if places else ""
            yield printable(f"{path}: {kind} {times:,}{where}")
    total = sum(finding.times for findings in report.findings.values() for finding in findings)
    found = f"{total:,} findings in {len(report.findings):,} of" if total else "nothing found in"
    counts = report.counts
    yield (
        f"audit: {found} {counts['searched']:,} files, {names:,} names looked for; {counts['opaque']:,} files "
        f"searched for secrets only, {counts['raw_copies']:,} copies of exports and {counts['left_out']:,} other "
        "files left out"
    )


@click.command(name="audit", context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--raw", type=InputFolder, default="data/raw", show_default=True, help="Folder of chat exports.")
@click.option(
    "--derived",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="File or folder to search; repeatable.  [default: data, metrics, params.yaml, dvc.lock]",
)
@click.option("--cache", type=InputFolder, help="DVC's cache.  [default: .dvc/cache, if it exists]")
@click.option("--deny", type=InputFile, multiple=True, help="File of forbidden words, one per line; repeatable.")
@click.option(
    "--skip",
    multiple=True,
    default=[INVENTED],
    show_default=True,
    metavar="PATTERN",
    help="Paths to skip, such as 'data/bases/*'; repeatable.",
)
@click.option("--json", "to_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def audit_command(
    context: click.Context,
    raw: Path,
    derived: tuple[Path, ...],
    cache: Path | None,
    deny: tuple[Path, ...],
    skip: tuple[str, ...],
    to_json: bool,
) -> None:
    """Search derived data and the DVC cache for names, numbers and keys that must not leave this machine.

    Prints the place and kind of each finding, never its text. Exits with 1 if there are findings.
    """
    derived = derived or tuple(path for path in map(Path, USUAL) if path.exists())
    if cache is None and USUAL_CACHE.is_dir():
        cache = USUAL_CACHE
    words = listed_names(raw, DENY) + [word for path in deny for word in read_names(path)]
    exports = read_exports(raw, PARAMS if PARAMS.exists() else None, Pseudonyms())
    names = exports.names(exports.context.pseudonyms, words)
    search = Search(names, secrets_at_hand(os.environ), exports.context.phone_regions)
    report = audit(raw, derived, cache, search, skip)
    lines = [json.dumps(as_json(report, len(names)), indent=2)] if to_json else lines_of(report, len(names))
    for line in lines:
        click.echo(line)
    context.exit(1 if report.findings else 0)
