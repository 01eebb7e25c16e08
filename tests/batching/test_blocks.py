from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from h2rec.batching.blocks import Block, like_length_blocks


def cost(blocks, overhead):
    return sum((block.stop - block.start) * block.width + overhead for block in blocks)


def all_cuts(lengths):
    """Every way to cut ascending rows into blocks."""
    for cuts in range(2 ** (len(lengths) - 1)):
        bounds = [0, *(n for n in range(1, len(lengths)) if cuts >> (n - 1) & 1), len(lengths)]
        yield [Block(start, stop, lengths[stop - 1]) for start, stop in pairwise(bounds)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=9), st.integers(0, 40))
def test_no_other_cut_costs_less(lengths, overhead):
    lengths = np.sort(lengths)
    blocks = like_length_blocks(lengths, overhead)
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    assert blocks[-1].stop == len(lengths)
    assert all(block.width == lengths[block.stop - 1] for block in blocks)
    assert cost(blocks, overhead) == min(cost(cut, overhead) for cut in all_cuts(lengths.tolist()))


def test_a_dear_block_is_the_only_one():
    assert like_length_blocks(np.array([1, 2, 50]), 10_000) == (Block(0, 3, 50),)
    assert like_length_blocks(np.array([1, 1, 50]), 0) == (Block(0, 2, 1), Block(2, 3, 50))
