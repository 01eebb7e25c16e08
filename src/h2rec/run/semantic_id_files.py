"""What the stages of the semantic IDs and of their audit leave in their folders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from h2rec.files import read_json, write_json
from h2rec.semantic_ids.audit import audit
from h2rec.semantic_ids.audit.picture import write_html
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import Embeddings
from h2rec.semantic_ids.quantizers import load_quantizer
from h2rec.semantic_ids.tokenize import Tokenized


def write_tokenized(folder: Path, tokenized: Tokenized, item_ids: Sequence[str]) -> None:
    """Write codes of the items, in their order, and the quantizer if there is one."""
    ids = tokenized.semantic_ids
    ids.save(folder / "semantic_ids.json", item_ids)
    np.save(folder / "codes.npy", ids.codes)
    write_json(folder / "codebook_sizes.json", list(ids.codebook_sizes))
    if tokenized.quantizer is not None:
        (folder / "quantizer").mkdir()
        tokenized.quantizer.save(folder / "quantizer")


def read_tokenized(folder: Path) -> SemanticIds:
    """Read the codes that `write_tokenized` wrote."""
    codes = np.load(folder / "codes.npy", allow_pickle=False)
    return SemanticIds(codes, tuple(read_json(folder / "codebook_sizes.json")))


def write_audit(
    folder: Path, source: Path, items: pl.DataFrame, texts: Sequence[str], embeddings: Embeddings | None
) -> None:
    """Judge what `write_tokenized` left in the folder `source`; write `audit.json` and `audit.html`.

    `folder`, `source`: where to write, and what to judge. `items`, `texts`, `embeddings`: item table, texts and
    embeddings `[N, m]`, in the order of the codes.
    """
    quantizer = load_quantizer(source / "quantizer") if (source / "quantizer").is_dir() else None
    report = audit(
        read_tokenized(source),
        embeddings=embeddings,
        quantizer=quantizer,
        texts=list(texts),
        item_ids=items["item_id"].to_list(),
    )
    write_json(folder / "audit.json", report.to_json())
    write_html(folder / "audit.html", report, "Semantic IDs")
