"""Runs that can be trusted: damaged files, folders of somebody else, two commands at once, small shops."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from h2rec import locks
from h2rec.cli.main import main
from h2rec.errors import H2RecError
from h2rec.files import file_hash, read_json, write_json
from h2rec.locks import locked
from h2rec.research.search.study import claim as claim_search
from h2rec.run import stages as staging
from h2rec.run.config import RunConfig
from h2rec.run.housekeeping import kept_in
from h2rec.run.pipeline import Pipeline
from h2rec.run.run_folder import lock_of_run
from h2rec.run.stages import StageStore, write_record
from made_shop import write_shop


def write(folder):
    (folder / "file").write_text("whole")
    (folder / "below").mkdir()
    (folder / "below" / "other").write_text("whole")


def again(store):
    """A stage as another process would find it."""
    staging._checked.clear()
    return store.run("work", {}, write)


def damage(folder):
    (folder / "below" / "other").write_text("whale")


def remove(folder):
    (folder / "file").unlink()


def change_the_record(folder):
    record = read_json(folder / "stage.json")
    write_json(folder / "stage.json", record | {"seconds": 1.0})


@pytest.mark.parametrize("hurt", [damage, remove, change_the_record])
def test_a_stage_that_is_not_as_it_was_written_is_made_again_with_a_warning(hurt, tmp_path, caplog):
    store = StageStore(tmp_path)
    made = again(store)
    assert again(store).reused
    hurt(made.folder)
    found = again(store)
    assert not found.reused
    assert "is made again" in caplog.text
    assert (found.folder / "below" / "other").read_text() == "whole"
    assert again(store).reused


def test_a_file_that_is_none_of_the_stages_is_moved_out_and_not_lost(tmp_path, caplog):
    store = StageStore(tmp_path)
    made = again(store)
    (made.folder / "below" / "notes").write_text("mine")
    assert again(store).reused
    assert "none of the stage's files" in caplog.text
    assert (tmp_path / f"{made.folder.name}.others" / "below" / "notes").read_text() == "mine"
    assert not (made.folder / "below" / "notes").exists()


def test_a_folder_of_a_stages_name_that_is_no_stage_is_refused(tmp_path):
    store = StageStore(tmp_path)
    folder = tmp_path / f"work-{store.key('work', {})}"
    folder.mkdir()
    (folder / "thesis").write_text("mine")
    with pytest.raises(H2RecError, match="did not write"):
        again(store)
    assert (folder / "thesis").read_text() == "mine"


def test_a_stage_is_hashed_once_in_a_process(tmp_path, monkeypatch):
    store = StageStore(tmp_path)
    again(store)
    staging._checked.clear()
    store.run("work", {}, write)
    monkeypatch.setattr(staging, "differing", lambda *_: pytest.fail("hashed again"))
    assert store.run("work", {}, write).reused


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def finished(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "out"
    carried_out(shop, out)
    return out


def carried_out(shop, out):
    staging._checked.clear()
    pipeline = Pipeline(RunConfig.load(shop), out)
    pipeline.evaluated()
    pipeline.bundled()
    return pipeline


@pytest.mark.parametrize(
    "name",
    [
        "stages/train-*/model.safetensors",
        "stages/evaluate-*/ranks.parquet",
        "stages/semantic_ids-*/codes.npy",
        "ranks.parquet",
        "metrics.json",
        "bundle/model.safetensors",
    ],
)
def test_a_flipped_byte_in_a_finished_run_changes_no_output(name, shop, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (path,) = out.glob(name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    carried_out(shop, out)
    for file in ("ranks.parquet", "semantic_ids.json", "bundle/model.safetensors", "bundle/item_vectors.npy"):
        assert file_hash(out / file) == file_hash(finished / file), file
    figures = [read_json(folder / "metrics.json")["test"] for folder in (out, finished)]
    assert figures[0] == figures[1]


def test_a_damaged_checkpoint_is_passed_over(shop, tmp_path, caplog):
    whole = Pipeline(RunConfig.load(shop), tmp_path / "a").train_stage
    carried = Pipeline(RunConfig.load(shop), tmp_path / "a")
    (checkpoint,) = (tmp_path / "a" / "checkpoints" / whole.key).glob("epoch-*")
    weights = checkpoint / "best.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.unlink()  # it may be the older checkpoint's under a second name
    weights.write_bytes(content)
    before = file_hash(whole.folder / "model.safetensors")
    shutil.rmtree(whole.folder)
    assert file_hash(carried.train_stage.folder / "model.safetensors") == before
    assert "best.safetensors is missing, or was changed" in caplog.text


@pytest.mark.parametrize(
    "name", ["metrics.json", "config.yaml", "bundle/thesis.txt", "checkpoints/thesis.txt"]
)
def test_a_run_refuses_a_folder_that_has_files_of_its_names(name, shop, tmp_path, capsys):
    theirs = tmp_path / "project" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine: thesis")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(shop), "--out", str(tmp_path / "project")])
    assert ended.value.code == 2
    assert "did not write" in " ".join(capsys.readouterr().err.split())
    files = [path for path in (tmp_path / "project").rglob("*") if path.is_file()]
    assert [path.read_text() for path in files] == ["mine: thesis"]


def test_a_bundle_of_a_run_to_which_somebody_added_a_file_is_not_replaced(shop, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (out / "bundle" / "thesis.txt").write_text("mine")
    with pytest.raises(H2RecError, match=r"bundle: holds what h2rec did not write"):
        Pipeline(RunConfig.load(shop), out).begin()


def test_the_runs_own_configuration_runs_again_and_is_not_overwritten_with_another(
    finished, tmp_path, capsys
):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    own = out / "config.yaml"
    own.write_text("# a note\n" + own.read_text())
    for words, code in (((), 0), (("--set", "train.epochs=1"), 2)):
        with pytest.raises(SystemExit) as ended:
            main(["tokenize", str(own), "--out", str(out), *words])
        assert ended.value.code == code
        assert own.read_text().startswith("# a note")
    assert "give another --out" in " ".join(capsys.readouterr().err.split())


def test_a_search_refuses_files_of_its_names(tmp_path):
    (tmp_path / "best.yaml").write_text("mine")
    with pytest.raises(H2RecError, match=r"best\.yaml: is there already"):
        claim_search(tmp_path)
    write_json(tmp_path / "search.json", {"config": {}, "space": {}})
    claim_search(tmp_path)


HOLD = """
import sys, time
from pathlib import Path
from h2rec.locks import locked
with locked(Path(sys.argv[1]), "x"):
    Path(sys.argv[1]).with_suffix(".held").touch()
    time.sleep(600)
"""


def test_a_lock_is_waited_for_and_goes_with_the_process_that_held_it(tmp_path, caplog):
    path = tmp_path / "a.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], env=dict(os.environ))
    while not path.with_suffix(".held").exists():
        time.sleep(0.01)
        assert holder.poll() is None
    import threading

    threading.Timer(0.3, holder.kill).start()
    with caplog.at_level(logging.INFO, logger="h2rec"), locked(path, "the run") as held:
        assert held
        assert holder.wait(timeout=60) != 0
    assert "the run: another process is at it; waiting" in caplog.text


def test_where_there_are_no_locks_it_is_told_and_the_work_goes_on(tmp_path, monkeypatch, caplog):
    import fcntl

    def refused(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with locked(tmp_path / "a.lock", "the run") as held:
        assert not held
    assert "has no locks (No locks available)" in caplog.text


def test_a_process_may_hold_a_runs_folder_twice(tmp_path):
    with locks.locked_by_process(tmp_path / "a", "x"), locks.locked_by_process(tmp_path / "a", "x") as held:
        assert held


def test_a_command_waits_for_another_one_with_its_folder_and_says_so_and_both_end_well(
    shop, finished, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    words = ["run", str(shop), "--out", str(out)]
    with lock_of_run(out):
        process = subprocess.Popen(
            [sys.executable, "-m", "h2rec", *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert process.stderr is not None
        assert any("another process is at it; waiting" in line for line in process.stderr)
        assert process.poll() is None
    with pytest.raises(SystemExit) as ended:
        main(words)
    _, said = process.communicate(timeout=300)
    assert (ended.value.code, process.returncode) == (0, 0), said


def few(folder, *, items=10):
    """A shop of few items, and a configuration that leaves all sizes to the defaults."""
    config = write_shop(folder)
    stream = np.random.default_rng(0)
    rows = [
        f"u{user},i{item},{step}"
        for user in range(40)
        for step, item in enumerate(stream.permutation(items)[:4])
    ]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    config.write_text(
        "data: {interactions: interactions.csv, items: items.csv}\n"
        "text: {encoder: tfidf, dim: 16}\n"
        "model: {name: sasrec, dim: 8, layers: 1}\n"
        "train: {epochs: 1}\nloss: {negatives: {count: 5}}\n"
        "semantic_ids: {quantizer: rqkmeans, levels: 2}\nruntime: {threads: 1, device: cpu}\n"
    )
    return config


@pytest.mark.parametrize("model", ["pop", "sasrec", "h2rec"])
def test_a_shop_of_ten_items_runs_with_the_defaults_and_runs_again_as_resolved(model, tmp_path, caplog):
    config = few(tmp_path)
    # The default dimension, which is more than ten texts have.
    config.write_text(config.read_text().replace("dim: 8, ", ""))
    pipeline = Pipeline(RunConfig.load(config, [f"model.name={model}"]), tmp_path / "out")
    metrics = pipeline.evaluated()
    assert list(metrics["test"]) == ["full"]
    assert "the protocol sampled100 is left out" in caplog.text
    # A model that reads no codes has nothing to be warned of.
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    told = [text for text in warned if "too few for codebooks of 128: they get 4 codes" in text]
    assert len(told) == (model == "h2rec")
    assert pipeline.semantic_ids.codebook_sizes == (4, 4)
    resolved = RunConfig.load(tmp_path / "out" / "config.yaml")
    again = Pipeline(resolved, tmp_path / "again", tmp_path / "out" / "stages")
    assert again.evaluated()["test"] == metrics["test"]
    assert again.train_stage.reused
    assert again.evaluation_stage.reused


def test_codes_that_are_asked_for_and_cant_be_made_stop_only_a_model_that_reads_them(tmp_path, caplog):
    config = few(tmp_path)
    asked = ["semantic_ids.codebook_size=128"]
    pipeline = Pipeline(RunConfig.load(config, asked), tmp_path / "out")
    pipeline.evaluated()
    pipeline.bundled()
    assert pipeline.semantic_ids is None
    assert "no semantic IDs" in caplog.text
    with pytest.raises(H2RecError, match="can't fill 128 codes"):
        Pipeline(RunConfig.load(config, [*asked, "model.name=h2rec"]), tmp_path / "other").evaluated()


def test_a_protocol_that_is_asked_for_is_not_left_out(tmp_path):
    config = RunConfig.load(few(tmp_path), ["evaluate.protocols=[full, sampled100]"])
    with pytest.raises(H2RecError, match="sampled100"):
        Pipeline(config, tmp_path / "out").evaluated()


def test_stages_that_no_configuration_uses_are_shown_and_swept(shop, finished, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    other = Pipeline(RunConfig.load(shop, ["model.name=pop"]), out)
    other.evaluated()
    (out / "stages" / "notes-0123456789abcdef").mkdir()
    unused = {one.kind for one in kept_in(out) if not one.used}
    assert unused == {"train", "blend", "evaluate", "refit", "bundle", "checkpoints"}
    before = {path.name for path in (out / "stages").iterdir()}
    for words, code in (((), 0), (("--sweep",), 0)):
        assert {path.name for path in (out / "stages").iterdir()} == before
        with pytest.raises(SystemExit) as ended:
            main(["stages", str(out), *words])
        assert ended.value.code == code
    assert "--sweep deletes them" in capsys.readouterr().out
    assert {one.kind for one in kept_in(out) if not one.used} == set()
    assert (out / "stages" / "notes-0123456789abcdef").is_dir()
    staging._checked.clear()
    again = Pipeline(RunConfig.load(shop, ["model.name=pop"]), out)
    again.evaluated()
    assert all(stage.reused for stage in again.stages.values())


def test_what_a_used_stage_is_made_of_and_what_is_attached_to_it_are_used(tmp_path):
    store = StageStore(tmp_path / "stages")
    data = store.run("data", {}, write)
    trained = [store.run("train", {"data": data.key, "seed": seed}, write) for seed in (0, 1)]
    for train in trained:
        store.run("shares", {"train": train.key}, write)
    write_json(tmp_path / "stages.json", {"settings": "x", "used": {"train": trained[0].key}})
    used = {
        name: [one.used for one in kept_in(tmp_path) if one.kind == name]
        for name in ("data", "train", "shares")
    }
    assert used == {"data": [True], "train": [False, True], "shares": [False, True]}


@pytest.mark.parametrize("name", ["stages", "checkpoints"])
def test_a_folder_of_stages_belongs_to_the_run_above_it(name, finished, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    below = {one.path for one in kept_in(out) if one.path.parent.name == name}
    unused = {one.path for one in kept_in(out) if not one.used}
    monkeypatch.chdir(out)
    for folder in (out / name, type(out)(name)):
        found = kept_in(folder)
        assert {one.path for one in found} == below
        assert {one.path for one in found if not one.used} == unused & below


def test_tables_in_a_pipe_are_as_wide_as_their_names(capsys, monkeypatch):
    from rich.table import Table

    from h2rec.terminal import result_console

    monkeypatch.setenv("COLUMNS", "40")
    table = Table("item", "title")
    table.add_row("i1", "a name that goes on and on " * 5)
    result_console().print(table)
    assert "a name that goes on and on " * 5 in capsys.readouterr().out


def test_json_of_a_stage_record_tells_every_file(tmp_path):
    (tmp_path / "a").write_text("x")
    write_record(tmp_path, {"seconds": 0.0})
    assert list(json.loads((tmp_path / "stage.json").read_text())["files"]) == ["a"]


def test_a_folder_of_a_run_before_there_were_presets_and_plugins_is_a_runs_folder(tmp_path):
    from h2rec.run.run_folder import is_run_folder

    config = RunConfig.parse({"data": {"interactions": "a.csv"}})
    config.save(tmp_path / "config.yaml")
    assert is_run_folder(tmp_path)
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    (tmp_path / "config.yaml").write_text(
        "\n".join(x for x in lines if not x.startswith(("preset", "plugins")))
    )
    assert is_run_folder(tmp_path)
    (tmp_path / "config.yaml").write_text("data: {}\nmodel: {}\n")
    assert not is_run_folder(tmp_path)
