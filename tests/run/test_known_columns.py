"""A bundle knows what the columns of its data were called: later files of the same origin need no names."""

import polars as pl
import pytest

import h2rec
from h2rec.cli.main import main
from h2rec.retrieval.bundle import Bundle
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.serving.users import Users
from made_shop import write_shop

NAMES = {"user_id": "kunde", "item_id": "ware", "timestamp": "am"}


@pytest.fixture(scope="module")
def laden(tmp_path_factory):
    folder = tmp_path_factory.mktemp("laden")
    config = write_shop(folder, users=40)
    for name in ("interactions", "items"):
        frame = pl.read_csv(folder / f"{name}.csv")
        frame.rename({old: new for old, new in NAMES.items() if old in frame.columns}).write_csv(
            folder / f"{name}.csv"
        )
    text = config.read_text().replace(
        "model: {name: h2rec, dim: 16, layers: 1}", "model: {dim: 8, layers: 1}"
    )
    names = "columns: {user: kunde, item: ware, timestamp: am, item_id: ware}"
    config.write_text(text.replace("items: items.csv}", f"items: items.csv, {names}}}"))
    Pipeline(RunConfig.load(config), folder / "run").begin().bundled()
    pl.DataFrame({"ware": ["n1"], "title": ["tea green leaf, new"]}).write_csv(folder / "new_items.csv")
    pl.DataFrame({"kunde": ["u1", "u1"], "ware": ["i4", "n1"], "am": [90, 91]}).write_csv(folder / "new.csv")
    return folder


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0


def test_every_command_reads_files_like_those_of_the_training(laden, tmp_path):
    bundle = laden / "run/bundle"
    run("recommend", bundle, "--input", laden / "interactions.csv", "--output", tmp_path / "answers.csv")
    assert pl.read_csv(tmp_path / "answers.csv")["user_id"].n_unique() == 40
    run("add-items", bundle, laden / "new_items.csv", "--out", tmp_path / "grown")
    run("update", bundle, laden / "new.csv", "--items", laden / "new_items.csv", "--out", tmp_path / "next")
    for name in ("grown", "next"):
        assert "n1" in Bundle.load(tmp_path / name).items["item_id"].to_list()
        assert Bundle.load(tmp_path / name).manifest.columns.user == "kunde"
    users = Users(laden / "new.csv", 10, Bundle.load(bundle).manifest.columns)
    assert users.history("u1") == ["i4", "n1"]


def test_so_does_python(laden):
    model = h2rec.load(laden / "run/bundle")
    events = pl.read_csv(laden / "interactions.csv")
    assert model.recommend_frame(events, k=3)["kunde"].n_unique() == 40
    assert model.user_vectors(events).height == 40
    assert model.add_items(pl.read_csv(laden / "new_items.csv")).added[0].item_id == "n1"
    updated = model.update(pl.read_csv(laden / "new.csv"), budget=0)
    assert updated.update.events == 2
    again = model.update(pl.read_csv(laden / "new.csv"), budget=0)
    assert (again.repeated, again.late) == (2, 0)


def test_other_names_can_still_be_told(laden, tmp_path):
    frame = pl.read_csv(laden / "new.csv").rename({"kunde": "who", "ware": "what", "am": "when"})
    frame.write_csv(tmp_path / "new.csv")
    words = ["--user", "who", "--item", "what", "--timestamp", "when", "--budget", "0"]
    run("update", laden / "run/bundle", tmp_path / "new.csv", "--out", tmp_path / "next", *words)
