"""Make every table of the two real chats again, without a model.

Example:
    python -m benchmarks.real

What models answered is in ``CHAT/predictions``. The stages of each chat's dvc.yaml that need no model run again, then
the analyses. Where a rung's predictions are not there, the tables that need them are left as they are.
"""

import os
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.real.chats import CHATS, ROOT
from chatladder.evaluation.rungs import read_named
from chatladder.io.console import SETTINGS, DataError, example

#: Stages that read no model's answers, and those that do.
LABELS = ("import", "label", "label_first", "word_baselines")
TABLES = ("rank_labels", "check_scaling", "evaluate", "summarize")
ANALYSES = ("judges", "doubt", "noise", "scaling")


def missing(folder: Path) -> list[Path]:
    """Return the files of answers that params.yaml names and that are not there."""
    named = read_named(folder / "params.yaml", judges=True)
    untouched = (*named.ladder, *named.served)
    kinds = {"vanilla": untouched, "tuned": named.ladder, "out_of_fold": named.judges}
    answers = [folder / "predictions" / kind / f"{rung}.parquet" for kind, rungs in kinds.items() for rung in rungs]
    sizes = [folder / "rungs" / rung / "rung.json" for rung in untouched]
    curves = [folder / "curves" / rung for rung in named.ladder]
    return [path for path in (*answers, *sizes, *curves) if not path.exists()]


def run(*command: str, folder: Path) -> None:
    """Run a command of Python in a folder, with this code.

    Raises:
        DataError: If it fails.
    """
    path = os.pathsep.join(filter(None, (str(ROOT.parents[1]), os.environ.get("PYTHONPATH"))))
    if subprocess.run([sys.executable, "-m", *command], cwd=folder, env={**os.environ, "PYTHONPATH": path}).returncode:
        raise DataError(f"{folder}: expected python -m {' '.join(command)} to end well, it did not. See above.")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
def main() -> None:
    """Run the stages below the models, and the analyses."""
    for chat in CHATS:
        folder = ROOT / chat
        lacking = missing(folder)
        if lacking:
            first = lacking[0].relative_to(ROOT)
            click.echo(
                f"{chat}: {len(lacking)} files of models are not there, the first is {first}. Its result tables stay "
                "as they are, and the analyses do with the models that are there.",
                err=True,
            )
        stages = LABELS if lacking else (*LABELS, *TABLES)
        run("dvc", "repro", "-q", "--single-item", "--force", *stages, folder=folder)
    for name in ANALYSES:
        run(f"benchmarks.real.{name}", folder=ROOT.parents[1])


if __name__ == "__main__":
    main()
