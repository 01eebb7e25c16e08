import dataclasses
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from h2rec.data.histories import Histories
from h2rec.errors import ConfigError, H2RecError
from h2rec.files import atomic_folder
from h2rec.losses.settings import LossSettings
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import ModelSettings
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training import batches, checkpoint
from h2rec.training import trainer as training
from h2rec.training.batches import TrainingBatches
from h2rec.training.checkpoint import load_checkpoint, weights_of
from h2rec.training.objective import TrainingObjective
from h2rec.training.schedule import learning_rate
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

ITEMS = 30
RANDOM = np.random.default_rng(0)
# Every user walks the ring of items: the next item is always the present one plus one.
RING = Histories.from_lists([[(start + step) % ITEMS + 1 for step in range(8)] for start in range(ITEMS)])
CODES = SemanticIds(RANDOM.integers(0, 5, (ITEMS, 3)).astype(np.int32), (5, 5, 5))
TEXT = RANDOM.normal(size=(ITEMS, 24)).astype(np.float32)
MODELS = [{"name": name} for name in ("sasrec", "bert4rec", "gru4rec")] + [
    {"name": "h2rec", "backbone": "sasrec"},
    {"name": "h2rec", "backbone": "bert4rec"},
    {"name": "h2rec", "backbone": "gru4rec"},
    {"name": "h2rec", "intent": "last"},
    {"name": "h2rec", "branches": "sid"},
    {"name": "h2rec", "residual": {"enabled": True, "branch": "own"}},
    {"name": "h2rec", "residual": {"enabled": True, "branch": "own", "codes": "prefixes"}},
]


def trainer(model_values, tmp_path=None, *, loss=None, validate=None, **train):
    settings = ModelSettings.parse({"dim": 16, "max_length": 12, "dropout": 0.1, **model_values})
    model = build_model(settings, ItemFeatures(ITEMS, CODES, TEXT), seed=1)
    objective = TrainingObjective(
        LossSettings.parse(loss or {"negatives": {"count": 20}}), RING, ITEMS, CODES.padded()
    )
    values = {"epochs": 3, "learning_rate": 0.01, "schedule": "constant", "batch_tokens": 64, **train}
    checkpoint = None if tmp_path is None else tmp_path / "checkpoint"
    return Trainer(
        model, objective, RING, TrainSettings.parse(values), validate=validate, checkpoint=checkpoint
    )


def test_a_training_in_bfloat16_learns_and_leaves_float32():
    made = trainer({"name": "h2rec"}, epochs=30, precision="bfloat16")
    made.fit()
    assert float((ranks_of_the_next_on_the_ring(made.model) <= 3).float().mean()) > 0.9
    assert {tensor.dtype for tensor in weights_of(made.model).values() if tensor.is_floating_point()} == {
        torch.float32
    }
    exact = trainer({"name": "h2rec"}, epochs=30, precision="float32")
    exact.fit()
    assert not same_weights(weights_of(made.model), weights_of(exact.model))


def same_weights(left, right):
    return all(torch.equal(a, b) for a, b in zip(left.values(), right.values(), strict=True))


def ranks_of_the_next_on_the_ring(model):
    scores = CatalogueScorer(model).score(RING, np.arange(ITEMS))
    expected = torch.tensor([int(row[-1]) % ITEMS + 1 for row in RING])
    return (scores[:, 1:] >= scores.gather(1, expected[:, None])).sum(1).float()


@pytest.mark.parametrize("values", MODELS, ids=lambda v: "-".join(map(str, v.values())))
def test_every_model_learns_the_ring(values):
    cloze = "bert4rec" in values.values()
    # A cloze sees a third of the targets, and the end of a history only now and then.
    made = trainer(values, epochs=240 if cloze else 30, batch_tokens=128 if cloze else 64)
    made.fit()
    ranks = ranks_of_the_next_on_the_ring(made.model)
    # Codes alone can't tell apart items that share a tuple; chance would put a tenth among the first three.
    first_is_enough = not cloze and "sid" not in values.values()
    found = float((ranks <= (1 if first_is_enough else 3)).float().mean())
    assert found > (0.7 if cloze else 0.85)


@pytest.mark.parametrize(
    "values", [MODELS[0], MODELS[5], MODELS[6]], ids=lambda v: "-".join(map(str, v.values()))
)
def test_batches_drawn_at_random_teach_the_ring_too(values):
    made = trainer(values, epochs=30, bucketed=False)
    made.fit()
    assert float((ranks_of_the_next_on_the_ring(made.model) <= 1).float().mean()) > 0.85
    # The same windows, in batches of other make-up.
    bucketed = trainer(values).batches
    assert len(bucketed.windows) == len(made.batches.windows)
    one, other = (drawn.draw(np.random.default_rng(0)) for drawn in (made.batches, bucketed))
    assert sorted(np.concatenate(one)) == sorted(np.concatenate(other))
    assert [rows.tolist() for rows in one] != [rows.tolist() for rows in other]


def test_only_batches_drawn_at_random_are_encoded_in_blocks(monkeypatch):
    monkeypatch.setitem(batches.BLOCK_OVERHEAD, "cpu", 0)
    train = Histories.from_lists([[1, 2], [1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 8, 9]])
    for bucketed, widths in ((False, [1, 4, 6]), (True, [])):
        settings = TrainSettings(bucketed=bucketed)
        drawn = TrainingBatches(trainer(MODELS[0]).model, train, settings, torch.device("cpu"))
        (rows,) = drawn.draw(np.random.default_rng(0))
        made = drawn.make(rows, np.random.default_rng(0))
        assert [block.width for block in made.blocks] == widths
        assert made.lengths.tolist() == [1, 4, 6]


@pytest.mark.parametrize("ranking", ["sampled_softmax", "softmax", "bpr", "bce", "gbce"])
@pytest.mark.parametrize("shared", [True, False])
def test_every_ranking_loss_learns_the_ring(ranking, shared):
    loss = {"ranking": ranking, "branch": 0.5, "negatives": {"count": 20, "shared": shared}}
    made = trainer({"name": "h2rec", "score": {"kind": "inner"}}, loss=loss, epochs=45)
    made.fit()
    assert float((ranks_of_the_next_on_the_ring(made.model) <= 3).float().mean()) > 0.9


@pytest.mark.parametrize(("lazy_rows", "bucketed"), [(None, True), (10, True), (None, False)])
@pytest.mark.parametrize(
    "values", [MODELS[0], MODELS[3], MODELS[4]], ids=lambda v: "-".join(map(str, v.values()))
)
def test_a_stopped_training_ends_with_the_same_bytes(values, lazy_rows, bucketed, tmp_path):
    settings = {"epochs": 5, "lazy_rows": lazy_rows, "bucketed": bucketed}
    whole = trainer(values, **settings)
    assert len(whole.optimizer.parts) == (2 if lazy_rows else 1)
    unbroken = whole.fit()
    first = trainer(values, tmp_path, **settings)
    steps = iter(range(1000))
    step = first._step

    def killed_in_the_third_epoch(*arguments):
        if next(steps) == int(2.5 * whole.optimizer.state_of(next(whole.model.parameters()))["step"] / 5):
            raise KeyboardInterrupt
        step(*arguments)

    first._step = killed_in_the_third_epoch
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = trainer(values, tmp_path, **settings)
    result = second.fit()
    assert result.progress.epoch == 5
    assert same_weights(weights_of(whole.model), weights_of(second.model))
    assert [r["loss"] for r in result.progress.log] == [r["loss"] for r in unbroken.progress.log]


def test_same_seed_same_weights_and_another_seed_others():
    runs = []
    for seed in (1, 1, 2):
        made = trainer({"name": "h2rec"}, seed=seed)
        made.fit()
        runs.append(weights_of(made.model))
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


def test_the_best_validated_state_is_kept_and_patience_stops():
    values = iter([0.1, 0.5, 0.3, 0.2, 0.4, 0.6])
    states = []

    def validate():
        states.append(weights_of(made.model))
        return {"full.overall.ndcg@100": next(values)}

    made = trainer({"name": "sasrec"}, validate=validate, epochs=20, evaluate_every=1, patience=2)
    result = made.fit()
    assert result.progress.epoch == 4
    assert result.progress.best_epoch == 2
    assert result.stopped_early
    assert same_weights(weights_of(made.model), states[1])


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    trainer({"name": "sasrec"}, tmp_path, epochs=1).fit()
    other = trainer({"name": "sasrec", "dim": 8}, tmp_path, epochs=2)
    with pytest.raises(H2RecError, match="can't be resumed"):
        other.fit()


def test_a_half_written_checkpoint_is_never_taken(tmp_path):
    made = trainer({"name": "sasrec"}, tmp_path, epochs=1)
    made.fit()

    def crash_while_writing():
        with atomic_folder(tmp_path / "checkpoint" / "epoch-000002") as fresh:
            (fresh / "model.safetensors").write_bytes(b"half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash_while_writing()
    restored = load_checkpoint(tmp_path / "checkpoint", made.model, made.optimizer)
    assert restored is not None
    assert restored[0].epoch == 1


def test_divergence_is_an_error_with_advice():
    made = trainer({"name": "sasrec"}, epochs=2)
    with torch.no_grad():
        made.model.hid.weight[1:] = math.nan
    with pytest.raises(H2RecError, match=r"diverged.*\n.*learning_rate"):
        made.fit()


def test_nothing_to_learn_from_is_an_error():
    model = build_model(ModelSettings(name="sasrec", dim=8), ItemFeatures(ITEMS), seed=0)
    single = Histories.from_lists([[1], [2]])
    objective = TrainingObjective(LossSettings(), single, ITEMS)
    with pytest.raises(H2RecError, match="two training interactions"):
        Trainer(model, objective, single, TrainSettings())


def test_schedules_by_hand():
    base = TrainSettings(learning_rate=1.0, schedule="constant", warmup_steps=2)
    rates = [learning_rate(base, step, 10) for step in (0, 1, 2, 9)]
    assert rates == [0.5, 1.0, 1.0, 1.0]
    linear = base.model_copy(update={"schedule": "linear"})
    assert learning_rate(linear, 6, 10) == pytest.approx(0.5)
    # Where the last epochs have a batch more than was reckoned with.
    assert learning_rate(linear, 11, 10) == 0
    cosine = base.model_copy(update={"schedule": "cosine"})
    assert learning_rate(cosine, 4, 10) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate(cosine, 11, 10) == 0


def test_a_training_that_goes_on_with_other_threads_says_so(tmp_path, caplog):
    before = torch.get_num_threads()
    trainer({"name": "sasrec"}, tmp_path, epochs=1).fit()
    trainer({"name": "sasrec"}, tmp_path, epochs=2).fit()
    assert "threads" not in caplog.text
    torch.set_num_threads(before + 1)
    try:
        trainer({"name": "sasrec"}, tmp_path, epochs=3).fit()
    finally:
        torch.set_num_threads(before)
    assert f"resumed on {before + 1} threads and begun on {before}" in caplog.text


def test_terms_of_some_batches_count_on_over_the_epochs():
    """With few batches an epoch, each epoch would begin with such a batch, and count it several times over."""
    made = trainer({"name": "h2rec"}, epochs=3, batch_tokens=10_000)
    steps = []
    objective = made.objective
    made.objective = lambda *args, step, margins: (
        steps.append(step) or objective(*args, step=step, margins=margins)
    )
    made.objective.settings = objective.settings
    made.fit()
    assert steps == list(range(len(steps)))
    assert len(steps) >= 3


def test_every_epoch_tells_the_gradients_of_terms_that_its_first_batch_has_not():
    some = {"negatives": {"count": 20}, "alignment": {"every": 2}, "masking": {"every": 2}}
    made = trainer({"name": "h2rec"}, epochs=4, loss=some, batch_tokens=100)
    assert len(made.batches.draw(np.random.default_rng(0))) % 2 == 1
    log = made.fit().progress.log
    wanted = {"gradient/alignment", "gradient/masking", "gradient/ranking_sid"}
    assert all(wanted <= epoch.keys() for epoch in log)


@pytest.mark.parametrize(
    "select", ["sampled100.overall.ndcg@500", "sampled0.overall.mrr", "sampled20.head.hit@50"]
)
def test_a_metric_that_no_protocol_reports_selects_nothing(select):
    with pytest.raises(ConfigError, match="select"):
        TrainSettings.parse({"select": select})


def test_clipping_bounds_the_step():
    made = trainer({"name": "sasrec"}, clip=1e-9, learning_rate=1e-3)
    before = weights_of(made.model)
    made.fit()
    # AdamW normalises the gradient, so what clipping leaves shows in its second moments.
    states = [made.optimizer.state_of(parameter) for parameter in made.model.parameters()]
    moments = [state["exp_avg_sq"].max().item() for state in states if state]
    assert moments
    assert max(moments) < 1e-17
    assert before.keys() == weights_of(made.model).keys()


def test_resume_with_progress_fields_round_trips(tmp_path):
    made = trainer({"name": "sasrec"}, tmp_path, epochs=2)
    result = made.fit()
    restored = load_checkpoint(tmp_path / "checkpoint", made.model, made.optimizer)
    assert restored is not None
    assert dataclasses.asdict(restored[0]) == dataclasses.asdict(result.progress)


def test_the_best_state_is_written_once_and_kept_over_checkpoints(tmp_path, monkeypatch):
    values = iter([0.5, 0.1, 0.2, 0.9, 0.3])
    states, files = [], []

    def validate():
        states.append(weights_of(made.model))
        return {"full.overall.ndcg@100": next(values)}

    def save_and_look(folder, *arguments):
        checkpoint.save_checkpoint(folder, *arguments)
        (newest,) = folder.iterdir()
        best = newest / "best.safetensors"
        files.append((best.stat().st_ino, load_file(best)))

    monkeypatch.setattr(training, "save_checkpoint", save_and_look)
    made = trainer({"name": "sasrec"}, tmp_path, validate=validate, epochs=5, evaluate_every=1, patience=None)
    made.fit()
    for (_, written), best in zip(files, (0, 0, 0, 3, 3), strict=True):
        assert same_weights(written, {name: states[best][name] for name in written})
    places = [place for place, _ in files]
    assert places[0] == places[1] == places[2] != places[3] == places[4]
