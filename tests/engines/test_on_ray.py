"""What a Ray cluster of two nodes makes is what one process makes, byte for byte, also where workers die."""

import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from h2rec.batching import pair_counts
from h2rec.cli.main import main
from h2rec.data.by_parts import prepare_by_parts
from h2rec.data.readers import open_table
from h2rec.data.settings import DataSettings
from h2rec.engines import LOCAL, Engine
from h2rec.errors import DataError
from h2rec.files import file_hash, folder_hashes
from h2rec.retrieval.partitions import recommend_parts
from h2rec.retrieval.recommender import Recommender
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.semantic_ids import tokenize
from h2rec.text import embed
from made_shop import write_shop

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")

MEGABYTES = 2**20


@pytest.fixture(scope="module")
def engine():
    """A cluster of two nodes with a core each."""
    from ray.cluster_utils import Cluster

    from h2rec.engines.on_ray import RayEngine

    node = {"num_cpus": 1, "object_store_memory": 90 * MEGABYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield RayEngine()
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def shop(tmp_path) -> Path:
    """A shop whose interactions are a folder of Parquet files; the path of its configuration."""
    config = write_shop(tmp_path)
    rows = pl.read_csv(tmp_path / "interactions.csv")
    (tmp_path / "events").mkdir()
    for number, start in enumerate(range(0, rows.height, 150)):
        rows.slice(start, 150).write_parquet(tmp_path / "events" / f"part-{number}.parquet")
    config.write_text(config.read_text().replace("interactions.csv", "events"))
    return config


def test_a_run_gives_the_same_files(shop, engine, tmp_path, monkeypatch):
    monkeypatch.setattr(pair_counts, "EVENTS_AT_ONCE", 100)
    monkeypatch.setattr(embed, "_TEXTS_A_BLOCK", 20)
    monkeypatch.setattr(tokenize, "ITEMS_A_PART", 25)
    made: dict[str, dict[str, str]] = {}
    for name, where in (("local", LOCAL), ("ray", engine)):
        config = RunConfig.load(shop, ["train.epochs=1", "bundle.refit=false"])
        pipeline = Pipeline(config, tmp_path / name, engine=where)
        bundle = pipeline.bundled()
        assert (pipeline.features.pairs is None) == (where is LOCAL)
        made[name] = {
            "semantic_ids.json": file_hash(tmp_path / name / "semantic_ids.json"),
            **_files(pipeline.data_stage.folder),
            **_files(bundle),
        }
    assert made["ray"] == made["local"]
    assert {"semantic_ids.json", "histories/items.npy", "log/pairs.parquet", "model.safetensors"} <= {
        "histories/items.npy" if name == "items.npy" else name for name in made["ray"]
    }


def _files(folder: Path) -> dict[str, str]:
    """Hashes of the files that hold results, not when and where they were made."""
    return {
        name: digest
        for name, digest in folder_hashes(folder).items()
        if name not in ("stage.json", "manifest.json")
    }


def test_recommendations_are_the_same_and_what_is_there_is_kept(shop, engine, tmp_path):
    config = RunConfig.load(shop, ["train.epochs=1", "bundle.refit=false"])
    recommender = Recommender.load(Pipeline(config, tmp_path / "run").bundled())
    for number in range(4):
        (tmp_path / "users").mkdir(exist_ok=True)
        histories = [[f"i{number}", f"i{row}"] for row in range(30)]
        pl.DataFrame(
            {"user_id": [f"{number}-{row}" for row in range(30)], "history": histories}
        ).write_parquet(tmp_path / "users" / f"{number}.parquet")
    local = recommend_parts(recommender, tmp_path / "users", tmp_path / "local", 5)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/2.parquet").write_bytes((tmp_path / "local/2.parquet").read_bytes())
    by_ray = recommend_parts(recommender, tmp_path / "users", tmp_path / "ray", 5, engine=engine)
    assert folder_hashes(tmp_path / "ray") == folder_hashes(tmp_path / "local")
    assert (by_ray.made, by_ray.kept, by_ray.users) == (3, 1, 90)
    assert (local.made, local.users, local.rows) == (4, 120, 120)


@dataclass
class DiesOnce:
    """Kills its process in the middle of one part, the first time."""

    function: Any
    mark: Path

    def __call__(self, part: Any) -> Any:
        result = self.function(part)
        if not self.mark.exists():
            self.mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return result


@dataclass
class Deadly:
    """An engine on which a worker dies in each step."""

    engine: Engine
    folder: Path
    steps: int = 0

    def map(self, function, parts):
        self.steps += 1
        return self.engine.map(DiesOnce(function, self.folder / f"died-{self.steps}"), parts)


def test_a_killed_worker_costs_nothing_but_time(shop, engine, tmp_path):
    ray.cloudpickle.register_pickle_by_value(__import__(__name__))
    events = tmp_path / "events"
    settings = DataSettings(interactions=events, k_core=2)
    deadly = Deadly(engine, tmp_path)
    for name, where in (("local", LOCAL), ("ray", deadly)):
        data = prepare_by_parts(
            settings, open_table(events), None, where, tmp_path / f"{name}-work", rows_a_part=90
        )
        (tmp_path / name).mkdir()
        data.save(tmp_path / name)
    assert folder_hashes(tmp_path / "ray") == folder_hashes(tmp_path / "local")
    died = {int((tmp_path / f"died-{step}").read_text()) for step in (1, 2)}
    assert deadly.steps == len(died) == 2
    assert os.getpid() not in died


def test_a_mistake_in_the_data_is_told_as_it_is_here(engine, tmp_path):
    folder = tmp_path / "events"
    folder.mkdir()
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["1", "2"], "timestamp": ["1", "soon"]}).write_parquet(
        folder / "1.parquet"
    )
    settings = DataSettings(interactions=folder)
    with pytest.raises(DataError, match=r"events, row 2: timestamp 'soon' is not a time|1\.parquet, row 2"):
        prepare_by_parts(settings, open_table(folder), None, engine, tmp_path / "work")

    def refuse(part: int) -> int:
        raise DataError(f"part {part}: no", "mend it")

    with pytest.raises(DataError, match="part 3: no\n  hint: mend it"):
        list(engine.map(refuse, [3]))
    assert list(engine.map(refuse, [])) == []


def test_a_cluster_answers_folders_alone(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["recommend", str(tmp_path), "--history", "a", "--engine", "ray"])
    assert "a cluster answers the files of a folder" in capsys.readouterr().err
