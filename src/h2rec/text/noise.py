"""Noise of item texts, which shows how much a method depends on good text."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from h2rec.runtime import random_stream
from h2rec.settings import Settings

NOTHING = -1
"""Stands for "no text" in the result of `text_sources`."""


class NoiseSettings(Settings):
    """Which share of the items loses its own text."""

    kind: Literal["drop", "swap", "replace"] = "swap"
    """drop: no text at all; swap: the chosen items exchange their texts among themselves; replace: each gets the text
    of any other item, which then occurs twice."""
    share: float = Field(ge=0, le=1)
    """Share of the catalogue whose text is spoiled."""


def text_sources(settings: NoiseSettings, item_count: int) -> npt.NDArray[np.int64]:
    """Row of the item whose text each item gets, or `NOTHING`, int64 `[N]`.

    A greater share spoils the items of a smaller one and more.
    """
    stream = random_stream(0, "text noise")
    chosen = stream.permutation(item_count)[: round(settings.share * item_count)]
    sources = np.arange(item_count)
    if settings.kind == "drop":
        sources[chosen] = NOTHING
    elif settings.kind == "swap":
        # One circle through all chosen items: none keeps its own text, unless it is alone.
        sources[chosen] = np.roll(chosen, 1)
    elif item_count > 1:
        drawn = stream.integers(item_count - 1, size=len(chosen))
        sources[chosen] = drawn + (drawn >= chosen)
    return sources
