r"""Read chat exports into messages: one row each, senders as pseudonyms, personal data masked.

Example:
    python -m stages.ingest --raw data/raw --format auto --out data/messages.parquet \
        --counts data/counts/ingest.json

Every file of the folder is read, by name, except hidden ones, README.md and *.dvc. Every record becomes a
message or is counted under the reason why not. Rows come out by group, and within a group by time; messages
of one time keep the order of their files. A chat server delivers a little late, so within one file a message
may be up to 60 s older than one before it; more is an error.

``message_id`` is a hash of the group and the export's own id, or else of group, sender, time and text, with
an ordinal for each repetition within the file. So a message keeps its id when exports grow or overlap, and
one that two files hold is taken once and counted as a duplicate.
"""

from collections import Counter
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from stages.chat import masking
from stages.chat.collect import Collector
from stages.chat.formats import NAMES, find_format
from stages.chat.pseudonyms import KEY_VARIABLE, Pseudonyms
from stages.chat.settle import settle
from stages.chat.source import Source
from stages.cli import SETTINGS, DataError, InputFolder, OutputFile, example
from stages.files import write_json
from stages.rows import KINDS, MESSAGES, write_rows


def raw_files(folder: Path) -> list[Path]:
    """Files of an export folder, by name.

    Raises:
        DataError: If there is none, or a folder among them.
    """
    found = [
        path
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if not path.name.startswith(".") and path.name.lower() != "readme.md" and path.suffix != ".dvc"
    ]
    for path in found:
        if path.is_dir():
            raise DataError(f"{path}: expected chat exports, got a folder. Move its files up into {folder}.")
    if not found:
        raise DataError(f"{folder}: expected at least one chat export, got none. Put one there.")
    return found


def ingest(files: list[Path], format_name: str, pseudonyms: Pseudonyms) -> tuple[pa.Table, dict[str, int]]:
    """All messages of the files.

    Returns:
        Rows of ``MESSAGES``, and counts: ``raw_lines`` (records: objects of a JSON stream, lines of a log) is
        ``messages`` plus ``skipped``, which is the sum of every ``skipped_<reason>``.

    Raises:
        DataError: If a file cannot be read, or no file holds a message.
    """
    counts: Counter[str] = Counter()
    masked: Counter[str] = Counter()
    collector = Collector(pseudonyms, masked, counts)
    with tqdm(unit=" records", disable=None) as progress:
        for number, path in enumerate(files):
            source = Source(path)
            if not source.head().strip():
                counts["empty_files"] += 1
                continue
            items = find_format(source, format_name).parse(source, pseudonyms)
            collector.read(items, source, number, progress)
    table = settle(collector.table(), counts)
    if not table.num_rows:
        reasons = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
        raise DataError(f"{files[0].parent}: expected messages, got none ({reasons}).")
    return table, _summary(table, counts, masked, len(files))


def _summary(table: pa.Table, counts: Counter[str], masked: Counter[str], files: int) -> dict[str, int]:
    skipped = {name: count for name, count in sorted(counts.items()) if name.startswith("skipped_")}
    kinds = Counter(table["kind"].to_pylist())
    return {
        "files": files,
        "raw_lines": counts["raw_lines"],
        "messages": table.num_rows,
        **{f"messages_{kind}": kinds[kind] for kind in KINDS},
        "groups": len(pc.unique(table["group"])),
        "senders": len(pc.unique(table["sender"])),
        "skipped": sum(skipped.values()),
        **skipped,
        **{name: counts[name] for name in ("recalled", "late", "damaged", "replies", "replies_to_unknown")},
        **{f"masked_{kind}": masked[kind] for kind in masking.KINDS},
    }


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--raw", type=InputFolder, required=True, help="Folder of chat exports.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["auto", *NAMES]),
    required=True,
    help="Format of the exports; auto tells it from each file's content.",
)
@click.option("--out", type=OutputFile, required=True, help="Messages to write (parquet).")
@click.option("--counts", type=OutputFile, required=True, help="Counts to write (JSON).")
def main(raw: Path, format_name: str, out: Path, counts: Path) -> None:
    """Read chat exports into messages, with pseudonyms and masking.

    The key of the pseudonyms comes from the environment variable CHATLADDER_PRIVACY_KEY; without it a public
    one is used, which is right for the demo only.
    """
    pseudonyms = Pseudonyms()
    table, numbers = ingest(raw_files(raw), format_name, pseudonyms)
    write_rows(out, table, MESSAGES)
    write_json(counts, numbers)
    note = f"; public demo key, set {KEY_VARIABLE} for a private chat" if pseudonyms.is_demo else ""
    click.echo(
        f"{out}: {numbers['messages']:,} messages of {numbers['senders']:,} senders in {numbers['groups']:,} "
        f"groups, from {numbers['raw_lines']:,} records ({numbers['skipped']:,} skipped){note}"
    )


if __name__ == "__main__":
    main()
