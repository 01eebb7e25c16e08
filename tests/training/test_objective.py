"""No leakage, exact terms, and memory that grows with the batch alone."""

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.batching.sequences import Batch, cut_windows, next_item_batch, pack
from h2rec.data.dataset import Dataset
from h2rec.data.histories import Histories
from h2rec.data.splits import split
from h2rec.losses.contrastive import info_nce, multi_positive_info_nce
from h2rec.losses.settings import LossSettings
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import LossTerm, UserStates, branch_scores
from h2rec.models.settings import BranchModelSettings
from h2rec.models.ties import alignment, masking
from h2rec.models.ties.alignment import Alignment
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.diagnosis import Diagnosis, warnings_for
from h2rec.training.objective import Terms, TrainingObjective

ITEMS = 25
RANDOM = np.random.default_rng(3)
HISTORIES = Histories.from_lists([RANDOM.integers(1, ITEMS + 1, 9).tolist() for _ in range(12)])
CODES = SemanticIds(RANDOM.integers(0, 3, (ITEMS, 3)).astype(np.int32), (3, 3, 3))
NO_TIES = {"alignment": {"beta": 0}, "masking": {"gamma": 0}}


def features(histories=HISTORIES, codes=CODES, **known):
    return ItemFeatures(
        len(codes), codes, train_counts=histories.counts(len(codes)), train=histories, **known
    )


def make(loss=None, ties=None, known=None, codes=None, ids=None, **model):
    """A small model of codes and hash IDs, and its objective."""
    branches = {"codes": {"kind": "codes", **(codes or {})}, "ids": {"kind": "ids", **(ids or {})}}
    known = known or features()
    settings = BranchModelSettings.parse(
        {"dim": 8, "max_length": 10, "branches": branches, "ties": ties or {}, **model}
    )
    built = build_model(settings, known, seed=0).eval()
    return built, TrainingObjective(LossSettings.parse({"joint": 0.75, **(loss or {})}), built, known)


def batch(histories=HISTORIES):
    windows = cut_windows(histories, 10)
    return next_item_batch(windows, np.arange(len(windows)))


def terms_of(objective, **options):
    return objective(batch(), np.random.default_rng(0), **options)


def named(model, name):
    """The model's own loss of a name."""
    return next(loss for loss in model.own_losses(features()) if loss.name == name)


def states_of(model):
    made = batch()
    return model(made.items, made.lengths, made.targets > 0)


# -- terms and weights -------------------------------------------------------------------------------


def test_negatives_that_are_the_whole_catalogue_make_the_sampled_softmax_exact():
    exact, sampled, few = (
        terms_of(make(loss)[1])[0].total.item()
        for loss in ({"ranking": "softmax"}, {}, {"negatives": {"count": ITEMS - 1}})
    )
    assert sampled == pytest.approx(exact, rel=1e-5)
    assert few != pytest.approx(exact, rel=1e-5)


def test_the_total_is_the_weighted_sum_of_named_terms():
    ties = {"alignment": {"beta": 0.5}, "masking": {"gamma": 0.25}}
    _, objective = make({"joint": 0.7}, ties)
    terms, _ = terms_of(objective)
    assert set(terms.values) == {"ranking", "ranking_codes", "ranking_ids", "alignment", "masking"}
    values = {name: value.item() for name, value in terms.values.items()}
    expected = 0.7 * values["ranking"] + 0.3 * (values["ranking_codes"] + values["ranking_ids"])
    # The two terms are computed on one batch in 4 and one in 8: their weights make up for it.
    expected += 0.5 * 4 * values["alignment"] + 0.25 * 8 * values["masking"]
    assert terms.total.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("joint", "names"),
    [
        (1.0, {"ranking"}),
        (0.0, {"ranking_codes", "ranking_ids"}),
        (0.5, {"ranking", "ranking_codes", "ranking_ids"}),
    ],
)
def test_the_joint_share_decides_who_ranks(joint, names):
    _, objective = make({"joint": joint}, NO_TIES)
    terms, _ = terms_of(objective)
    assert {name for name in terms.values if terms.weights[name]} == set(terms.values) == names


def test_a_branch_alone_is_its_own_sum():
    settings = BranchModelSettings.parse({"dim": 8, "max_length": 10, "branches": {"own": {"kind": "ids"}}})
    model = build_model(settings, features(), seed=0)
    for joint in (0.0, 1.0):
        terms, _ = terms_of(TrainingObjective(LossSettings(joint=joint), model, features()))
        assert terms.weights == {"ranking": 1.0}


def test_a_branchs_own_loss_is_that_of_the_branch_alone_whatever_its_weight_in_the_sum():
    """Own losses at two weights of the branch of codes are the same; the joint loss is not."""
    seen = []
    for weight in (0.3, 1.0):
        _, objective = make(ties=NO_TIES, codes={"weight": weight})
        terms, _ = terms_of(objective)
        seen.append({name: value.item() for name, value in terms.values.items()})
    assert seen[0]["ranking_codes"] == pytest.approx(seen[1]["ranking_codes"], rel=1e-5)
    assert seen[0]["ranking_ids"] == pytest.approx(seen[1]["ranking_ids"], rel=1e-5)
    assert seen[0]["ranking"] != pytest.approx(seen[1]["ranking"], rel=1e-3)


def test_without_the_joint_loss_each_branch_learns_for_itself():
    model, objective = make({"joint": 0}, {**NO_TIES, "cross_attention": "none"})
    terms, _ = terms_of(objective)
    terms.values["ranking_codes"].backward()
    assert all(parameter.grad is None for parameter in model.branches["ids"].parameters())


def test_a_branch_that_weighs_nothing_has_no_loss_of_its_own():
    _, objective = make(ties=NO_TIES, codes={"weight": 0.0})
    terms, _ = terms_of(objective)
    assert set(terms.values) == {"ranking", "ranking_ids"}


def test_the_controls_branches_learn_as_if_alone():
    """The gradient of each branch is that of its own ranking loss, whatever the other branch is."""

    def model(*names):
        values = {"dim": 8, "max_length": 10, "dropout": 0.0, "branches": {n: {"kind": "ids"} for n in names}}
        return build_model(BranchModelSettings.parse(values), features(), seed=1)

    def backward(built):
        terms, _ = terms_of(TrainingObjective(LossSettings(), built, features()))
        terms.total.backward()
        return terms

    both = model("first", "second")
    terms = backward(both)
    assert set(terms.values) == {"ranking_first", "ranking_second"}
    for name in ("first", "second"):
        alone = model(name)
        alone.branches[name].load_state_dict(both.branches[name].state_dict())
        assert backward(alone).total.item() == pytest.approx(terms.values[f"ranking_{name}"].item(), rel=1e-6)
        pairs = zip(both.branches[name].parameters(), alone.parameters(), strict=True)
        for left, right in pairs:
            torch.testing.assert_close(left.grad, right.grad)


@pytest.mark.parametrize("shared", [True, False])
def test_the_ranking_term_is_the_loss_of_the_sum_by_hand(shared):
    model, objective = make(
        {"ranking": "bpr", "joint": 1.0, "negatives": {"count": 6, "shared": shared}}, NO_TIES
    )
    terms, states = terms_of(objective)
    targets = batch().targets[batch().targets > 0]
    negatives = objective.sampler.draw(len(targets), np.random.default_rng(0))
    with torch.no_grad():
        scores = sum(branch_scores(states.vectors, model.item_vectors(torch.arange(ITEMS + 1))))
    losses = []
    for row, target in enumerate(targets.tolist()):
        drawn = (negatives if shared else negatives[row]).tolist()
        leads = torch.stack([scores[row, target] - scores[row, item] for item in drawn if item != target])
        losses.append(-leads.sigmoid().log().mean())
    assert terms.values["ranking"].item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-4)


# -- losses that a model brings ----------------------------------------------------------------------


def test_terms_without_weight_are_not_computed():
    _, objective = make({"joint": 1.0}, NO_TIES)
    assert list(objective.own_losses) == []
    assert list(terms_of(objective)[0].values) == ["ranking"]


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (("codes", "ids"), ["alignment", "masking"]),
        (("codes", "prefixes", "ids"), ["alignment", "masking"]),
        (("codes",), ["masking"]),
        (("ids",), []),
        (("prefixes", "ids"), []),
    ],
)
def test_what_ties_branches_is_there_where_there_is_something_to_tie(kinds, names):
    branches = {f"my_{kind}": {"kind": kind} for kind in kinds}
    settings = BranchModelSettings.parse({"dim": 8, "max_length": 10, "branches": branches})
    model = build_model(settings, features(), seed=0)
    assert [loss.name for loss in model.own_losses(features())] == names
    terms, _ = terms_of(TrainingObjective(LossSettings(), model, features()))
    assert set(names) <= terms.values.keys()


def test_a_term_of_some_batches_has_the_same_weight_on_average(monkeypatch):
    monkeypatch.setattr(alignment, "EVERY", 2)
    monkeypatch.setattr(masking, "EVERY", 3)
    _, objective = make(ties={"alignment": {"beta": 0.5}, "masking": {"gamma": 0.3}, "every_batch": False})
    total = {"alignment": 0.0, "masking": 0.0}
    for step in range(6):
        terms, _ = terms_of(objective, step=step)
        assert ("alignment" in terms.values, "masking" in terms.values) == (step % 2 == 0, step % 3 == 0)
        for name in total:
            total[name] += terms.weights.get(name, 0.0)
    assert total == {"alignment": pytest.approx(6 * 0.5), "masking": pytest.approx(6 * 0.3)}


def test_the_paper_has_every_term_in_every_batch():
    _, objective = make(ties={"alignment": {"beta": 0.5}, "masking": {"gamma": 0.3}, "every_batch": True})
    for step in range(3):
        terms, _ = terms_of(objective, step=step)
        assert (terms.weights["alignment"], terms.weights["masking"]) == (0.5, 0.3)


def test_a_loss_of_a_models_own_counts_by_its_weight_and_tells_its_figures(monkeypatch):
    class Own:
        name = "own"

        def due(self, step):
            return step == 1

        def __call__(self, batch, states, random):
            return LossTerm(states.vectors[0].sum() * 0 + 2.0, 0.25, {"of_own": 7.0})

    model, _ = make()
    monkeypatch.setattr(type(model), "own_losses", lambda self, features: [Own()])
    objective = TrainingObjective(LossSettings(joint=1.0), model, features())
    without, _ = terms_of(objective)
    terms, states = terms_of(objective, step=1)
    assert set(terms.values) - set(without.values) == {"own"}
    assert terms.total.item() == pytest.approx(without.total.item() + 0.5)
    diagnosis = Diagnosis()
    diagnosis.add(terms, states, batch())
    assert diagnosis.summary()["of_own"] == 7.0
    assert diagnosis.summary()["loss/own"] == 2.0


# -- alignment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "window"), [("prefix", 1), ("prefix", 0), ("any", 1)])
def test_the_positive_set_is_codes_and_neighbours_and_itself(rule, window):
    """Naive definition of P(i) against the loss that the objective computes."""
    p = 2
    own = {"beta": 1, "shared_levels": p, "window": window, "rule": rule}
    model, objective = make(ties={"alignment": own, "temperature": 0.3})
    terms, _ = terms_of(objective)
    items = sorted({int(i) for i in batch().targets.flatten() if i > 0})
    near = {(a, b) for row in HISTORIES for a, b in itertools.pairwise(row)} if window else set()

    def share(i, j):
        equal = CODES.codes[i - 1] == CODES.codes[j - 1]
        return equal[:p].all() if rule == "prefix" else equal.sum() >= p

    positives = torch.tensor(
        [[bool(i == j or (i, j) in near or (j, i) in near or share(i, j)) for j in items] for i in items]
    )
    rows = torch.tensor(items)
    codes, ids = model.branches["codes"], model.branches["ids"]
    sums = codes.table.vectors[codes.table.item_rows[rows]].sum(1)
    expected = multi_positive_info_nce(sums, ids.table.vectors.weight[rows], positives, 0.3)
    assert terms.values["alignment"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms.figures["positives_per_item"] == pytest.approx(positives.float().sum(1).mean().item())
    assert terms.figures["items_compared"] == len(items)


@pytest.mark.parametrize("coded_by_text", [True, False])
def test_items_without_text_share_codes_with_nobody_that_were_made_of_their_text(coded_by_text):
    alike = SemanticIds(np.zeros((ITEMS, 3), np.int32), (3, 3, 3))
    known = features(codes=alike, has_text=np.arange(ITEMS) >= 2, coded_by_text=coded_by_text)
    model, _ = make(known=known, ties={"alignment": {"window": 0}})
    loss = Alignment(model.branches["codes"], model.branches["ids"].table, model.settings.ties, known)
    found = loss.positives(np.array([1, 2, 3, 4])).int().tolist()
    apart = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert found == (apart if coded_by_text else [[1] * 4] * 4)


def test_alignment_compares_no_more_items_than_it_has_memory_for(monkeypatch):
    monkeypatch.setattr(alignment, "MOST_ITEMS", 5)
    model, objective = make()
    seen = []
    sums = model.branches["codes"].sums
    monkeypatch.setattr(model.branches["codes"], "sums", lambda items: seen.append(len(items)) or sums(items))
    terms, _ = terms_of(objective)
    assert seen == [5]
    assert terms.figures["items_compared"] == 5


def test_the_positive_set_does_not_grow_with_the_catalogue(monkeypatch):
    """No tensor of the alignment has a side as long as the catalogue."""
    many = 200_000
    codes = SemanticIds(np.zeros((many, 3), np.int32), (3, 3, 3))
    known = features(HISTORIES, codes)
    model, _ = make()
    loss = Alignment(model.branches["codes"], model.branches["ids"].table, model.settings.ties, known)
    assert loss._neighbours.nnz <= 2 * len(HISTORIES.items)
    largest = 0
    original = torch.Tensor.__or__

    def watched(self, other):
        nonlocal largest
        largest = max(largest, self.numel())
        return original(self, other)

    monkeypatch.setattr(torch.Tensor, "__or__", watched)
    loss(batch(), states_of(model), np.random.default_rng(0))
    assert 0 < largest <= ITEMS**2


# -- masking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "pick"), [("lowest", torch.argmin), ("highest", torch.argmax), ("random", None)]
)
def test_masking_draws_users_to_their_views_with_one_level_hidden(level, pick, monkeypatch):
    model, objective = make(ties={"masking": {"gamma": 1, "level": level}, "temperature": 0.3})
    branch, seen = model.branches["codes"], {}
    with torch.no_grad():
        # Far from its start, where all weigh the same: users differ in what they weigh most and least.
        branch.fusion.out.weight.normal_(std=3, generator=torch.Generator().manual_seed(0))
    masked = branch.masked
    monkeypatch.setattr(
        branch,
        "masked",
        lambda s, alpha, hidden: seen.update(s=s, alpha=alpha, hidden=hidden) or masked(s, alpha, hidden),
    )
    terms, states = terms_of(objective)
    made = batch()
    last = (made.targets > 0).sum(1) - 1  # every position of these is read
    assert (seen["s"].at == torch.arange(len(last)) * made.items.shape[1] + made.lengths - 1).all()
    assert len(seen["hidden"].unique()) > 1
    if pick is not None:
        alpha = seen["alpha"][torch.arange(len(last)), made.lengths - 1]
        assert torch.equal(seen["hidden"], pick(alpha, -1))
    ends = (made.targets > 0).sum(1).cumsum(0) - 1
    view = masked(seen["s"], seen["alpha"], seen["hidden"])
    expected = info_nce(states.encoded["codes"][ends], view, 0.3)
    assert terms.values["masking"].item() == pytest.approx(expected.item(), rel=1e-5)


# -- leaks -------------------------------------------------------------------------------------------


def everything_that_trains(histories):
    """All that training derives from data: batches, positives, negatives' weights."""
    windows = cut_windows(histories, 10)
    batches = [next_item_batch(windows, rows) for rows in pack(windows.lengths, 40, np.random.default_rng(0))]
    known = features(histories)
    model, _ = make(known=known)
    loss = model.own_losses(known)[0]
    arrays = [b.items.numpy() for b in batches] + [b.targets.numpy() for b in batches]
    return [
        *arrays,
        loss._neighbours.toarray(),
        histories.counts(ITEMS),
    ]


def split_from(rows):
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


# -- diagnosis ---------------------------------------------------------------------------------------


def test_failure_signs_are_said():
    collapsed = {"alpha_entropy": 0.02, "alpha/1": 0.01, "alpha/2": 0.99}
    assert "collapsed on level 2" in warnings_for(collapsed)[0]
    assert "drowns" in warnings_for({"mca_to_hid_norm": 5.0})[0]
    assert "40 positives among 100" in warnings_for({"positives_per_item": 40.0, "items_compared": 100.0})[0]
    fine = {"alpha_entropy": 0.9, "mca_to_hid_norm": 0.5, "positives_per_item": 3.0, "items_compared": 100.0}
    assert warnings_for(fine) == []


def test_the_signs_of_a_training_are_those_of_the_items_compared_and_one_level_can_not_collapse():
    _, objective = make(ties={"alignment": {"shared_levels": 1}})
    terms, states = terms_of(objective, margins=True)
    diagnosis = Diagnosis()
    diagnosis.add(terms, states, batch())
    items = len(set(batch().targets[batch().targets > 0].tolist()))
    assert terms.figures["items_compared"] == diagnosis.summary()["items_compared"] == items
    # An untrained fusion weighs alike.
    assert diagnosis.summary()["alpha_entropy"] == pytest.approx(1, abs=1e-6)
    assert diagnosis.summary()["mca_to_hid_norm"] > 0
    one_level = replace(states, read_alpha=torch.ones(len(states.vectors[0]), 1))
    single = Diagnosis()
    single.add(terms, one_level, batch())
    assert "alpha_entropy" not in single.summary()


def test_gradient_norms_are_those_of_the_weighted_terms():
    model, objective = make(ties={"masking": {"gamma": 0}})
    terms, _ = terms_of(objective)
    diagnosis = Diagnosis()
    diagnosis.add_gradients(terms, list(model.parameters()))
    model.zero_grad()
    (0.5 * 4 * terms.values["alignment"]).backward(retain_graph=True)
    norm = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None).sqrt()
    assert diagnosis.summary()["gradient/alignment"] == pytest.approx(norm.item(), rel=1e-5)


def test_branch_shares_by_head_and_tail_by_hand():
    head = torch.tensor([False, True, False])
    terms = Terms({"ranking": torch.tensor(1.0)}, {"ranking": 1.0})
    margins = (torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 2.0]))
    diagnosis = Diagnosis(head)
    terms = replace(terms, margins=margins)
    items = torch.tensor([[1, 2, 0], [2, 0, 0]])
    diagnosis.add(terms, UserStates(()), Batch(items, torch.tensor([2, 1]), items))
    summary = diagnosis.summary()
    assert summary["first_branch_share/head"] == pytest.approx(3 / 4)
    assert summary["first_branch_share/tail"] == pytest.approx(3 / 8)


def test_margins_are_the_lead_of_the_target_over_the_negatives():
    model, objective = make({"ranking": "softmax", "joint": 1.0}, NO_TIES)
    assert terms_of(objective)[0].margins is None
    terms, states = terms_of(objective, margins=True)
    targets = batch().targets[batch().targets > 0]
    scores = branch_scores(states.vectors, model.item_vectors(torch.arange(1, ITEMS + 1)))
    for margin, score in zip(terms.margins, scores, strict=True):
        expected = [score[i, t - 1] - score[i].mean() for i, t in enumerate(targets)]
        torch.testing.assert_close(margin, torch.stack(expected).detach(), rtol=1e-4, atol=1e-4)
