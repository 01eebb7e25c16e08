"""Sentence-transformers models: MiniLM by default, any other by name or folder."""

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
from h2rec.text.encoders.model_folder import MINILM, model_fingerprint, model_folder

_TOKENS_A_BATCH = 512
"""Short texts are encoded more at once, long ones fewer."""


class SentenceEncoder:
    """A pretrained sentence encoder; nothing is loaded before it is needed.

    `name`: `minilm`, the folder of a model, or a name on the hub.
    `device`: where it runs; None takes a GPU where there is one.
    """

    def __init__(self, name: str, *, device: str | None = None) -> None:
        self._name = name
        self.device = device

    @property
    def name(self) -> str:
        """The name that the configuration uses for it."""
        return self._name

    @cached_property
    def folder(self) -> Path:
        """Where the model's files are."""
        return model_folder(self._name)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and pooling."""
        return content_key({"model": model_fingerprint(self.folder)})

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn nothing: the model is pretrained."""
        del texts
        return self

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeddings `[n, m]`, rows of unit length."""
        if len(texts) == 0:
            return self.encode([""])[:0]
        counts = self._token_counts(texts)
        vectors: dict[int, npt.NDArray[np.float32]] = {}
        with _fast_matrix_products(self._model.device):
            for tokens in np.unique(counts)[::-1]:
                rows = np.flatnonzero(counts == tokens)
                # Always as many tokens together as others of this length have: kernels, and with them the order of
                # sums, go by shape. So a text is embedded to the same bits in any company, and nothing is padding.
                size = max(1, _TOKENS_A_BATCH // int(tokens))
                for start in range(0, len(rows), size):
                    batch = rows[start : start + size].tolist()
                    filled = batch + batch[-1:] * (size - len(batch))
                    made = self._model.encode(
                        [texts[row] for row in filled],
                        batch_size=size,
                        normalize_embeddings=True,
                        show_progress_bar=False,
                    )
                    vectors |= zip(batch, np.asarray(made, dtype=np.float32), strict=False)
        return np.stack([vectors[row] for row in range(len(texts))])

    @property
    def maker(self) -> str:
        """Model, size of batches, libraries, and the place where it runs: all that decides bits."""
        from importlib.metadata import version

        device = self._model.device
        place = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else torch.backends.cpu.get_cpu_capability()
        )
        return content_key(
            {
                "fingerprint": self.fingerprint,
                "files": [
                    file_hash(path) for path in model_files(self.folder) if path.suffix != ".safetensors"
                ],
                "libraries": [version(name) for name in ("torch", "transformers", "sentence-transformers")],
                "place": [device.type, place, platform.machine(), torch.get_num_threads()],
            }
        )

    def unknown_share(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Share of each text's tokens that the model's vocabulary does not have, `[n]`; 1 for a text without tokens."""
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
        found: list[list[int]] = self._model.tokenizer([text.strip() for text in texts], **cut)["input_ids"]
        return found

    def save(self, folder: Path) -> None:
        """Write `encoder.json`; the files of any model but MiniLM are copied beside it.

        Of MiniLM only the name and the fingerprint are kept: 90 MB in every bundle would buy nothing, and `load`
        takes no other weights than these. Any other model travels along: a bundle may come from a stranger, so
        what it says is never looked up, neither on the hub nor in a folder.
        """
        own = self._name != MINILM
        description = {
            "kind": "sentence_transformers",
            "model": None if own else self._name,
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
                f"the text encoder '{self._name}' in {self.folder} is not the one that was trained with",
                "install the same version of the model, or train again",
            )
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as transformers_logging
        except ImportError:
            raise MissingExtraError(f"text.encoder '{self._name}'", "minilm") from None
        # A bar of a fraction of a second, which would show even without a terminal.
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # no annotations there
        try:
            with clean_copy(self.folder) as folder:
                model = SentenceTransformer(str(folder), device=self.device, local_files_only=True)
        except Exception as error:  # readers of damaged files raise what they like
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ConfigError(f"text.encoder: the model '{self._name}' can't be loaded ({reason})") from None
        return model.eval()


@contextmanager
def _fast_matrix_products(device: torch.device) -> Iterator[None]:
    """Route float32 products on a CPU to oneDNN while the block runs.

    At this precision setting torch takes oneDNN instead of MKL, which is about twice as fast on AVX-512
    machines of other makers and computes in full float32 unless the CPU has AMX, whence the check. The
    fused attention of torch is slow on top of oneDNN; the plain one is not.
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
