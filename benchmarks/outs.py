"""Are the outputs and metrics of two commits the same bytes? Compares the hashes in their dvc.lock.

Example:
    python -m benchmarks.outs HEAD~1 HEAD
"""

import subprocess

import click
import yaml

from chatladder.io.console import SETTINGS, example


def outs(commit: str) -> dict[str, str]:
    """Return the hash of every output at a commit, by its path."""
    text = subprocess.run(["git", "show", f"{commit}:dvc.lock"], capture_output=True, text=True, check=True).stdout
    return {out["path"]: out["md5"] for stage in yaml.safe_load(text)["stages"].values() for out in stage["outs"]}


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("before")
@click.argument("after")
def main(before: str, after: str) -> None:
    """Name every out that differs, and count those that do not."""
    old, new = outs(before), outs(after)
    differ = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]
    for path in differ:
        click.echo(f"{path}: {old.get(path, 'absent')} -> {new.get(path, 'absent')}")
    click.echo(f"{len({*old, *new}) - len(differ)} of {len({*old, *new})} outs are the same bytes.")
    if differ:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
