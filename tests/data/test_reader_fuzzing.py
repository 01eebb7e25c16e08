"""Whatever stands in a file that a user hands over, reading it works or raises an H2RecError, and nothing else."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2rec.data.interactions import read_interactions
from h2rec.data.items import read_items
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.errors import H2RecError
from h2rec.files import read_yaml
from h2rec.retrieval.history_files import _stream
from h2rec.run.config import RunConfig
from h2rec.semantic_ids.interchange import read_codes
from h2rec.text.encoders.precomputed import read_precomputed

FUZZED = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ROWS = [
    ("u1", "i1", "5", "1000"),
    ("u1", "i2", "4", "1001"),
    ("ü2", "i1", "", "1002"),
    ("u2", "i3", "1", "1003"),
]
NAMES = ("user_id", "item_id", "rating", "timestamp")

edits = st.tuples(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3)), max_size=4),
    st.one_of(st.just(1.0), st.floats(0, 1)),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["<a_1>", "<b_2>"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


def damaged(data: bytes, edit) -> bytes:
    """Some bytes written over, and the end cut off."""
    changed = bytearray(data)
    for place, value in edit[0]:
        at = int(place * len(data))
        changed[at : at + len(value)] = value
    return bytes(changed[: int(edit[1] * len(changed))])


def whole_files(folder):
    """A good file of each format."""
    frame = pl.DataFrame(ROWS, schema=dict.fromkeys(NAMES, pl.String), orient="row")
    frame.write_parquet(folder / "a.parquet")
    frame.write_csv(folder / "a.csv")
    frame.write_csv(folder / "a.tsv", separator="\t")
    frame.write_ndjson(folder / "a.jsonl")
    typed = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "a.inter").write_text("\n".join([typed, *("\t".join(row) for row in ROWS)]) + "\n")
    for path in [*folder.iterdir()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


def outcome(read, *arguments, **options):
    """Run a reader; an H2RecError is an answer, anything else is not."""
    try:
        return read(*arguments, **options)
    except H2RecError:
        return None


FORMATS = ("inter", "csv", "tsv", "jsonl", "parquet")


@pytest.mark.parametrize("suffix", [*FORMATS, "inter.gz", "jsonl.gz"])
def test_damaged_tables(tmp_path, suffix):
    whole_files(tmp_path)
    path = tmp_path / f"a.{suffix}"
    good = path.read_bytes()
    assert read_interactions(open_table(path), ColumnSettings(), {}, min_rating=2).height > 0

    @FUZZED
    @given(edit=edits)
    def read(edit):
        path.write_bytes(damaged(good, edit))
        outcome(lambda: read_interactions(open_table(path), ColumnSettings(), {}, min_rating=2))
        outcome(lambda: read_items(open_table(path), ColumnSettings(), {}))

    read()


@pytest.mark.parametrize("suffix", [*FORMATS, "csv.gz", "jsonl.gz"])
def test_tables_of_any_bytes(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"

    @FUZZED
    @given(data=st.binary(max_size=120) | st.text(alphabet='a,"\n\t{}[]:\\0', max_size=60).map(str.encode))
    def read(data):
        path.write_bytes(data)
        outcome(lambda: read_interactions(open_table(path), ColumnSettings(user="a", item="a"), {}))

    read()


def test_files_of_codes(tmp_path):
    path = tmp_path / "a.index.json"

    @FUZZED
    @given(content=st.dictionaries(st.sampled_from(["i1", "i2"]), json_values) | json_values)
    def read(content):
        path.write_text(json.dumps(content))
        outcome(read_codes, path)
        outcome(read_codes, path, ["i1", "i2"])

    read()

    @FUZZED
    @given(data=st.binary(max_size=80))
    def read_bytes(data):
        path.write_bytes(data)
        assert outcome(read_codes, path) is None

    read_bytes()
    for text in ("[" * 100_000, '{"i1": [' + "9" * 5000 + "]}", '{"i1": [1e999]}', '{"i1": [-1]}'):
        path.write_text(text)
        assert outcome(read_codes, path) is None


def test_configurations(tmp_path):
    path = tmp_path / "a.yaml"

    def load():
        return RunConfig.parse(read_yaml(path), source=str(path))

    @FUZZED
    @given(
        content=st.dictionaries(
            st.sampled_from(["data", "text", "semantic_ids", "model", "loss", "train"]), json_values
        )
    )
    def read(content):
        path.write_text(json.dumps(content))
        outcome(load)

    read()

    @FUZZED
    @given(text=st.text(alphabet="ab:- \n\t[]{}&*!|>'\"#%@?,0.", max_size=60) | st.text(max_size=30))
    def read_text(text):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        outcome(load)

    read_text()
    for text in (
        "[" * 20_000,
        "a: !!python/object/apply:os.system ['false']",
        "a: &a [*a]",
        "? {a: b}: c",
        "2020-13-45",
    ):
        path.write_text(text)
        assert outcome(load) is None


def test_embeddings(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4), np.float32))
    good = path.read_bytes()
    assert outcome(read_precomputed, path, ["i1", "i2", "i3"]) is not None

    @FUZZED
    @given(edit=edits)
    def read(edit):
        path.write_bytes(damaged(good, edit))
        outcome(read_precomputed, path, ["i1", "i2", "i3"])

    read()


def test_files_of_histories(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user_id": ["u1", "u2"], "history": [["i1", "i2"], None]}).write_parquet(path)
    good = path.read_bytes()
    assert len(list(_stream(path, None))) == 1

    @FUZZED
    @given(edit=edits)
    def read(edit):
        path.write_bytes(damaged(good, edit))
        outcome(lambda: list(_stream(path, None)))

    read()
