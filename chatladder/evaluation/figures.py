"""Figures as tables and pages write them."""

_UNITS = (("T", 10**12), ("B", 10**9), ("M", 10**6), ("k", 10**3))


def short_count(value: int) -> str:
    """Three digits of a count: 17.0 k, 1.12 M, 32.5 B."""
    for unit, size in _UNITS:
        if value >= size:
            share = value / size
            return f"{share:.{2 if share < 10 else 1 if share < 100 else 0}f} {unit}"
    return str(value)
