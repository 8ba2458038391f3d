"""What every stage's command shares: click settings, path types, and the error that users see."""

from pathlib import Path

import click

#: DVC unpacks a params section as ``--learning_rate``; click spells it ``--learning-rate``. Both work.
SETTINGS = {
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}

InputFile = click.Path(exists=True, dir_okay=False, path_type=Path)
InputFolder = click.Path(exists=True, file_okay=False, path_type=Path)
OutputFile = click.Path(dir_okay=False, path_type=Path)
OutputFolder = click.Path(file_okay=False, path_type=Path)


class DataError(click.ClickException):
    """Input that cannot be used: one message that names the place, what was expected and what came.

    Exits with 1 and no traceback; bugs keep theirs, usage errors exit with 2.
    """

    exit_code = 1
