"""Numbers and states as the page writes them."""


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign, a true minus; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value + 0.0:+.{digits}f}".replace("-", "−")


def plain(value: float | None, digits: int = 2) -> str:
    """A number; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def count(value: int) -> str:
    """A whole number, thousands apart."""
    return f"{value:,}"


def state(value: str | None) -> str:
    """A label or state as words, such as "not needed"."""
    return "not asked before" if value is None else value.replace("_", " ")


def direction(old: str | None, new: str | None) -> str:
    """A change of what is scored, in words."""
    if old is None:
        return f"came in as {state(new)}"
    if new is None:
        return f"left, was {state(old)}"
    return f"{state(old)} → {state(new)}"
