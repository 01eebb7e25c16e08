"""Contract tests of models, on random weights."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from h2rec.errors import ConfigError
from h2rec.models.build import build_model, grown_model, model_for_weights
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import BranchVectors, SequenceModel, branch_scores, paired_branch_scores
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.models.weights import weights_of
from h2rec.testing.catalogue import (
    encode,
    new_items,
    parsed,
    random_model,
    require,
    require_close,
    require_round_trip,
    require_same_weights,
    small_catalogue,
    users,
)
from h2rec.testing.training import check_gradients, check_learning

ROWS = [[3, 7, 9, 4], [1], [8, 8, 2]]
GRADIENT_TOLERANCE = 1e-3


def check_model(values: Mapping[str, Any] | str, *, learns: bool = True) -> None:
    """Check a model; `values` as in the section `model`, or its name. Sizes are small unless it says otherwise.

    `learns`: whether a training learns which items follow which; false if the model ignores the history.
    """
    settings = parsed({"name": values} if isinstance(values, str) else values)
    require_round_trip(settings)
    features = small_catalogue()
    check_features(settings, features)
    model = random_model(settings, features)
    for check in (check_shapes, check_padding, check_rows, check_causality, check_scores):
        check(model)
    check_reasons(model)
    check_stored(model, settings)
    check_growth(model, settings)
    check_gradients(settings, features)
    if learns:
        check_learning(settings, features)


def check_features(settings: ModelSettings, features: ItemFeatures) -> None:
    """`reads_codes` and `reads_text` are true; the same seed gives the same weights."""

    def weights(known: ItemFeatures) -> dict[str, torch.Tensor]:
        return weights_of(build_model(settings, known, seed=3))

    plain = weights(features)
    require_same_weights(plain, weights(features), "the same seed gives other weights")
    without_codes, without_text = replace(features, semantic_ids=None), replace(features, text=None)
    if not settings.reads_codes:
        message = "reads_codes of the settings is false, and the weights depend on the codes"
        require_same_weights(plain, weights(without_codes), message)
    else:
        try:
            weights(without_codes)
        except ConfigError:
            pass
        else:
            raise AssertionError("reads_codes of the settings is true, and the model is made without codes")
    if not settings.reads_text:
        message = "reads_text of the settings is false, and the weights depend on the text"
        require_same_weights(plain, weights(without_text), message)


def check_shapes(model: SequenceModel) -> None:
    """One tensor a branch, of users and of items, float32 and finite."""
    states = encode(model, ROWS)
    with torch.no_grad():
        vectors = model.item_vectors(torch.arange(1, model.item_count + 1))
    names, weights = model.branch_names, model.branch_weights
    for title, values in (("weights", weights), ("user vectors", states.vectors), ("item vectors", vectors)):
        require(len(values) == len(names), f"{len(names)} branches, and {len(values)} {title}")
    for name, user, items in zip(names, states.vectors, vectors, strict=True):
        for title, tensor in (("user vectors", user), ("item vectors", items)):
            require(tensor.dtype == torch.float32, f"{title} of branch '{name}' are {tensor.dtype}")
            require(bool(tensor.isfinite().all()), f"{title} of branch '{name}' are not finite")
        sizes = user.shape[1], items.shape[1]
        require(sizes[0] == sizes[1], f"branch '{name}': users of {sizes[0]} dimensions, items of {sizes[1]}")
        require(len(items) == model.item_count, f"branch '{name}' has {len(items)} items")
    longest = [[item % model.item_count + 1 for item in range(model.max_length)]]
    require(bool(users(encode(model, longest)).isfinite().all()), "the longest history has no finite vector")
    if model.mask_item is not None:
        expected = model.item_count + 1
        require(model.mask_item == expected, f"mask_item is {model.mask_item}, and must be {expected}")
        require(0 < model.mask_share < 1, f"mask_share is {model.mask_share}")
    require((model.mask_item is not None) == (model.objective == "cloze"), "only a cloze has a masked item")


def check_padding(model: SequenceModel) -> None:
    """Padding on the right changes nothing."""
    plain, padded = (users(encode(model, [[3, 7, 9]], width=width)) for width in (3, 6))
    require_close(plain, padded, "padding on the right changes a user's vector")


def check_rows(model: SequenceModel) -> None:
    """A batch equals its rows, one by one."""
    alone = torch.cat([users(encode(model, [row])) for row in ROWS])
    require_close(users(encode(model, ROWS)), alone, "a history's vector depends on the rest of its batch")


def check_causality(model: SequenceModel) -> None:
    """A model trained on every next item sees nothing later than the position where it is read."""
    if model.objective != "next":
        return
    first, second = (users(encode(model, [[3, 7, 9, *later]]))[:3] for later in ([11, 2], [20, 21]))
    message = "a later item changes what was read before it, which training would have to predict"
    require_close(first, second, message)


def check_scores(model: SequenceModel) -> None:
    """Every way to a score is the inner product of user and item vectors, with the same gradients."""
    features = small_catalogue()
    assert features.train is not None
    train, rows = features.train, np.arange(4)
    scorer = CatalogueScorer(model)
    with torch.no_grad():
        vectors = model.item_vectors(torch.arange(model.item_count + 1))
        sides = scorer.user_vectors(train, rows).split([v.shape[1] for v in vectors], dim=1)
        expected = list(branch_scores(sides, vectors))
    for name, sparse in scorer.counted(train, rows).items():
        place = model.branch_names.index(name)
        dense = sparse.add_to(torch.zeros_like(expected[place]))
        found = sparse.at(torch.arange(len(rows))[:, None], torch.arange(model.item_count + 1))
        require_close(found, dense, f"counted scores of '{name}' are not those that are looked up")
        require(bool((dense >= 0).all()), f"branch '{name}' counts a negative score")
        sparse.add_to(expected[place])
    by_branch = scorer.branch_scores(train, rows)
    for name, scores, product in zip(model.branch_names, by_branch, expected, strict=True):
        require_close(scores, product, f"branch_items of '{name}' score otherwise than its vectors")
    require_close(
        scorer.score(train, rows), torch.stack(expected).sum(0), "scores are no sum of the branches'"
    )

    items, lengths = torch.tensor([[3, 7, 9, 4], [8, 8, 2, 0]]), torch.tensor([4, 3])
    reads = items > 0 if model.objective != "last" else torch.arange(4) == (lengths - 1)[:, None]
    targets = torch.tensor([7, 9, 4, 12, 8, 2, 20])[: int(reads.sum())]
    shared = torch.tensor([1, 9, 9, 20, 24])

    def scores_and_gradients(fast: bool) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        model.zero_grad()
        states = model(items, lengths, reads)
        if fast:
            own, others = model.score_targets(states, targets, shared)
        else:
            own = paired_branch_scores(states.vectors, model.item_vectors(targets))
            others = branch_scores(states.vectors, model.item_vectors(shared))
        return [*own, *others], _gradients(model, own, others)

    (fast, gradients), (slow, expected_gradients) = map(scores_and_gradients, (True, False))
    for fast_scores, slow_scores in zip(fast, slow, strict=True):
        require_close(fast_scores, slow_scores, "score_targets scores otherwise than the vectors")
    message = "score_targets brings a gradient to other weights than the vectors"
    require(gradients.keys() == expected_gradients.keys(), message)
    for name, gradient in gradients.items():
        message = f"score_targets brings another gradient than the vectors to {name}"
        require_close(gradient, expected_gradients[name], message, tolerance=GRADIENT_TOLERANCE)


def _gradients(model: SequenceModel, own: BranchVectors, others: BranchVectors) -> dict[str, torch.Tensor]:
    weights = torch.linspace(-1, 2, len(own[0]))
    pairs = zip(own, others, strict=True)
    total = torch.stack([(x * weights).sum() + (y * weights[:, None]).pow(2).sum() for x, y in pairs]).sum()
    if total.requires_grad:
        total.backward()
    gradients = {n: p.grad.to_dense().clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients


def check_reasons(model: SequenceModel) -> None:
    """Reasons name items of the history, each once; an empty history gives none."""
    require(model.reasons([5], []) == [[]], "an empty history is given as a reason")
    reasons = [reason.item for reason in model.reasons([5], [3, 7, 9, 7])[0]]
    require(set(reasons) <= {3, 7, 9}, f"reasons {reasons} are not all of the history 3, 7, 9, 7")


def check_stored(model: SequenceModel, settings: ModelSettings) -> None:
    """Settings, codes and weights restore a model to the bit, without text and histories."""
    features = small_catalogue()
    assert features.train is not None
    before = torch.get_rng_state()
    weights = load(save(weights_of(model)))
    again = model_for_weights(settings, model.item_count, features.semantic_ids, weights)
    untouched = torch.equal(before, torch.get_rng_state())
    require(untouched, "reading stored weights draws from the caller's random numbers")
    require_same_weights(weights, weights_of(again), "weights change by being stored and read")
    first, second = (CatalogueScorer(m).score(features.train, np.arange(4)) for m in (model, again))
    require(torch.equal(first, second), "a model that was stored and read scores otherwise")


def check_growth(model: SequenceModel, settings: ModelSettings) -> None:
    """Old items and users keep their vectors when new items join a model; or the model says why none can."""
    if model.refuses_new_items is not None:
        require(bool(model.refuses_new_items.strip()), "refuses_new_items says no reason")
        return
    features = small_catalogue()
    ids, new = new_items(features)
    before = torch.get_rng_state()
    grown = grown_model(model, settings, ids, new)
    require(torch.equal(before, torch.get_rng_state()), "growing draws from the caller's random numbers")
    require(grown.item_count == len(ids), f"{len(ids)} items, and the grown model has {grown.item_count}")

    def require_unchanged(vectors: Callable[[SequenceModel], BranchVectors], title: str) -> None:
        with torch.no_grad():
            sides = zip(model.branch_names, vectors(model), vectors(grown), strict=True)
        for name, old, now in sides:
            require(torch.equal(old, now), f"{title} of branch '{name}' change when the model grows")

    require_unchanged(lambda m: m.item_vectors(torch.arange(1, model.item_count + 1)), "item vectors")
    require_unchanged(lambda m: encode(m, ROWS).vectors, "user vectors")
    if model.mask_item is not None:
        require_unchanged(
            lambda m: encode(m, [[3, 7, m.mask_item or 0]]).vectors, "user vectors at a masked item"
        )
    check_shapes(grown)
    recent = [len(ids), 3, len(ids) - 1]
    require(
        bool(users(encode(grown, [recent])).isfinite().all()), "a history of new items has no finite vector"
    )
