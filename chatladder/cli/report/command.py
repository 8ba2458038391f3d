"""Write a page about a round of annotation: the gate, agreement, flips, growth with size, and what moved the scores.

Example:
    chatladder report --round 2 --out data/reports/round_2.html

The untouched models answer every question, labelled or not, so the labels of every round are held against the same
predictions. The page is one file that loads nothing and runs nothing. It holds text of the chat, masked; --no-texts
leaves that out. Equal inputs give equal bytes.
"""

from pathlib import Path

import click

from chatladder.io.console import SETTINGS, InputFile, InputFolder, OutputFile, example
from chatladder.io.files import whole_file

#: May be missing: the page then says what to run for the parts that need it.
_LaterFile = click.Path(dir_okay=False, path_type=Path)
_LaterFolder = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings=SETTINGS, epilog=example(__doc__), short_help="Write a page about a round.")
@click.option("--round", "round_number", type=click.IntRange(min=1), help="Which round; the latest with answers.")
@click.option("--out", type=OutputFile, help="HTML to write.  [default: data/reports/round_N.html]")
@click.option("--annotations", type=InputFolder, default="data/annotations", show_default=True)
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--labelled", type=_LaterFile, default="data/labelled.parquet", show_default=True, help="For the splits.")
@click.option("--bases", type=_LaterFolder, default="data/bases", show_default=True)
@click.option("--vanilla", type=_LaterFolder, default="data/predictions/vanilla", show_default=True)
@click.option("--tuned", type=_LaterFolder, default="data/predictions/tuned", show_default=True)
@click.option("--rung", "keys", multiple=True, help="Key of a rung; repeat it for each.  [default: all under --bases]")
@click.option("--draws", type=click.IntRange(min=100), default=2000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--texts/--no-texts", default=True, help="Quote the chat, masked, or not.  [default: quote it]")
def report_command(
    round_number: int | None,
    out: Path | None,
    annotations: Path,
    questions: Path,
    labelled: Path,
    bases: Path,
    vanilla: Path,
    tuned: Path,
    keys: tuple[str, ...],
    draws: int,
    seed: int,
    texts: bool,
) -> None:
    """Write a page about a round of annotation, and about every round before it.

    The page quotes the chat as it is masked: names, numbers and keys are replaced, what people wrote is not. Show it
    to nobody who may not read the chat, or write it with --no-texts.
    """
    from chatladder.cli.report.build import Options, build
    from chatladder.cli.report.page import render
    from chatladder.labels.rounds import latest_answered

    number = round_number or max(1, latest_answered(annotations))
    options = Options(annotations, questions, labelled, bases, vanilla, tuned, keys, number, draws, seed, texts)
    context = build(options)
    target = out or Path("data/reports") / f"round_{number}.html"
    with whole_file(target) as temporary:
        temporary.write_text(render(context), encoding="utf-8")
    click.echo(f"{target}: round {number}, gate {context['headline'].verdict}")


if __name__ == "__main__":
    report_command()
