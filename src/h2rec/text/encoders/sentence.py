"""Sentence-transformers models: MiniLM, or any other by name or folder."""

import importlib.util
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from h2rec.errors import ConfigError, DataError, MissingExtraError
from h2rec.files import content_key, file_hash, read_json, write_json
from h2rec.text.encoders.model_check import check_foreign, clean_copy, model_files
from h2rec.text.encoders.model_folder import model_fingerprint, model_folder
from h2rec.text.settings import MINILM

_TOKENS_A_BATCH = 512
"""Short texts are encoded more at once, long ones fewer."""


class SentenceEncoder:
    """A pretrained sentence encoder: `minilm`, the folder of a model, or a name on the hub. Loaded on first use.

    Without a device it runs on a GPU if there is one.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        self.name = name
        self.device = device

    def __getstate__(self) -> dict[str, Any]:
        # Another process loads the model by itself.
        return {name: value for name, value in self.__dict__.items() if name != "_model"}

    @cached_property
    def folder(self) -> Path:
        """Where the model's files are."""
        return model_folder(self.name)

    @cached_property
    def fingerprint(self) -> str:
        return content_key({"model": model_fingerprint(self.folder)})

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn nothing; raises at once, before others learn, if the model or its library is missing."""
        del texts
        if importlib.util.find_spec("sentence_transformers") is None:
            raise self._missing_extra()
        _ = self.folder
        return self

    def _missing_extra(self) -> MissingExtraError:
        return MissingExtraError(f"text.encoder '{self.name}'", "minilm", "text.encoder: tfidf does without")

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if len(texts) == 0:
            return self.encode([""])[:0]
        counts = self._token_counts(texts)
        vectors: dict[int, npt.NDArray[np.float32]] = {}
        with _fast_matrix_products(self._model.device):
            for tokens in np.unique(counts)[::-1]:
                rows = np.flatnonzero(counts == tokens)
                # Batches of one length always have the same shape, as kernels and their order of sums depend on it:
                # so a text has the same embedding in any company, to the bit. Nothing is padding.
                size = max(1, _TOKENS_A_BATCH // int(tokens))
                for start in range(0, len(rows), size):
                    batch = rows[start : start + size].tolist()
                    filled = batch + batch[-1:] * (size - len(batch))
                    embedded = self._model.encode(
                        [texts[row] for row in filled],
                        batch_size=size,
                        normalize_embeddings=True,
                        show_progress_bar=False,
                    )
                    vectors |= zip(batch, np.asarray(embedded, dtype=np.float32), strict=False)
        return np.stack([vectors[row] for row in range(len(texts))])

    @property
    def maker(self) -> str:
        from importlib.metadata import version

        device = self._model.device
        on_cuda = device.type == "cuda"
        place = torch.cuda.get_device_name(device) if on_cuda else torch.backends.cpu.get_cpu_capability()
        files = [path for path in model_files(self.folder) if path.suffix != ".safetensors"]
        return content_key(
            {
                "fingerprint": self.fingerprint,
                "files": [file_hash(path) for path in files],
                "libraries": [version(name) for name in ("torch", "transformers", "sentence-transformers")],
                "place": [device.type, place, platform.machine(), torch.get_num_threads()],
            }
        )

    def unknown_share(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        tokenizer = self._model.tokenizer
        unknown = tokenizer.unk_token_id
        marks = set(tokenizer.all_special_ids) - {unknown}
        shares = np.ones(len(texts), np.float32)
        for row, ids in enumerate(self._token_ids(texts)):
            words = [token for token in ids if token not in marks]
            if words:
                shares[row] = sum(token == unknown for token in words) / len(words)
        return shares

    def _token_counts(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([max(1, len(ids)) for ids in self._token_ids(texts)])

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        if len(texts) == 0:
            return []
        limit = self._model.max_seq_length
        cut = {} if limit is None else {"truncation": True, "max_length": limit}
        encoded = self._model.tokenizer([text.strip() for text in texts], **cut)
        return encoded["input_ids"]  # type: ignore[no-any-return]

    def save(self, folder: Path) -> None:
        """Write `encoder.json`; the files of any model but MiniLM are copied beside it.

        For MiniLM the name and the fingerprint suffice, which saves 90 MB in every bundle. A bundle may come from a
        stranger, so other models are never looked up by name, neither on the hub nor in a folder.
        """
        own = self.name != MINILM
        description = {
            "kind": "sentence_transformers",
            "model": None if own else self.name,
            "fingerprint": self.fingerprint,
        }
        if own:
            for path in model_files(self.folder):
                target = folder / "model" / path.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        write_json(folder / "encoder.json", description)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; the weights are checked and loaded at the first `encode`.

        Raises `DataError` if the description is damaged, or names a model that is not in the folder; `ConfigError` if
        the folder holds more than a model's plain data, or the model is refused.
        """
        path = folder / "encoder.json"
        description = read_json(path)
        try:
            name, expected = description["model"], description["fingerprint"]
        except (KeyError, TypeError):
            raise DataError(f"{path}: not a description of a sentence encoder") from None
        if name not in (None, MINILM):
            raise DataError(
                f"{path}: the encoder {str(name)[:80]!r} is not in this folder; names in a bundle are never looked up",
                "bundle the run again: the model then travels in the bundle",
            )
        model = folder / "model"
        if name is None:
            if model.is_symlink() or not model.is_dir():
                raise DataError(f"{path}: the model's folder is missing")
            check_foreign(str(model), model)
        encoder = cls(name or str(model))
        encoder._expected = str(expected)
        return encoder

    _expected: str | None = None

    @cached_property
    def _model(self) -> Any:
        if self._expected is not None and self._expected != self.fingerprint:
            raise ConfigError(
                f"the text encoder '{self.name}' in {self.folder} is not the one that was trained with",
                "install the same version of the model, or train again",
            )
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as transformers_logging
        except ImportError:
            raise self._missing_extra() from None
        # Its bar would show even without a terminal.
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # no annotations there
        try:
            with clean_copy(self.folder) as folder:
                model = SentenceTransformer(str(folder), device=self.device, local_files_only=True)
        except Exception as error:  # readers of damaged files raise what they like
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ConfigError(f"text.encoder: the model '{self.name}' can't be loaded ({reason})") from None
        return model.eval()


@contextmanager
def _fast_matrix_products(device: torch.device) -> Iterator[None]:
    """Route float32 products on a CPU to oneDNN while the block runs.

    With this precision setting torch takes oneDNN instead of MKL, about twice as fast on AVX-512 machines that are not
    Intel's. It computes in full float32 unless the CPU has AMX, hence the check. The fused attention of torch is slow
    with oneDNN; the plain one is not.
    """
    if device.type != "cpu" or torch.cpu._is_amx_tile_supported():
        yield
        return
    before = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, before)
        torch.set_float32_matmul_precision("medium")
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
