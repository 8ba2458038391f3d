"""Search everything that was derived from a chat for what must not be in it, before any of it leaves the machine.

Example:
    chatladder audit
    chatladder audit --raw data/raw --derived data --derived metrics --cache .dvc/cache --deny names.deny

Every file below the derived folders and in the DVC cache is searched for

* what masking would still replace: phone numbers, addresses, ids, keys;
* names of the people in the exports, which are read again for that, by the rules that ingest replaces them by, so a
  nick that is a word is not reported; and any of their names as a whole sender or group;
* the words of deny-lists: those in the folder of exports, and those given here;
* the local secret, and the values of environment variables that end in _KEY, _TOKEN, _SECRET or _PASSWORD.

Tables, text, JSON and compressed text are searched in full, safetensors in their header, all else for secrets only.
The cache's copies of the exports themselves are left out, when DVC tracks them (``data/raw/*.dvc``). The report
says where and what kind, never what. Exit code 1 if there is anything.
"""

import fnmatch
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from tqdm import tqdm

from chatladder.chat.options import ExportOptions
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example, printable
from chatladder.io.options import options_of

if TYPE_CHECKING:
    from chatladder.cli.audit.leaks import Finding, Search

#: What is searched if nothing is named.
USUAL = ("data", "metrics", "params.yaml", "dvc.lock")
USUAL_CACHE = Path(".dvc") / "cache"
#: How many places of a finding are told.
MOST_PLACES = 5
#: The demo's truth tells its invented people's ids.
INVENTED = "data/demo/*"


class Report(NamedTuple):
    """What was searched and found."""

    findings: dict[Path, list["Finding"]]
    searched: int
    opaque: int
    raw: int  # the cache's copies of the exports
    left_out: int


def files_below(paths: Sequence[Path], without: Path) -> Iterator[Path]:
    """Every regular file of the paths, sorted, each once however it is linked; none below ``without``."""
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
    """MD5 digests of the exports that DVC tracks: from ``raw.dvc``, ``raw/**/*.dvc`` and the folders they name."""
    digests: set[str] = set()
    for tracked in (raw.with_name(f"{raw.name}.dvc"), *sorted(raw.rglob("*.dvc"))):
        if not tracked.is_file():
            continue
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


def audit(raw: Path, derived: Sequence[Path], cache: Path | None, search: "Search", skip: Sequence[str] = ()) -> Report:
    """Search all files of the derived folders and the cache.

    Args:
        raw: Folder of exports, which is no derived data.
        derived: Files and folders.
        cache: DVC's cache.
        search: What to look for.
        skip: Patterns of paths to leave out, such as ``data/bases/*``.
    """
    from chatladder.cli.audit.leaks import search_file

    digests = raw_digests(raw, cache)
    findings: dict[Path, list[Finding]] = {}
    counts: Counter[str] = Counter()
    files = list(files_below([*derived, *([cache] if cache else [])], raw))
    with tqdm(total=sum(path.stat().st_size for path in files), unit="B", unit_scale=True, disable=None) as progress:
        for path in files:
            progress.update(path.stat().st_size)
            if any(fnmatch.fnmatch(path.as_posix(), pattern) for pattern in skip):
                counts["left_out"] += 1
            elif (path.parent.name + path.name).removesuffix(".dir") in digests:
                counts["raw"] += 1
            else:
                found, opaque = search_file(path, search, MOST_PLACES)
                counts["opaque"] += opaque
                counts["searched"] += 1
                if found:
                    findings[path] = found
    return Report(findings, counts["searched"], counts["opaque"], counts["raw"], counts["left_out"])


def as_json(report: Report, names: int) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "findings": [
            {"path": path.as_posix(), **finding._asdict()}
            for path, findings in report.findings.items()
            for finding in findings
        ],
        "searched": report.searched,
        "opaque": report.opaque,
        "raw_copies": report.raw,
        "left_out": report.left_out,
        "names": names,
    }


def lines_of(report: Report, names: int) -> Iterator[str]:
    """The report as lines of text."""
    for path, findings in report.findings.items():
        for kind, times, places in findings:
            more = ", ..." if times > len(places) == MOST_PLACES else ""
            where = f" ({printable(', '.join(places))}{more})" if places else ""
            yield f"{printable(str(path))}: {kind} {times:,}{where}"
    total = sum(finding.times for findings in report.findings.values() for finding in findings)
    found = f"{total:,} findings in {len(report.findings):,} of" if total else "nothing found in"
    yield (
        f"audit: {found} {report.searched:,} files, {names:,} names looked for; {report.opaque:,} files searched for "
        f"secrets only, {report.raw:,} copies of exports and {report.left_out:,} other files left out"
    )


@click.command(
    name="audit",
    short_help="Search derived data for names, numbers and keys.",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.option("--raw", type=InputFolder, default="data/raw", show_default=True, help="Folder of chat exports.")
@options_of(ExportOptions, "options")
@click.option(
    "--derived",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="File or folder to search; repeat it.  [default: data, metrics, params.yaml, dvc.lock]",
)
@click.option("--cache", type=InputFolder, help="DVC's cache.  [default: .dvc/cache, if it is there]")
@click.option("--deny", type=InputFile, multiple=True, help="Words that must be nowhere, one a line; repeat it.")
@click.option(
    "--skip",
    multiple=True,
    default=[INVENTED],
    show_default=True,
    metavar="PATTERN",
    help="Paths to leave out, such as 'data/bases/*'; repeat it.",
)
@click.option("--json", "to_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def audit_command(
    context: click.Context,
    raw: Path,
    options: ExportOptions,
    derived: tuple[Path, ...],
    cache: Path | None,
    deny: tuple[Path, ...],
    skip: tuple[str, ...],
    to_json: bool,
) -> None:
    """Search all derived data and the DVC cache for what must not leave: names, numbers, keys.

    Prints where and what kind, never what. Exits with 1 if there is anything.
    """
    from chatladder.chat.exports import DENY, KEEP, listed_names, read_names
    from chatladder.cli.audit.leaks import Search, identities, secrets_at_hand
    from chatladder.privacy.names import Names
    from chatladder.privacy.pseudonyms import Pseudonyms

    derived = derived or tuple(path for path in map(Path, USUAL) if path.exists())
    if cache is None and USUAL_CACHE.is_dir():
        cache = USUAL_CACHE
    words = listed_names(raw, DENY) + [word for path in deny for word in read_names(path)]
    names = Names(Pseudonyms(), words, listed_names(raw, KEEP))
    identities(raw, names, options)
    report = audit(raw, derived, cache, Search(names, secrets_at_hand(os.environ), options.phone_region), skip)
    if to_json:
        click.echo(json.dumps(as_json(report, len(names)), indent=2))
    else:
        for line in lines_of(report, len(names)):
            click.echo(line)
    context.exit(1 if report.findings else 0)


if __name__ == "__main__":
    audit_command()
