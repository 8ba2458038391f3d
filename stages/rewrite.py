r"""Let one rung write out the test questions: untouched, or with an adapter that was trained for it.

It writes out all of them, whether they need it or not: stages.score_rewrites compares writing out none, all, and those
that the answers of stages.predict call needed. With --rewrites it writes out only those that people wrote out. Decoding
is greedy, and the first line counts; without one, the question stays as it is. A rung that was trained with several
seeds writes once with each.

Example:
    python -m stages.rewrite --base data/bases/small --adapter data/rewriters/small \
        --labelled data/labelled.parquet --language zh --max-length 1400 --out data/rewritten/tuned/small.parquet
"""

from pathlib import Path

import click

from chatladder.distributed import workers
from chatladder.io.console import (
    ANSWERS_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    example,
    stoppable,
)
from chatladder.io.rows import LABELLED, REWRITTEN, SPLITS, read_rows, read_written_out, write_rows
from chatladder.models.generating import generate_rung
from chatladder.models.kept import clear_answers
from chatladder.models.loading import adapters_of, base_of
from chatladder.models.prompts import LANGUAGES, render_rewrite, rewrite_read


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option(
    "--adapter", type=InputFolder, help="Adapter folder that stages.train wrote; without it, the untouched model."
)
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--rewrites", type=InputFile, help="Rewrites by people (parquet); only these questions are written out.")
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Split to write out.")
@click.option("--language", type=click.Choice(LANGUAGES), required=True, help="Language of the prompt.")
@click.option("--max-length", type=click.IntRange(256), required=True, help="Maximum tokens of prompt and text.")
@click.option("--out", type=OutputFile, required=True, help="Texts to write (parquet).")
@stoppable(ANSWERS_KEPT)
def main(
    base: Path,
    adapter: Path | None,
    labelled: Path,
    rewrites: Path | None,
    split: str,
    language: str,
    max_length: int,
    out: Path,
) -> None:
    """Let a rung write out every question of a split."""
    rows = read_written_out(labelled, rewrites) if rewrites else read_rows(labelled, LABELLED)
    items = [row for row in rows.to_pylist() if row["split"] == split and row.get("rewrite", row)]
    if not items:
        raise DataError(f"{labelled}: expected questions in {split}, got none. Choose another --split, or label more.")
    prompts = [render_rewrite(item, language) for item in items]
    adapters = adapters_of(adapter) if adapter else {0: None}
    written = []
    shortened = room = 0
    with workers() as pool:
        for seed, folder in adapters.items():
            texts, cut, room = generate_rung(base_of(base, seed), folder, prompts, max_length, pool, out)
            written += [
                {"item_id": item["item_id"], "seed": seed, "text": rewrite_read(item, text, language)}
                for item, text in zip(items, texts, strict=True)
            ]
            shortened += cut
    write_rows(out, written, REWRITTEN)
    clear_answers(out)
    asked = f" of {len(adapters)} seeds" if len(adapters) > 1 else ""
    click.echo(f"{out}: {len(written):,} texts{asked}, {shortened:,} prompts shortened to {room} tokens")


if __name__ == "__main__":
    main()
