"""Numbers as people read them."""

from rich.console import Console

WIDTH_OF_A_FILE = 180
UNITS = ("", "k", "M", "G", "T")


def count(number: float) -> str:
    """A count with three digits: 950, 12.3k, 4.56M; 4.67 where the work on an item is counted in parts."""
    value, unit = float(number), 0
    while abs(value) >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{UNITS[unit]}"


def size(number: float) -> str:
    """A number of bytes."""
    return f"{count(number)}B" if number else ""


def duration(seconds: float) -> str:
    """A time span: 0.4s, 12s, 3m05s, 2h07m."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02}m"


def percent(share: float) -> str:
    """A share in percent with one digit after the point."""
    return f"{100 * share:.1f}%"


def open_console(*, stderr: bool = False) -> Console:
    """The terminal as wide as it is; a pipe or a file wide enough that no table breaks its words."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH_OF_A_FILE)
