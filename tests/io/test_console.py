"""What a terminal shows of work: whose a bar is, and none where it could only be in the way."""

from io import StringIO

import pytest

from chatladder.io import console
from chatladder.io.console import DataError, bar, working_on


class Terminal(StringIO):
    def isatty(self):
        return True


def shown(*arguments, **options):
    terminal = Terminal()
    list(bar(*arguments, file=terminal, ncols=60, **options))
    return terminal.getvalue()


def test_a_bar_says_what_it_is_of():
    assert "\rtrain:   0%" in shown("train", range(3))
    with working_on("small seed 1"):
        assert "small seed 1 train:   0%" in shown("train", range(3))
    assert "small" not in shown("train", range(3))
    assert shown("train", range(3), hidden=True) == ""


def test_processes_that_share_a_terminal_have_a_line_each_and_show_named_bars_alone(monkeypatch):
    monkeypatch.setattr(console._Bars, "line", 2)
    assert shown("score", range(3)) == ""
    with working_on("small seed 1"):
        assert "\n\n\rsmall seed 1 train" in shown("train", range(3))


def test_an_error_says_what_it_is_of():
    with pytest.raises(DataError, match=r"^small seed 1: step 7: expected less$"), working_on("small seed 1"):
        raise DataError("step 7: expected less")
