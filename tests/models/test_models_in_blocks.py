"""A batch cut into blocks of like length says what it says in one piece."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_forms import FORMS, name_of

from h2rec.batching.blocks import Block
from h2rec.batching.sequences import Batch
from h2rec.models import blocks
from h2rec.models.ties.masking import Masking

BLOCKS = (Block(0, 2, 2), Block(2, 3, 3), Block(3, 5, 6))


def batch(**values):
    random = np.random.default_rng(0)
    lengths = torch.tensor([1, 2, 3, 5, 6])
    items = torch.from_numpy(random.integers(1, 41, (5, 6)))
    items[torch.arange(6) >= lengths[:, None]] = 0
    targets = torch.where(items > 0, items.roll(1, 1), 0)
    # Not all positions are read, and not equally many a row.
    targets[3, :3] = 0
    return Batch(items, lengths, targets, torch.arange(5), **values)


def rows_of(made):
    """Each block as a batch of its own."""
    return [
        Batch(made.items[a:b, :width], made.lengths[a:b], made.targets[a:b, :width])
        for a, b, width in made.blocks
    ]


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_states_are_those_of_the_batch_in_one_piece(make_model, form):
    model = make_model(**form)
    whole, cut = batch(), batch(blocks=BLOCKS)
    reads = whole.targets > 0
    with torch.no_grad():
        one, many = (blocks.encode(model, made, reads) for made in (whole, cut))
    assert len(one.vectors) == len(many.vectors)
    assert one.encoded.keys() == many.encoded.keys()
    pairs = [
        *zip(one.vectors, many.vectors, strict=True),
        *((one.encoded[name], many.encoded[name]) for name in one.encoded),
        (one.read_alpha, many.read_alpha),
    ]
    if one.alpha is not None:
        real = whole.items > 0
        assert one.alpha.shape == many.alpha.shape
        pairs.append((one.alpha[real], many.alpha[real]))
    for left, right in pairs:
        assert (left is None) == (right is None)
        if left is not None:
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    if one.norms is None:
        assert many.norms is None
    else:
        # A block counts as much as positions of it are read.
        parts = [blocks.encode(model, part, part.targets > 0).norms for part in rows_of(cut)]
        counts = torch.tensor([float((part.targets > 0).sum()) for part in rows_of(cut)])
        for side, mean in enumerate(many.norms):
            expected = (torch.stack([norms[side] for norms in parts]) * counts).sum() / counts.sum()
            torch.testing.assert_close(mean, expected)


def test_the_masked_view_is_that_of_the_batch_in_one_piece(make_model):
    model = make_model()
    masking = Masking(model.branches["codes"], "codes", model.settings.ties)
    whole = batch()
    cut = replace(whole, blocks=BLOCKS)
    level, at = torch.tensor([0, 1, 2, 1, 0]), whole.lengths - 1
    with torch.no_grad():
        alpha = blocks.encode(model, whole, whole.targets > 0).alpha
        one, many = (masking.view(made, alpha, level, at) for made in (whole, cut))
        other = masking.view(cut, alpha, (level + 1) % 3, at)
    torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(one, other)


def test_padding_is_not_encoded(make_model, monkeypatch):
    model = make_model(branches={"ids": {"kind": "ids"}})
    seen = []
    encoder = model.branches["ids"].encoder
    encode = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda x, n: seen.append(tuple(x.shape[:2])) or encode(x, n))
    cut = batch(blocks=BLOCKS)
    blocks.encode(model, cut, cut.targets > 0)
    assert seen == [(2, 2), (1, 3), (2, 6)]
