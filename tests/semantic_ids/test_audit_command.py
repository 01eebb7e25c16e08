import json
from pathlib import Path

import numpy as np
import pytest
import typer
from made_catalogues import hierarchy
from typer.testing import CliRunner, Result

from h2rec.cli.audit import audit
from h2rec.errors import DataError, H2RecWarning, SemanticIdError
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.semantic_ids.tokenize import tokenize

KINDS = ("coffee roaster", "car repair", "hair salon", "pizza oven")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    points = hierarchy()
    settings = SemanticIdSettings(quantizer="rqkmeans", levels=3, codebook_size=4)
    names = [f"i{row}" for row in range(256)]
    found = tokenize(points, names, settings)
    found.semantic_ids.save(tmp_path / "semantic_ids.json", names)
    (tmp_path / "quantizer").mkdir()
    found.quantizer.save(tmp_path / "quantizer")
    np.save(tmp_path / "embeddings.npy", points)
    rows = [f"{name}\t{KINDS[row // 64]}\tnumber {row}" for row, name in enumerate(names)]
    (tmp_path / "shop.item").write_text(
        "item_id:token\ttitle:token_seq\tkind:token_seq\n" + "\n".join(rows) + "\n"
    )
    return tmp_path


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(audit)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_codes_alone_are_audited(folder: Path):
    done = run(folder / "semantic_ids.json")
    assert done.exit_code == 0
    assert "use of the codes" in done.stdout
    assert "256 items have 64 different tuples" in done.stdout


def test_published_codes_are_audited(tmp_path: Path):
    (tmp_path / "x.index.json").write_text('{"a": ["<a_1>", "<b_0>"], "b": ["<a_1>", "<b_0>"]}')
    done = run(tmp_path / "x.index.json", "--json")
    assert json.loads(done.stdout)["collisions"]["largest"][0]["item_ids"] == ["a", "b"]


def test_everything_together_as_json_and_page(folder: Path):
    done = run(
        folder / "semantic_ids.json", "--items", folder / "shop.item",
        "--embeddings", folder / "embeddings.npy", "--quantizer", folder / "quantizer",
        "--json", "--html", folder / "page.html",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["error_by_depth"][2]["reconstruction"] < 0.01
    assert found["neighbours"][1]["closer_than_random"] > 0.8
    assert found["levels"][0]["codebook_size"] == 4
    typical = {word for branch in found["branches"] for word in branch["words"]}
    assert {"coffee", "repair", "hair", "pizza"} <= typical
    assert "coffee" in (folder / "page.html").read_text()


def test_items_without_a_row_are_warned_of_and_a_wrong_file_is_refused(folder: Path):
    lines = (folder / "shop.item").read_text().splitlines()
    (folder / "shop.item").write_text("\n".join(lines[:-6]) + "\n")
    with pytest.warns(H2RecWarning, match="6 of 256 items have no row here"):
        assert run(folder / "semantic_ids.json", "--items", folder / "shop.item").exit_code == 0
    (folder / "shop.item").write_text("\n".join([lines[0], "other\tx\ty"]) + "\n")
    done = run(folder / "semantic_ids.json", "--items", folder / "shop.item")
    assert isinstance(done.exception, SemanticIdError)
    assert "none of the 256 items" in str(done.exception)


def test_embeddings_that_can_not_be_read_are_told(folder: Path):
    (folder / "embeddings.npy").write_bytes(b"not numpy")
    done = run(folder / "semantic_ids.json", "--embeddings", folder / "embeddings.npy")
    assert isinstance(done.exception, DataError)
    assert "not a plain .npy array" in str(done.exception)
    np.save(folder / "embeddings.npy", np.float32(1))
    done = run(folder / "semantic_ids.json", "--embeddings", folder / "embeddings.npy")
    assert "expected numbers of shape [items, size]" in str(done.exception)


def test_a_quantizer_of_other_sizes_is_refused(folder: Path):
    points = hierarchy()
    (folder / "other").mkdir()
    create(SemanticIdSettings(quantizer="rqkmeans", levels=2, codebook_size=2)).fit(points).save(
        folder / "other"
    )
    done = run(folder / "semantic_ids.json", "--quantizer", folder / "other")
    assert isinstance(done.exception, SemanticIdError)
    assert "is outside 0..1" in str(done.exception)
