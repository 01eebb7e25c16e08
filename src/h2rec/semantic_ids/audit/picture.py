"""The audit as one HTML page that needs nothing else: treemap, code tree, loads, figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from h2rec.files import write_text
from h2rec.semantic_ids.audit import Audit
from h2rec.semantic_ids.audit.branches import Branch, Theme
from h2rec.semantic_ids.audit.tables import figures, sentences
from h2rec.semantic_ids.audit.treemap import Rectangle, squarify
from h2rec.templates import page_templates

WIDTH, HEIGHT = 1400, 900
HEADING = 20
LINE = 13
CHARACTER, BOLD_CHARACTER = 6.3, 7.6
"""Widths of a character of a tile's and of a theme's label, in pixels, rounded up."""


@dataclass(frozen=True)
class Tile:
    """A first-level branch on the treemap: its frame, its children's rectangles, and the lines that fit in it."""

    branch: Branch
    frame: Rectangle
    children: tuple[Rectangle, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Region:
    """A theme on the treemap."""

    frame: Rectangle
    label: str
    hue: int
    tiles: tuple[Tile, ...]


def write_html(path: Path, audit: Audit, title: str) -> None:
    """Write the audit as a page; item texts are escaped."""
    environment = page_templates("h2rec.semantic_ids.audit")
    page = environment.get_template("audit.html.j2").render(
        title=title,
        sentences=sentences(audit),
        tables=figures(audit),
        regions=regions(audit.branches, audit.themes),
        loads=[(level, load_curve(level.loads)) for level in audit.levels],
        width=WIDTH,
        height=HEIGHT,
    )
    write_text(path, page)


def regions(branches: Sequence[Branch], themes: Sequence[Theme]) -> list[Region]:
    """Lay out themes, the branches within them, and their children within those."""
    order = sorted(range(len(themes)), key=lambda number: -themes[number].items)
    frames = squarify([themes[number].items for number in order], Rectangle(0, 0, WIDTH, HEIGHT))
    placed = []
    for position, (number, frame) in enumerate(zip(order, frames, strict=True)):
        hue = round(360 * position / len(order))
        inner = Rectangle(frame.x, frame.y + HEADING, frame.width, max(frame.height - HEADING, 1))
        inside = [branch for branch in branches if branch.theme == number]
        tiles = zip(inside, squarify([branch.items for branch in inside], inner), strict=True)
        label = _fitting(", ".join(themes[number].words), frame.width - 8, BOLD_CHARACTER)
        placed.append(Region(frame, label, hue, tuple(_tile(b, f) for b, f in tiles)))
    return placed


def load_curve(loads: Sequence[int], width: int = 420, height: int = 80) -> str:
    """Points of an SVG polygon: items of every code, fullest code first."""
    ordered = sorted(loads, reverse=True)
    top = max(1, ordered[0])
    step = width / len(ordered)
    points = [(0.0, float(height))]
    for index, load in enumerate(ordered):
        y = height * (1 - load / top)
        points += [(index * step, y), ((index + 1) * step, y)]
    points.append((width, height))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _tile(branch: Branch, frame: Rectangle) -> Tile:
    shown = sum(child.items for child in branch.children)
    weights = [float(child.items) for child in branch.children]
    if branch.items > shown and weights:
        weights.append(float(branch.items - shown))
    room = max(0, int((frame.height - 4) // LINE))
    labels = [*branch.words, branch.size] if room > len(branch.words) else [*branch.words]
    lines = tuple(line for label in labels[:room] if (line := _fitting(label, frame.width - 6)))
    return Tile(branch, frame, tuple(squarify(weights, frame)), lines)


def _fitting(text: str, width: float, character: float = CHARACTER) -> str:
    most = int(width / character)
    if len(text) <= most:
        return text
    return text[: most - 1] + "…" if most >= 4 else ""
