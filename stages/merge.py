r"""Join successive messages of one sender into turns.

Example:
    python -m stages.merge --messages data/messages.parquet --gap-seconds 18 \
        --out data/turns.parquet --counts data/counts/merge.json

``chatladder/chat/turns.py`` documents which messages are joined.
"""

from pathlib import Path

import click

from chatladder.chat.turns import merge_file
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFile, OutputFile, example, stoppable
from chatladder.io.files import write_json


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--messages", type=InputFile, required=True, help="Messages to join (parquet).")
@click.option(
    "--gap-seconds",
    type=click.IntRange(min=0),
    required=True,
    help="Join texts of one sender that are closer than this.",
)
@click.option("--out", type=OutputFile, required=True, help="Turns to write (parquet).")
@click.option("--counts", type=OutputFile, required=True, help="Counts to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(messages: Path, gap_seconds: int, out: Path, counts: Path) -> None:
    """Join successive messages of one sender into turns."""
    numbers = merge_file(messages, gap_seconds, out)
    write_json(counts, numbers)
    click.echo(
        f"{out}: {numbers['turns']:,} turns ({numbers['turns_text']:,} of text) of {numbers['messages']:,} messages"
    )


if __name__ == "__main__":
    main()
