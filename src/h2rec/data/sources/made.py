"""A small shop made by a program, for tests and first tries: nothing is downloaded."""

from pathlib import Path

import numpy as np

from h2rec.data.sources.source import FetchedSource, Source
from h2rec.files import write_text
from h2rec.runtime import random_stream

USERS, ITEMS, LENGTH = 300, 240, 8
_THEMES = (
    ("tea", "green leaf", "black leaf", "herbal", "kettle"),
    ("chess", "board", "clock", "pieces", "book"),
    ("garden", "rose", "soil", "spade", "hose"),
    ("bike", "chain", "wheel", "saddle", "lamp"),
    ("desk", "pencil", "ink", "paper", "ruler"),
    ("kitchen", "knife", "pan", "bowl", "scale"),
)
_COLOURS = ("red", "blue", "white", "grey", "oak", "steel", "glass", "copper")


def _build(folder: Path) -> FetchedSource:
    """Write users who stay within a theme for a while, and items whose popularity falls like one over the rank.

    The next item depends on the theme and kind (which the title names) and on the item's own number (which it does
    not), so that codes and identities both have something to learn.
    """
    stream = random_stream(0, "made shop")
    kinds = [(theme, kind) for theme, *own in _THEMES for kind in own]
    theme_of = np.arange(ITEMS) % len(_THEMES)
    kind_of = np.arange(ITEMS) // len(_THEMES) % (len(kinds) // len(_THEMES))
    popularity = 1.0 / (1 + stream.permutation(ITEMS))
    # Some titles are those of another item, whose codes they share; most are an item's own.
    colours = [_COLOURS[item // len(kinds) % len(_COLOURS)] for item in range(ITEMS)]
    titles = [
        f"{colour} {_THEMES[theme][0]} {_THEMES[theme][1 + kind]}"
        for colour, theme, kind in zip(colours, theme_of, kind_of, strict=True)
    ]
    items = ["item_id:token\ttitle:token_seq", *(f"i{item}\t{title}" for item, title in enumerate(titles))]
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(USERS):
        current = int(stream.integers(ITEMS))
        for step in range(int(stream.integers(4, 2 * LENGTH - 3))):
            rows.append(f"u{user}\ti{current}\t{step}")
            # Mostly on to the next number of the theme, else to anything of the theme, now and then elsewhere.
            choice = stream.random()
            if choice < 0.5:
                current = (current + len(_THEMES)) % ITEMS
                continue
            weights = np.where(theme_of == theme_of[current], popularity, 0) if choice < 0.9 else popularity
            current = int(stream.choice(ITEMS, p=weights / weights.sum()))
    interactions, described = folder / "made-shop.inter", folder / "made-shop.item"
    write_text(interactions, "\n".join(rows) + "\n")
    write_text(described, "\n".join(items) + "\n")
    return FetchedSource(interactions, described)


SOURCES = (
    Source(
        "made-shop",
        f"made by a program, not real: {USERS} users of {ITEMS} items, for tests and first tries",
        "made on this machine",
        _build,
    ),
)
