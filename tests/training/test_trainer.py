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
from h2rec.models import MODELS
from h2rec.models.baselines import hashed_prefixes
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.ties import alignment, masking
from h2rec.models.weights import weights_of
from h2rec.run.presets import preset_names, preset_values
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training import checkpoint
from h2rec.training import trainer as training
from h2rec.training.checkpoint import load_checkpoint
from h2rec.training.schedule import learning_rate
from h2rec.training.settings import TrainSettings
from h2rec.training.trainer import Trainer

ITEMS = 30
ROWS = 500  # of hashed prefixes
RANDOM = np.random.default_rng(0)
# Every user walks the ring of items: the next item is always the present one plus one.
RING = Histories.from_lists([[(start + step) % ITEMS + 1 for step in range(8)] for start in range(ITEMS)])
CODES = SemanticIds(RANDOM.integers(0, 5, (ITEMS, 3)).astype(np.int32), (5, 5, 5))
TEXT = RANDOM.normal(size=(ITEMS, 24)).astype(np.float32)
FEATURES = ItemFeatures(ITEMS, CODES, TEXT, train_counts=RING.counts(ITEMS), train=RING)


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    monkeypatch.setattr(hashed_prefixes, "ROWS", ROWS)


def sums(*kinds, **values):
    return {"branches": {kind: {"kind": kind} for kind in kinds}, **values}


IDS, TWO, THREE = sums("ids"), sums("codes", "ids"), sums("codes", "prefixes", "ids")
LAST = {**TWO, "ties": {"intent": "last"}}
PRESETS = {name: preset_values(name)["model"] for name in preset_names()}
TRAINED = {name: values for name, values in PRESETS.items() if not name.startswith(("pop", "transitions"))}
# Each has something of its own that a stopped training has to bring back: parts of the optimizer, masks, ties, tables.
STOPPED = ("h2rec", "paper", "llm_esr", "pg_sid", "spm_sid", "sasrec_text", "bert4rec", "gru4rec")


def name_of(values):
    return next((name for name, preset in PRESETS.items() if preset == values), str(values)[:90])


def trainer(values, tmp_path=None, *, loss=None, validate=None, **train):
    sizes = {"dim": 16, "max_length": 12, "dropout": 0.1}
    kind = MODELS.get(values.get("name", "branches")).settings_class
    # As a run does it: of what is counted no loss depends.
    model = build_model(kind.parse({**sizes, **values}).for_training(), FEATURES, seed=1)
    loss_settings = LossSettings.parse(loss or {"negatives": {"count": 20}})
    settings = {"epochs": 3, "learning_rate": 0.01, "schedule": "constant", "batch_tokens": 64, **train}
    folder = None if tmp_path is None else tmp_path / "checkpoint"
    return Trainer(
        model, FEATURES, loss_settings, TrainSettings.parse(settings), validate=validate, checkpoint=folder
    )


def test_a_training_in_bfloat16_learns_and_leaves_float32():
    made = trainer(TWO, epochs=20, precision="bfloat16")
    made.fit()
    assert float((ranks_of_the_next_on_the_ring(made.model) <= 3).float().mean()) > 0.9
    assert {tensor.dtype for tensor in weights_of(made.model).values() if tensor.is_floating_point()} == {
        torch.float32
    }
    once = []
    for precision in ("bfloat16", "float32"):
        made = trainer(TWO, epochs=1, precision=precision)
        made.fit()
        once.append(weights_of(made.model))
    assert not same_weights(*once)


def same_weights(left, right):
    return all(torch.equal(a, b) for a, b in zip(left.values(), right.values(), strict=True))


def ranks_of_the_next_on_the_ring(model):
    scores = CatalogueScorer(model).score(RING, np.arange(ITEMS))
    expected = torch.tensor([int(row[-1]) % ITEMS + 1 for row in RING])
    return (scores[:, 1:] >= scores.gather(1, expected[:, None])).sum(1).float()


def test_what_follows_what_on_the_ring_is_learned():
    """Of a sum of two branches, and to the first place; the contract tests see that every part learns."""
    made = trainer(TWO, epochs=30)
    made.fit()
    assert float((ranks_of_the_next_on_the_ring(made.model) <= 1).float().mean()) > 0.85


@pytest.mark.parametrize(("values", "windows"), [(IDS, 30), (TWO, 30), (LAST, 210)])
def test_a_model_of_one_target_a_sequence_has_every_prefix(values, windows):
    made = trainer(values).batches
    assert len(made.windows) == windows
    assert made.windows.target_count == 210
    batch = made.make(np.arange(5), np.random.default_rng(0))
    one_each = (batch.targets > 0).sum(1).tolist() == [1] * 5
    assert one_each == (values is LAST)


def test_a_cloze_batch_holds_the_last_item_too():
    made = trainer({**IDS, "backbone": "bert4rec", "max_length": 5}).batches
    batch = made.make(np.arange(3), np.random.default_rng(0))
    assert batch.items.shape[1] == 5
    assert (batch.items == ITEMS + 1).any()


@pytest.mark.parametrize(
    ("ranking", "joint", "shared"),
    [("sampled_softmax", 0.0, True), ("bpr", 0.5, False)],
)
def test_every_share_of_the_joint_loss_learns_the_ring(ranking, joint, shared):
    loss = {"ranking": ranking, "joint": joint, "negatives": {"count": 20, "shared": shared}}
    made = trainer({**TWO, "temperature": None}, loss=loss, epochs=25)
    made.fit()
    assert float((ranks_of_the_next_on_the_ring(made.model) <= 3).float().mean()) > 0.9


def in_the_middle_of_an_epoch(made, epochs):
    """Have a training stopped in a step of its last epoch but one."""
    first = sum(len(made.batches.draw(np.random.default_rng(0))) for _ in range(epochs - 2))
    step, steps = made._step, iter(range(1000))

    def stopped(*arguments):
        if next(steps) > first:
            raise KeyboardInterrupt
        step(*arguments)

    made._step = stopped
    return made


@pytest.mark.parametrize(
    ("values", "lazy"),
    [*((PRESETS[name], False) for name in STOPPED), (THREE, True), (PRESETS["llm_esr"], True)],
    ids=lambda v: name_of(v) if isinstance(v, dict) else str(v),
)
def test_a_stopped_training_ends_with_the_same_bytes(values, lazy, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LAZY_ROWS", 10 if lazy else ROWS - 1)
    settings = {"epochs": 3, "batch_tokens": 256 if values == PRESETS["paper"] else 64}
    whole = trainer(values, **settings)
    assert len(whole.optimizer.optimizers) == (2 if lazy else 1 + ("hashed_prefixes" in str(values)))
    unbroken = whole.fit()
    with pytest.raises(KeyboardInterrupt):
        in_the_middle_of_an_epoch(trainer(values, tmp_path, **settings), 3).fit()
    second = trainer(values, tmp_path, **settings)
    assert (tmp_path / "checkpoint" / "epoch-000001").exists()
    result = second.fit()
    assert result.progress.epoch == 3
    assert same_weights(weights_of(whole.model), weights_of(second.model))
    assert [r["loss"] for r in result.progress.log] == [r["loss"] for r in unbroken.progress.log]


@pytest.mark.parametrize("values", TRAINED.values(), ids=name_of)
def test_every_model_trains_with_its_tables_updated_lazily(values, monkeypatch):
    monkeypatch.setattr(training, "LAZY_ROWS", 1)
    made = trainer(values, epochs=1)
    tables = {
        name: (module, module.weight.detach().clone())
        for name, module in made.model.named_modules()
        if isinstance(module, torch.nn.Embedding) and module.weight.requires_grad
    }
    assert tables
    made.fit()
    for name, (table, start) in tables.items():
        assert (table.weight != start).any(1).sum() >= 3, name


@pytest.mark.parametrize("preset", ["pop", "pop_recent"])
def test_what_is_counted_passes_the_trainer_untouched(preset):
    made = trainer(PRESETS[preset])
    before = weights_of(made.model)
    result = made.fit()
    assert result.progress.epoch == 0
    assert not result.stopped_early
    assert same_weights(before, weights_of(made.model))


def test_frozen_text_stays_as_it_was():
    made = trainer(PRESETS["sasrec_text"], epochs=2)
    made.fit()
    assert torch.equal(made.model.branches["item"].table.text[1:-1], torch.from_numpy(TEXT))


def test_same_seed_same_weights_and_another_seed_others():
    runs = []
    for seed in (1, 1, 2):
        made = trainer(TWO, seed=seed)
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

    made = trainer(IDS, validate=validate, epochs=20, evaluate_every=1, patience=2)
    result = made.fit()
    assert result.progress.epoch == 4
    assert result.progress.best_epoch == 2
    assert result.stopped_early
    assert same_weights(weights_of(made.model), states[1])


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    trainer(IDS, tmp_path, epochs=1).fit()
    other = trainer({**IDS, "dim": 8}, tmp_path, epochs=2)
    with pytest.raises(H2RecError, match="can't be resumed"):
        other.fit()


def test_a_half_written_checkpoint_is_never_taken(tmp_path):
    made = trainer(IDS, tmp_path, epochs=1)
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
    made = trainer(IDS, epochs=2)
    with torch.no_grad():
        made.model.branches["ids"].table.vectors.weight[1:] = math.nan
    with pytest.raises(H2RecError, match=r"diverged.*\n.*learning_rate"):
        made.fit()


def test_nothing_to_learn_from_is_an_error():
    single = Histories.from_lists([[1], [2]])
    features = dataclasses.replace(FEATURES, train=single)
    with pytest.raises(H2RecError, match="two training interactions"):
        Trainer(trainer(IDS).model, features, LossSettings(), TrainSettings())


def test_schedules_by_hand():
    base = TrainSettings(learning_rate=1.0, schedule="constant")
    rates = [learning_rate(base, step, 10) for step in (0, 1, 2, 9)]
    assert rates == [1.0, 1.0, 1.0, 1.0]
    linear = base.model_copy(update={"schedule": "linear"})
    assert learning_rate(linear, 5, 10) == pytest.approx(0.5)
    # Where the last epochs have a batch more than was reckoned with.
    assert learning_rate(linear, 11, 10) == 0
    cosine = base.model_copy(update={"schedule": "cosine"})
    assert learning_rate(cosine, 5, 20) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate(cosine, 11, 10) == 0


def test_a_training_that_goes_on_with_other_threads_says_so(tmp_path, caplog):
    before = torch.get_num_threads()
    trainer(IDS, tmp_path, epochs=1).fit()
    trainer(IDS, tmp_path, epochs=2).fit()
    assert "threads" not in caplog.text
    torch.set_num_threads(before + 1)
    try:
        trainer(IDS, tmp_path, epochs=3).fit()
    finally:
        torch.set_num_threads(before)
    assert f"resumed on {before + 1} threads and begun on {before}" in caplog.text


def test_terms_of_some_batches_count_on_over_the_epochs():
    """With few batches an epoch, each epoch would begin with such a batch, and count it several times over."""
    made = trainer(TWO, epochs=3, batch_tokens=10_000)
    steps = []
    loss = made.step_loss
    made.step_loss = lambda *args, step, margins: (
        steps.append(step) or loss(*args, step=step, margins=margins)
    )
    made.fit()
    assert steps == list(range(len(steps)))
    assert len(steps) >= 3


def test_every_epoch_tells_the_gradients_of_terms_that_its_first_batch_has_not(monkeypatch):
    some = TWO
    monkeypatch.setattr(alignment, "EVERY", 2)
    monkeypatch.setattr(masking, "EVERY", 2)
    made = trainer(some, epochs=4, batch_tokens=100)
    assert len(made.batches.draw(np.random.default_rng(0))) % 2 == 1
    log = made.fit().progress.log
    wanted = {"gradient/alignment", "gradient/masking", "gradient/ranking_codes"}
    assert all(wanted <= epoch.keys() for epoch in log)


@pytest.mark.parametrize(
    "select", ["sampled100.overall.ndcg@500", "sampled0.overall.mrr", "sampled20.head.hit@50"]
)
def test_a_metric_that_no_protocol_reports_selects_nothing(select):
    with pytest.raises(ConfigError, match="select"):
        TrainSettings.parse({"select": select})


def test_resume_with_progress_fields_round_trips(tmp_path):
    made = trainer(IDS, tmp_path, epochs=2)
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
    made = trainer(IDS, tmp_path, validate=validate, epochs=5, evaluate_every=1, patience=None)
    made.fit()
    for (_, written), best in zip(files, (0, 0, 0, 3, 3), strict=True):
        assert same_weights(written, {name: states[best][name] for name in written})
    places = [place for place, _ in files]
    assert places[0] == places[1] == places[2] != places[3] == places[4]


def test_same_seed_same_weights_with_distillation():
    runs = []
    for _ in range(2):
        made = trainer(PRESETS["llm_esr"], epochs=2)
        made.fit()
        runs.append(weights_of(made.model))
    assert same_weights(*runs)
    log = made.fit().progress.log
    assert all(epoch["loss/distillation"] > 0 for epoch in log)
