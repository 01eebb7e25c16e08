"""Resuming, balance, collapse and revival."""

from pathlib import Path

import numpy as np
import pytest
import torch
from made_catalogues import hierarchy, skewed

from h2rec.semantic_ids.audit.levels import level_use
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.protocol import Embeddings, Quantizer
from h2rec.semantic_ids.quantizers import create, rqkmeans, rqvae_fitting, rqvae_start
from h2rec.semantic_ids.quantizers.rqvae_fitting import Fitting
from h2rec.semantic_ids.settings import SemanticIdSettings

RQVAE = {"epochs": 6, "hidden": 16, "latent": 12, "batch_size": 32}


def make(**settings: object) -> Quantizer:
    return create(SemanticIdSettings.parse({"levels": 3, "codebook_size": 8, **settings}))


def use(quantizer: Quantizer, points: Embeddings) -> list[float]:
    found = level_use(SemanticIds(quantizer.encode(points), quantizer.codebook_sizes))
    return [level.perplexity for level in found]


class KilledError(Exception):
    """Stands for the process being killed."""


@pytest.mark.parametrize(
    "options", [{}, {"ema": 0.9}, {"sinkhorn": True}], ids=["gradients", "ema", "sinkhorn"]
)
def test_a_killed_rqvae_fit_resumes_to_the_same_bytes(options: dict, tmp_path: Path, monkeypatch):
    points = hierarchy()
    unbroken = make(rqvae={**RQVAE, **options}).fit(points, seed=1)
    monkeypatch.setattr(rqvae_fitting, "CHECKPOINT_SECONDS", 0.0)
    steps, step = [], Fitting._step

    def dying_step(self: Fitting, batch: torch.Tensor, share: float) -> float:
        steps.append(share)
        if len(steps) == 30:  # 8 steps an epoch: in the middle of the fourth
            raise KilledError
        return step(self, batch, share)

    monkeypatch.setattr(Fitting, "_step", dying_step)
    with pytest.raises(KilledError):
        make(rqvae={**RQVAE, **options}).fit(points, seed=1, checkpoint=tmp_path / "fit")
    resumed = make(rqvae={**RQVAE, **options}).fit(points, seed=1, checkpoint=tmp_path / "fit")
    assert len(steps) == 30 + 24
    unbroken.save(_made(tmp_path / "a"))
    resumed.save(_made(tmp_path / "b"))
    name = "quantizer.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_killed_kmeans_fit_resumes_at_the_level_it_was_at(tmp_path: Path, monkeypatch):
    points = hierarchy()
    unbroken = make(quantizer="rqkmeans").fit(points, seed=1)
    calls, residual_codebook = [], rqkmeans.residual_codebook

    def dying_codebook(*arguments: object, **options: object) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) == 3:
            raise KilledError
        return residual_codebook(*arguments, **options)

    monkeypatch.setattr(rqkmeans, "residual_codebook", dying_codebook)
    with pytest.raises(KilledError):
        make(quantizer="rqkmeans").fit(points, seed=1, checkpoint=tmp_path / "fit")
    resumed = make(quantizer="rqkmeans").fit(points, seed=1, checkpoint=tmp_path / "fit")
    assert len(calls) == 4
    assert torch.equal(resumed.codebooks, unbroken.codebooks)


@pytest.mark.parametrize("quantizer", ["rqvae", "rqkmeans"])
def test_a_checkpoint_of_another_seed_or_of_other_embeddings_is_not_used(quantizer: str, tmp_path: Path):
    points, others = hierarchy(), hierarchy(seed=5)
    settings = {"quantizer": quantizer, "rqvae": RQVAE}
    make(**settings).fit(points, seed=1, checkpoint=tmp_path / "fit")
    for data, seed in ((points, 2), (others, 1)):
        fresh = make(**settings).fit(data, seed=seed)
        beside = make(**settings).fit(data, seed=seed, checkpoint=tmp_path / "fit")
        np.testing.assert_array_equal(beside.decode(beside.encode(data)), fresh.decode(fresh.encode(data)))


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path):
    points = hierarchy()
    make(quantizer="rqkmeans").fit(points, checkpoint=tmp_path / "fit")
    whole = (tmp_path / "fit").read_bytes()
    (tmp_path / "fit").write_bytes(whole[: len(whole) // 2])
    again = make(quantizer="rqkmeans").fit(points, checkpoint=tmp_path / "fit")
    assert torch.equal(again.codebooks, make(quantizer="rqkmeans").fit(points).codebooks)


@pytest.mark.parametrize(
    ("plain", "balanced"),
    [
        ({"quantizer": "rqkmeans"}, {"quantizer": "rqkmeans", "kmeans": {"balanced": True}}),
        ({"rqvae": RQVAE}, {"rqvae": {**RQVAE, "sinkhorn": True}}),
    ],
    ids=["rqkmeans", "rqvae"],
)
def test_balanced_codes_are_shared_out_evenly_where_plain_ones_are_not(plain: dict, balanced: dict):
    points = skewed()
    uneven, even = use(make(**plain).fit(points), points), use(make(**balanced).fit(points), points)
    assert min(uneven) < 7.2
    assert min(even) > 7.6


def _collapsed(points: torch.Tensor, codebook_size: int, *_: object) -> torch.Tensor:
    codebook = torch.full((codebook_size, points.shape[1]), 1000.0)
    codebook[0] = points.mean(dim=0)
    return codebook


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}], ids=["gradients", "ema"])
def test_collapse_is_provoked_and_revival_cures_it(options: dict, monkeypatch):
    # All codes but one start out of every item's reach: without revival nothing ever brings them back.
    monkeypatch.setattr(rqvae_start, "cluster", _collapsed)
    points = hierarchy()
    settings = {**RQVAE, "epochs": 20, **options}
    collapsed = make(rqvae={**settings, "revive_below": 0.0}).fit(points)
    revived = make(rqvae=settings).fit(points)

    def used(quantizer: Quantizer) -> list[int]:
        return [len(np.unique(column)) for column in quantizer.encode(points).T]

    assert used(collapsed) == [1, 1, 1]
    assert used(revived) == [8, 8, 8]


def test_dead_codes_are_not_revived_from_the_few_that_an_epoch_ends_with(monkeypatch):
    seen = []
    monkeypatch.setattr(Fitting, "_revive", lambda self, batch, epoch: seen.append(len(batch)))
    points = np.concatenate([hierarchy()[:64], hierarchy()[:1]])
    make(rqvae={**RQVAE, "epochs": 5, "batch_size": 64}).fit(points)
    assert seen
    assert set(seen) == {64}


def test_training_improves_on_the_start(monkeypatch):
    stream = np.random.default_rng(0)
    flat = stream.normal(size=(600, 3))
    curved = np.concatenate([flat, np.sin(3 * flat), flat**2, np.cos(2 * flat)], axis=1).astype(np.float32)
    before = make(rqvae={**RQVAE, "latent": 4, "epochs": 0}).fit(curved)
    after = make(rqvae={**RQVAE, "latent": 4, "epochs": 40, "hidden": 64}).fit(curved)
    assert after.error_quantiles[50] < 0.8 * before.error_quantiles[50]


def test_an_untrained_rqvae_is_residual_kmeans_behind_a_pca():
    points = skewed()
    start = make(rqvae={**RQVAE, "epochs": 0, "latent": 5, "kmeans_iterations": 50}).fit(points)
    kmeans = {"iterations": 50, "components": None, "length_power": 0, "joint_rounds": 0}
    plain = make(quantizer="rqkmeans", pca=5, kmeans=kmeans).fit(points)
    assert np.mean(start.error_quantiles) == pytest.approx(np.mean(plain.error_quantiles), rel=0.1)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
