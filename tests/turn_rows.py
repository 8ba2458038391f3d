"""A row of chatladder.io.rows.TURNS, for tests of what reads turns."""


def turn(number, text, kind="text", **changes):
    """The turn ``t<number>`` at ``number`` seconds; what a test cares about is changed by name."""
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
