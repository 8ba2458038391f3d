"""Results of benchmarks, kept in files from which the pages are written.

A result is ``benchmarks/results/NAME.md``: a head in YAML, and below it the Markdown that the script printed. The head
holds the command, the machine and the date of the measurement, and, if it depends on the demo, the hashes in
``dvc.lock`` of the outputs it used. ``python -m benchmarks.write`` puts results into the pages; a test fails if the
demo's outputs have changed. A result that is yet to be measured has only a head.
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
        commands: The commands of the measurement; the last is the script itself.
        machine: Cores, processor, versions.
        date: The date of the measurement.
        note: Further conditions of the measurement for readers.
        measured_on: Output of the graph -> its hash at the measurement; empty if it does not depend on the demo.
        figures: Numbers that sentences quote, by name.
        text: Markdown; empty if it is yet to be measured.
    """

    commands: Sequence[str]
    machine: str = ""
    date: str = ""
    note: str = ""
    measured_on: Mapping[str, str] = {}
    figures: Mapping[str, float | str] = {}
    text: str = ""


def fingerprint(path: str, lock: Path = LOCK) -> str:
    """Return the hash of an output of the graph, or of all outputs in a folder, as recorded in ``dvc.lock``.

    Raises:
        DataError: If the path has no outputs.
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
    """Return the paths that are or contain outputs of the graph: a result read from these depends on the demo."""
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
    """Return cores, processor, Python and torch of this machine."""
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
    """Print a result, and write it to a file if one is named.

    Args:
        save: The file.
        script: ``__spec__.name`` of the script.
        text: Markdown.
        rests_on: Outputs of the graph that were read; or their hashes, if they were read at another time.
        figures: Numbers, or texts, that sentences of the pages quote.
    """
    click.echo(text)
    if save is None:
        return
    hashes = dict(rests_on) if isinstance(rests_on, Mapping) else {path: fingerprint(path) for path in rests_on}
    old = read(save) if save.exists() else Result(())
    command = f"python -m {script} {shlex.join(sys.argv[1:])}".strip()
    # The preparing commands come from whoever wrote the file first.
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
        DataError: If the file is not a result.
    """
    empty, _, rest = path.read_text(encoding="utf-8").partition("---\n")
    head, ends, text = rest.partition("---\n")
    fields = yaml.safe_load(head) if not empty and ends else None
    if not isinstance(fields, dict) or not fields.get("commands") or not set(fields) <= set(Result._fields):
        raise DataError(f"{path}: expected a head between lines of --- with the commands, got another. Save it again.")
    return Result(**{**fields, "text": text.strip()})


def read_all() -> dict[str, Result]:
    """Return all results by name."""
    return {path.stem: read(path) for path in sorted(RESULTS.glob("*.md"))}


def changed(result: Result, lock: Path = LOCK) -> list[str]:
    """Return the outputs that a result was measured on and that have changed since."""
    return [path for path, old in result.measured_on.items() if fingerprint(path, lock) != old]
