"""Make every table of the two real chats again, without a model.

Example:
    python -m benchmarks.real

The models' answers are in ``CHAT/predictions``. The stages of each chat's dvc.yaml that need no model run again, then
the analyses. If a rung's predictions are missing, the tables that need them stay unchanged.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.real.chats import CHATS, RESULTS, ROOT
from chatladder.evaluation.rungs import read_named
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.io.params import read_yaml

REPOSITORY = ROOT.parents[1]
#: Stages that read no model's answers, and those that do.
LABELS = ("import", "label", "label_first", "to_alpaca", "word_baselines")
TABLES = ("check_scaling", "evaluate", "summarize")
ANALYSES = ("judges", "doubt", "noise", "scaling", "learning")


def missing(folder: Path) -> list[Path]:
    """Return the files of answers that params.yaml names and that are missing."""
    named = read_named(folder / "params.yaml", judges=True)
    untouched = (*named.ladder, *named.served)
    kinds = {"vanilla": untouched, "tuned": named.ladder, "out_of_fold": named.judges}
    answers = [folder / "predictions" / kind / f"{rung}.parquet" for kind, rungs in kinds.items() for rung in rungs]
    sizes = [folder / "rungs" / rung / "rung.json" for rung in untouched]
    curves = [folder / "curves" / rung for rung in named.ladder]
    return [path for path in (*answers, *sizes, *curves) if not path.exists()]


def stages_of(folder: Path) -> list[str]:
    """Return the stages of a chat that need no model, in an order in which they can run."""
    params = read_yaml(folder / "params.yaml")
    # Classifiers of words are fitted to the labels of the learning curve, too.
    stages = [*LABELS, *(f"fewer@{rows}" for rows in params["fewer"]["rows"])]
    if written := [
        rung for rung in params["rewriting"]["rungs"] if (folder / f"rewritten/tuned/{rung}.parquet").exists()
    ]:
        stages += ["to_rewrite", *(f"score_rewrites@{rung}" for rung in written)]
    return stages if missing(folder) else [*stages, *TABLES]


def start(*command: str, folder: Path, output: int | None = None) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a Python command in a folder, with this code, on one processor; return its text and its process."""
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, env=environment, stdout=output)
    return shlex.join(command), process


def wait_for(*started: tuple[str, subprocess.Popen[bytes]]) -> None:
    """Wait until all processes have ended.

    Raises:
        DataError: If one of them failed.
    """
    failed = [command for command, process in started if process.wait()]
    if failed:
        raise DataError(f"expected {failed[0]} to end well, it did not. Its message is above.")


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
        wait_for(start("dvc", "repro", "-q", "--single-item", "--force", *stages_of(folder), folder=folder))
    analyses = (start(f"benchmarks.real.{name}", folder=REPOSITORY, output=subprocess.DEVNULL) for name in ANALYSES)
    wait_for(*analyses)
    for name in ANALYSES:
        click.echo(RESULTS / f"{name}.md")


if __name__ == "__main__":
    main()
