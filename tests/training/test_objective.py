"""No leakage, exact terms, and memory that grows with the batch alone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from h2rec.batching.sequences import cut_windows, next_item_batch, pack
from h2rec.data.histories import Histories
from h2rec.errors import ConfigError
from h2rec.losses.contrastive import multi_positive_info_nce
from h2rec.losses.settings import LossSettings
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.protocol import UserStates, branch_scores
from h2rec.models.settings import ModelSettings
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.diagnosis import Diagnosis, warnings_for
from h2rec.training.objective import Terms, TrainingObjective

ITEMS = 25
RANDOM = np.random.default_rng(3)
HISTORIES = Histories.from_lists([RANDOM.integers(1, ITEMS + 1, 9).tolist() for _ in range(12)])
CODES = SemanticIds(RANDOM.integers(0, 3, (ITEMS, 3)).astype(np.int32), (3, 3, 3))


def make(loss, **model):
    settings = ModelSettings.parse({"name": "h2rec", "dim": 8, "max_length": 10, **model})
    built = build_model(settings, ItemFeatures(ITEMS, CODES), seed=0)
    both = {"joint": 1.0, "branch": 0.5}
    return built.eval(), TrainingObjective(LossSettings.parse(both | loss), HISTORIES, ITEMS, CODES.padded())


def batch():
    windows = cut_windows(HISTORIES, 10)
    return next_item_batch(windows, np.arange(len(windows)))


def test_the_total_is_the_weighted_sum_of_named_terms():
    model, objective = make({"beta": 0.5, "gamma": 0.25, "branch": 0.3})
    terms, _ = objective(model, batch(), np.random.default_rng(0))
    assert set(terms.values) == {"ranking", "ranking_sid", "ranking_hid", "alignment", "masking"}
    values = {name: value.item() for name, value in terms.values.items()}
    expected = values["ranking"] + 0.3 * (values["ranking_sid"] + values["ranking_hid"])
    # The two terms are computed on one batch in 4 and one in 8: their weights make up for it.
    expected += 0.5 * 4 * values["alignment"] + 0.25 * 8 * values["masking"]
    assert terms.total.item() == pytest.approx(expected, rel=1e-6)


def test_terms_without_weight_are_not_computed():
    model, objective = make({"beta": 0, "gamma": 0, "branch": 0})
    terms, _ = objective(model, batch(), np.random.default_rng(0))
    assert list(terms.values) == ["ranking"]


def test_a_term_of_some_batches_has_the_same_weight_on_average():
    model, objective = make({"beta": 0.5, "gamma": 0.3, "alignment": {"every": 2}, "masking": {"every": 3}})
    total = {"alignment": 0.0, "masking": 0.0}
    for step in range(6):
        terms, _ = objective(model, batch(), np.random.default_rng(0), step=step)
        assert ("alignment" in terms.values, "masking" in terms.values) == (step % 2 == 0, step % 3 == 0)
        for name in total:
            total[name] += terms.weights.get(name, 0.0)
    assert total == {"alignment": pytest.approx(6 * 0.5), "masking": pytest.approx(6 * 0.3)}


def test_the_positive_set_is_codes_and_neighbours_and_itself():
    """Naive definition of P(i) against the loss that the objective computes."""
    p = 2
    model, objective = make({"beta": 1, "alignment": {"shared_levels": p, "window": 1, "temperature": 0.3}})
    terms, _ = objective(model, batch(), np.random.default_rng(0))
    items = sorted({int(i) for i in batch().targets.flatten() if i > 0})
    near = {(a, b) for row in HISTORIES for a, b in itertools.pairwise(row)}
    positives = torch.tensor(
        [
            [
                i == j
                or (i, j) in near
                or (j, i) in near
                or (CODES.codes[i - 1][:p] == CODES.codes[j - 1][:p]).all()
                for j in items
            ]
            for i in items
        ]
    )
    sid, hid = model.alignment_views(torch.tensor(items))
    expected = multi_positive_info_nce(sid, hid, positives, 0.3)
    assert terms.values["alignment"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms.positives_per_item == pytest.approx(positives.float().sum(1).mean().item())


def test_alignment_compares_no_more_items_than_asked():
    model, objective = make({"beta": 1, "alignment": {"items": 5}})
    seen = []
    views = model.alignment_views
    model.alignment_views = lambda items: seen.append(len(items)) or views(items)
    objective(model, batch(), np.random.default_rng(0))
    assert seen == [5]


@pytest.mark.parametrize(("level", "pick"), [("lowest", "argmin"), ("highest", "argmax")])
def test_the_masked_level_follows_alpha(level, pick):
    model, objective = make({"gamma": 1, "masking": {"level": level}})
    with torch.no_grad():
        model.fusion.out.weight.normal_(generator=torch.Generator().manual_seed(0))
    seen = {}
    view = model.masked_view
    model.masked_view = lambda i, le, alpha, hidden, at: (
        seen.update(a=alpha, h=hidden, t=at) or view(i, le, alpha, hidden, at)
    )
    objective(model, batch(), np.random.default_rng(0))
    alpha = seen["a"][torch.arange(len(seen["t"])), seen["t"]]
    assert torch.equal(seen["h"], getattr(alpha, pick)(-1))
    assert len(seen["h"].unique()) > 1


def everything_that_trains(histories):
    """All that training derives from data: batches, positives, negatives' weights."""
    windows = cut_windows(histories, 10)
    batches = [next_item_batch(windows, rows) for rows in pack(windows.lengths, 40, np.random.default_rng(0))]
    objective = TrainingObjective(LossSettings(beta=1.0), histories, ITEMS, CODES.padded())
    arrays = [b.items.numpy() for b in batches] + [b.targets.numpy() for b in batches]
    return [*arrays, objective.neighbours.toarray(), histories.counts(ITEMS)]


def split_from(rows):
    import polars as pl

    from h2rec.data.dataset import Dataset
    from h2rec.data.splits import split

    histories = Histories.from_lists(rows)
    ids = pl.Series([str(u) for u in range(len(rows))])
    items = pl.DataFrame({"item_id": [str(i) for i in range(ITEMS)]})
    return split(Dataset(ids, items, histories, pl.Series(np.arange(len(histories.items), dtype=float)), {}))


def leaks(train_of):
    """Whether held-out items reach what `train_of` takes from a split: permute them over the users and look."""
    rows = [row.tolist() for row in HISTORIES]
    held = np.array([row[-2:] for row in rows])
    shuffled = np.random.default_rng(1).permutation(held.flatten()).reshape(held.shape)
    changed = [row[:-2] + new.tolist() for row, new in zip(rows, shuffled, strict=True)]
    one, other = (everything_that_trains(train_of(split_from(r))) for r in (rows, changed))
    return len(one) != len(other) or not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_held_out_items_change_nothing_that_trains():
    assert not leaks(lambda made: made.train)


def test_the_leak_test_finds_a_planted_leak():
    assert leaks(lambda made: made.test.histories)


def test_the_positive_set_does_not_grow_with_the_catalogue():
    """No tensor of the alignment has a side as long as the catalogue."""
    many = 200_000
    codes = np.zeros((many + 1, 3), np.int32)
    objective = TrainingObjective(LossSettings(beta=1.0), HISTORIES, many, codes)
    assert objective.neighbours.nnz <= 2 * len(HISTORIES.items)
    model, _ = make({})
    largest = 0
    original = torch.Tensor.__or__

    def watched(self, other):
        nonlocal largest
        largest = max(largest, self.numel())
        return original(self, other)

    torch.Tensor.__or__ = watched
    try:
        objective.alignment(model, torch.arange(1, ITEMS + 1), np.random.default_rng(0))
    finally:
        torch.Tensor.__or__ = original
    assert 0 < largest <= ITEMS**2


def test_failure_signs_are_said():
    collapsed = {"alpha_entropy": 0.02, "alpha/1": 0.01, "alpha/2": 0.99}
    assert "collapsed on level 2" in warnings_for(collapsed)[0]
    assert "drowns" in warnings_for({"mca_to_hid_norm": 5.0})[0]
    assert "40 positives among 100" in warnings_for({"positives_per_item": 40.0, "items_compared": 100.0})[0]
    fine = {"alpha_entropy": 0.9, "mca_to_hid_norm": 0.5, "positives_per_item": 3.0, "items_compared": 100.0}
    assert warnings_for(fine) == []


def test_the_signs_of_a_training_are_those_of_the_items_compared_and_one_level_can_not_collapse():
    model, objective = make({"beta": 0.5, "alignment": {"shared_levels": 1}})
    terms, states = objective(model, batch(), np.random.default_rng(0), margins=True)
    diagnosis = Diagnosis()
    diagnosis.add(terms, states, batch().targets)
    items = len(set(batch().targets[batch().targets > 0].tolist()))
    assert terms.items_compared == diagnosis.summary()["items_compared"] == items
    assert diagnosis.summary()["alpha_entropy"] == pytest.approx(
        1, abs=1e-6
    )  # an untrained fusion weighs alike
    one_level = replace(states, read_alpha=torch.ones(len(states.vectors[0]), 1))
    single = Diagnosis()
    single.add(terms, one_level, batch().targets)
    assert "alpha_entropy" not in single.summary()


def test_gradient_norms_are_those_of_the_weighted_terms():
    model, objective = make({"beta": 0.5, "gamma": 0.0, "branch": 0.0})
    terms, _ = objective(model, batch(), np.random.default_rng(0))
    diagnosis = Diagnosis()
    diagnosis.add_gradients(terms, list(model.parameters()))
    model.zero_grad()
    (0.5 * 4 * terms.values["alignment"]).backward(retain_graph=True)
    norm = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None).sqrt()
    assert diagnosis._gradients["alignment"] == pytest.approx(norm.item(), rel=1e-5)


def test_branch_shares_by_head_and_tail_by_hand():
    head = torch.tensor([False, True, False])
    terms = Terms({"ranking": torch.tensor(1.0)}, {"ranking": 1.0})
    margins = (torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 2.0]))
    diagnosis = Diagnosis(head)
    terms = replace(terms, margins=margins)
    diagnosis.add(terms, UserStates(()), torch.tensor([[1, 2, 0], [2, 0, 0]]))
    summary = diagnosis.summary()
    assert summary["first_branch_share/head"] == pytest.approx(3 / 4)
    assert summary["first_branch_share/tail"] == pytest.approx(3 / 8)


def test_margins_are_the_lead_of_the_target_over_the_negatives():
    model, objective = make({"beta": 0, "gamma": 0, "ranking": "softmax", "branch": 0})
    assert objective(model, batch(), np.random.default_rng(0))[0].margins is None
    terms, states = objective(model, batch(), np.random.default_rng(0), margins=True)
    targets = batch().targets[batch().targets > 0]
    scores = branch_scores(states.vectors, model.item_vectors(torch.arange(1, ITEMS + 1)))
    for margin, score in zip(terms.margins, scores, strict=True):
        expected = [score[i, t - 1] - score[i].mean() for i, t in enumerate(targets)]
        torch.testing.assert_close(margin, torch.stack(expected).detach(), rtol=1e-4, atol=1e-4)


def test_saturation_bounds_the_first_branch_by_the_users_own_score_at_the_rank():
    from h2rec.models.scoring import joint_score, saturation_ceiling

    sid, hid = torch.tensor([[5.0, 1.0, 3.0, 2.0]]), torch.tensor([[0.0, 1.0, 0.5, 0.0]])
    ceiling = saturation_ceiling(sid, 2, 4)
    assert ceiling.tolist() == [[3.0]]
    assert joint_score((sid, hid), ceiling).tolist() == [[3.0, 2.0, 3.5, 2.0]]
    # Half the catalogue seen: rank 4 of 8 items is place 2 of 4.
    assert torch.equal(saturation_ceiling(sid, 4, 8), ceiling)


def test_a_branchs_own_loss_is_that_of_the_branch_alone_whatever_its_weight_in_the_sum():
    """Own losses at two weights of the SID branch are the same; the joint loss is not."""
    seen = []
    for weight in (0.3, 1.0):
        model, objective = make({"beta": 0, "gamma": 0}, score={"sid_weight": weight})
        terms, _ = objective(model, batch(), np.random.default_rng(0))
        seen.append({name: value.item() for name, value in terms.values.items()})
    assert seen[0]["ranking_sid"] == pytest.approx(seen[1]["ranking_sid"], rel=1e-5)
    assert seen[0]["ranking_hid"] == pytest.approx(seen[1]["ranking_hid"], rel=1e-5)
    assert seen[0]["ranking"] != pytest.approx(seen[1]["ranking"], rel=1e-3)


def test_without_the_joint_loss_each_branch_learns_for_itself():
    model, objective = make({"beta": 0, "gamma": 0, "joint": 0, "branch": 1}, mca=False)
    terms, _ = objective(model, batch(), np.random.default_rng(0))
    assert set(terms.values) == {"ranking_sid", "ranking_hid"}
    terms.values["ranking_sid"].backward()
    assert model.hid.weight.grad is None
    with pytest.raises(ConfigError, match="nothing would learn to rank"):
        LossSettings.parse({"joint": 0, "branch": 0})


def test_a_branch_that_weighs_nothing_has_no_loss_of_its_own():
    model, objective = make({"beta": 0, "gamma": 0}, score={"sid_weight": 0.0})
    terms, _ = objective(model, batch(), np.random.default_rng(0))
    assert set(terms.values) == {"ranking", "ranking_hid"}


def test_the_head_s_hids_take_less_of_the_alignment_s_gradient():
    items = torch.arange(1, ITEMS + 1)
    gradients = []
    for alignment in ({}, {"spare_head": 2.0}):
        model, objective = make({"alignment": alignment})
        loss, _, _ = objective.alignment(model, items, np.random.default_rng(0))
        loss.backward()
        gradients.append((loss.item(), model.hid.weight.grad[1:-1], model.codes.vectors.grad))
    (loss, hid, codes), (spared_loss, spared, spared_codes) = gradients
    counts = torch.from_numpy(HISTORIES.counts(ITEMS)[1:])[:, None]
    assert spared_loss == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(spared, hid * (2 / (2 + counts)).float())
    torch.testing.assert_close(spared_codes, codes)
