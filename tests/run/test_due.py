"""When a full training is due: each reason with what was measured, and none before its time."""

import pytest

from h2rec.retrieval.manifest import Lineage, Update
from h2rec.run.due import reasons_due


def update(**values):
    plain = {"date": "2024-05-02", "events": 10, "new_users": 0, "new_items": 0, "until": 1.0}
    return Update.model_validate(plain | values)


def due(*updates, items=5_000):
    return reasons_due(
        Lineage(trained="2024-05-01", events=1_000, until=0.0, items=items, updates=list(updates))
    )


@pytest.mark.parametrize(
    ("soon", "now", "told"),
    [
        (
            [update(events=250)] * 2,
            [update(events=251)] * 2,
            "502 interactions came since the full training, which knew 1,000",
        ),
        (
            [update(new_items=20, poorly_coded=6)],
            [update(new_items=10, poorly_coded=3), update(new_items=10, poorly_coded=4)],
            "the codes say little of 7 of 20 new items",
        ),
        (
            [update(drift=0.5), update(drift=0.1)],
            [update(drift=0.11)],
            "the vectors of items have drifted by 0.11",
        ),
        (
            [update(ndcg_before=0.2, cases=500), update(ndcg_before=0.161, cases=500)],
            [update(ndcg_before=0.2, cases=500), update(), update(ndcg_before=0.159, cases=900)],
            "new interactions are ranked worse than at first: NDCG@100 0.159, once 0.200",
        ),
    ],
)
def test_each_reason_has_its_time(soon, now, told):
    assert due(*soon) == []
    (reason,) = due(*now)
    assert reason.startswith(told)


def test_too_little_says_nothing():
    assert due() == []
    assert due(update(new_items=19, poorly_coded=19)) == []
    assert due(update(new_items=30, poorly_coded=30), items=999) == []
    assert due(update(ndcg_before=0.2, cases=500), update(ndcg_before=0.01, cases=499)) == []
