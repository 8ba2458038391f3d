"""Messages of a chat as a table for the terminal: time, sender, text."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from rich.table import Table
from rich.text import Text

from chatladder.cli.annotate.display import clock, day, literal, pause, shortened


def chat_table(
    turns: Sequence[Mapping[str, Any]],
    tints: Mapping[str, str],
    zone: tzinfo,
    *,
    before: int | None = None,
    is_question: bool = False,
    expand_key: str | None,
) -> Table:
    """A table of messages. ``Text`` takes a string as it is: markup in it is no markup.

    Args:
        turns: Messages, oldest first: sender, text, timestamp.
        tints: The colour of each sender.
        zone: In which times are shown.
        before: Time of what was said before the first of them (UTC seconds).
        is_question: Set in bold, without the date, which stands in its frame.
        expand_key: The key that shows long messages whole, named where one is cut; None: none is cut.
    """
    table = Table.grid(padding=(0, 1))
    table.add_column(width=5, no_wrap=True)
    table.add_column(width=11, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1, overflow="fold")
    last_day = ""
    for turn in turns:
        at = turn["timestamp"]
        today = "" if is_question else day(at, zone)
        notes = [today if today != last_day else "", pause(before, at)]
        if note := " · ".join(filter(None, notes)):
            table.add_row("", "", Text(note, style="dim italic"))
        before, last_day = at, today or last_day
        sender = turn["sender"] or ""
        name = Text(literal(sender).replace("\n", " "), style=tints[sender])
        text = _text(turn["text"] or "", "bold" if is_question else "", expand_key)
        table.add_row(Text(clock(at, zone), style="dim"), name, text)
    return table


def _text(text: str, style: str, expand_key: str | None) -> Text:
    text, left_out = (text, 0) if expand_key is None else shortened(text)
    shown = Text(literal(text), style=style)
    if left_out:
        shown.append(f" … {left_out:,} more characters: {expand_key}", style="dim italic")
    return shown
