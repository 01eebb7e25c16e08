"""What another bundle's order would have earned: from made users whose clicks are known."""

import json

import numpy as np
import polars as pl
import pytest

from h2rec.cli.main import main
from h2rec.retrieval.recommender import Recommender
from made_bundles import make_bundle
from made_experiments import DAY, START, write_rows

K, EXPLORE, USERS = 4, 0.5, 60
OFTEN, SELDOM = 0.4, 0.1
LOOKED = np.array([1.0, 0.7, 0.4, 0.2])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log of an arm that shows half of the bundle's items in another order, and what the bundle's order earns."""
    folder = tmp_path_factory.mktemp("orders")
    bundle = make_bundle(folder / "bundle")
    random = np.random.default_rng(0)
    histories = [[f"i{item}" for item in random.choice(60, 3, replace=False)] for _ in range(USERS)]
    answers = Recommender.load(bundle).recommend_batch(histories, K)
    rows = []
    for user, answer in enumerate(answers):
        wanted = [str(item.item_id) for item in answer.items]
        others = [
            item
            for item in (f"i{n}" for n in random.permutation(60))
            if item not in {*wanted, *histories[user]}
        ]
        own = [others[0], wanted[3], others[1], wanted[0]]
        for number in range(80):
            request = {"user_id": f"u{user}", "request_id": f"r{user}.{number}"}
            time = START + DAY * number / 10
            drawn = random.permutation(K) if random.random() < EXPLORE else np.arange(K)
            items = [own[place] for place in drawn]
            chance = [EXPLORE / K + (1 - EXPLORE) * (place == at) for at, place in enumerate(drawn)]
            shown = {"experiment": "x", "arm": "control", "items": items, "propensities": chance}
            rows.append({"event": "impressions", **request, **shown, "time": time})
            for at, item in enumerate(items):
                if random.random() >= (OFTEN if item == wanted[0] else SELDOM) * LOOKED[at]:
                    continue
                of_item = {**request, "item_id": item, "event_id": f"{number}.{user}.{at}", "time": time + 5}
                rows.append({"event": "click", **of_item})
                rows.append({"event": "conversion", **of_item, "bid": 2.0})
    write_rows(folder / "log.jsonl", rows)
    users = [f"u{user}" for user in range(USERS)]
    pl.DataFrame({"user_id": users, "history": histories}).write_parquet(folder / "histories.parquet")
    return folder, float(OFTEN * LOOKED[0] + SELDOM * LOOKED[3]) / 2


def run(folder, out, *words, code=0):
    words = [*words, "--estimate", str(folder / "bundle"), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(["abtest", str(folder / "log.jsonl"), *words])
    assert ended.value.code == code
    return json.loads((out / "results.json").read_text())["estimates"]["control"] if code == 0 else None


def test_the_order_earns_what_is_estimated(made, tmp_path, capsys):
    folder, truth = made
    found = run(folder, tmp_path / "out", "--histories", str(folder / "histories.parquet"))
    assert (found["answers"], found["without_history"], found["places"]) == (80 * USERS, 0, 160 * USERS)
    assert found["known_places"] == 0.5
    assert found["mean_weight"] == pytest.approx(1, abs=0.1)
    (warning,) = found["warnings"]
    assert "Of 50% of the bundle's places nothing is known" in warning
    for name, value in (("clicks", truth), ("advv", 2 * truth)):
        row = found["metrics"][name]
        for way in ("ips", "snips"):
            width = row[way]["high"] - row[way]["low"]
            assert row[way]["value"] == pytest.approx(value, abs=3 * width / 3.92)  # three standard errors
            assert width < 0.5 * value
        assert not row["ips"]["low"] < row["logged"] < row["ips"]["high"]  # it tells the orders apart
    printed = " ".join(capsys.readouterr().out.split())
    assert "from 4,800 answers of control: 50% of its places can be judged" in printed
    assert "tell as much as" in (tmp_path / "out" / "report.html").read_text()


def test_histories_that_are_too_new_or_missing_are_told(made, tmp_path):
    folder, _ = made
    given = pl.read_parquet(folder / "histories.parquet")
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    clicked = {row["user_id"]: row["item_id"] for row in rows if row["event"] == "click"}
    after = [[*history, clicked.get(user, "i1")] for user, history in given.iter_rows()]
    given.with_columns(history=pl.Series(after)).head(40).write_parquet(tmp_path / "new.parquet")
    found = run(folder, tmp_path / "out", "--histories", str(tmp_path / "new.parquet"))
    assert found["without_history"] == 80 * 20
    assert any("seems to have been taken after them" in warning for warning in found["warnings"])


def test_what_it_needs_is_told(made, tmp_path, capsys):
    folder, _ = made
    run(folder, tmp_path / "out", code=2)
    assert "--estimate needs --histories" in capsys.readouterr().err
    nobody = pl.DataFrame({"user_id": ["nobody"], "history": [["i1"]]})
    nobody.write_parquet(tmp_path / "nobody.parquet")
    run(folder, tmp_path / "out", "--histories", str(tmp_path / "nobody.parquet"), code=2)
    assert "no item of the bundle's lists" in " ".join(capsys.readouterr().err.split())
