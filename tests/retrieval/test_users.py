"""The encoder of users: a trace of the model gives the model's own numbers."""

import gc
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from h2rec.batching.sequences import history_batch
from h2rec.data.histories import Histories
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.users import LastState, UserEncoder, _frozen
from made_bundles import FUSED, make_bundle

POPULARITY = {"popularity": {"kind": "popularity", "weight": 0.3}}
MODELS = [
    {},
    {"preset": "h2rec_two_branches"},
    {"backbone": "bert4rec"},
    {"backbone": "gru4rec"},
    FUSED,
    FUSED | {"backbone": "bert4rec"},
    FUSED | {"ties": {"intent": "last"}},
    FUSED | {"ties": {"fusion": "mean_history"}},
    {"preset": "two_hid", "branches": POPULARITY},
    {"preset": "sasrec"},
    {"preset": "two_hid"},
    {"preset": "llm_esr"},
    {"preset": "pop"},
]


def made_histories(seed):
    random = np.random.default_rng(seed)
    return Histories.from_lists([random.integers(1, 61, n).tolist() for n in (3, 0, 1, 6, 9)])


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_users_are_read_at_their_last_position_by_a_model_and_by_its_trace(tmp_path, model):
    network = Bundle.load(make_bundle(tmp_path / "bundle", **model)).model
    histories, plain = made_histories(0), UserEncoder(network)
    found = plain.encode(histories)
    items, lengths = history_batch(histories, np.arange(5), network.max_length, network.mask_item)
    mask = torch.arange(items.shape[1]) == lengths[:, None] - 1
    with torch.inference_mode():
        states = network(items, lengths, mask)
    assert torch.equal(found.vectors, torch.cat(states.vectors, dim=1))
    assert (found.alpha is None) == (states.alpha is None)
    if found.alpha is not None:
        assert torch.equal(found.alpha, states.alpha[torch.arange(5), lengths - 1])
    # A frozen encoder gives the same numbers.
    frozen = UserEncoder(network, frozen=True)
    assert not isinstance(frozen._run, LastState)
    for seed in range(3):
        expected, found = plain.encode(made_histories(seed)), frozen.encode(made_histories(seed))
        assert torch.equal(found.vectors, expected.vectors)
        assert expected.alpha is None or torch.equal(found.alpha, expected.alpha)


def tensors(scores):
    return [value for value in vars(scores).values() if isinstance(value, torch.Tensor)]


def test_a_trace_counts_as_the_model_does(tmp_path):
    network = Bundle.load(make_bundle(tmp_path / "bundle", preset="h2rec")).model
    plain, frozen = UserEncoder(network), UserEncoder(network, frozen=True)
    assert frozen._counted != network.counted
    for seed in range(3):
        for histories in (made_histories(seed), Histories.from_lists([[]]), Histories.from_lists([[7] * 9])):
            expected, found = plain.encode(histories).counted, frozen.encode(histories).counted
            assert list(found) == list(expected)
            for name, scores in expected.items():
                assert type(found[name]) is type(scores)
                pairs = zip(tensors(found[name]), tensors(scores), strict=True)
                assert all(torch.equal(one, other) for one, other in pairs)


def test_counts_of_a_kind_that_nobody_knows_are_not_traced(tmp_path):
    network = Bundle.load(make_bundle(tmp_path / "bundle", preset="h2rec")).model
    plain = network.counted
    network.counted = lambda recent: {n: SimpleNamespace(inner=s) for n, s in plain(recent).items()}
    assert UserEncoder(network, frozen=True)._counted == network.counted


def test_counts_whose_trace_would_lie_are_not_traced(tmp_path):
    network = Bundle.load(make_bundle(tmp_path / "bundle", preset="h2rec")).model
    plain = network.counted
    network.counted = lambda recent: plain(recent if len(recent) == 2 else recent.clamp(max=1))
    assert UserEncoder(network, frozen=True)._counted == network.counted


def test_a_model_whose_trace_would_lie_is_not_traced(tmp_path):
    network = Bundle.load(make_bundle(tmp_path / "bundle")).model
    plain = network.forward

    def forward(items, lengths, reads):
        if len(items) == 1:  # a trace of two rows does not know this
            items = items.clamp(max=1)
        return plain(items, lengths, reads)

    network.forward = forward
    assert _frozen(LastState(network).eval()) is None
    alone = Histories.from_lists([[5, 9]])
    assert torch.equal(
        UserEncoder(network, frozen=True).encode(alone).vectors, UserEncoder(network).encode(alone).vectors
    )


class Large(torch.nn.Module):
    """Reads nothing but rows of a table of 16 MB."""

    item_count, max_length, mask_item, recent_items = 1000, 4, None, 0

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(1001, 4000)

    def counted(self, recent):
        return {}

    def forward(self, items, lengths, reads):
        return SimpleNamespace(vectors=[self.table(items).flatten(0, 1)[reads]], read_alpha=None)


def resident_mb():
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_weights_of_a_frozen_encoder_go_with_it():
    """The trace is C++: no weak reference tells whether its weights live on."""
    for number in range(6):
        encoder = UserEncoder(Large().eval(), frozen=True)
        assert not isinstance(encoder._run, LastState)
        del encoder
        gc.collect()
        if number == 1:
            before = resident_mb()
    assert resident_mb() - before < 40  # 64 MB and more, if they stay
