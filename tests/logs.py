"""Logs of annotators, as annotating by hand writes them."""

from chatladder.labels.log import LogWriter
from chatladder.labels.rounds import check_owner, owner


def append(path, answer):
    """Append one answer to a log, which is created if necessary."""
    check_owner(answer, owner(path), where=str(path))
    with LogWriter(path) as log:
        log.append(answer)
