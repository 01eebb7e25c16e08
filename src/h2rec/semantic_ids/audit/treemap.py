"""Treemap layout: rectangles whose areas are given numbers, as near to squares as they go."""

from collections.abc import Sequence
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
    placed: list[Rectangle] = []
    while areas:
        side = min(frame.width, frame.height)
        count = 1
        while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(areas[:count], side):
            count += 1
        row, areas = areas[:count], areas[count:]
        rectangles, frame = _place(row, frame)
        placed.extend(rectangles)
    return placed


def _worst(row: list[float], side: float) -> float:
    """Largest ratio of a rectangle's sides when a row of areas lies along a side of the frame."""
    thickness = sum(row) / side
    return max(max(area / thickness**2, thickness**2 / area) for area in row)


def _place(row: list[float], frame: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    along_height = frame.height <= frame.width
    thickness = sum(row) / (frame.height if along_height else frame.width)
    offset = 0.0
    placed = []
    for area in row:
        length = area / thickness
        if along_height:
            placed.append(Rectangle(frame.x, frame.y + offset, thickness, length))
        else:
            placed.append(Rectangle(frame.x + offset, frame.y, length, thickness))
        offset += length
    if along_height:
        return placed, Rectangle(
            frame.x + thickness, frame.y, max(frame.width - thickness, 1e-9), frame.height
        )
    return placed, Rectangle(frame.x, frame.y + thickness, frame.width, max(frame.height - thickness, 1e-9))
