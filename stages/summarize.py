r"""Print the results of the whole graph, and write them as Markdown.

Example:
    python -m stages.summarize --metrics metrics --out metrics/summary.md --plots metrics/plots \
        --text data/summary.txt

The text file holds the printed text. It is not in git, so a clone without results of its own makes and prints it.
"""

from pathlib import Path

import click

from chatladder.evaluation.summary import (
    FUNNEL_COLUMNS,
    escaped,
    footnotes,
    funnel_rows,
    markdown_table,
    model_rows,
    read_metrics,
    summary_lines,
    text_table,
)
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFolder, OutputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_file, write_csv


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--metrics", type=InputFolder, required=True, help="Folder of the metrics of the other stages (JSON).")
@click.option("--out", type=OutputFile, required=True, help="Markdown to write.")
@click.option("--plots", type=OutputFolder, help="Folder of plot data; funnel.csv is written there.")
@click.option("--text", type=OutputFile, help="Plain text to write.")
@stoppable(NOTHING_KEPT)
def main(metrics: Path, out: Path, plots: Path | None, text: Path | None) -> None:
    """Print the results of all stages, and write them as Markdown."""
    names = ("questions", "annotation", "scaling", "models")
    questions, annotation, scaling, models = (read_metrics(metrics / f"{name}.json") for name in names)
    rows = model_rows(models)
    lines = [*footnotes(models), *summary_lines(questions, annotation, scaling, models)]
    if plots:
        write_csv(plots / "funnel.csv", FUNNEL_COLUMNS, list(funnel_rows(questions, annotation)))
    markdown = ["# Summary", markdown_table(rows), *map(escaped, lines)]
    printed = "\n".join([text_table(rows), "", *lines])
    for path, content in ((out, "\n\n".join(markdown)), (text, printed)):
        if path:
            with whole_file(path) as temporary:
                temporary.write_text(content + "\n", encoding="utf-8", newline="\n")
    click.echo(f"\n{printed}\n")
    click.echo(out)


if __name__ == "__main__":
    main()
