"""Items as codes score as their vectors do, whatever else goes into the score."""

import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.models.scorer import CatalogueScorer

HISTORIES = Histories.from_lists([[3, 7, 9], [11], [2, 5, 30, 31, 8]])
ROWS = np.arange(3)
HYBRID = {"enabled": True, "branch": "own", "shrink": 0.0}
FORMS = [
    {},
    {"residual": HYBRID},
    {"residual": {**HYBRID, "branch": "sid"}},
    {"residual": {**HYBRID, "codes": "prefixes"}},
    {"branches": "sid"},
    {"branches": "hid"},
    {"score": {"kind": "inner"}, "residual": HYBRID},
    {"score": {"normalise": "item"}},
    {"score": {"maturity": True, "popularity": 0.2}, "residual": HYBRID},
    {"score": {"kind": "inner"}, "residual": {**HYBRID, "codes": "prefixes"}},
]


@pytest.fixture(params=FORMS, ids=str)
def model(request, make_model):
    made = make_model(name="h2rec", **request.param)
    with torch.no_grad():
        if hasattr(made, "residual"):
            made.residual.table.weight.normal_(generator=torch.Generator().manual_seed(1))
    return made


def test_every_branch_scores_as_its_vectors_do(model):
    scorer = CatalogueScorer(model)
    items = torch.arange(model.item_count + 1)
    with torch.inference_mode():
        vectors = model.item_vectors(items)
        users = scorer.user_vectors(HISTORIES, ROWS).split([v.shape[1] for v in vectors], dim=1)
        expected = [user @ v.T for user, v in zip(users, vectors, strict=True)]
    torch.testing.assert_close(scorer.branch_scores(HISTORIES, ROWS), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scorer.score(HISTORIES, ROWS), sum(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scorer.item_matrix, torch.cat(vectors, dim=1))


def test_items_of_the_same_codes_tie_where_codes_are_all_that_tells_them_apart(make_model):
    model = make_model(name="h2rec", branches="sid")
    with torch.no_grad():
        model.codes.item_rows[5] = model.codes.item_rows[17]
    scores = CatalogueScorer(model).score(HISTORIES, ROWS)
    assert torch.equal(scores[:, 5], scores[:, 17])


def test_a_scorer_keeps_the_items_as_they_were_when_it_was_made(model):
    scorer = CatalogueScorer(model)
    before = scorer.item_matrix
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3)
    assert torch.equal(scorer.item_matrix, before)
