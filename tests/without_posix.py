"""Import our modules with the POSIX modules missing.

Example:
    python -m tests.without_posix chatladder.io.files chatladder.labels.log
"""

import builtins
import importlib
import sys

ABSENT = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}


def main():
    plain = builtins.__import__

    def without(name, globals=None, *rest, **options):
        """Import as ``__import__``, but hide modules only from ours, since libraries check the system's name first."""
        if name in ABSENT and globals["__name__"].partition(".")[0] in ("chatladder", "stages"):
            raise ModuleNotFoundError(name)
        return plain(name, globals, *rest, **options)

    builtins.__import__ = without
    for name in sys.argv[1:]:
        importlib.import_module(name)
    from chatladder.io import files

    assert not files.OPEN_FILES_MOVE


if __name__ == "__main__":
    main()
