"""Text of data on its way to a terminal, which obeys control characters that an item's title may hold."""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

_WIDE = 100_000
"""Columns where nobody looks: as wide as what is printed."""
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Control characters (C0, C1) but tab and line feed, and what turns the direction of writing."""


def printable(text: str) -> str:
    """Drop what a terminal would obey instead of show: control characters, and marks that turn the writing."""
    return _OBEYED.sub("", text)


def printable_json(value: Any, indent: int | None = None) -> str:
    """Write JSON with such characters escaped, so that nothing is lost; JSON by itself escapes the first 32 alone."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _OBEYED.sub(lambda character: f"\\u{ord(character[0]):04x}", text)


class Console(RichConsole):
    """Rich's console, for which texts are printable; its own colours are not touched."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as Rich does, and make every piece of text printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def result_console() -> Console:
    """Return standard output; what is piped or written to a file is as wide as its content, and nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)
