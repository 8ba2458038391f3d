"""Write a page about a round of annotation: label sets compared, the gate, agreement, flips, and what moved scores.

Example:
    chatladder report --round 2 --out data/reports/round_2.html

The untouched models answer every question, labelled or not, so the labels of every round are compared with the same
predictions. The page is one file that loads nothing and runs nothing. It contains masked text of the chat; --no-texts
leaves that out. Equal inputs give equal bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import click

from chatladder.io.console import SETTINGS, InputFile, InputFolder, OutputFile, example
from chatladder.io.files import whole_file
from chatladder.io.options import options_of, setting

#: May be missing: the page then says what to run for the parts that need it.
_LaterFile = click.Path(dir_okay=False, path_type=Path)
_LaterFolder = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Options:
    """The options of a report: the rungs (all, if none is named), paths, and the gate's margin."""

    annotations: Path = setting("Answers.", default=Path("data/annotations"), type=InputFolder)
    questions: Path = setting("Questions.", default=Path("data/questions.parquet"), type=InputFile)
    labelled: Path = setting("For the splits.", default=Path("data/labelled.parquet"), type=_LaterFile)
    bases: Path = setting("Base folders.", default=Path("data/bases"), type=_LaterFolder)
    vanilla: Path = setting("Untouched answers.", default=Path("data/predictions/vanilla"), type=_LaterFolder)
    tuned: Path = setting("Tuned answers.", default=Path("data/predictions/tuned"), type=_LaterFolder)
    scores: Path = setting(
        "Scores of the tuned models and the baselines.", default=Path("metrics/models.json"), type=_LaterFile
    )
    keys: tuple[str, ...] = setting(
        "Key of a rung; repeat it for each.  [default: all under --bases]", default=(), names=("--rung",)
    )
    margin: float = setting("Least change of AUROC per doubling that counts.", default=0.005, least=0, most=0.1)
    texts: bool = setting("Quote the chat, masked, or not.", default=True)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--round", "number", type=click.IntRange(min=1), help="Which round; the latest with answers.")
@click.option("--out", type=OutputFile, help="HTML to write.  [default: data/reports/round_N.html]")
@options_of(Options, "options")
def report_command(number: int | None, out: Path | None, options: Options) -> None:
    """Write a page about a round of annotation, and about every round before it.

    The page quotes the chat as it is masked: names, numbers and keys are replaced, what people wrote is not. Show it
    to nobody who may not read the chat, or write it with --no-texts.
    """
    from chatladder.cli.report.build import build
    from chatladder.cli.report.page import render
    from chatladder.labels.rounds import latest_answered

    number = number or max(1, latest_answered(options.annotations))
    context = build(options, number)
    target = out or Path("data/reports") / f"round_{number}.html"
    with whole_file(target) as temporary:
        temporary.write_text(render(context), encoding="utf-8", newline="\n")
    click.echo(f"{target}: round {number}, gate {context['report'].verdict}")


if __name__ == "__main__":
    report_command()
