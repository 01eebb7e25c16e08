"""Embeddings of a catalogue, computed once for every text and cached by content."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.engines import LOCAL, Engine
from h2rec.errors import DataError
from h2rec.files import cache_folder
from h2rec.progress import progress_bar
from h2rec.text.blind_spots import other_encoders, understood
from h2rec.text.choice import text_fields
from h2rec.text.encoders import JoinedEncoder, build_encoder
from h2rec.text.encoders.precomputed import read_precomputed
from h2rec.text.fields import item_texts
from h2rec.text.noise import NOTHING, text_sources
from h2rec.text.protocol import TextEncoder
from h2rec.text.settings import TextSettings
from h2rec.text.store import VectorStore

logger = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]
_TEXTS_A_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """Embeddings of a catalogue's texts."""

    vectors: Vectors
    """float32 `[N, m]`; row `i - 1` belongs to item index `i`. Rows have unit length; items without text have the mean
    of the others."""
    has_text: npt.NDArray[np.bool_]
    """bool `[N]`."""
    encoder: TextEncoder
    """The fitted encoder, for new items."""


def embed(
    items: pl.DataFrame,
    settings: TextSettings,
    *,
    cache: Path | None = None,
    item_file_index: npt.NDArray[np.integer] | None = None,
    device: str | None = None,
    engine: Engine = LOCAL,
) -> TextEmbeddings:
    """Embed every item's text.

    Parameters
    ----------
    items
        The item table: `item_id` and the text fields, in index order.
    cache
        Folder in which embeddings are kept by text, for later runs; by default `embeddings` in the cache folder.
    item_file_index
        `Dataset.item_file_index`, for a `.npy` in the order of the item file.
    device
        Where a sentence encoder runs; None takes a GPU where there is one.
    engine
        What embeds blocks of texts.

    Raises `DataError` if no item has text, or ready embeddings don't fit the items; `ConfigError` for an unknown field
    or model; `MissingExtraError` if the encoder needs a package that is not installed.
    """
    if settings.precomputed is not None:
        ids = items["item_id"].to_list()
        vectors, has_text, ready = read_precomputed(settings.precomputed, ids, item_file_index)
        if settings.noise is not None:
            sources = text_sources(settings.noise, len(ids))
            vectors, has_text = vectors[sources], has_text[sources] & (sources != NOTHING)
        return TextEmbeddings(_filled(vectors, has_text, "embedding"), has_text, ready)
    texts = item_texts(items, text_fields(items, settings.fields))
    if settings.noise is not None:
        sources = text_sources(settings.noise, len(texts))
        texts = ["" if source == NOTHING else texts[source] for source in sources]
    has_text = np.array([bool(text) for text in texts], dtype=np.bool_)
    if not has_text.any():
        raise DataError(
            "no item has text to be embedded",
            "give an item file with text columns (data.items), or a .npy of ready embeddings (text.encoder)",
        )
    present = [text for text in texts if text]
    encoder = build_encoder(settings, device).fit(present)
    cache = cache_folder() / "embeddings" if cache is None else cache
    embedded = embed_texts(present, encoder, cache, engine)
    broken = np.flatnonzero(~np.isfinite(embedded).all(axis=1))
    if len(broken):
        raise DataError(
            f"the encoder {encoder.name} makes NaN or infinity of {len(broken)} texts: {present[broken[0]][:80]!r}"
        )
    vectors = np.zeros((len(texts), embedded.shape[1]), np.float32)
    vectors[has_text] = embedded
    ids = items["item_id"].filter(pl.Series(has_text)).to_list()
    has_text[has_text] = understood(ids, present, embedded, encoder)
    if not has_text.any():
        raise DataError(
            f"no item has a text of which the encoder {encoder.name} knows a word", other_encoders(encoder)
        )
    return TextEmbeddings(_filled(vectors, has_text, "text"), has_text, encoder)


def embed_texts(texts: Sequence[str], encoder: TextEncoder, cache: Path, engine: Engine = LOCAL) -> Vectors:
    """Embed texts, equal ones once, `[n, m]`; vectors of earlier texts come from the cache.

    What an encoder makes of a text does not depend on the others it is given, so a cached vector equals a new one.
    """
    if isinstance(encoder, JoinedEncoder):
        return encoder.join(texts, [embed_texts(texts, part, cache, engine) for part in encoder.parts])
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    # The longest first: too little memory shows at once, and the estimate of the time left is not too low.
    blocks = [
        distinct[start : start + _TEXTS_A_BLOCK]
        for start in reversed(range(0, len(distinct), _TEXTS_A_BLOCK))
    ]
    maker = encoder.maker
    if maker is None:
        parts = [vectors for vectors, _ in engine.map(_Encoding(encoder), blocks)]
        return np.concatenate(parts[::-1])[_rows(distinct, texts)]
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    with (
        VectorStore(cache, maker) as store,
        progress_bar("embedding texts", len(distinct), "texts") as advance,
    ):
        for block in blocks:
            vectors |= store.find(block)
        advance(len(vectors))
        fresh = [left for block in blocks if (left := [text for text in block if text not in vectors])]
        for left, (made, own_maker) in zip(fresh, engine.map(_Encoding(encoder), fresh), strict=True):
            embedded = dict(zip(left, made, strict=True))
            if own_maker == maker:  # another machine's bits may differ
                store.keep(embedded)
            vectors |= embedded
            advance(len(left))
    return np.stack([vectors[text] for text in distinct])[_rows(distinct, texts)]


@dataclass(frozen=True)
class _Encoding:
    """Embeds a block of texts, wherever it is done, and tells what decided the bits there."""

    encoder: TextEncoder

    def __call__(self, texts: Sequence[str]) -> tuple[Vectors, str | None]:
        return self.encoder.encode(texts), self.encoder.maker


def _rows(distinct: Sequence[str], texts: Sequence[str]) -> list[int]:
    row_of = {text: row for row, text in enumerate(distinct)}
    return [row_of[text] for text in texts]


def _filled(vectors: Vectors, present: npt.NDArray[np.bool_], title: str) -> Vectors:
    missing = int(np.count_nonzero(~present))
    if missing == 0:
        return vectors
    if missing == len(vectors):
        raise DataError(f"no item has an {title}")
    logger.warning("%s of %s items have no %s and get the mean of the others", missing, len(vectors), title)
    filled = vectors.copy()
    filled[~present] = vectors[present].mean(axis=0)
    return filled
