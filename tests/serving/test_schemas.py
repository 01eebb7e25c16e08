"""Bodies full of mistakes: a list of all of them would take a server longer than anything it answers."""

import pytest
from pydantic import ValidationError

from h2rec.serving import schemas

MANY = 20_000
NAMES = {f"n{number}": 0 for number in range(MANY)}


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (schemas.RecommendBody, {"history": [[]] * MANY}),
        (schemas.RecommendBody, {"history": [], **NAMES}),
        (schemas.RecommendBody, {"history": [], "filter": {"where": NAMES}}),
        (schemas.RecommendBody, {"history": [], "filter": {"where": {"title": [None] * MANY}}}),
        (schemas.RecommendBody, {"history": [], "filter": {"allow": [{}] * MANY, "deny": [0.5] * MANY}}),
        (schemas.BatchBody, {"queries": [{}] * MANY}),
        (schemas.BatchBody, {"queries": [0] * MANY}),
        (schemas.BatchBody, {"queries": [{"history": [[]] * MANY}] * 3}),
        (schemas.ItemsBody, {"items": [{}] * MANY}),
        (schemas.ItemsBody, {"items": [{"item_id": "a", "fields": NAMES}]}),
    ],
    ids=lambda value: "" if isinstance(value, type) else str(value)[:30],
)
def test_of_many_mistakes_few_are_told(model, body):
    with pytest.raises(ValidationError) as raised:
        model.model_validate(body)
    assert raised.value.error_count() <= 5


def test_an_unknown_name_is_told():
    with pytest.raises(ValidationError, match="extra input 'histories' is not permitted"):
        schemas.RecommendBody.model_validate(
            {"history": [], "k": 5, "histories": []} | {"filter": {}} | NAMES | {}
        )
    with pytest.raises(ValidationError, match="histories"):
        schemas.RecommendBody.model_validate({"history": [], "histories": []})
