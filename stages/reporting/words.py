"""Numbers and states as the page writes them."""

_UNITS = (("T", 10**12), ("B", 10**9), ("M", 10**6), ("k", 10**3))


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


def short_count(value: int) -> str:
    """Three digits of a count: 17.0 k, 1.12 M, 32.5 B."""
    for unit, size in _UNITS:
        if value >= size:
            share = value / size
            return f"{share:.{2 if share < 10 else 1 if share < 100 else 0}f} {unit}"
    return str(value)


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
