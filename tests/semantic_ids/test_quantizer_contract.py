"""What every quantizer must do: one suite, one parameter each."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from made_catalogues import CODES, DIMENSION, LEVELS, hierarchy, skewed

from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.embeddings import variance
from h2rec.semantic_ids.quantizers import QUANTIZERS, create, rqvae_fitting, rqvae_network
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.quantizers.rqkmeans import RQKMeans
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.testing import check_quantizer

KINDS = {"rqkmeans": "rqkmeans", "pq": "pq", "opq": "opq", "rqvae": {"name": "rqvae", "epochs": 20}}


def make(kind: str) -> Quantizer:
    sizes = {"levels": LEVELS, "codebook_size": CODES}
    return create(SemanticIdSettings.parse({**sizes, "quantizer": KINDS[kind]}))


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rqvae_network, "HIDDEN", 16)
        patch.setattr(rqvae_fitting, "BATCH_SIZE", 32)
        yield request.param


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    return hierarchy()


@pytest.fixture(scope="module")
def fitted(kind: str, embeddings: np.ndarray) -> Quantizer:
    return make(kind).fit(embeddings, seed=3)


@pytest.fixture(scope="module")
def simple(embeddings: np.ndarray) -> Quantizer:
    return make("rqkmeans").fit(embeddings)


def test_keeps_the_contract(kind: str):
    check_quantizer(KINDS[kind])


def test_reconstructs_better_with_every_level_and_well_with_all(
    kind: str, fitted: Quantizer, embeddings: np.ndarray
):
    codes = fitted.encode(embeddings)
    left = [float(fitted.squared_errors(embeddings, codes[:, :p]).mean()) for p in range(1, LEVELS + 1)]
    assert left[0] < variance(embeddings)
    assert left[-1] <= min(left) * 1.001
    # The catalogue is a sum of one vector a level, which slices of the dimensions can't describe.
    assert left[-1] < (0.6 if "pq" in kind else 0.05) * variance(embeddings)


def test_encoding_a_reconstruction_gives_its_codes_back(kind: str, fitted: Quantizer, embeddings: np.ndarray):
    codes = fitted.encode(embeddings)
    again = fitted.encode(fitted.decode(codes))
    # Exact where the reconstruction is a sum of codes; a learned decoder may part on a few border cases.
    assert (again == codes).all(axis=1).mean() >= (0.95 if kind == "rqvae" else 1.0)


def test_a_catalogue_with_barely_enough_distinct_items_is_fitted(kind: str):
    # Later levels find nothing left to quantize: codes stay unused, nothing breaks.
    points = np.repeat(np.eye(DIMENSION, dtype=np.float32)[:8], 3, axis=0)
    codes = make(kind).fit(points).encode(points)
    assert codes.shape == (24, LEVELS)


def test_the_codes_of_skewed_embeddings_stay_in_use(kind: str):
    points = skewed()
    codes = make(kind).fit(points).encode(points)
    assert all(len(np.unique(column)) == CODES for column in codes.T)


NAN = np.where(np.arange(64 * DIMENSION).reshape(64, DIMENSION) == 5 * DIMENSION + 2, np.nan, hierarchy(1))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (hierarchy()[::64][:3], "3 items with 3 distinct embeddings can't fill 4 codes"),
        (np.ones((50, DIMENSION)), "all 50 items have one and the same embedding"),
        (NAN, "row 6 holds NaN"),
        (np.ones(12), r"found shape \(12,\)"),
    ],
    ids=["few", "constant", "nan", "shape"],
)
def test_refuses_to_fit(points: np.ndarray, message: str):
    with pytest.raises(SemanticIdError, match=message):
        make("rqkmeans").fit(points.astype(np.float32))


def test_refuses_to_encode_nan_rows_and_another_dimension(simple: Quantizer, embeddings: np.ndarray):
    with pytest.raises(SemanticIdError, match="row 6 holds NaN"):
        simple.encode(NAN.astype(np.float32))
    with pytest.raises(SemanticIdError, match="5 dimensions, the quantizer was fitted on 12"):
        simple.encode(embeddings[:, :5])


@pytest.mark.parametrize("code", [-1, CODES])
def test_refuses_codes_out_of_range(simple: Quantizer, code: int):
    with pytest.raises(SemanticIdError, match=f"item 1, level 2: code {code} is outside 0..3"):
        simple.decode(np.array([[0, code, 0]], dtype=np.int32))


class Beyond(RQKMeans):
    def encode_points(self, points):
        return super().encode_points(points) + 1


class Relative(RQKMeans):
    def encode_points(self, points):
        return super().encode_points(points if len(points) > 1 else -points)


class Unseeded(RQKMeans):
    def learn(self, embeddings, seed, checkpoint):
        super().learn(embeddings, seed, checkpoint)
        self.codebooks = self.codebooks + torch.rand(()) / 1000


class Forgetful(RQKMeans):
    def restore(self, tensors):
        super().restore({"codebooks": tensors["codebooks"].flip(1)})


class Useless(RQKMeans):
    def decode_codes(self, codes):
        return super().decode_codes(codes) + 9


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Beyond, "outside 0..3|codes run from"),
        (Relative, "other codes in a batch than alone"),
        (Unseeded, "a second fit with the same seed changes"),
        (Forgetful, "saving and loading changes codes"),
        (Useless, "of the variance"),
    ],
)
def test_the_contract_tests_find_what_is_broken(broken: type[Quantizer], message: str, monkeypatch):
    monkeypatch.setattr(QUANTIZERS, "_parts", {**QUANTIZERS._parts, "mine": broken})
    with pytest.raises((AssertionError, SemanticIdError), match=message):
        check_quantizer("mine")
