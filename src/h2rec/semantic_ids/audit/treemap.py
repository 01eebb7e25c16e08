"""Treemap layout: nearly square rectangles with given areas."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple


class Rectangle(NamedTuple):
    """Left, top, width and height."""

    x: float
    y: float
    width: float
    height: float


def squarify(weights: Sequence[float], frame: Rectangle) -> list[Rectangle]:
    """Fill a frame with one rectangle per weight, in order; weights are positive, the largest best first.

    Source: Bruls, Huizing and van Wijk, Squarified Treemaps (2000).
    """
    scale = frame.width * frame.height / sum(weights) if weights else 0.0
    areas = [weight * scale for weight in weights]
    rectangles: list[Rectangle] = []
    while areas:
        side = min(frame.width, frame.height)
        count = 1
        while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
            count += 1
        row, areas = areas[:count], areas[count:]
        placed, frame = _place(row, frame)
        rectangles.extend(placed)
    return rectangles


def _worst(row: list[float], side: float) -> float:
    """Largest ratio of a rectangle's sides when a row of areas lies along a side of the frame."""
    thickness = sum(row) / side
    return max(max(area / thickness**2, thickness**2 / area) for area in row)


def _place(row: list[float], frame: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    """Lay a row of areas along the frame's shorter side; return it and the rest of the frame."""
    if frame.height > frame.width:
        tiles, rest = _place(row, _turned(frame))
        return [_turned(tile) for tile in tiles], _turned(rest)
    thickness = sum(row) / frame.height
    tiles = [
        Rectangle(frame.x, frame.y + (end - area) / thickness, thickness, area / thickness)
        for area, end in zip(row, accumulate(row), strict=True)
    ]
    width = max(frame.width - thickness, 1e-9)
    return tiles, Rectangle(frame.x + thickness, frame.y, width, frame.height)


def _turned(frame: Rectangle) -> Rectangle:
    return Rectangle(frame.y, frame.x, frame.height, frame.width)
