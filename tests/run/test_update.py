"""An update: counts to the bit, weights to a budget, bad input told, nothing lost."""

import csv
import shutil
import subprocess
import sys
import time
from multiprocessing import get_context

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from h2rec.batching.pair_counts import PairCounts
from h2rec.batching.transitions import transition_table
from h2rec.cli.main import main
from h2rec.data.items import read_items
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.errors import BundleError, DataError, H2RecError
from h2rec.models.branches.transitions import POPULARITY_POWER
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.log import read_log
from h2rec.retrieval.manifest import read_manifest
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.run.new_events import read_events
from h2rec.run.pipeline import Pipeline
from h2rec.run.update import update
from light_work import updates
from made_shop import write_shop

START = 1_700_000_000
DAY = 86_400
MODEL = "{preset: h2rec, dim: 8}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A bundle of all but the newest tenth of a shop's orders, and the folder of its files."""
    folder = tmp_path_factory.mktemp("update")
    config = write_shop(folder, users=60)
    orders = pl.read_csv(folder / "interactions.csv").with_row_index("row")
    # Users come one after the other in the file: in time they come side by side, some of them late.
    orders = orders.with_columns(timestamp=START + DAY * (pl.col("timestamp") + pl.col("row") // 40)).drop(
        "row"
    )
    orders = orders.sort("timestamp", maintain_order=True)
    cut = orders["timestamp"].quantile(0.85)
    orders.filter(pl.col("timestamp") <= cut).write_csv(folder / "interactions.csv")
    orders.filter(pl.col("timestamp") > cut).write_csv(folder / "new.csv")
    orders.write_csv(folder / "all.csv")
    text = config.read_text().replace(
        "model: {name: h2rec, dim: 16, layers: 1}",
        "model: {dim: 8, layers: 1}",
    )
    config.write_text(text)
    Pipeline(RunConfig.load(config), folder / "run").begin().bundled()
    return folder


def told(path):
    return lambda learned: read_events(open_table(path), learned, ColumnSettings())


def described(path):
    return read_items(open_table(path), ColumnSettings(), {})[0].drop("file_row")


def updated(shop, out, path=None, budget=0.0, **options):
    return update(shop / "run/bundle", told(path or shop / "new.csv"), out, budget=budget, **options)


def test_counts_are_those_of_all_interactions_to_the_bit(shop, tmp_path):
    done = updated(shop, tmp_path / "two")
    bundle = Bundle.load(tmp_path / "two")
    log = read_log(tmp_path / "two", bundle.manifest)
    everything = pl.read_csv(shop / "all.csv")
    assert done.update.events == everything.height - pl.read_csv(shop / "interactions.csv").height
    histories = {
        user: part.sort("timestamp", maintain_order=True)["item_id"].to_list()
        for (user,), part in everything.group_by("user_id", maintain_order=True)
    }
    names = ["", *bundle.items["item_id"]]
    assert {
        user: [names[item] for item in history]
        for user, history in zip(log.events.user_ids, log.events.histories, strict=True)
    } == histories
    afresh = PairCounts.of(log.events.histories)
    counts = log.events.histories.counts(bundle.model.item_count)
    assert np.array_equal(log.pairs.times, afresh.times)
    weights = load_file(tmp_path / "two" / "model.safetensors")
    for name, direction in (("followers", "forward"), ("predecessors", "backward")):
        table = transition_table(
            afresh, counts, np.arange(len(counts)), direction, popularity_power=POPULARITY_POWER
        )
        assert np.array_equal(weights[f"branches.{name}.values"].numpy(), table.values)
        assert np.array_equal(weights[f"branches.{name}.successors"].numpy(), table.successors)
    assert bundle.items["train_count"].to_list() == counts[1:].tolist()
    assert bundle.items["head"].sum() == 12
    before = load_file(shop / "run/bundle/model.safetensors")
    assert torch.equal(
        weights["branches.ids.table.vectors.weight"], before["branches.ids.table.vectors.weight"]
    )
    assert not torch.equal(weights["branches.kinds.values"], before["branches.kinds.values"])


def test_in_two_steps_or_in_one_the_counts_are_the_same(shop, tmp_path):
    new = pl.read_csv(shop / "new.csv")
    new[: new.height // 2].write_csv(tmp_path / "first.csv")
    new[new.height // 2 :].write_csv(tmp_path / "second.csv")
    update(
        shop / "run/bundle", told(tmp_path / "second.csv"), tmp_path / "b", budget=0
    )  # the later half first
    done = update(tmp_path / "b", told(tmp_path / "first.csv"), tmp_path / "b", budget=0)
    updated(shop, tmp_path / "one")
    assert done.late > 0
    assert (
        load_file(tmp_path / "b/model.safetensors").keys()
        == load_file(tmp_path / "one/model.safetensors").keys()
    )
    for name, weight in load_file(tmp_path / "b/model.safetensors").items():
        assert torch.equal(weight, load_file(tmp_path / "one/model.safetensors")[name])
    lineage = read_manifest(tmp_path / "b").lineage
    assert [made.events for made in lineage.updates] == [new.height - new.height // 2, new.height // 2]


def test_weights_learn_to_a_budget_and_codes_stay(shop, tmp_path):
    done = updated(shop, tmp_path / "two", budget=0.5)
    lineage = read_manifest(shop / "run/bundle").lineage
    assert 0 < done.update.targets <= 0.5 * 3 * (lineage.events + done.update.events)
    assert 0 < done.update.drift < 0.5
    assert done.update.cases > 0
    assert 0 <= done.update.ndcg_before <= 1
    assert (tmp_path / "two/codes.npy").read_bytes() == (shop / "run/bundle/codes.npy").read_bytes()
    before, after = (
        load_file(path / "model.safetensors") for path in (shop / "run/bundle", tmp_path / "two")
    )
    assert not torch.equal(
        after["branches.ids.table.vectors.weight"], before["branches.ids.table.vectors.weight"]
    )
    counts_alone = updated(shop, tmp_path / "counts")
    assert counts_alone.update.targets == 0
    same, other = (load_file(tmp_path / name / "model.safetensors") for name in ("counts", "two"))
    # What is read off the learned vectors is read off the new ones.
    for values, changed in ((same, False), (other, True)):
        kept = values["branches.similar_vectors.successors"], before["branches.similar_vectors.successors"]
        assert torch.equal(*kept) != changed
    less = updated(shop, tmp_path / "less", budget=0.05)
    assert 0 < less.update.targets <= 0.05 * 3 * (lineage.events + done.update.events) < done.update.targets
    again = updated(shop, tmp_path / "three", budget=0.5)
    assert again.update.targets == done.update.targets
    assert (tmp_path / "three/model.safetensors").read_bytes() == (
        tmp_path / "two/model.safetensors"
    ).read_bytes()


def test_new_items_get_codes_counts_and_a_place(shop, tmp_path):
    new = pl.read_csv(shop / "new.csv")
    with (tmp_path / "more.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerows([("item_id", "title"), ("n1", "tea green leaf new"), ("n2", "chess wooden board new")])
    last = int(new["timestamp"].max())
    more = pl.DataFrame(
        {
            "user_id": ["u0", "u1", "u1"],
            "item_id": ["n1", "n1", "i4"],
            "timestamp": [last, last + 1, last + 2],
        }
    )
    pl.concat([new, more]).write_csv(tmp_path / "new.csv")
    without = updated(shop, tmp_path / "without", tmp_path / "new.csv")
    assert (without.unknown, without.left_out) == (["n1"], 2)
    done = updated(
        shop, tmp_path / "two", tmp_path / "new.csv", items=described(tmp_path / "more.csv"), budget=0.3
    )
    assert done.update.new_items == 2
    assert done.unknown == []
    answers = Recommender.load(tmp_path / "two").recommend(["n1"], 5, explain=True)
    assert any(
        reason.item_id == "n1" and reason.kind == "follows"
        for item in answers.items
        if item.item_id == "i4"
        for reason in item.explanation.reasons
    )
    table = Bundle.load(tmp_path / "two").model.branches["followers"].table
    names = Bundle.load(tmp_path / "two").items["item_id"].to_list()
    first, second = names.index("n1") + 1, names.index("n2") + 1
    # One that was bought follows what it followed; the other still follows what its like do.
    assert table.successors[table.offsets[first] : table.offsets[first + 1]].tolist() == [
        names.index("i4") + 1
    ]
    assert table.offsets[second + 1] > table.offsets[second]


def test_the_same_orders_twice_change_nothing(shop, tmp_path):
    updated(shop, tmp_path / "two")
    done = update(tmp_path / "two", told(shop / "new.csv"), tmp_path / "two", budget=0.5)
    assert (done.update.events, done.repeated) == (0, pl.read_csv(shop / "new.csv").height)
    assert done.update.targets == 0


def test_the_run_that_it_came_from_does_not_take_updates_back(shop, tmp_path, caplog):
    shutil.copytree(shop / "run", tmp_path / "run")
    bundle = tmp_path / "run/bundle"
    update(bundle, told(shop / "new.csv"), bundle, budget=0)
    config = RunConfig.load(shop / "shop.yaml")
    Pipeline(config, tmp_path / "run").begin().bundled()
    assert len(read_manifest(bundle).lineage.updates) == 1
    assert "has taken in interactions since this training, and stays" in caplog.text
    changed = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})})
    Pipeline(changed, tmp_path / "run").begin().bundled()  # another training takes its place
    assert read_manifest(bundle).lineage.updates == []


def write(path, rows, header=("user_id", "item_id", "timestamp")):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_bad_input_is_told(shop, tmp_path):
    future = int(time.time()) + 30 * DAY
    path = write(tmp_path / "a.csv", [("u1", "i1", START), ("u1", "i2", future)])
    with pytest.raises(
        DataError, match=r"1 interactions lie in the future, the first one of user u1 and item i2"
    ):
        updated(shop, tmp_path / "two", path)
    path = write(tmp_path / "b.csv", [("u1", "nobody", START + DAY)])
    with pytest.raises(DataError, match="none of the 1 interactions is of an item that the bundle knows"):
        updated(shop, tmp_path / "two", path)
    path = write(tmp_path / "c.csv", [("u1", "i1")], ("user_id", "item_id"))
    with pytest.raises(DataError, match="the interactions have no times"):
        updated(shop, tmp_path / "two", path)
    path = write(tmp_path / "d.csv", [("u1", "i1", 3)])
    with pytest.raises(DataError, match="not of one kind"):
        updated(shop, tmp_path / "two", path)
    path = write(tmp_path / "e.csv", [("u1", "i1", START)], ("who", "what", "when"))
    with pytest.raises(DataError, match="user"):
        updated(shop, tmp_path / "two", path)
    assert not (tmp_path / "two").exists()


def test_a_bundle_without_its_log_serves_and_is_not_updated(shop, tmp_path):
    updated(shop, tmp_path / "two")
    pairs = tmp_path / "two/log/pairs.parquet"
    whole = pairs.read_bytes()
    pairs.write_bytes(whole[:-1] + b"x")
    with pytest.raises(BundleError, match="was changed or cut"):
        update(tmp_path / "two", told(shop / "new.csv"), tmp_path / "three", budget=0)
    for path in (tmp_path / "two/log").iterdir():
        path.unlink()
    (tmp_path / "two/log").rmdir()
    assert Recommender.load(tmp_path / "two").recommend(["i1"], 3).items
    with pytest.raises(BundleError, match="it has no log of its training"):
        update(tmp_path / "two", told(shop / "new.csv"), tmp_path / "three", budget=0)


def test_updates_that_another_bundle_has_are_not_replaced(shop, tmp_path):
    updated(shop, tmp_path / "two")
    with pytest.raises(H2RecError, match="has taken in interactions that"):
        updated(shop, tmp_path / "two")
    update(tmp_path / "two", told(shop / "new.csv"), tmp_path / "three", budget=0)
    update(tmp_path / "three", told(shop / "new.csv"), tmp_path / "two", budget=0)  # goes on where it stood


@pytest.mark.skipif(sys.platform == "win32", reason="no locks of this kind")
def test_of_two_at_once_the_second_waits_and_goes_on_from_the_first(shop, tmp_path):
    new = pl.read_csv(shop / "new.csv")
    new[:10].write_csv(tmp_path / "first.csv")
    new[10:20].write_csv(tmp_path / "second.csv")
    updated(shop, tmp_path / "two", tmp_path / "first.csv")
    context = get_context("spawn")
    workers = [
        context.Process(target=updates, args=(str(tmp_path / "two"), str(tmp_path / f"{name}.csv")))
        for name in ("first", "second")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    events = [made.events for made in read_manifest(tmp_path / "two").lineage.updates]
    assert sorted(events) == [0, 10, 10]


def test_killed_in_the_middle_nothing_is_lost(shop, tmp_path):
    updated(shop, tmp_path / "two")
    before = (tmp_path / "two/manifest.json").read_bytes()
    code = (
        "import os, signal, h2rec.retrieval.bundle as bundle\n"
        "bundle.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from h2rec.cli.main import main\n"
        f"main(['update', {str(tmp_path / 'two')!r}, {str(shop / 'new.csv')!r}, '--out', {str(tmp_path / 'two')!r}])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr.decode()
    assert (tmp_path / "two/manifest.json").read_bytes() == before
    Bundle.load(tmp_path / "two")
    update(tmp_path / "two", told(shop / "new.csv"), tmp_path / "two", budget=0)


def test_the_command_tells_what_became_of_every_row(shop, tmp_path, capsys):
    rows = pl.read_csv(shop / "new.csv").rows()
    path = write(tmp_path / "new.csv", [*rows, rows[0], ("", "i1", START), ("u9", "strange", rows[0][2])])
    with pytest.raises(SystemExit) as ended:
        main(["update", str(shop / "run/bundle"), str(path), "--out", str(tmp_path / "two"), "--budget", "0"])
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert f"{len(rows):,} new interactions; " in out
    assert "counts alone" in out
    for line in (
        "1 interactions were known already, or given twice",
        "1 rows without a user or an item were left out",
        "1 interactions of 1 items that the bundle does not know were left out: strange",
    ):
        assert line in " ".join(err.split())
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "update",
                str(shop / "run/bundle"),
                str(path),
                "--out",
                str(tmp_path / "three"),
                "--user",
                "nobody",
            ]
        )
    assert ended.value.code == 2
    assert "no column 'nobody'" in capsys.readouterr().err
