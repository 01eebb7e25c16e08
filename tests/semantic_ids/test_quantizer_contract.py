"""What every quantizer must do: one suite, one parameter each."""

from collections.abc import Iterator

import numpy as np
import pytest
from made_catalogues import CODES, DIMENSION, LEVELS, hierarchy, skewed

from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.embeddings import variance
from h2rec.semantic_ids.quantizers import create, load_quantizer, rqvae_fitting, rqvae_network
from h2rec.semantic_ids.quantizers.protocol import Quantizer
from h2rec.semantic_ids.settings import SemanticIdSettings

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


def test_codes_have_the_promised_form(fitted: Quantizer, embeddings: np.ndarray):
    codes = fitted.encode(embeddings)
    assert codes.shape == (len(embeddings), LEVELS)
    assert codes.dtype == np.int32
    assert fitted.codebook_sizes == (CODES,) * LEVELS
    assert codes.min() >= 0
    assert codes.max() < CODES
    assert fitted.dimension == DIMENSION


def test_reconstructs_better_with_every_level_and_well_with_all(
    kind: str, fitted: Quantizer, embeddings: np.ndarray
):
    codes = fitted.encode(embeddings)
    decoded = fitted.decode(codes)
    assert decoded.shape == embeddings.shape
    assert decoded.dtype == np.float32
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


def test_the_same_seed_gives_the_same_quantizer(kind: str, fitted: Quantizer, embeddings: np.ndarray):
    again = make(kind).fit(embeddings, seed=3)
    codes = fitted.encode(embeddings)
    np.testing.assert_array_equal(again.encode(embeddings), codes)
    np.testing.assert_array_equal(again.decode(codes), fitted.decode(codes))


def test_save_and_load_give_the_same_codes_and_reconstructions(
    fitted: Quantizer, embeddings: np.ndarray, tmp_path
):
    fitted.save(tmp_path)
    loaded = load_quantizer(tmp_path)
    codes = fitted.encode(embeddings)
    np.testing.assert_array_equal(loaded.encode(embeddings), codes)
    np.testing.assert_array_equal(loaded.decode(codes), fitted.decode(codes))
    assert loaded.error_quantiles == fitted.error_quantiles
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".json", ".safetensors"}


def test_a_batch_equals_its_rows_and_encoding_changes_nothing(fitted: Quantizer, embeddings: np.ndarray):
    codes = fitted.encode(embeddings)
    alone = np.concatenate([fitted.encode(row[None]) for row in embeddings[::7]])
    np.testing.assert_array_equal(alone, codes[::7])
    np.testing.assert_array_equal(fitted.encode(embeddings), codes)


def test_error_quantiles_describe_the_fitted_catalogue(fitted: Quantizer, embeddings: np.ndarray):
    errors = fitted.squared_errors(embeddings)
    assert len(fitted.error_quantiles) == 101
    assert fitted.error_quantiles[50] == pytest.approx(float(np.median(errors)), rel=1e-4)
    assert fitted.error_quantiles[100] == pytest.approx(float(errors.max()), rel=1e-4)


def test_refuses_fewer_items_than_codes(kind: str, embeddings: np.ndarray):
    with pytest.raises(SemanticIdError, match="3 items with 3 distinct embeddings can't fill 4 codes"):
        make(kind).fit(embeddings[::64][:3])


def test_refuses_constant_embeddings(kind: str):
    with pytest.raises(SemanticIdError, match="50 items with 1 distinct embeddings can't fill 4 codes"):
        make(kind).fit(np.ones((50, DIMENSION), dtype=np.float32))


def test_refuses_nan_rows_to_fit_and_to_encode(kind: str, fitted: Quantizer, embeddings: np.ndarray):
    broken = embeddings.copy()
    broken[5, 2] = np.nan
    with pytest.raises(SemanticIdError, match="row 6 holds NaN"):
        make(kind).fit(broken)
    with pytest.raises(SemanticIdError, match="row 6 holds NaN"):
        fitted.encode(broken)


def test_refuses_another_dimension(fitted: Quantizer, embeddings: np.ndarray):
    with pytest.raises(SemanticIdError, match="5 dimensions, the quantizer was fitted on 12"):
        fitted.encode(embeddings[:, :5])


def test_refuses_a_table_of_another_shape(kind: str):
    with pytest.raises(SemanticIdError, match=r"found shape \(12,\)"):
        make(kind).fit(np.ones(12, dtype=np.float32))


@pytest.mark.parametrize("code", [-1, CODES])
def test_refuses_codes_out_of_range(fitted: Quantizer, code: int):
    with pytest.raises(SemanticIdError, match=f"item 1, level 2: code {code} is outside 0..3"):
        fitted.decode(np.array([[0, code, 0]], dtype=np.int32))


def test_a_catalogue_with_barely_enough_distinct_items_is_fitted(kind: str):
    # Later levels find nothing left to quantize: codes stay unused, nothing breaks.
    points = np.repeat(np.eye(DIMENSION, dtype=np.float32)[:8], 3, axis=0)
    codes = make(kind).fit(points).encode(points)
    assert codes.shape == (24, LEVELS)


def test_the_codes_of_skewed_embeddings_stay_in_use(kind: str):
    points = skewed()
    codes = make(kind).fit(points).encode(points)
    assert all(len(np.unique(column)) == CODES for column in codes.T)
