"""What is counted knows nothing of held-out items: neither a user's own nor another's."""

import numpy as np
import polars as pl
import pytest

from h2rec.models.weights import weights_of
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from made_shop import ITEMS, write_shop

COUNTED = {
    f"branches.{name}.{part}"
    for name in ("followers", "predecessors", "kinds", "close_kinds")
    for part in ("offsets", "successors", "values")
}
USERS = 80


def run(folder, histories):
    """Measure transitions on histories; their weights, which are chosen on validation, stay as configured."""
    folder.mkdir()
    shop = write_shop(folder)
    rows = [
        (f"u{user:02}", f"i{item}", step)
        for user, row in enumerate(histories)
        for step, item in enumerate(row)
    ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame.write_csv(folder / "interactions.csv")
    config = ["preset=transitions", "model={}", "loss={}", "train={}", "blend.fit=false"]
    pipeline = Pipeline(RunConfig.load(shop, [*config, "evaluate.repeats=allowed"]), folder / "run")
    pipeline.evaluated()
    tables = {name: value.numpy().tobytes() for name, value in weights_of(pipeline.model).items()}
    return tables, pl.read_parquet(folder / "run" / "ranks.parquet")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A shop as it is, and with the held-out items of every second user exchanged among these."""
    folder, random = tmp_path_factory.mktemp("leakage"), np.random.default_rng(0)
    as_it_is = [random.integers(0, ITEMS, random.integers(5, 9)).tolist() for _ in range(USERS)]
    exchanged = [row.copy() for row in as_it_is]
    for user in range(0, USERS, 2):  # the same items in all: none comes or goes
        exchanged[user][-2:] = as_it_is[(user + 2) % USERS][-2:]
    assert sum(one != other for one, other in zip(as_it_is, exchanged, strict=True)) > USERS / 3
    return run(folder / "one", as_it_is), run(folder / "other", exchanged)


def test_counts_are_those_of_training_histories_alone(runs):
    (tables, _), (others, _) = runs
    assert tables.keys() == COUNTED
    assert all(map(len, tables.values()))
    assert tables == others


def test_a_rank_does_not_depend_on_what_others_have_held_out(runs):
    (_, ranks), (_, others) = runs
    assert not ranks.equals(others)
    kept = list(range(1, USERS, 2))
    one, other = (table.filter(pl.col("user").is_in(kept)) for table in (ranks, others))
    assert one.height == 2 * len(kept)
    assert one["rank_full"].n_unique() > 10
    assert one.select("user", "target", "split", "rank_full").equals(
        other.select("user", "target", "split", "rank_full")
    )
