r"""Read chat exports into messages: one row each, senders as pseudonyms, personal data masked.

Example:
    python -m stages.ingest --raw data/raw --format auto --timezone UTC --date-order auto \
        --out data/messages.parquet --counts data/counts/ingest.json

``chatladder/chat/messages.py`` documents which files are read, and the order and the ids of the rows.
"""

from pathlib import Path

import click

from chatladder.chat.messages import ingest
from chatladder.chat.options import ExportOptions
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFolder, OutputFile, example, stoppable
from chatladder.io.files import write_json
from chatladder.io.options import options_of
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.secret import KEY_VARIABLE


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--raw", type=InputFolder, required=True, help="Folder of chat exports.")
@options_of(ExportOptions, "options")
@click.option("--out", type=OutputFile, required=True, help="Messages to write (parquet).")
@click.option("--counts", type=OutputFile, required=True, help="Counts to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(raw: Path, options: ExportOptions, out: Path, counts: Path) -> None:
    """Read chat exports into messages, with pseudonyms and masking.

    The key of the pseudonyms comes from the environment variable CHATLADDER_PRIVACY_KEY, or from the secret that
    "chatladder secret" creates; only the demo is read without one. Files data/raw/*.deny can list names to mask in
    every text, one per line, and files data/raw/*.keep names to leave alone, since the chat uses them as words.
    Members in data/raw/*.forgotten ("chatladder forget") are left out.
    """
    pseudonyms = Pseudonyms()
    numbers = ingest(raw, pseudonyms, out, options)
    write_json(counts, numbers)
    note = f"; public demo key, set {KEY_VARIABLE} for a private chat" if pseudonyms.is_demo else ""
    groups = f"{numbers['groups']:,} group{'' if numbers['groups'] == 1 else 's'}"
    click.echo(
        f"{out}: {numbers['messages']:,} messages of {numbers['senders']:,} senders in {groups}, "
        f"from {numbers['raw_lines']:,} records ({numbers['skipped']:,} skipped){note}"
    )


if __name__ == "__main__":
    main()
