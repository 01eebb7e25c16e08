import json
from pathlib import Path

import numpy as np
import pytest
from made_catalogues import hierarchy

from h2rec.errors import ConfigError, DataError, SemanticIdError
from h2rec.semantic_ids.quantizers import create, load_quantizer
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.semantic_ids.tokenize import tokenize

KMEANS = SemanticIdSettings(quantizer="rqkmeans", levels=3, codebook_size=4)


def names(count: int) -> list[str]:
    return [f"i{row}" for row in range(count)]


def test_items_get_the_codes_of_the_quantizer():
    points = hierarchy()
    found = tokenize(points, names(256), KMEANS, seed=2)
    np.testing.assert_array_equal(found.semantic_ids.codes, found.quantizer.encode(points))
    assert len(np.unique(found.semantic_ids.codes, axis=0)) == 64  # the construction's own tuples
    again = tokenize(points, names(256), KMEANS, seed=2)
    np.testing.assert_array_equal(found.semantic_ids.codes, again.semantic_ids.codes)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_embeddings_may_be_mapped_from_disk_and_of_any_precision(tmp_path: Path, kind: type):
    np.save(tmp_path / "e.npy", hierarchy().astype(kind))
    mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
    assert len(np.unique(tokenize(mapped, names(256), KMEANS).semantic_ids.codes[:, 0])) == 4


def test_codes_from_a_file_need_no_embeddings(tmp_path: Path):
    path = tmp_path / "codes.index.json"
    path.write_text('{"b": ["<a_1>", "<b_0>"], "a": ["<a_1>", "<b_0>"]}')
    found = tokenize(None, ["a", "b"], SemanticIdSettings(quantizer=str(path), collisions="suffix"))
    assert found.quantizer is None
    assert found.semantic_ids.codes.tolist() == [[1, 0, 0], [1, 0, 1]]


def test_a_nan_row_is_told_by_its_item():
    points = hierarchy()
    points[7, 3] = np.inf
    with pytest.raises(SemanticIdError, match="item 'i7' holds NaN or infinity"):
        tokenize(points, names(256), KMEANS)


def test_missing_and_miscounted_embeddings_are_told():
    with pytest.raises(SemanticIdError, match="'rqkmeans' needs text embeddings"):
        tokenize(None, names(3), KMEANS)
    with pytest.raises(SemanticIdError, match="256 embeddings do not fit 3 items"):
        tokenize(hierarchy(), names(3), KMEANS)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"quantizer": "rqvaee"}, "'rqvaee' is none of rqvae, rqkmeans, pq, opq and no .json file"),
        ({"codebook_size": 1}, "codebook_size: Input should be greater than or equal to 2"),
        ({"rqvae": {"epoch": 3}}, "did you mean 'rqvae.epochs'"),
        ({"collisions": "drop"}, "'keep', 'suffix' or 'reassign'"),
    ],
)
def test_wrong_settings_are_told(values: dict, told: str):
    with pytest.raises(ConfigError) as caught:
        SemanticIdSettings.parse(values)
    assert told in str(caught.value)


def test_product_quantizers_tell_sizes_that_do_not_fit():
    points = hierarchy()
    with pytest.raises(SemanticIdError, match="power of two, found 6"):
        create(SemanticIdSettings(quantizer="pq", levels=3, codebook_size=6)).fit(points)
    with pytest.raises(SemanticIdError, match="can't cut 12 dimensions into 5"):
        create(SemanticIdSettings(quantizer="opq", levels=5, codebook_size=4)).fit(points)


def test_more_principal_components_than_dimensions_are_refused():
    with pytest.raises(SemanticIdError, match="ask for at most 12"):
        create(SemanticIdSettings(quantizer="rqkmeans", levels=2, codebook_size=4, pca=13)).fit(hierarchy())


def test_a_file_of_codes_makes_no_quantizer():
    with pytest.raises(SemanticIdError, match="nothing to fit"):
        create(SemanticIdSettings(quantizer="some.index.json"))


class TestDamagedQuantizers:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        create(KMEANS).fit(hierarchy()).save(tmp_path)
        return tmp_path

    def change(self, folder: Path, **values: object) -> None:
        description = json.loads((folder / "quantizer.json").read_text()) | values
        (folder / "quantizer.json").write_text(json.dumps(description))

    def test_truncated_numbers(self, folder: Path):
        whole = (folder / "quantizer.safetensors").read_bytes()
        (folder / "quantizer.safetensors").write_bytes(whole[:-10])
        with pytest.raises(SemanticIdError, match="can't read the quantizer"):
            load_quantizer(folder)

    def test_missing_numbers(self, folder: Path):
        (folder / "quantizer.safetensors").unlink()
        with pytest.raises(SemanticIdError, match="can't read the quantizer"):
            load_quantizer(folder)

    def test_missing_description(self, folder: Path):
        (folder / "quantizer.json").unlink()
        with pytest.raises(DataError, match="no such file"):
            load_quantizer(folder)

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"kind": "vq"}, "unknown quantizer 'vq', known are rqvae"),
            ({"kind": 3}, "not the description of a quantizer"),
            ({"format": 99}, "format 99, this version reads 1"),
            ({"levels": 2}, "it claims 2 levels of 4 codes, quantizer.safetensors has 3 of 4"),
            ({"levels": "three"}, "it claims three levels of 4 codes"),
            ({"levels": 10**8}, "it claims 100000000 levels"),
            ({"levels": 3.0}, "it claims 3.0 levels"),
            ({"codebook_size": 10**12}, "of 1000000000000 codes"),
            ({"error_quantiles": [1.0] * 100}, "not 101 rising numbers"),
            ({"error_quantiles": [2.0, 1.0] + [3.0] * 99}, "not 101 rising numbers"),
            ({"settings": None}, "damaged description"),
        ],
    )
    def test_wrong_descriptions(self, folder: Path, values: dict, told: str):
        self.change(folder, **values)
        with pytest.raises(SemanticIdError) as caught:
            load_quantizer(folder)
        assert told in str(caught.value)
