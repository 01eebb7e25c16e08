"""A branch that decodes items: contracts, what it learns, how it stands beside others."""

import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.losses.settings import LossSettings
from h2rec.models.branches import generative
from h2rec.models.build import build_model, grown_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer, counted
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.testing import check_branch, check_model
from h2rec.testing.catalogue import new_items, parsed, random_model, small_catalogue
from h2rec.testing.training import ranks_of_the_next, training_batch
from h2rec.training.objective import TrainingObjective
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

HISTORIES = Histories.from_lists([[3, 7, 9, 4], [1], [8, 8, 2], list(range(1, 20))])
ROWS = np.arange(len(HISTORIES))


NO_TIES = {"alignment": {"beta": 0}, "masking": {"gamma": 0}}


def model(features=None, beam=None):
    made = random_model(
        parsed({"branches": {"own": {"kind": "generative"}}}),
        small_catalogue() if features is None else features,
    )
    made.branch_list()[0].beam_width = beam
    return made


def scores(made):
    return CatalogueScorer(made).score(HISTORIES, ROWS)


@pytest.mark.parametrize("exact", [100_000, 5])
def test_contract(exact, monkeypatch):
    monkeypatch.setattr(generative, "EXACT_UP_TO", exact)
    check_branch("generative")


def test_contract_where_masked_items_are_predicted():
    check_model({"branches": {"own": {"kind": "generative"}}, "backbone": "bert4rec"})


def test_a_wide_beam_scores_as_all_items_do():
    exact = scores(model())
    torch.testing.assert_close(scores(model(beam=24)), exact)
    narrow = scores(model(beam=3))
    assert ((narrow > 0).sum(1) == 3).all()  # padding, and all that the beam lost, score nothing
    torch.testing.assert_close(narrow[narrow > 0], exact[narrow > 0])


@pytest.mark.parametrize("others", [{}, {"codes": {"kind": "codes"}}])
def test_it_reads_histories_as_its_encoder_does(others):
    """`counted` turns the latest items round; the loss reads the sequences of a batch."""
    made = random_model(parsed({"branches": others | {"own": {"kind": "generative"}}}), small_catalogue())
    branch = made.branch_list()[-1]
    found = counted(made, HISTORIES)["own"].add_to(torch.zeros(len(ROWS), 25))
    items, lengths = HISTORIES.padded(ROWS, made.max_length)
    items, lengths = torch.from_numpy(items).long(), torch.from_numpy(lengths).long()
    reads = torch.arange(items.shape[1]) == (lengths - 1)[:, None]
    made.train()
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    branch.encoder.eval()
    states = made(items, lengths, reads).encoded["own"]
    expected = branch.decoder.log_probs(states)
    torch.testing.assert_close(found, branch._score(expected))


def checkerboard(seed=0):
    """Items of two codes: after 5 the next one has equal codes, after 6 unequal ones; each code alone says nothing."""
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]], np.int32)
    random = np.random.default_rng(seed)
    lists = []
    for _ in range(200):
        first = int(random.integers(5, 7))
        lists.append([first, int(random.choice([1, 4] if first == 5 else [2, 3]))])
    train = Histories.from_lists(lists)
    return ItemFeatures(6, SemanticIds(codes, (3, 2)), train_counts=train.counts(6), train=train)


def test_a_code_depends_on_the_user_and_the_codes_before_it_together():
    features = checkerboard()
    made = build_model(
        parsed({"branches": {"own": {"kind": "generative"}}, "warm_start": False, "ties": NO_TIES}),
        features,
        seed=1,
    )
    train = TrainSettings(epochs=80, learning_rate=0.01, schedule="constant", batch_tokens=64)
    Trainer(made, features, LossSettings(), train).fit()
    branch = made.branch_list()[0]
    recent = torch.tensor([[5], [6]])
    with torch.no_grad():
        probs = branch.decoder.log_probs(branch._states_of(recent)).exp()
    assert probs[0, [1, 4]].sum() > 0.95
    assert probs[1, [2, 3]].sum() > 0.95
    assert probs[0, 1] == pytest.approx(0.5, abs=0.15)


def objective(features, values, ties=NO_TIES, **loss):
    settings = parsed({"branches": values, "ties": ties})
    made = build_model(settings, features, seed=1).train()
    return TrainingObjective(LossSettings.parse({"negatives": {"count": 8}, **loss}), made, features), made


def test_the_ranking_loss_trains_the_others_alone():
    features = small_catalogue()
    alone, made = objective(features, {"own": {"kind": "generative"}})
    terms, _ = alone(training_batch(made, features), np.random.default_rng(0), margins=True)
    assert set(terms.values) == {"decoding_own"}
    assert terms.margins is None
    assert terms.figures.keys() == {f"loss/decoding_own/depth_{depth}" for depth in (1, 2, 3, 4)}
    assert sum(terms.figures.values()) == pytest.approx(float(terms.total.detach()))
    both = {"own": {"kind": "generative"}, "ids": {"kind": "ids"}}
    beside, made = objective(features, both)
    assert made.ranked == (False, True)
    terms, _ = beside(training_batch(made, features), np.random.default_rng(0))
    assert terms.weights == {"ranking": 1.0, "decoding_own": 1.0}
    three, made = objective(features, both | {"more": {"kind": "ids"}}, joint=0.4)
    terms, _ = three(training_batch(made, features), np.random.default_rng(0))
    assert set(terms.values) == {"ranking", "ranking_ids", "ranking_more", "decoding_own"}


def test_branches_of_counts_beside_it_look_at_no_more_items_than_alone():
    values = {"own": {"kind": "generative"}, "followers": {"kind": "transitions"}}
    features = small_catalogue()
    made = build_model(parsed({"branches": values}), features, seed=1).eval()
    assert made.recent_items == made.max_length
    alone = build_model(parsed({"branches": {"followers": values["followers"]}}), features, seed=1)
    beside = counted(made, HISTORIES)["followers"].add_to(torch.zeros(4, 25))
    assert torch.equal(beside, counted(alone, HISTORIES)["followers"].add_to(torch.zeros(4, 25)))


@torch.no_grad()
def test_new_items_can_be_decoded_at_once():
    features = small_catalogue()
    made = model(features)
    ids, new = new_items(features)
    settings = parsed({"branches": {"own": {"kind": "generative"}}})
    grown = grown_model(made, settings, ids, new)
    log_probs = grown.branch_list()[0].decoder.log_probs(
        grown.branch_list()[0]._states_of(torch.tensor([[3, 7]]))
    )
    assert log_probs[0, 1:].exp().sum() == pytest.approx(1, abs=1e-5)
    assert (log_probs[0, 25:] > -torch.inf).all()
    found = grown.branch_list()[0].beams(torch.tensor([[3, 7]]), len(ids))
    assert found.items.tolist() == list(range(1, len(ids) + 1))


def test_beside_hash_ids_both_are_trained_and_rank():
    features = small_catalogue()
    values = {"own": {"kind": "generative"}, "ids": {"kind": "ids"}}
    made = build_model(parsed({"branches": values}), features, seed=1)
    train = TrainSettings(epochs=16, learning_rate=0.01, schedule="constant", batch_tokens=64)
    Trainer(made, features, LossSettings.parse({"negatives": {"count": 16}}), train).fit()
    assert float((ranks_of_the_next(made, features.train) <= 3).float().mean()) > 0.8
    parts = CatalogueScorer(made).branch_scores(features.train, np.arange(4))
    assert all(float(part[:, 1:].std()) > 0.1 for part in parts)
