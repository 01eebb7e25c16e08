"""Small files that claim, or hide, much; links and pipes; numbers that are none: refused, in little memory.

`benchmarks/robustness/damaged_bundles.py` tries some hundred more, each under a limit of memory.
"""

import json
import os
import shutil
import tracemalloc

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from h2rec.errors import BundleError, DataError
from h2rec.files import file_hash
from h2rec.retrieval import bundle as bundles
from h2rec.retrieval import manifest as manifests
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.parquet_pages import chunk_pages
from h2rec.retrieval.recommender import Recommender
from made_bundles import FUSED, make_bundle

NEW = pl.DataFrame({"item_id": ["new1"], "title": ["gentle shampoo dry"]})


@pytest.fixture
def copied(bundle_folder, tmp_path):
    return shutil.copytree(bundle_folder, tmp_path / "copied")


def signed(folder, **values):
    """Let the manifest fit the files as they are now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | values
    manifest["files"] = {name: file_hash(folder / name) for name in manifest["files"]}
    path.write_text(json.dumps(manifest))
    return folder


def with_column(folder, name, values, kind=None, **settings):
    table = pq.read_table(folder / "items.parquet")
    made = pa.array(values, kind or table.schema.field(name).type)
    table = table.set_column(table.schema.get_field_index(name), name, made)
    pq.write_table(table, folder / "items.parquet", **settings)
    return signed(folder)


def refused(folder, told):
    with pytest.raises(BundleError, match=told) as error:
        Bundle.load(folder)
    return str(error.value)


def test_rows_that_take_no_bytes_are_not_read(copied, monkeypatch):
    table = pq.read_table(copied / "items.parquet")
    pq.write_table(table.take(pa.array(np.full(2_000_000, 3))), copied / "items.parquet")
    assert (copied / "items.parquet").stat().st_size < 100_000
    monkeypatch.setattr(pl, "read_parquet", None)
    refused(signed(copied), "differ in length")


@pytest.mark.parametrize(
    "settings",
    [
        {"compression": "zstd"},
        {"compression": "zstd", "use_dictionary": False},
        {"use_dictionary": False, "column_encoding": {"title": "DELTA_BYTE_ARRAY"}},
    ],
    ids=["one for all rows", "compressed", "shared prefixes"],
)
def test_texts_larger_than_the_bundle_are_not_read(copied, monkeypatch, settings):
    with_column(copied, "title", ["long " * 40_000] * 60, **settings)
    monkeypatch.setattr(pl, "read_parquet", None)
    refused(copied, "claims more|longer than|not read")


def page(kind=0, size=1 << 30, held=3, own=(5, 1000), encoding=0):
    """A page's header in Thrift's compact form, and its bytes."""

    def number(value):
        value, out = value << 1, b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    header = b"".join(b"\x15" + number(value) for value in (kind, size, held))
    place, values = own
    own_header = b"\x15" + number(values) + b"\x15" + number(encoding) + b"\x00"
    return header + bytes([(place - 3) << 4 | 12]) + own_header + b"\x00" + b"x" * held


def test_pages_are_counted_by_their_headers_whatever_the_footer_says():
    dictionary = page(kind=2, size=70_000, own=(7, 12))
    data = memoryview(dictionary + page() + page(own=(5, 24), size=5))
    pages = chunk_pages(data, 0, len(data))
    assert (pages.uncompressed, pages.values) == (70_000 + (1 << 30) + 5, 1024)
    for stop in range(1, len(data)):
        if stop not in (len(dictionary), len(dictionary) + len(page())):
            with pytest.raises(DataError):
                chunk_pages(data, 0, stop)
    for wrong in (page(kind=1), page(encoding=7), page(kind=9), b"\xff" * 40, b"\x1c" * 40, b"\x19" * 40):
        with pytest.raises(DataError):
            chunk_pages(memoryview(wrong), 0, len(wrong))


def test_repeated_texts_of_a_usual_catalogue_are_read(copied):
    with_column(copied, "title", ["a text that all items have, " * 20] * 60)
    assert Bundle.load(copied).items["title"].n_unique() == 1


@pytest.mark.parametrize(
    ("name", "values", "kind", "told"),
    [
        ("train_count", range(-60, 0), None, "negative"),
        ("train_count", range(60), pa.int32(), "'train_count' is no column"),
        ("title", range(60), pa.int64(), "'title' is no column"),
        ("title", [["a"]] * 60, pa.list_(pa.string()), "is no column"),
        ("item_id", [None] * 60, None, "missing or not unique"),
        ("head", [None] * 60, None, "missing or not unique"),
    ],
)
def test_columns_of_other_kinds_are_refused(copied, name, values, kind, told):
    refused(with_column(copied, name, values, kind), told)


@pytest.mark.parametrize("name", ["item_vectors.npy", "codes.npy"])
@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, [("a", "f4"), ("b", "f4")]),
        np.zeros((61, 40)),
        np.zeros((60, 3), np.int64),
        np.asfortranarray(np.zeros((61, 40), np.float32)),
        np.asfortranarray(np.zeros((60, 3), np.int32)),
        np.float32(3),
    ],
    ids=["records", "float64", "int64", "columns first", "codes, columns first", "no axis"],
)
def test_arrays_of_other_types_are_refused_by_their_header(copied, monkeypatch, name, array):
    np.save(copied / name, array)
    monkeypatch.setattr(np, "load", None if name.startswith("item") else np.load)
    refused(signed(copied), rf"{name}: it holds")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_vectors_that_can_not_be_reckoned_with_are_refused(copied, value):
    vectors = np.load(copied / "item_vectors.npy")
    vectors[60, 5] = value
    np.save(copied / "item_vectors.npy", vectors)
    refused(signed(copied), "NaN, infinity or numbers out of all range")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(copied, value):
    name = "branches.ids.table.vectors.weight"
    weights = load_file(copied / "model.safetensors")
    weights[name] = weights[name].copy()
    weights[name][7, 3] = value
    save_file(weights, copied / "model.safetensors")
    refused(signed(copied), f"'{name}' holds NaN or infinity")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("levels", 10**8, "claims .100000000"),
        ("codebook_size", 10**12, "claims .3, 1000000000000"),
        ("error_quantiles", [0.5], "not 101 rising numbers"),
        ("quantizer", "rqvae", "'mean' is missing"),
        ("quantizer", {"name": "rqvae", "epochs": -1}, "epochs"),
        ("quantizer", None, "expected the name of a quantizer"),
    ],
)
def test_a_quantizer_that_claims_more_than_it_has_adds_nothing(copied, tmp_path, key, value, told):
    path = copied / "quantizer" / "quantizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    bundle = Bundle.load(signed(copied))
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=told):
            add_items(bundle, NEW, tmp_path / "grown")
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "grown").exists()


@pytest.mark.parametrize("name", ["codes.npy", "encoder", "encoder/encoder.json", "manifest.json"])
def test_a_link_inside_a_bundle_is_not_followed(copied, name):
    (copied / name).rename(copied.parent / "elsewhere")
    (copied / name).symlink_to(copied.parent / "elsewhere")
    refused(copied, "is a link|has no manifest")


def test_a_bundle_may_itself_be_reached_by_a_link(copied):
    (copied.parent / "current").symlink_to(copied)
    assert Bundle.load(copied.parent / "current").items.height == 60


@pytest.mark.parametrize("name", ["codes.npy", "manifest.json", "encoder/more"])
def test_a_pipe_is_not_waited_for(copied, name):
    (copied / name).unlink(missing_ok=True)
    os.mkfifo(copied / name)
    refused(copied, "no plain file|has no manifest")


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000 + "b", "\0", "a\nb", "\ud800"])
def test_names_that_no_file_can_have_are_refused(copied, name):
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"][name] = "0" * 64
    (copied / "manifest.json").write_text(json.dumps(manifest))
    refused(copied, "is missing").encode()  # can be printed
    with pytest.raises(BundleError):
        Bundle.load(copied / name if "/" not in name else copied / ("b" * 300))


@pytest.mark.parametrize(
    ("put", "told"),
    [
        ('"item_count": 60, ', "'item_count' stands twice"),
        ('"more": NaN, ', "NaN is no number"),
        ('"more": 1e999, ', "out of range"),
        ('"more": ' + "[" * 100_000, "not valid JSON"),
        ('"more": ' + "9" * 5000 + ", ", "not valid JSON"),
        (" " * (5 << 20), "larger than any real one"),
    ],
)
def test_json_that_can_be_read_in_two_ways_or_not_at_all_is_refused(copied, put, told):
    path = copied / "manifest.json"
    path.write_text(path.read_text().replace("{", "{" + put, 1))
    refused(copied, told)


def test_what_the_system_refuses_is_told_with_what_to_do(copied, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(manifests, "file_hash", forbidden)
    assert "chmod" in refused(copied, "'model.safetensors' can't be read|can't be read")


def test_memory_that_is_not_there_is_a_bundle_error(copied, monkeypatch):
    def greedy(*_):
        raise MemoryError

    monkeypatch.setattr(bundles, "read_item_table", greedy)
    refused(copied, "MemoryError")


@pytest.mark.parametrize("fields", [["title", "title"], ["nothing"]])
def test_text_fields_that_the_items_do_not_have_are_refused(copied, fields):
    refused(signed(copied, text_fields=fields), "text fields")


def test_a_claimed_length_of_histories_takes_no_memory(tmp_path):
    folder = make_bundle(tmp_path / "bundle", backbone="gru4rec")  # no table of positions tells its length
    model = json.loads((folder / "manifest.json").read_text())["model"]
    bundle = Bundle.load(signed(folder, model=model | {"max_length": 10**9}))
    recommender = Recommender(bundle, frozen=True)
    assert len(recommender.recommend(["i3"], 5).items) == 5


def test_a_history_that_makes_no_numbers_is_told(tmp_path):
    folder = make_bundle(tmp_path / "bundle", **FUSED)
    weights = load_file(folder / "model.safetensors")
    weights["branches.codes.fusion.out.weight"][:] = 3e38
    weights["branches.ids.table.vectors.weight"][30] = 3e38
    for name, weight in weights.items():
        if name.endswith("norm.weight"):
            weight[:] = 1e19
    save_file(weights, folder / "model.safetensors")
    signed(folder)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(bundles, "_check_numbers", lambda *_: None)  # it asks about two histories, not about all
    recommender = Recommender.load(folder)
    monkey.undo()
    with pytest.raises(BundleError, match="NaN, infinity or numbers out of all range of a history"):
        recommender.recommend(["i3", "i29"], 5)
    assert len(recommender.recommend(["unknown"], 5).items) == 5  # popular ones need no model


def test_a_bundle_that_is_replaced_while_it_is_read_is_not_mixed(copied, tmp_path, monkeypatch):
    other = make_bundle(tmp_path / "other", seed=1)
    read = bundles.read_item_table

    def replaced_first(*arguments):
        copied.rename(tmp_path / "old")
        other.rename(copied)
        return read(*arguments)

    monkeypatch.setattr(bundles, "read_item_table", replaced_first)
    refused(copied, "was replaced while it was read")


def test_items_are_not_added_to_what_was_replaced_after_it_was_loaded(copied, tmp_path):
    bundle = Bundle.load(copied)
    shutil.rmtree(copied)
    make_bundle(copied, seed=1)
    with pytest.raises(BundleError, match="was replaced after it was loaded"):
        add_items(bundle, NEW, tmp_path / "grown")
