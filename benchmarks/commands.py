"""How long the two commands of README.md take, from a fresh clone.

Run it in the repository's root, on idle cores, with nothing to commit.

Example:
    python -m benchmarks.commands --save benchmarks/results/commands.md

Each command runs in a fresh clone, so it creates its environment and builds or tests everything, and prints what it
prints for a reader. Packages in pip's cache are not downloaded again. Files that the demo made other than they are
committed are named: on another kind of processor these are metrics of models.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from time import monotonic

import click

from benchmarks.results import known, publish, save_option
from chatladder.io.console import SETTINGS, InputFolder, example

#: The purpose of each command, and a pattern of its line.
COMMANDS = {"demo": r"^python3 -m venv .*&& dvc repro$", "tests": r"^python3 -m venv .*&& pytest -n 2$"}


def command_of(readme: str, pattern: str) -> str:
    """Return the one line of the page that matches the command."""
    (found,) = re.findall(pattern, readme, flags=re.M)
    return found


def took(seconds: float) -> str:
    """Return a duration such as ``14 min 15 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def run(command: str, repository: Path) -> tuple[float, float]:
    """Run a command in a fresh clone; return the seconds of its installation and of its last part.

    Raises:
        click.ClickException: If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "chatladder"
        subprocess.run(["git", "clone", "--quiet", str(repository.resolve()), str(clone)], check=True)
        install, _, last = command.rpartition(" && ")
        times = [monotonic()]
        for part in (install, f". .venv/bin/activate && {last}"):
            if code := subprocess.run(["bash", "-c", part], cwd=clone, check=False).returncode:
                raise click.ClickException(f"{part}: exited with {code}; see above.")
            times.append(monotonic())
        changed = subprocess.run(["git", "status", "--short"], cwd=clone, capture_output=True, text=True, check=True)
        click.echo(f"{last} made other than committed: {changed.stdout.strip() or 'nothing'}")
        return times[1] - times[0], times[2] - times[1]


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--repository", type=InputFolder, default=".", help="Root of the repository.  [default: this folder]")
@save_option
def main(repository: Path, save: Path | None) -> None:
    """Time the commands of README.md."""
    readme = (repository / "README.md").read_text(encoding="utf-8")
    lines, figures = ["| command | took | of that the installation |", "| --- | --- | --- |"], {}
    for name, pattern in COMMANDS.items():
        command = command_of(readme, pattern)
        installing, running = run(command, repository)
        figures |= {name: took(installing + running), f"{name}_alone": took(running)}
        lines.append(f"| `{command}` | {figures[name]} | {took(installing)} |")
        click.echo(lines[-1])  # if the next one fails
    publish(save, __spec__.name, "\n".join(lines), known(Path("data/labelled.parquet")), figures)


if __name__ == "__main__":
    main()
