"""What a user already has is never overwritten or deleted, unless it is plainly ours."""

import os
import stat
import sys

import polars as pl
import pytest

from h2rec.claims import claim_file, claim_folder
from h2rec.errors import H2RecError
from h2rec.files import atomic_folder, atomic_path, left_overs, sweep, write_json, write_text


def ours(path):
    return (path / "mark").exists() if path.is_dir() else path.read_text() == "ours"


def fill(path, known=ours):
    with atomic_folder(path, known) as fresh:
        (fresh / "mark").write_text("new")


def test_a_folder_of_somebody_else_is_refused_and_whole_afterwards(tmp_path):
    theirs = tmp_path / "precious"
    (theirs / "sub").mkdir(parents=True)
    (theirs / "thesis.txt").write_text("mine")
    with pytest.raises(H2RecError, match=r"precious: holds what h2rec did not write"):
        fill(theirs)
    assert (theirs / "thesis.txt").read_text() == "mine"
    assert (theirs / "sub").is_dir()
    assert not left_overs(tmp_path)


def test_what_comes_while_it_is_written_is_not_replaced_either(tmp_path):
    def somebody_comes():
        with atomic_folder(tmp_path / "new", ours) as fresh:
            (fresh / "mark").write_text("new")
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "thesis.txt").write_text("mine")

    with pytest.raises(H2RecError, match="did not write"):
        somebody_comes()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["thesis.txt"]


def test_an_empty_folder_and_our_own_are_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    (tmp_path / "out" / "older").write_text("ours too")
    fill(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mark"]


def test_files_links_and_the_folder_that_one_is_in_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name, message in {
        "file": "is a file, not a folder",
        "file/below": "is a file, and below would lie in it",
        "link": "is a link",
        "dangling": "is a link",
    }.items():
        with pytest.raises(H2RecError, match=message):
            fill(tmp_path / name)
    monkeypatch.chdir(tmp_path / "real")
    for here in (".", "../real", "..", "/"):
        with pytest.raises(H2RecError, match=r"can't be replaced while|did not write"):
            claim_folder(type(tmp_path)(here), ours)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_tilde_is_a_name_for_claims_as_for_writing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert claim_folder(type(tmp_path)("~/out"), ours) == tmp_path / "~" / "out"


def test_single_files_are_claimed_alike(tmp_path):
    (tmp_path / "theirs").write_text("mine")
    (tmp_path / "ours").write_text("ours")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    for name in ("ours", "empty", "new"):
        claim_file(tmp_path / name, ours)
    for path in (tmp_path / "theirs", tmp_path / "link", tmp_path, type(tmp_path)(os.devnull)):
        with pytest.raises(H2RecError):
            claim_file(path, ours)


def test_only_left_overs_of_our_own_naming_are_swept(tmp_path):
    for name in (
        ".out.0123abcd.partial",
        ".out.0123abcd.replaced",
        ".out.notes.partial",
        ".other.0123abcd.partial",
    ):
        (tmp_path / name).mkdir()
    sweep(tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {".out.notes.partial", ".other.0123abcd.partial"}


@pytest.mark.skipif(sys.platform == "win32", reason="has other permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_all_that_is_written_has_the_permissions_of_the_umask(tmp_path, mask):
    old = os.umask(mask)
    try:
        with atomic_folder(tmp_path / "folder") as fresh:
            (fresh / "below").mkdir(mode=0o700)
            for name in ("private", "below/private"):
                (fresh / name).touch(mode=0o600)
        with atomic_path(tmp_path / "file") as temporary:
            temporary.touch(mode=0o600)
        write_text(tmp_path / "text", "x")
        write_json(tmp_path / "json", {})
    finally:
        os.umask(old)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_answers_are_written_over_answers_and_nothing_else(tmp_path):
    from h2rec.retrieval.batch import claim_target
    from h2rec.retrieval.results import RESULT_SCHEMA

    histories, theirs, answers = (tmp_path / f"{name}.parquet" for name in ("histories", "theirs", "answers"))
    for path in (histories, theirs):
        pl.DataFrame({"user_id": ["u"], "history": [["i1"]]}).write_parquet(path)
    import pyarrow.parquet as pq

    pq.write_table(RESULT_SCHEMA.empty_table(), answers)
    claim_target(histories, answers)
    claim_target(histories, tmp_path / "new.parquet")
    for target, message in {histories: "is the file of the histories", theirs: "did not write"}.items():
        with pytest.raises(H2RecError, match=message):
            claim_target(histories, target)


def test_a_bundle_that_may_not_be_read_is_told_with_what_to_do(tmp_path, monkeypatch):
    from h2rec.errors import BundleError
    from h2rec.retrieval import manifest
    from h2rec.retrieval.bundle import Bundle

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(manifest, "_parse", refused)
    with pytest.raises(BundleError, match=r"can't be read \(Permission denied\)\n.*chmod"):
        Bundle.load(tmp_path)
