"""Exports: the list of a bundle, found again where its vectors went."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from servers import postgres, search_engine

from h2rec.cli.main import main
from h2rec.data.histories import Histories
from h2rec.errors import ConfigError, DataError, H2RecError, MissingExtraError
from h2rec.python.model import Model
from h2rec.retrieval.destinations import DESTINATIONS
from h2rec.retrieval.destinations.aliased import Aliased
from h2rec.retrieval.destinations.protocol import Destination
from h2rec.retrieval.export import export_transitions, export_vectors, user_vectors
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.onnx_export import is_user_encoder
from h2rec.retrieval.recommender import Recommender
from made_bundles import made_items, make_bundle

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy"))
from rerank import Reranker

ANY = ItemFilter(seen=True)
BRANCHES = {
    "prefixes": {"kind": "prefixes", "weight": 0.5},
    **dict.fromkeys(("followers", "predecessors", "kinds", "similar_text", "similar_vectors")),
}
HISTORIES = [
    ["i3"],
    ["i3", "i10", "i17"],
    ["i59", "i3", "i3", "i0", "i7", "i14", "i21"],
    ["i30", "i1"],
    ["i58", "no"],
]
EXTRAS = {"qdrant": "qdrant_client", "milvus": "pymilvus", "postgresql": "psycopg"}
EXTRAS |= {"elasticsearch": "elasticsearch", "opensearch": "opensearchpy"}


@pytest.fixture(scope="module")
def by_vectors(tmp_path_factory):
    """A recommender that has vectors for all that it knows."""
    return Recommender.load(make_bundle(tmp_path_factory.mktemp("vectors") / "bundle", branches=BRANCHES))


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    return Recommender.load(make_bundle(tmp_path_factory.mktemp("counting") / "bundle"))


@pytest.fixture(scope="module", params=[*DESTINATIONS.names()])
def store(request, tmp_path_factory):
    """The address of a place for vectors of each kind."""
    kind, folder = request.param, tmp_path_factory.mktemp("stores")
    if kind in EXTRAS:
        pytest.importorskip(EXTRAS[kind], reason=f"the extra '{kind}' is not installed")
    with ExitStack() as stack:
        match kind:
            case "parquet" | "npy":
                yield f"{folder}/items.{kind}"
            case "qdrant":
                yield f"qdrant:{folder}/qdrant/items"
            case "milvus":
                pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
                yield f"milvus:{folder}/milvus.db/items"
            case "postgresql":
                yield f"postgresql://shop@/postgres/items?host={stack.enter_context(postgres())}"
            case _:
                yield stack.enter_context(search_engine(kind)).address


def opened(address):
    return DESTINATIONS.get(kind_of(address)).open(address)


def kind_of(address):
    return address.partition(":")[0] if ":" in address else address.rpartition(".")[2]


def test_a_store_gives_the_list_of_the_bundle(by_vectors, store):
    """Twice: a second export takes the place of the first."""
    for _ in range(2):
        done = export_vectors(by_vectors, store)
        assert (done.items, done.recall) == (60, 1.0)
        assert "secret" not in done.place
    users = user_vectors(by_vectors, HISTORIES)
    destination = opened(store)
    lists = destination.search(users, 10)
    destination.close()
    for history, listed in zip(HISTORIES, lists, strict=True):
        expected = by_vectors.recommend(history, 10, filter=ANY).items
        assert [item for item, _ in listed] == [item.item_id for item in expected]
        assert [score for _, score in listed] == pytest.approx(
            [item.score for item in expected], rel=1e-4, abs=1e-4
        )


def test_a_smaller_catalogue_leaves_nothing_of_a_larger_one(by_vectors, store, tmp_path):
    export_vectors(by_vectors, store)
    smaller = Recommender.load(
        make_bundle(tmp_path / "bundle", items=made_items(40), branches=BRANCHES, dim=4)
    )
    assert export_vectors(smaller, store, attributes=["category"]).recall == 1.0
    destination = opened(store)
    (listed,) = destination.search(user_vectors(smaller, [["i3"]]), 60)
    if isinstance(destination, Aliased):
        assert len([name for name in destination.collections() if name.startswith("items")]) == 1
    destination.close()
    assert sorted(item for item, _ in listed) == sorted(smaller.item_ids)


def test_an_export_that_breaks_off_leaves_what_was_there(by_vectors, store, monkeypatch):
    export_vectors(by_vectors, store)
    real = DESTINATIONS.get(kind_of(store)).write

    def broken(self, table):
        def some():
            yield next(table.batches)
            raise RuntimeError("the cable was pulled\nwith a long story")

        real(self, type(table)(table.schema, table.shape, some()))

    monkeypatch.setattr(DESTINATIONS.get(kind_of(store)), "write", broken)
    with pytest.raises(H2RecError, match=r"the cable was pulled$") as raised:
        export_vectors(by_vectors, store)
    assert "secret" not in str(raised.value)
    monkeypatch.undo()
    destination = opened(store)
    assert destination.held() == "ours"
    assert len(destination.search(user_vectors(by_vectors, [["i3"]]), 60)[0]) == 60
    destination.close()


def test_what_h2rec_did_not_write_stays_unless_told(by_vectors, store, tmp_path):
    kind, other = kind_of(store), store.replace("/items", "/foreign")
    make_foreign(kind, other)
    with pytest.raises(H2RecError, match="h2rec did not write it"):
        export_vectors(by_vectors, other)
    assert export_vectors(by_vectors, other, replace=True).recall == 1.0
    assert export_vectors(by_vectors, other).recall == 1.0
    if kind == "npy":  # of two files neither is overwritten
        Path(other).unlink()
        Path(other).with_suffix(".items.parquet").write_text("mine")
        with pytest.raises(H2RecError, match="h2rec did not write it"):
            export_vectors(by_vectors, other)


def make_foreign(kind, address):
    if kind in ("parquet", "npy"):
        Path(address).write_text("mine")
        return
    destination = opened(address)
    if kind == "postgresql":
        destination.connection.execute('CREATE TABLE "foreign" (a int)')
        destination.connection.commit()
    elif kind == "qdrant":  # an alias of somebody's own
        from qdrant_client.models import Distance, VectorParams

        destination.client.create_collection("theirs", VectorParams(size=3, distance=Distance.COSINE))
        destination.point("theirs")
    elif kind == "milvus":
        destination.client.create_collection("foreign", dimension=3)
    else:
        table = type("Table", (), {"shape": (1, 3)})
        destination.create("foreign", table)
    destination.close()


def test_the_columns_of_an_export(by_vectors, tmp_path):
    export_vectors(by_vectors, str(tmp_path / "items.parquet"))
    table = pl.read_parquet(tmp_path / "items.parquet")
    width = by_vectors.bundle.item_vectors.shape[1]
    assert table.schema == {
        "item_id": pl.String,
        "item_index": pl.Int64,
        "head": pl.Boolean,
        "train_count": pl.Int64,
        "codes": pl.String,
        "title": pl.String,
        "category": pl.String,
        "vector": pl.Array(pl.Float32, width),
    }
    assert table["item_id"].to_list() == by_vectors.item_ids
    assert table["item_index"].to_list() == list(range(1, 61))
    assert table["codes"][5] == "-".join(map(str, by_vectors.catalogue.codes(6)))
    np.testing.assert_array_equal(table["vector"].to_numpy(), by_vectors.bundle.item_vectors[1:])
    export_vectors(by_vectors, str(tmp_path / "items.npy"), attributes=["title"])
    np.testing.assert_array_equal(np.load(tmp_path / "items.npy"), by_vectors.bundle.item_vectors[1:])
    beside = pl.read_parquet(tmp_path / "items.items.parquet")
    assert beside.columns == ["item_id", "item_index", "head", "train_count", "codes", "title"]
    np.testing.assert_array_equal(
        by_vectors.user_vectors([[" i3", "nobody"]]),
        by_vectors.encoder.encode(Histories.from_lists([[4]])).vectors.numpy(),
    )


def test_attributes_are_those_of_the_items(by_vectors, tmp_path):
    with pytest.raises(DataError, match=r"no attribute 'colour'\n  hint: there are: title, category"):
        export_vectors(by_vectors, str(tmp_path / "items.parquet"), attributes=["title", "colour"])
    items = made_items(20).rename({"category": "vector"})
    clashing = Recommender.load(make_bundle(tmp_path / "bundle", items=items, branches=BRANCHES))
    with pytest.raises(DataError, match="an attribute 'vector'"):
        export_vectors(clashing, str(tmp_path / "items.parquet"))
    assert Model(clashing).export_vectors(str(tmp_path / "items.parquet"), attributes=["title"]).items == 20


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("items.csv", "known are the endings or schemes parquet, npy, qdrant"),
        ("items", "is no destination"),
        ("redis://me:secret@host/items", "'redis://host/items' is no destination"),
        ("qdrant://localhost:6333", r"names no table\n  hint: expected qdrant://HOST:PORT/NAME"),
        ("qdrant:items", "names no table"),
        ("postgresql://me:secret@host/", "postgresql://host/: names no table"),
    ],
)
def test_addresses_that_are_none(by_vectors, address, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told):
        export_vectors(by_vectors, address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", EXTRAS)
def test_nobody_answers_and_nothing_is_installed(by_vectors, kind, monkeypatch):
    pytest.importorskip(EXTRAS[kind])
    address = f"{kind}://me:secret@127.0.0.1:1/shop/items"
    if kind != "milvus":  # which asks for ten seconds
        with pytest.raises(H2RecError, match=f"{kind}://127.0.0.1:1/shop/items: .") as raised:
            export_vectors(by_vectors, address)
        assert "secret" not in str(raised.value)
    monkeypatch.setitem(sys.modules, EXTRAS[kind], None)
    with pytest.raises(MissingExtraError, match=rf"h2rec\[{kind}\]"):
        export_vectors(by_vectors, address)


def test_a_destination_of_ones_own(by_vectors, monkeypatch):
    kept = {}

    class Memory(Destination):
        @classmethod
        def open(cls, address):
            return cls()

        def held(self):
            return "ours" if kept else "nothing"

        def write(self, table):
            kept["rows"] = pl.concat(table.batches)

        def search(self, users, k):
            scores = users @ kept["rows"]["vector"].to_numpy().T
            ids = kept["rows"]["item_id"].to_list()
            return [[(ids[row], of[row]) for row in np.argsort(-of)[: k // 2]] for of in scores]

    DESTINATIONS.register("memory")(Memory)
    try:
        # It finds half of what it is asked for, and the export says so.
        assert export_vectors(by_vectors, "memory:").recall == 0.5
    finally:
        del DESTINATIONS._parts["memory"]


@pytest.mark.parametrize("k", [1, 10, 55])
@pytest.mark.parametrize("repeats", [False, True])
def test_counts_and_vectors_together_are_the_list_of_the_bundle(counting, tmp_path, k, repeats):
    """The best by vector from a store, joined by what counts lift, and scored anew."""
    export_vectors(counting, str(tmp_path / "vectors.parquet"))
    export_transitions(counting, tmp_path / "transitions.parquet")
    reranker = Reranker(tmp_path / "vectors.parquet", tmp_path / "transitions.parquet")
    store = DESTINATIONS.get("parquet").open(str(tmp_path / "vectors.parquet"))
    users = user_vectors(counting, HISTORIES)
    lifted = 0
    for history, user in zip(HISTORIES, users, strict=True):
        (found,) = store.search(user[None], k + len(history) + 1)
        proposed = [item for item, _ in found]
        listed = reranker.rank(user, history, proposed, k, repeats)
        expected = counting.recommend(history, k, filter=ItemFilter(seen=repeats)).items
        assert [item for item, _ in listed] == [item.item_id for item in expected]
        assert [s for _, s in listed] == pytest.approx([item.score for item in expected], rel=1e-4, abs=1e-4)
        lifted += len({item for item, _ in listed} - set(proposed))
    assert lifted or k == 55


@pytest.mark.parametrize("rule", ["allowed", "excluded"])
def test_lists_of_counts_and_vectors_repeat_as_the_bundle_does(counting, tmp_path, rule):
    manifest = counting.bundle.manifest.model_copy(update={"repeats": rule})
    recommender = Recommender(replace(counting.bundle, manifest=manifest))
    export_vectors(recommender, str(tmp_path / "vectors.parquet"))
    export_transitions(recommender, tmp_path / "transitions.parquet")
    reranker = Reranker(tmp_path / "vectors.parquet", tmp_path / "transitions.parquet")
    (user,) = user_vectors(recommender, HISTORIES[:1])
    listed = reranker.rank(user, HISTORIES[0], reranker.nearest(user, 55), 55)
    expected = recommender.recommend(HISTORIES[0], 55).items
    assert [item for item, _ in listed] == [item.item_id for item in expected]
    assert (set(HISTORIES[0]) & {item for item, _ in listed} != set()) == (rule == "allowed")


def test_transitions_keep_what_h2rec_did_not_write(counting, by_vectors, tmp_path):
    (tmp_path / "t.parquet").write_text("mine")
    with pytest.raises(H2RecError, match="h2rec did not write it"):
        export_transitions(counting, tmp_path / "t.parquet")
    rows = export_transitions(counting, tmp_path / "t.parquet", replace=True)
    assert pl.read_parquet(tmp_path / "t.parquet").height == rows
    assert export_transitions(counting, tmp_path / "t.parquet") == rows
    with pytest.raises(DataError, match="counts no transitions"):
        export_transitions(by_vectors, tmp_path / "t.parquet")


def told(capsys, *words, code=0):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == code
    printed = capsys.readouterr()
    return " ".join(printed.out.split()), " ".join(printed.err.split())


def test_the_command(counting, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder = counting.bundle.folder
    out, err = told(
        capsys, "export", folder, "--vectors", tmp_path / "items.parquet", "--attributes", "title"
    )
    assert "60 item vectors, 100.0% of the best found again" in out
    assert (
        "the counts of followers, predecessors, kinds, similar_text, similar_vectors have no vectors" in err
    )
    assert "title" in pl.read_parquet(tmp_path / "items.parquet").columns
    both = ["--vectors", tmp_path / "items.npy", "--transitions", tmp_path / "t.parquet"]
    out, err = told(capsys, "export", folder, *both)
    assert "transitions: " in out
    assert err == ""
    assert "nothing to export" in told(capsys, "export", folder, code=2)[1]
    for option in ("--transitions", "--encoder"):
        words = [option, tmp_path / "x", "--attributes", "title"]
        assert "go along with --vectors" in told(capsys, "export", folder, *words, code=2)[1]


def test_the_encoder_of_the_command(counting, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    folder, file = counting.bundle.folder, tmp_path / "users.onnx"
    file.write_text("mine")
    assert "did not write it" in told(capsys, "export", folder, "--encoder", file, code=2)[1]
    told(capsys, "export", folder, "--encoder", file, "--replace")
    assert is_user_encoder(file)  # which makes way
    items = np.zeros((1, 6), np.int64)
    items[0, :2] = 4, 11  # item_index of i3, i10
    (found,) = runtime.InferenceSession(file.read_bytes()).run(
        None, {"items": items, "lengths": np.array([2])}
    )
    np.testing.assert_allclose(found, user_vectors(counting, [["i3", "i10"]]), rtol=1e-4, atol=1e-4)


def test_a_model_that_counts_alone_has_no_vectors(tmp_path):
    alone = Recommender.load(make_bundle(tmp_path / "bundle", preset="transitions"))
    with pytest.raises(DataError, match="counts alone"):
        export_vectors(alone, str(tmp_path / "items.parquet"))
    assert export_transitions(alone, tmp_path / "t.parquet") > 0


def test_a_user_of_whom_nothing_is_known_has_no_vector(counting):
    with pytest.raises(DataError, match="history 1: none of its items is known"):
        user_vectors(counting, [["i3"], ["nobody"]])


def test_what_is_decoded_is_in_no_export(tmp_path, capsys):
    decoded = make_bundle(tmp_path / "alone", preset="generative", branches={"ids": None})
    with pytest.raises(DataError, match="or decodes"):
        export_vectors(Recommender.load(decoded), str(tmp_path / "items.parquet"))
    both = make_bundle(tmp_path / "both", preset="generative")
    _, err = told(capsys, "export", both, "--vectors", tmp_path / "items.npy")
    assert "no other system has the scores of codes" in err
