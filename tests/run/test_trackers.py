"""What trackers are sent: every epoch's figures and those of the end, by each library as it gives them back."""

import json

import pytest

import h2rec
from h2rec.errors import ConfigError, H2RecError
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.trackers import TRACKERS, Tracker, Tracking, tracked
from made_shop import write_shop


@TRACKERS.register("kept_here")
class KeptHere(Tracker):
    kept = None

    @classmethod
    def open(cls, out, settings):
        cls.kept = cls()
        cls.kept.settings, cls.kept.epochs, cls.kept.end = settings, [], None
        return cls.kept

    def epoch(self, number, figures):
        self.epochs.append((number, figures))

    def finish(self, figures):
        self.end = figures


@TRACKERS.register("fails_later")
class FailsLater(KeptHere):
    def epoch(self, number, figures):
        raise OSError("no route to host")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def finished(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    h2rec.fit(shop, out)
    return out


def logged(out):
    pipeline = Pipeline(RunConfig.load(out / "config.yaml"), out)
    return pipeline.training_log, json.loads((out / "metrics.json").read_text())


def test_every_epoch_is_sent_as_it_ends_and_the_figures_at_the_end(shop, tmp_path):
    h2rec.fit(shop, tmp_path, track=["kept_here"])
    log, metrics = logged(tmp_path)
    kept = KeptHere.kept
    assert [number for number, _ in kept.epochs] == [1, 2, 3]
    for (_, figures), record in zip(kept.epochs, log, strict=True):
        assert figures["loss"] == record["loss"]
        for name, value in record["valid"].items():
            assert figures[f"valid/{name}"] == value
    assert kept.end["test/full/tail/hit@10"] == metrics["test"]["full"]["tail"]["hit@10"]
    assert kept.end["valid/full/overall/ndcg@10"] == metrics["valid"]["full"]["overall"]["ndcg@10"]
    assert kept.settings["train.epochs"] == 3


def test_a_training_that_was_finished_before_is_sent_whole(shop, finished):
    h2rec.fit(shop, finished, track=["kept_here"])
    assert [number for number, _ in KeptHere.kept.epochs] == [1, 2, 3]
    assert KeptHere.kept.epochs[0][1]["loss"] == logged(finished)[0][0]["loss"]


def test_a_stopped_training_sends_what_it_had_and_tells_that_it_failed(shop, tmp_path, monkeypatch):
    def stop(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    pipeline = Pipeline(RunConfig.load(shop), tmp_path)
    epoch = Tracking.epoch
    monkeypatch.setattr(Tracking, "epoch", lambda self, record: (epoch(self, record), stop(record)))
    with pytest.raises(KeyboardInterrupt), tracked(pipeline, ["kept_here"]):
        pipeline.evaluated()
    assert KeptHere.kept.end == {}
    monkeypatch.undo()
    h2rec.fit(shop, tmp_path, track=["kept_here"])
    # The first epoch is in the checkpoint, and is told again.
    assert [number for number, _ in KeptHere.kept.epochs] == [1, 2, 3]


def test_a_tracker_that_fails_is_told_of_and_the_run_goes_on(shop, finished, caplog):
    h2rec.fit(shop, finished, track=["fails_later", "kept_here"])
    assert (
        caplog.text.count("the tracker 'fails_later' failed and gets no more figures (no route to host)") == 1
    )
    assert KeptHere.kept.end


def test_an_unknown_tracker_is_refused_before_anything_is_trained(shop, tmp_path):
    with pytest.raises(ConfigError, match="unknown tracker 'mlflo'") as caught:
        h2rec.fit(shop, tmp_path, track=["mlflo"])
    assert "did you mean 'mlflow'" in str(caught.value)
    assert not (tmp_path / "stages").exists()


def test_tensorboard(shop, finished):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    h2rec.fit(shop, finished, track=["tensorboard"])
    log, metrics = logged(finished)
    read = events.EventAccumulator(str(finished / "tensorboard"))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [
        (record["epoch"], pytest.approx(record["loss"])) for record in log
    ]
    (end,) = read.Scalars("test/full/overall/ndcg@10")
    assert end.value == pytest.approx(metrics["test"]["full"]["overall"]["ndcg@10"])


def test_mlflow(shop, finished, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shop")
    h2rec.fit(shop, finished, track=["mlflow"])
    log, metrics = logged(finished)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("shop").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == finished.name
    assert run.data.params["train.epochs"] == "3"
    history = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "loss")}
    assert history == {record["epoch"]: record["loss"] for record in log}
    sent = run.data.metrics["test/full/tail/hit_at_10"]
    assert sent == metrics["test"]["full"]["tail"]["hit@10"]


def test_weights_and_biases(shop, finished, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    h2rec.fit(shop, finished, track=["wandb"])
    (written,) = (finished / "wandb").glob("offline-run-*/run-*.wandb")
    content = written.read_bytes()
    assert b"valid/full.overall.ndcg@10" in content
    assert b"test/full/tail/hit@10" in content


def test_a_tracker_that_cannot_begin_is_an_error(shop, finished, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://x")
    with pytest.raises(H2RecError, match="the tracker 'mlflow' can't begin"):
        h2rec.fit(shop, finished, track=["mlflow"])
