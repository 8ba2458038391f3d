"""Exports read into messages: one row each, senders as pseudonyms, personal data masked.

Every file of a folder is read, in nested folders and zips too, in the order of their names, except hidden files,
README.md, *.dvc, media and the like. Every record becomes a message or is counted by the reason why it did not. Rows
are ordered by group, then by time; messages of one time keep the order of their files.

``message_id`` is a hash, under the project's key, of the group and the export's own id. Without such an id it is a hash
of group, sender, time and text before masking, with an ordinal for each repetition within the file. So a message keeps
its id when exports grow or overlap and when more of it is masked. A message that two files hold is taken once and
counted as a duplicate.

Names are known only once every file is read. So texts wait on disk, masked except for names, in files without a name
that vanish with the process. Names in them become pseudonyms as they are written to the output. Memory grows by some 50
bytes a message.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chatladder.chat.collect import COLLECTED, Collector, cut, read_portions
from chatladder.chat.exports import find_exports, forgotten_marks, listed
from chatladder.chat.external_sort import HiddenFile, sort_rows
from chatladder.chat.formats import with_formats
from chatladder.chat.identity import Identities, hex_ids, identify
from chatladder.chat.options import ExportOptions
from chatladder.chat.source import Source
from chatladder.distributed import Workers, workers
from chatladder.io.console import DataError, bar
from chatladder.io.rows import KINDS, MESSAGES, row_writer
from chatladder.privacy import masking
from chatladder.privacy.names import Replacer
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.secret import check_private


class Reading:
    """One pass over exports.

    Attributes:
        counts: The number of records, and of those that make no message by reason.
        masked: The number of masked items by kind.
    """

    def __init__(self, pseudonyms: Pseudonyms, options: ExportOptions, lists: Path | None, scratch: Path) -> None:
        """Start empty.

        Args:
            pseudonyms: The pseudonyms under this chat's key.
            options: The settings of the exports.
            lists: The folder of ``*.deny`` and ``*.keep``.
            scratch: A folder with disk space for all texts.
        """
        self.counts: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self._pseudonyms = pseudonyms
        self._options = options
        self._names = listed(lists, pseudonyms)
        self._context = options.context(pseudonyms, self._names.know)
        self._scratch = scratch
        self._texts = HiddenFile(COLLECTED, scratch)
        self._collector = Collector(self._context, self.masked, self.counts, self._texts)

    def read(self, sources: list[Source], pool: Workers) -> None:
        """Collect every message of the files.

        Raises:
            DataError: If a file cannot be read, or a private chat would be read under the public key.
        """
        portions = list(cut(sources, pool.most_bytes))
        read = read_portions(portions, self._options, self._pseudonyms, pool)
        with bar("read", unit=" records") as progress:
            for portion, result in zip(portions, read, strict=True):
                if result and portion[0].budget.take(result.drawn) and self._pseudonyms.agree(result.known):
                    self._collector.add(result)
                    progress.update(len(result.columns["key"]))
                else:
                    for source, format_ in with_formats(portion, self._options.format, self.counts):
                        self._collector.read(format_, source, progress)
        check_private(self._pseudonyms, self._collector.groups)

    def messages(self, pool: Workers) -> Iterator[pa.Table]:
        """Yield rows of ``MESSAGES`` in order, with names of people in texts replaced."""
        index = self._collector.index()
        identities = identify(index, self.counts)
        del index
        rows = sort_rows(self._texts.read(), identities.position, COLLECTED, self._scratch)
        parts = _with_identities(bar("names", rows, unit=" parts"), identities)
        for table, masked in pool.map(finish, parts, self._names.replacer()):
            self.masked.update(masked)
            yield table
        self._texts.close()


def _with_identities(parts: Iterable[pa.Table], all_rows: Identities) -> Iterator[tuple[pa.Table, Identities]]:
    """Yield each part with the identities of its rows, but for ``position``."""
    start = 0
    for part in parts:
        own = [values[start : start + part.num_rows] for values in all_rows[1:]]
        yield part, Identities(all_rows.position[:0], *own)
        start += part.num_rows


def finish(part: tuple[pa.Table, Identities], replace: Replacer) -> tuple[pa.Table, Counter[str]]:
    """Return collected rows as rows of ``MESSAGES``, with ids, recalls and replies, and names replaced.

    Args:
        part: Rows of ``COLLECTED``, and their identities.
        replace: Replaces names in texts.

    Returns:
        The rows, and the number of names that were replaced.
    """
    rows, identities = part
    masked: Counter[str] = Counter()
    texts = [
        (replace.in_file_name if kind == "file" else replace)(text, masked)
        for text, kind in zip(rows["text"].to_pylist(), rows["kind"].to_pylist(), strict=True)
    ]
    columns: dict[str, Any] = {name: rows[name] for name in COLLECTED.names}
    # The sender took these words back, so no reader may see them.
    recalled = pa.array(identities.recalled)
    columns["text"] = pc.if_else(recalled, "", pa.array(texts, pa.string()))
    columns["kind"] = pc.if_else(recalled, "system", rows["kind"])
    columns["message_id"] = hex_ids(identities.message_id)
    answered = hex_ids(identities.reply_to)
    columns["reply_to"] = pc.if_else(pa.array(identities.replies), answered, pa.scalar(None, pa.string()))
    return pa.table({name: columns[name] for name in MESSAGES.names}, schema=MESSAGES), masked


def ingest(
    raw: Path,
    pseudonyms: Pseudonyms,
    out: Path,
    options: ExportOptions = ExportOptions(),  # noqa: B008 - frozen
) -> dict[str, int]:
    """Write all messages of the exports in a folder.

    Args:
        raw: The folder of exports.
        pseudonyms: The pseudonyms under this chat's key.
        out: The Parquet file of ``MESSAGES`` to write.
        options: The settings of the exports.

    Returns:
        Counts: ``raw_lines`` (records: objects of a JSON stream, lines of a log) equals ``messages`` plus ``skipped``,
        which is the sum of all ``skipped_<reason>``.

    Raises:
        DataError: If a file cannot be read, or no file holds a message.
    """
    pseudonyms.forget(forgotten_marks(raw, pseudonyms))
    kinds: Counter[str] = Counter()
    groups: set[str] = set()
    senders: set[str] = set()
    with workers() as pool, row_writer(out, MESSAGES) as writer:
        reading = Reading(pseudonyms, options, raw, out.parent)
        sources = find_exports(raw, reading.counts)
        reading.read(sources, pool)
        for part in reading.messages(pool):
            writer.write(part)
            kinds.update({each["values"]: each["counts"] for each in pc.value_counts(part["kind"]).to_pylist()})
            groups.update(pc.unique(part["group"]).to_pylist())
            senders.update(pc.unique(part["sender"]).to_pylist())
        if not kinds:
            raise nothing_read(raw, reading.counts)
    counts = reading.counts
    skipped = {name: count for name, count in sorted(counts.items()) if name.startswith("skipped_")}
    others = ("recalled", "late", "damaged", "replies", "replies_to_unknown", "files_passed_over")
    return {
        "files": len(sources),
        "raw_lines": counts["raw_lines"],
        "messages": kinds.total(),
        **{f"messages_{kind}": kinds[kind] for kind in KINDS},
        "groups": len(groups),
        "senders": len(senders),
        "pseudonyms_lengthened": pseudonyms.collisions,
        "skipped": sum(skipped.values()),
        **skipped,
        **{name: counts[name] for name in others},
        **{f"masked_{kind}": reading.masked[kind] for kind in (*masking.KINDS, "name", "denied")},
    }


def nothing_read(place: Path, counts: Counter[str]) -> DataError:
    """Return the error for exports without a message, with the number of records skipped for each reason."""
    reasons = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()) if count)
    return DataError(
        f"{place}: expected messages, got none ({reasons or 'the files hold no records'}). Export the chat again."
    )
