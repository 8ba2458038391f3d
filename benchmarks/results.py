"""What benchmarks found, kept in files that the pages are written from.

A result is ``benchmarks/results/NAME.md``: a head in YAML, and below it the Markdown that the script printed. The head
says by what command it was measured, on what machine and when, and, if it rests on the demo, on which outs of the
graph: their hashes in ``dvc.lock``. ``python -m benchmarks.write`` puts results into the pages; a test fails where the
demo's outs are not those any more. A result that is still to be measured has a head alone.
"""

import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import md5
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
import yaml

from chatladder.io.console import DataError, OutputFile
from chatladder.io.files import whole_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LOCK = ROOT / "dvc.lock"
#: The option of every benchmark whose result a page shows.
save_option = click.option("--save", type=OutputFile, help="Also write the result here, for benchmarks.write.")


class Result(NamedTuple):
    """One file of results.

    Attributes:
        commands: What measured it; the last is the script itself.
        machine: Cores, processor, versions.
        date: Of the measurement.
        note: What else a reader must know of how it was measured.
        measured_on: Out of the graph -> its hash when this was measured; none if it does not rest on the demo.
        figures: What sentences quote, by name.
        text: Markdown; empty if it is still to be measured.
    """

    commands: Sequence[str]
    machine: str = ""
    date: str = ""
    note: str = ""
    measured_on: Mapping[str, str] = {}
    figures: Mapping[str, float | str] = {}
    text: str = ""


def fingerprint(path: str, lock: Path = LOCK) -> str:
    """The hash of an out of the graph, or of all outs in a folder, as ``dvc.lock`` records them.

    Raises:
        DataError: If there are none.
    """
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
    outs = {out["path"]: out.get("md5", "") for stage in stages for out in stage.get("outs", ())}
    if path in outs:
        return outs[path]
    inside = sorted(pair for pair in outs.items() if pair[0].startswith(f"{path}/"))
    if not inside:
        raise DataError(f"{lock.name}: expected an out {path} or outs in it, got none. Run dvc repro.")
    return md5(repr(inside).encode(), usedforsecurity=False).hexdigest()


def known(*paths: Path) -> list[str]:
    """Those of the paths that are outs of the graph, or hold some: what was read there rests on the demo."""
    found = []
    for path in paths:
        if not path.is_absolute():
            try:
                fingerprint(path.as_posix())
            except DataError:
                continue
            found.append(path.as_posix())
    return found


def machine() -> str:
    """Cores, processor, Python and torch of this machine."""
    names = re.findall(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), flags=re.M) or [platform.machine()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = names[0].replace(" Processor", "")
    return f"{cores} cores of {processor}; Python {platform.python_version()}, torch {version('torch')}"


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).exists() else ""


def publish(
    save: Path | None,
    script: str,
    text: str,
    rests_on: Sequence[str] | Mapping[str, str] = (),
    figures: Mapping[str, float | str] | None = None,
) -> None:
    """Print a result, and keep it as a file if one is named.

    Args:
        save: The file.
        script: ``__spec__.name`` of the script.
        text: Markdown.
        rests_on: Outs of the graph that were read; or their hashes, where they were read at another time.
        figures: Numbers, or texts, that sentences of the pages quote.
    """
    click.echo(text)
    if save is None:
        return
    hashes = dict(rests_on) if isinstance(rests_on, Mapping) else {path: fingerprint(path) for path in rests_on}
    old = read(save) if save.exists() else Result(())
    command = f"python -m {script} {shlex.join(sys.argv[1:])}".strip()
    # What had to be prepared is known to whoever wrote the file first.
    commands = (*old.commands[:-1], command)
    write(save, Result(commands, machine(), date.today().isoformat(), "", hashes, figures or {}, text.strip()))


def write(path: Path, result: Result) -> None:
    """Write a result."""
    head: dict[str, Any] = {
        name: list(value) if name == "commands" else dict(value) if isinstance(value, Mapping) else value
        for name, value in result._asdict().items()
        if value and name != "text"
    }
    with whole_file(path) as temporary:
        written = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=10_000)
        temporary.write_text(f"---\n{written}---\n\n{result.text}".rstrip() + "\n", encoding="utf-8")


def read(path: Path) -> Result:
    """Read a result.

    Raises:
        DataError: If the file is none.
    """
    empty, _, rest = path.read_text(encoding="utf-8").partition("---\n")
    head, ends, text = rest.partition("---\n")
    fields = yaml.safe_load(head) if not empty and ends else None
    if not isinstance(fields, dict) or not fields.get("commands") or not set(fields) <= set(Result._fields):
        raise DataError(f"{path}: expected a head between lines of --- with the commands, got another. Save it again.")
    return Result(**{**fields, "text": text.strip()})


def read_all() -> dict[str, Result]:
    """All results by name."""
    return {path.stem: read(path) for path in sorted(RESULTS.glob("*.md"))}


def changed(result: Result, lock: Path = LOCK) -> list[str]:
    """Outs that a result was measured on and that are others now."""
    return [path for path, old in result.measured_on.items() if fingerprint(path, lock) != old]
