"""chatladder: a raw group chat in, a fine-tuned model and its scores out.

One module per stage of ``dvc.yaml``; the packages beside them hold what the stages share.
"""

import sys
from types import TracebackType

_show_error = sys.excepthook


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A Ctrl+C while a command still imports what it needs has no use for a traceback; its status stays 130."""
    if issubclass(kind, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
    else:
        _show_error(kind, error, trace)


sys.excepthook = _end
