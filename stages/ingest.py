r"""Read chat exports into messages: one row each, senders as pseudonyms, personal data masked.

Example:
    python -m stages.ingest --raw data/raw --format auto --timezone UTC --date-order auto \
        --out data/messages.parquet --counts data/counts/ingest.json

Every file of the folder is read, in folders and zips too, by name, except hidden ones, README.md, *.dvc, media and
the like. Every record becomes a message or is counted under the reason why not. Rows come out by group, and within
a group by time; messages of one time keep the order of their files.

``message_id`` is a hash, under the project's key, of the group and the export's own id, or else of group, sender,
time and text as they were before masking, with an ordinal for each repetition within the file. So a message keeps
its id when exports grow or overlap and when more of it is masked, and one that two files hold is taken once and
counted as a duplicate.

Names are known only once every file is read. So texts wait on disk, masked but for names, in files without a name
that vanish with the process; then names become pseudonyms in them on the way to the out. Memory grows by some
50 bytes a message.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from chatladder.chat.collect import COLLECTED, Collector
from chatladder.chat.exports import DENY, KEEP, find_exports, forgotten_marks, listed_names
from chatladder.chat.formats import NAMES, with_formats
from chatladder.chat.message import Context
from chatladder.chat.options import DATE_ORDERS, column_option, phone_region_option, timezone_name
from chatladder.chat.portions import cut, read_portions
from chatladder.chat.settle import Settled, hex_ids, settle
from chatladder.chat.source import Source
from chatladder.chat.spill import Spill, in_order
from chatladder.distributed import Workers, remote, workers
from chatladder.io.console import NOTHING_KEPT, SETTINGS, DataError, InputFolder, OutputFile, example, stoppable
from chatladder.io.files import write_json
from chatladder.io.rows import KINDS, MESSAGES, row_writer
from chatladder.privacy import masking
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.replacing import Replacer
from chatladder.privacy.secret import KEY_VARIABLE, check_private


class Reading:
    """One reading of a folder of exports: what was collected, and what was counted on the way."""

    def __init__(self, pseudonyms: Pseudonyms, context: Context, names: Names, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self._pseudonyms = pseudonyms
        self._context = context
        self._names = names
        self._folder = folder
        self._texts = Spill(COLLECTED, folder)
        self._collector = Collector(context, self.masked, self.counts, self._texts)

    def read(self, sources: list[Source], format_name: str, pool: Workers | None = None) -> None:
        """Collect every message of the files; by workers, if there are any.

        Raises:
            DataError: If a file cannot be read, or a private chat would be read under the public key.
        """
        with tqdm(unit=" records", disable=None) as progress:
            if pool is None:
                self._read_here(sources, format_name, progress)
            else:
                self._read_there(sources, format_name, progress, pool)
        check_private(self._pseudonyms, self._collector.groups)

    def _read_here(self, sources: list[Source], format_name: str, progress: tqdm) -> None:
        for source, format_ in with_formats(sources, format_name, self.counts):
            self._collector.read(format_, source, progress)

    def _read_there(self, sources: list[Source], format_name: str, progress: tqdm, pool: Workers) -> None:
        portions = list(cut(sources))
        for portion, found in zip(portions, read_portions(portions, format_name, self._context, pool), strict=True):
            if found is None or not portion[0].budget.take(found.drawn) or not self._pseudonyms.agree(found.known):
                self._read_here(portion, format_name, progress)
                continue
            self._collector.add(found.collected)
            for names in found.met:
                self._context.know(*names)
            for batch in found.batches:
                self._texts.write(batch)
                progress.update(batch.num_rows)
            self.counts.update(found.counts)
            self.masked.update(found.masked)

    @property
    def collisions(self) -> int:
        """How many people or groups have a longer pseudonym, since the short one was another's."""
        return self._pseudonyms.collisions

    def messages(self, pool: Workers | None = None) -> Iterator[pa.Table]:
        """Rows of ``MESSAGES`` in their order, with names of people in texts replaced; by workers, if there are any."""
        index = self._collector.index()
        settled = settle(index, self.counts)
        del index
        replace = self._names.replacer()
        rows = in_order(self._texts.read(), settled.position, COLLECTED, self._folder)
        parts = _with_settled(tqdm(rows, desc="names", unit=" parts", disable=None), settled)
        done = (finish(part, replace) for part in parts) if pool is None else pool.map(finish, parts, replace)
        for table, masked in done:
            self.masked.update(masked)
            yield table
        self._texts.close()


def _with_settled(parts: Iterable[pa.Table], settled: Settled) -> Iterator[tuple[pa.Table, Settled]]:
    """Each part with what was settled of its own rows; ``position`` is not among it."""
    start = 0
    for part in parts:
        own = [values[start : start + part.num_rows] for values in settled[1:]]
        yield part, Settled(settled.position[:0], *own)
        start += part.num_rows


def finish(part: tuple[pa.Table, Settled], replace: Replacer) -> tuple[pa.Table, Counter[str]]:
    """Rows of ``MESSAGES`` of those collected, with ids, recalls and replies as settled, and names replaced.

    Args:
        part: Rows of ``COLLECTED``, and what was settled of them.
        replace: Takes names out of texts.

    Returns:
        The rows, and how many names were taken out.
    """
    rows, settled = part
    masked: Counter[str] = Counter()
    texts = [
        (replace.in_file_name if kind == "file" else replace)(text, masked)
        for text, kind in zip(rows["text"].to_pylist(), rows["kind"].to_pylist(), strict=True)
    ]
    columns: dict[str, Any] = {name: rows[name] for name in COLLECTED.names}
    # Who took their words back has taken them back.
    recalled = pa.array(settled.recalled)
    columns["text"] = pc.if_else(recalled, "", pa.array(texts, pa.string()))
    columns["kind"] = pc.if_else(recalled, "system", rows["kind"])
    columns["message_id"] = hex_ids(settled.message_id)
    answered = hex_ids(settled.reply_to)
    columns["reply_to"] = pc.if_else(pa.array(settled.replies), answered, pa.scalar(None, pa.string()))
    return pa.table({name: columns[name] for name in MESSAGES.names}, schema=MESSAGES), masked


def ingest(
    raw: Path,
    format_name: str,
    pseudonyms: Pseudonyms,
    out: Path,
    timezone: str = "UTC",
    date_order: str = "auto",
    phone_regions: tuple[str, ...] = (),
    columns: dict[str, str] | None = None,
) -> dict[str, int]:
    """Write all messages of the exports in a folder.

    Args:
        raw: Folder of exports.
        format_name: One of ``NAMES``, or auto.
        pseudonyms: Under the key of this chat.
        out: Parquet file of ``MESSAGES`` to write.
        timezone: Of exports in local time without an offset, as in the IANA database.
        date_order: One of ``DATE_ORDERS``, for exports whose dates can be read in several ways.
        phone_regions: Countries (ISO 3166) whose phone numbers count without their +, too.
        columns: For tables: our column -> theirs.

    Returns:
        Counts: ``raw_lines`` (records: objects of a JSON stream, lines of a log) is ``messages`` plus ``skipped``,
        which is the sum of every ``skipped_<reason>``.

    Raises:
        DataError: If a file cannot be read, or no file holds a message.
    """
    pseudonyms.forget(forgotten_marks(raw, pseudonyms))
    names = Names(pseudonyms, listed_names(raw, DENY), listed_names(raw, KEEP))
    context = Context(pseudonyms, names.know, ZoneInfo(timezone), date_order, phone_regions, columns or {})
    with workers() as any_pool, row_writer(out, MESSAGES) as writer:
        pool = remote(any_pool)
        reading = Reading(pseudonyms, context, names, out.parent)
        sources = find_exports(raw, reading.counts)
        reading.read(sources, format_name, pool)
        kinds: Counter[str] = Counter()
        groups: set[str] = set()
        senders: set[str] = set()
        for part in reading.messages(pool):
            writer.write(part)
            for value in pc.value_counts(part["kind"]).to_pylist():
                kinds[value["values"]] += value["counts"]
            groups.update(pc.unique(part["group"]).to_pylist())
            senders.update(pc.unique(part["sender"]).to_pylist())
        if not kinds:
            reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(reading.counts.items()) if count)
            raise DataError(
                f"{raw}: expected messages, got none ({reasons or 'the files hold no records'}). Export the chat again."
            )
    return _summary(reading, kinds, len(sources), len(groups), len(senders))


def _summary(reading: Reading, kinds: Counter[str], files: int, groups: int, senders: int) -> dict[str, int]:
    counts = reading.counts
    skipped = {name: count for name, count in sorted(counts.items()) if name.startswith("skipped_")}
    found = ("recalled", "late", "damaged", "replies", "replies_to_unknown", "files_passed_over")
    return {
        "files": files,
        "raw_lines": counts["raw_lines"],
        "messages": kinds.total(),
        **{f"messages_{kind}": kinds[kind] for kind in KINDS},
        "groups": groups,
        "senders": senders,
        "pseudonyms_lengthened": reading.collisions,
        "skipped": sum(skipped.values()),
        **skipped,
        **{name: counts[name] for name in found},
        **{f"masked_{kind}": reading.masked[kind] for kind in (*masking.KINDS, "name", "denied")},
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
@click.option(
    "--timezone",
    callback=timezone_name,
    required=True,
    help="Of exports that write local time without an offset: UTC, Asia/Shanghai.",
)
@click.option(
    "--date-order",
    type=click.Choice(DATE_ORDERS),
    required=True,
    help="Of an export whose dates can be read in several ways; auto tells it from the whole file.",
)
@phone_region_option
@column_option
@click.option("--out", type=OutputFile, required=True, help="Messages to write (parquet).")
@click.option("--counts", type=OutputFile, required=True, help="Counts to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(
    raw: Path,
    format_name: str,
    timezone: str,
    date_order: str,
    phone_regions: tuple[str, ...],
    columns: dict[str, str],
    out: Path,
    counts: Path,
) -> None:
    """Read chat exports into messages, with pseudonyms and masking.

    The key of the pseudonyms comes from the environment variable CHATLADDER_PRIVACY_KEY, or from the secret that
    "chatladder secret" makes; the demo alone is read without one. Names to take out of every text, one a line, may
    stand in data/raw/*.deny, and names to leave alone, since the chat uses them as words, in data/raw/*.keep. Members
    whom "chatladder forget" put into data/raw/*.forgotten are left out.
    """
    pseudonyms = Pseudonyms()
    numbers = ingest(raw, format_name, pseudonyms, out, timezone, date_order, phone_regions, columns)
    write_json(counts, numbers)
    note = f"; public demo key, set {KEY_VARIABLE} for a private chat" if pseudonyms.is_demo else ""
    click.echo(
        f"{out}: {numbers['messages']:,} messages of {numbers['senders']:,} senders in {numbers['groups']:,} "
        f"groups, from {numbers['raw_lines']:,} records ({numbers['skipped']:,} skipped){note}"
    )


if __name__ == "__main__":
    main()
