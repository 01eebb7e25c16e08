"""Noise of item texts: how much a method hangs on good text is seen by spoiling a share of it."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from h2rec.runtime import random_stream
from h2rec.settings import Settings

NOTHING = -1
"""Stands for "no text" in the answer of `text_sources`."""


class NoiseSettings(Settings):
    """Which share of the items loses its own text."""

    kind: Literal["drop", "swap", "replace"] = "swap"
    """drop: no text at all; swap: the chosen items exchange their texts among themselves; replace: each gets the text
    of any other item, which then occurs twice."""
    share: float = Field(ge=0, le=1)
    """Share of the catalogue whose text is spoiled; 0 is the text as it is."""


def text_sources(settings: NoiseSettings, item_count: int) -> npt.NDArray[np.int64]:
    """Tell, for each item, whose text it gets.

    A greater share spoils the items of a smaller one and more.

    Returns rows of the item table, int64 `[N]`: the item's own, another's, or `NOTHING`.
    """
    stream = random_stream(0, "text noise")
    chosen = stream.permutation(item_count)[: round(settings.share * item_count)]
    sources = np.arange(item_count)
    if settings.kind == "drop":
        sources[chosen] = NOTHING
    elif settings.kind == "swap":
        # One circle through all chosen items: nobody keeps the own text (but for a single one).
        sources[chosen] = np.roll(chosen, 1)
    elif item_count > 1:
        other = stream.integers(item_count - 1, size=len(chosen))
        sources[chosen] = other + (other >= chosen)
    return sources
