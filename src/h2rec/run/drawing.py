"""What pages draw: bars and curves as numbers, which `pictures.html.j2` turns into boxes and lines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LEFT, RIGHT, TOP, BOTTOM = 48, 392, 10, 170
"""Where curves lie in a box of 400 x 210."""


@dataclass(frozen=True)
class Bar:
    """A bar; places are in percent of the picture's width."""

    name: str
    text: str
    series: int
    start: float
    width: float
    interval: tuple[float, float] | None = None
    """Ends of its interval."""
    unsure: bool = False
    """Whether the difference is not significant."""


@dataclass(frozen=True)
class Bars:
    """Bars in groups that share a scale."""

    title: str
    note: str
    groups: Sequence[tuple[str, Sequence[Bar]]]
    zero: float | None = None
    """Where zero is, if bars go both ways."""


@dataclass(frozen=True)
class Curves:
    """Curves in a box with axes."""

    title: str
    note: str
    across: str
    """What the horizontal axis is."""
    lines: Sequence[tuple[str, str]]
    """Name and points of each curve."""
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    dots: Sequence[Sequence[str]] = field(default_factory=list)
    """Each curve's points, one by one."""


def curves_of(
    title: str,
    note: str,
    across: str,
    series: Mapping[str, Sequence[tuple[float, float | None]]],
    x_ticks: Sequence[tuple[float, str]],
    *,
    from_zero: bool = False,
) -> Curves:
    """Curves from points of x and y, a series a name; what has no y is left out."""
    known = {name: [(x, y) for x, y in points if y is not None] for name, points in series.items()}
    xs = [x for points in known.values() for x, _ in points]
    ys = [y for points in known.values() for _, y in points] + ([0.0] if from_zero else [])
    marks = ticks_between(min(ys, default=0.0), max(ys, default=1.0), cover=True)
    left, right = min(xs, default=0.0), max(xs, default=1.0)

    def across_at(x: float) -> float:
        return LEFT + (RIGHT - LEFT) * (0.04 + 0.92 * (x - left) / ((right - left) or 1.0))

    def up_at(y: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (y - marks[0]) / ((marks[-1] - marks[0]) or 1.0)

    dots = [[f"{across_at(x):.1f},{up_at(y):.1f}" for x, y in points] for points in known.values()]
    return Curves(
        title,
        note,
        across,
        [(name, " ".join(points)) for name, points in zip(known, dots, strict=True)],
        [(across_at(x), label) for x, label in x_ticks],
        [(up_at(y), f"{y:g}") for y in marks],
        dots,
    )


def ticks_between(low: float, high: float, *, cover: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, four to nine of them; with `cover` they begin and end beyond both."""
    spread = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(spread / 4))
    step = next(power * m for m in (5, 2, 1) if spread / (power * m) >= 4 or m == 1)
    first, last = (
        (math.floor(low / step), math.ceil(high / step))
        if cover
        else (math.ceil(low / step), math.floor(high / step))
    )
    last = max(last, first + 1) if cover else last
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]
