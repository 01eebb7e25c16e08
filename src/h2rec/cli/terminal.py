"""Where results are printed."""

import sys

from rich.console import Console

_WIDE = 100_000
"""Columns where nobody looks: as wide as what is printed."""


def result_console() -> Console:
    """Return standard output; what is piped or written to a file is as wide as its content, and nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)
