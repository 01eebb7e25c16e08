"""Contract tests of branches."""

from collections.abc import Mapping
from typing import Any

import torch

from h2rec.models.branches import BRANCHES
from h2rec.models.protocol import branch_scores
from h2rec.testing.catalogue import (
    encode,
    parsed,
    random_model,
    require,
    require_close,
    require_round_trip,
    small_catalogue,
)
from h2rec.testing.models import check_model


def check_branch(values: Mapping[str, Any] | str, *, learns: bool = True) -> None:
    """Check a kind of branch, alone and beside hash IDs; `values` as in `model.branches.NAME`, or its kind.

    `learns`: whether the branch alone learns which items follow which; false if it ignores the history.
    """
    plain = {"kind": values} if isinstance(values, str) else dict(values)
    kind = BRANCHES.get(plain["kind"])
    require_round_trip(kind.settings_class.parse(plain, source="model.branches.own"))
    count = len(list(random_model(parsed({"branches": {"own": plain}}), small_catalogue()).parameters()))
    message = f"is_trained of the branch is {kind.is_trained}, and it has {count} tensors to learn"
    require(bool(count) == kind.is_trained, message)
    check_model({"branches": {"own": plain}}, learns=learns)
    check_model({"branches": {"own": plain, "beside": {"kind": "ids"}}}, learns=learns)
    check_weight(plain)


def check_weight(values: Mapping[str, Any]) -> None:
    """A branch's weight scales its score, and touches no other."""
    scores = []
    for weight in (0.5, 1.5):
        own = {**values, "weight": weight}
        settings = parsed({"branches": {"own": own, "beside": {"kind": "ids"}}})
        model = random_model(settings, small_catalogue())
        message = f"model.branch_weights are {model.branch_weights}, and the settings say {weight} and 1"
        require(model.branch_weights == (weight, 1.0), message)
        with torch.no_grad():
            vectors = model.item_vectors(torch.arange(1, model.item_count + 1))
            dense = branch_scores(encode(model, [[3, 7, 9]]).vectors, vectors)
            counted = model.counted(torch.tensor([[9, 7, 3]])).values()
            items = torch.arange(1, model.item_count + 1)[None]
            row = torch.zeros_like(items)
            own_scores = dense[0] + sum(sparse.at(row, items) for sparse in counted)
            scores.append((own_scores, dense[1]))
    (half, beside), (scaled, still) = scores
    require_close(scaled, 3 * half, "three times the weight is not three times the score")
    require(torch.equal(beside, still), "the weight of a branch changes another branch's score")
