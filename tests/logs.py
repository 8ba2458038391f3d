"""Logs of annotators, as annotating by hand leaves them."""

from chatladder.labels.log import LogWriter
from chatladder.labels.rounds import check_owner, owner


def append(path, answer):
    """Add one answer to a log, which is begun if need be."""
    check_owner(answer, owner(path), where=str(path))
    with LogWriter(path) as log:
        log.append(answer)
