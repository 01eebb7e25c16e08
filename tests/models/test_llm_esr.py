"""LLM-ESR: who is similar, what the teacher says, what the views read from each other."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch

from h2rec.batching.sequences import cloze_batch, cut_windows, next_item_batch
from h2rec.data.histories import Histories
from h2rec.errors import ConfigError
from h2rec.models.baselines import llm_esr
from h2rec.models.baselines.llm_esr import similar_users

TRAIN = Histories.from_lists(
    [[3, 7, 9], [3, 7, 10, 11], [20, 21, 22], [], [20, 21, 23, 24, 25], [1, 40], [7, 3]]
)


@pytest.fixture
def known(features):
    return dataclasses.replace(features, train=TRAIN, train_counts=TRAIN.counts(40))


@pytest.fixture
def make(build, known):
    sizes = {"name": "llm_esr", "max_length": 6, "dropout": 0.0}
    return lambda **values: build(known, **sizes, **values).eval()


@pytest.fixture
def batch():
    windows = cut_windows(TRAIN, 6)
    return next_item_batch(windows, np.arange(len(windows)))


def term_of(model, known, batch):
    (loss,) = model.own_losses(known)
    reads = batch.targets > 0
    assert (loss.name, loss.due(0), loss.due(7)) == ("distillation", True, True)
    return loss(batch, model(batch.items, batch.lengths, reads), np.random.default_rng(0))


def by_item(features):
    return np.concatenate([np.zeros((1, features.text.shape[1]), np.float32), features.text])


def test_similar_users_are_those_with_the_nearest_mean_text(features):
    found = similar_users(TRAIN, by_item(features), 3)
    means = np.array(
        [features.text[np.array(row) - 1].mean(0) if len(row) else np.zeros(20) for row in TRAIN]
    )
    cosine = means @ means.T / np.maximum(np.outer(*[np.linalg.norm(means, axis=1)] * 2), 1e-12)
    for user in (0, 1, 2, 4, 5, 6):
        others = [u for u in range(7) if u not in (user, 3)]
        assert found[user].tolist() == sorted(others, key=lambda u: -cosine[user, u])[:3]
    # The user without a history is nobody's teacher, and has teachers nevertheless.
    assert not (found == 3).any()
    assert found.shape == (7, 3)


def test_fewer_users_than_asked_for_give_fewer(features):
    assert similar_users(TRAIN, by_item(features), 10).shape == (7, 5)


def test_finding_similar_users_takes_no_memory_of_users_squared():
    users = 12_000
    random = np.random.default_rng(0)
    train = Histories(np.arange(0, 2 * users + 1, 2), random.integers(1, 500, 2 * users).astype(np.int32))
    text = random.normal(size=(501, 8)).astype(np.float32)
    tracemalloc.start()
    similar_users(train, text, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * users**2 / 10


def last_states(model, rows):
    states = []
    for row in rows:
        items = torch.tensor([row[-6:]])
        reads = torch.zeros_like(items, dtype=torch.bool)
        reads[0, -1] = True
        with torch.no_grad():
            states.append(model(items, torch.tensor([items.shape[1]]), reads).encoded["dual"][0])
    return torch.stack(states)


def test_the_distillation_term_is_the_squared_distance_to_the_mean_of_similar_users(
    make, known, features, batch, monkeypatch
):
    monkeypatch.setattr(llm_esr, "SIMILAR_USERS", 2)
    model = make(distillation=0.3)
    assert batch.users.tolist() == [0, 1, 2, 4, 5, 6]
    term = term_of(model, known, batch)
    neighbours = similar_users(TRAIN, by_item(features), 2)
    distances = []
    for user in batch.users.tolist():
        row = TRAIN[user].tolist()
        student = last_states(model, [row[:-1]])[0]
        teacher = last_states(model, [TRAIN[u].tolist() for u in neighbours[user]]).mean(0)
        distances.append(((student - teacher) ** 2).mean())
    assert term.weight == 0.3
    assert term.value.item() == pytest.approx(torch.stack(distances).mean().item(), rel=1e-4)


def test_the_teacher_gets_no_gradient(make, known):
    (loss,) = make().own_losses(known)
    teacher = loss.teacher(np.array([0, 4]), np.random.default_rng(0))
    assert teacher.shape == (2, 16)
    assert not teacher.requires_grad


def test_a_bounded_number_of_sequences_is_distilled(make, known, batch, monkeypatch):
    model = make()
    (loss,) = model.own_losses(known)
    seen = []
    teacher = loss.teacher
    monkeypatch.setattr(llm_esr, "SEQUENCES", 2)
    monkeypatch.setattr(
        loss, "teacher", lambda users, random: seen.append(len(users)) or teacher(users, random)
    )
    loss(batch, model(batch.items, batch.lengths, batch.targets > 0), np.random.default_rng(0))
    assert seen == [2]


def test_a_weight_of_zero_computes_nothing(make, known):
    assert make(distillation=0).own_losses(known) == []


def test_a_cloze_batch_knows_its_users_and_is_distilled_too(make, known):
    model = make(backbone="bert4rec")
    windows = cut_windows(TRAIN, 5)
    batch = cloze_batch(windows, np.array([4, 1]), model.mask_item, 0.3, np.random.default_rng(0))
    assert batch.users.tolist() == [5, 1]
    assert term_of(model, known, batch).value.isfinite()


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_each_view_is_made_of_its_own_vectors_at_places_the_other_asks_for(make, backbone):
    """Textbook attention: queries of the asking view, keys and values of the answering one."""
    model = make(backbone=backbone)
    attend = model.ids_read_text
    random = torch.Generator().manual_seed(0)
    asking, answering = (torch.randn(1, 4, 8, generator=random) for _ in range(2))
    with torch.no_grad():
        fast = attend(asking, answering, torch.tensor([3]))[0, :3]
        key, value = attend.key_value(answering[0]).split(8, dim=1)
        slow = []
        for step in range(3):
            until = step + 1 if backbone == "sasrec" else 3
            heads = []
            for part in (slice(0, 4), slice(4, 8)):
                query = attend.query(asking[0, step])[part]
                weights = (key[:until, part] @ query / 2).softmax(0)
                heads.append(weights @ value[:until, part])
            slow.append(attend.out(torch.cat(heads)))
    torch.testing.assert_close(fast, torch.stack(slow), rtol=1e-4, atol=1e-5)


def test_user_and_item_are_concatenations_of_both_views(make, monkeypatch):
    model = make(temperature=None)
    monkeypatch.setattr(model, "_cross", lambda hid, text, lengths: (hid, text))
    items = torch.tensor([[3, 7]])
    with torch.no_grad():
        states = model(items, torch.tensor([2]), items > 0)
        (item_vectors,) = model.item_vectors(torch.tensor([5]))
        # One encoder for both.
        hid = model.encoder(model.ids(items), torch.tensor([2]))[0]
        text = model.encoder(model.adapter(model.text[items]), torch.tensor([2]))[0]
        torch.testing.assert_close(states.vectors[0], torch.cat([hid, text], dim=1))
        torch.testing.assert_close(
            item_vectors[0], torch.cat([model.ids.vectors.weight[5], model.adapter(model.text[5])])
        )


def test_keeping_the_views_adds_what_they_read(make):
    model = make()
    hid, text = torch.randn(2, 1, 3, 8, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([3])
    with torch.no_grad():
        whole = model._cross(hid, text, lengths)
        position = model.positions.weight[3:6]
        # The text asks and the hash IDs answer, so what is read is made of hash IDs; and the other way round.
        new_hid = model.ids_read_text(text + position, hid + position, lengths)
        new_text = model.text_reads_ids(hid + position, text + position, lengths)
    torch.testing.assert_close(whole[0], hid + position + new_hid)
    torch.testing.assert_close(whole[1], text + position + new_text)


@pytest.mark.parametrize("dim", [9, 15])
def test_a_size_that_the_views_attention_can_not_split_is_refused(make, dim):
    with pytest.raises(ConfigError, match="dim"):
        make(dim=dim, heads=1)
