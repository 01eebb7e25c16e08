"""Resuming, collapse and revival."""

from pathlib import Path

import numpy as np
import pytest
import torch
from made_catalogues import hierarchy, skewed

from h2rec.semantic_ids.quantizers import create, rqkmeans, rqvae_fitting, rqvae_network, rqvae_start
from h2rec.semantic_ids.quantizers import rqvae as rqvae_module
from h2rec.semantic_ids.quantizers.kmeans_codebooks import cluster
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.quantizers.rqvae_fitting import Fitting
from h2rec.semantic_ids.residual import nearest_codes
from h2rec.semantic_ids.settings import SemanticIdSettings


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rqvae_network, "HIDDEN", 16)
    monkeypatch.setattr(rqvae_fitting, "BATCH_SIZE", 32)


def rqvae(epochs: int = 6) -> dict:
    return {"name": "rqvae", "epochs": epochs}


def make(quantizer: str | dict) -> Quantizer:
    return create(SemanticIdSettings.parse({"levels": 3, "codebook_size": 8, "quantizer": quantizer}))


class KilledError(Exception):
    """Stands for the process being killed."""


def test_a_killed_rqvae_fit_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch):
    points = hierarchy()
    unbroken = make(rqvae()).fit(points, seed=1)
    monkeypatch.setattr(rqvae_fitting, "CHECKPOINT_SECONDS", 0.0)
    steps, step = [], Fitting._step

    def dying_step(self: Fitting, batch: torch.Tensor, share: float) -> float:
        steps.append(share)
        if len(steps) == 30:  # 8 steps an epoch: in the middle of the fourth
            raise KilledError
        return step(self, batch, share)

    monkeypatch.setattr(Fitting, "_step", dying_step)
    with pytest.raises(KilledError):
        make(rqvae()).fit(points, seed=1, checkpoint=tmp_path / "fit")
    resumed = make(rqvae()).fit(points, seed=1, checkpoint=tmp_path / "fit")
    assert len(steps) == 30 + 24
    unbroken.save(_made(tmp_path / "a"))
    resumed.save(_made(tmp_path / "b"))
    name = "quantizer.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_killed_kmeans_fit_resumes_at_the_level_it_was_at(tmp_path: Path, monkeypatch):
    points = hierarchy()
    unbroken = make("rqkmeans").fit(points, seed=1)
    calls, residual_codebook = [], rqkmeans.residual_codebook

    def dying_codebook(*arguments: object, **options: object) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) == 3:
            raise KilledError
        return residual_codebook(*arguments, **options)

    monkeypatch.setattr(rqkmeans, "residual_codebook", dying_codebook)
    with pytest.raises(KilledError):
        make("rqkmeans").fit(points, seed=1, checkpoint=tmp_path / "fit")
    resumed = make("rqkmeans").fit(points, seed=1, checkpoint=tmp_path / "fit")
    assert len(calls) == 4
    assert torch.equal(resumed.codebooks, unbroken.codebooks)


@pytest.mark.parametrize("quantizer", ["rqvae", "rqkmeans"])
def test_a_checkpoint_of_another_seed_or_of_other_embeddings_is_not_used(quantizer: str, tmp_path: Path):
    points, others = hierarchy(), hierarchy(seed=5)
    chosen = rqvae() if quantizer == "rqvae" else quantizer
    make(chosen).fit(points, seed=1, checkpoint=tmp_path / "fit")
    for data, seed in ((points, 2), (others, 1)):
        fresh = make(chosen).fit(data, seed=seed)
        beside = make(chosen).fit(data, seed=seed, checkpoint=tmp_path / "fit")
        np.testing.assert_array_equal(beside.decode(beside.encode(data)), fresh.decode(fresh.encode(data)))


def test_a_damaged_checkpoint_is_not_used(tmp_path: Path):
    points = hierarchy()
    make("rqkmeans").fit(points, checkpoint=tmp_path / "fit")
    whole = (tmp_path / "fit").read_bytes()
    (tmp_path / "fit").write_bytes(whole[: len(whole) // 2])
    again = make("rqkmeans").fit(points, checkpoint=tmp_path / "fit")
    assert torch.equal(again.codebooks, make("rqkmeans").fit(points).codebooks)


def _collapsed(points: torch.Tensor, codebook_size: int, *_: object) -> torch.Tensor:
    codebook = torch.full((codebook_size, points.shape[1]), 1000.0)
    codebook[0] = points.mean(dim=0)
    return codebook


def test_collapse_is_provoked_and_revival_cures_it(monkeypatch):
    # All codes but one start out of every item's reach: without revival nothing ever brings them back.
    monkeypatch.setattr(rqvae_start, "cluster", _collapsed)
    points = hierarchy()
    revived = make(rqvae(20)).fit(points)
    monkeypatch.setattr(rqvae_fitting, "REVIVE_BELOW", 0.0)
    collapsed = make(rqvae(20)).fit(points)

    def used(quantizer: Quantizer) -> list[int]:
        return [len(np.unique(column)) for column in quantizer.encode(points).T]

    assert used(collapsed) == [1, 1, 1]
    assert used(revived) == [8, 8, 8]


def test_dead_codes_are_not_revived_from_the_few_that_an_epoch_ends_with(monkeypatch):
    seen = []
    monkeypatch.setattr(Fitting, "_revive", lambda self, batch, epoch: seen.append(len(batch)))
    points = np.concatenate([hierarchy()[:64], hierarchy()[:1]])
    monkeypatch.setattr(rqvae_fitting, "BATCH_SIZE", 64)
    make(rqvae(5)).fit(points)
    assert seen
    assert set(seen) == {64}


def test_training_improves_on_the_start(monkeypatch):
    stream = np.random.default_rng(0)
    flat = stream.normal(size=(600, 3))
    curved = np.concatenate([flat, np.sin(3 * flat), flat**2, np.cos(2 * flat)], axis=1).astype(np.float32)
    monkeypatch.setattr(rqvae_network, "HIDDEN", 64)
    monkeypatch.setattr(rqvae_module, "LATENT", 4)
    before, after = make(rqvae(0)).fit(curved), make(rqvae(40)).fit(curved)
    assert after.error_quantiles[50] < 0.8 * before.error_quantiles[50]


def test_an_untrained_rqvae_is_residual_kmeans_behind_a_pca():
    points = skewed()
    start = make(rqvae(0)).fit(points)
    left_over = torch.from_numpy(points - points.mean(axis=0))
    for level in range(3):
        codebook = cluster(left_over, 8, level)
        left_over = left_over - codebook[nearest_codes(left_over, codebook)]
    expected = left_over.square().sum(dim=1).mean().item()
    assert np.mean(start.error_quantiles) == pytest.approx(expected, rel=0.1)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
