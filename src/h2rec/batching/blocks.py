"""Rows of a batch in blocks of like length: long and short histories learn in one step, and little is padding."""

from typing import NamedTuple

import numpy as np

from h2rec.data.histories import IntArray


class Block(NamedTuple):
    """Rows `start` to `stop` of a batch, none longer than `width`."""

    start: int
    stop: int
    width: int


def like_length_blocks(lengths: IntArray, overhead: int) -> tuple[Block, ...]:
    """Cut rows that ascend in length into the blocks that cost least.

    Parameters
    ----------
    lengths
        int64 `[B]`, ascending.
    overhead
        What a block costs by itself, in padded positions.

    Returns
    -------
    tuple of Block
        In the order of the rows; every row is in one of them.
    """
    widths, counts = np.unique(lengths, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)])
    cost = np.zeros(len(ends))
    begins = np.zeros(len(ends), dtype=np.int64)
    for end in range(1, len(ends)):
        whole = cost[:end] + widths[end - 1] * (ends[end] - ends[:end]) + overhead
        begins[end] = whole.argmin()
        cost[end] = whole[begins[end]]
    blocks = []
    end = len(widths)
    while end > 0:
        begin = begins[end]
        blocks.append(Block(int(ends[begin]), int(ends[end]), int(widths[end - 1])))
        end = begin
    return tuple(reversed(blocks))
