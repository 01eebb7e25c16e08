import json
from pathlib import Path

import numpy as np
import pytest
from made_catalogues import hierarchy

from h2rec.errors import ConfigError, DataError, SemanticIdError
from h2rec.semantic_ids.embeddings import variance
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
        ({"quantizer": "rqvaee"}, "did you mean 'rqvae'? known are: rqvae, rqkmeans, pq, opq"),
        ({"quantizer": {"epochs": 3}}, "expected the name of a quantizer, or a mapping with its name"),
        ({"quantizer": {"name": "rqkmeans", "epochs": 3}}, "semantic_ids.quantizer: unknown key 'epochs'"),
        ({"quantizer": {"name": "a.json", "epochs": 3}}, "semantic_ids.quantizer: unknown key 'epochs'"),
        ({"codebook_size": 1}, "codebook_size: Input should be greater than or equal to 2"),
        ({"quantizer": {"name": "rqvae", "epoch": 3}}, "did you mean 'epochs'"),
        ({"collisions": "drop"}, "'keep', 'suffix' or 'reassign'"),
    ],
)
def test_wrong_settings_are_told(values: dict, told: str):
    with pytest.raises(ConfigError) as caught:
        SemanticIdSettings.parse(values)
    assert told in str(caught.value)


def test_a_name_stands_for_its_settings_and_settings_come_back_as_they_were():
    whole = SemanticIdSettings.parse({"quantizer": {"name": "rqvae", "epochs": 3}})
    assert whole.model_dump()["quantizer"] == {"name": "rqvae", "epochs": 3}
    assert SemanticIdSettings.parse(whole.model_dump()) == whole
    assert SemanticIdSettings().quantizer == SemanticIdSettings(quantizer="rqvae").quantizer
    assert SemanticIdSettings().quantizer.epochs == 30
    assert SemanticIdSettings(quantizer="pq").model_dump()["quantizer"] == {"name": "pq"}


def test_a_file_of_codes_is_taken_from_the_folder_of_its_configuration(tmp_path: Path):
    found = SemanticIdSettings(quantizer="shop.index.json").resolved(tmp_path)
    assert found.file == tmp_path / "shop.index.json"
    assert KMEANS.resolved(tmp_path) == KMEANS
    assert KMEANS.file is None


def test_product_quantizers_tell_sizes_that_do_not_fit():
    points = hierarchy()
    with pytest.raises(SemanticIdError, match="power of two, found 6"):
        create(SemanticIdSettings(quantizer="pq", levels=3, codebook_size=6)).fit(points)
    with pytest.raises(SemanticIdError, match="can't cut 12 dimensions into 13"):
        create(SemanticIdSettings(quantizer="opq", levels=13, codebook_size=4)).fit(points)
    with pytest.raises(SemanticIdError, match=r"opq needs as many items .* 12, found 11\n.*pq"):
        create(SemanticIdSettings(quantizer="opq", levels=3, codebook_size=4)).fit(points[:11])


@pytest.mark.parametrize("name", ["pq", "opq"])
def test_slices_that_do_not_divide_the_dimensions_are_filled_up(name, tmp_path):
    points = hierarchy()
    quantizer = create(SemanticIdSettings(quantizer=name, levels=5, codebook_size=8)).fit(points)
    codes = quantizer.encode(points)
    left = np.square(points - quantizer.decode(codes)).sum(axis=1).mean()
    assert left < 0.6 * variance(points)
    quantizer.save(tmp_path)
    again = load_quantizer(tmp_path)
    assert again.dimension == 12
    assert np.array_equal(again.encode(points), codes)
    assert np.array_equal(again.decode(codes), quantizer.decode(codes))


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
            ({"quantizer": {"name": "vq"}}, "unknown quantizer 'vq'"),
            ({"quantizer": {"name": "a.json"}}, "unknown quantizer 'a.json'"),
            ({"quantizer": 3}, "expected the name of a quantizer"),
            ({"quantizer": "rqvae"}, "'mean' is missing"),
            ({"format": 1}, "format 1, this version reads 2"),
            ({"format": None}, "not the description of a quantizer"),
            (
                {"levels": 2},
                "'codebooks' has shape [3, 4, 12] of torch.float32, the quantizer claims [2, 4, any]",
            ),
            ({"levels": "three"}, "levels: Input should be a valid integer"),
            ({"levels": 10**8}, "the quantizer claims [100000000, 4, any]"),
            ({"levels": 3.0}, "levels: Input should be a valid integer"),
            ({"codebook_size": 10**12}, "the quantizer claims [3, 1000000000000, any]"),
            ({"error_quantiles": [1.0] * 100}, "not 101 rising numbers"),
            ({"error_quantiles": [2.0, 1.0] + [3.0] * 99}, "not 101 rising numbers"),
            ({"error_quantiles": []}, "not 101 rising numbers"),
        ],
    )
    def test_wrong_descriptions(self, folder: Path, values: dict, told: str):
        self.change(folder, **values)
        with pytest.raises(SemanticIdError) as caught:
            load_quantizer(folder)
        assert told in str(caught.value)
