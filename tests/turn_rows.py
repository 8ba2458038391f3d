"""Rows of chatladder.io.rows.TURNS, for tests of code that reads turns."""


def turn(number, text, kind="text", **changes):
    """Return the turn ``t<number>`` at ``number`` seconds; ``changes`` replace fields that matter to a test."""
    row = {
        "turn_id": f"t{number}",
        "group": "g1",
        "sender": "u1",
        "timestamp": number,
        "kind": kind,
        "text": text,
        "reply_to": None,
        "message_ids": [f"m{number}"],
    }
    return row | changes
