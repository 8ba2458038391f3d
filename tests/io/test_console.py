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


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the start, by tqdm's clock: a list of one number."""
    seconds = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: seconds[0])
    return seconds


def test_a_log_gets_a_line_a_minute(clock, capsys):
    with bar("score", total=300) as shown:
        for _ in range(10):
            clock[0] += 25
            shown.update(30)
    assert capsys.readouterr().err.splitlines() == [
        "score: 90 of 300 (30 %), 1 min, about 3 min left",
        "score: 180 of 300 (60 %), 2 min, about 2 min left",
        "score: 270 of 300 (90 %), 4 min, less than a minute left",
    ]


def test_a_log_gets_no_cursor_moves_and_nothing_of_a_minute_s_work(clock, capsys):
    for seconds, lines in ((19, 0), (21, 1), (100, 3)):
        for _ in bar("train", iter(range(3)), unit=" steps"):  # how many is not known
            clock[0] += seconds
        said = capsys.readouterr().err
        assert said.count("\n") == lines
        assert "\r" not in said
    assert said == "train: 1 steps, 2 min\ntrain: 2 steps, 3 min\ntrain: 3 steps, 5 min\n"


def test_what_goes_on_from_a_checkpoint_is_reckoned_from_there(clock, capsys):
    with working_on("small seed 1"), bar("train", total=1000, initial=900) as shown:
        clock[0] += 60
        shown.update(20)
    assert capsys.readouterr().err == "small seed 1 train: 920 of 1,000 (92 %), 1 min, about 4 min left\n"


def test_a_log_gets_no_bar_of_one_of_several_processes_and_no_hidden_one(clock, capsys, monkeypatch):
    for hidden, line in ((True, None), (False, 0)):
        monkeypatch.setattr(console._Bars, "line", line)
        for _ in bar("score", range(3), hidden=hidden):
            clock[0] += 100
    assert capsys.readouterr().err == ""


def test_an_error_says_what_it_is_of():
    with pytest.raises(DataError, match=r"^small seed 1: step 7: expected less$"), working_on("small seed 1"):
        raise DataError("step 7: expected less")
