"""The user encoder as ONNX, for runtimes without torch; item vectors go along as the bundle's `.npy`."""

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from h2rec.batching.sequences import history_batch
from h2rec.data.histories import Histories
from h2rec.errors import H2RecError, needs_extra
from h2rec.files import atomic_path
from h2rec.models.protocol import SequenceModel
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.users import LastState, UserEncoder

logger = logging.getLogger(__name__)

_NAMES = ["items", "lengths", "user_vectors"]
_OPSET = 18
_TOLERANCE = 1e-3


class _UserVectors(nn.Module):
    """Items `[B, T]` and lengths `[B]` to user vectors `[B, D]`."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.last = LastState(model)

    def forward(self, items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.last(items, lengths)[0]
        return vectors


def export_user_encoder(bundle: Bundle, path: Path) -> float:
    """Write the user encoder as ONNX and check it against torch.

    Inputs are `items`, int64 `[batch, T]` (`T` the model's longest history, item indices 1..N, padded with 0
    on the right; a model with masked items wants index N + 1 appended) and `lengths`, int64 `[batch]`;
    the output `user_vectors` is float32 `[batch, D]`. Scores are inner products with `item_vectors.npy`; what branches
    of transitions add to them is counts, which the file does not have: a warning tells so.

    Returns
    -------
    float
        Largest difference to torch, relative to the vectors' largest number, over test histories.

    Raises
    ------
    MissingExtraError
        If `onnx`, `onnxscript` or `onnxruntime` is not installed.
    H2RecError
        If the model can't be exported (BERT4Rec under H2Rec reads running maxima, which ONNX does not have),
        or the exported encoder differs from torch.
    """
    with needs_extra("the ONNX export", "onnx"):
        import onnxruntime
        import onnxscript  # noqa: F401  what torch exports with
    if bundle.model.recent_items:
        logger.warning(
            "transitions and likeness are not exported: inner products alone are not the model's scores"
        )
    histories = _test_histories(bundle)
    items, lengths = padded(bundle, histories)
    with atomic_path(path) as temporary, _quiet():
        _export(
            _UserVectors(bundle.model).eval(), torch.from_numpy(items), torch.from_numpy(lengths), temporary
        )
        session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
        difference = 0.0
        for rows in (slice(None), slice(0, 1)):  # a batch, and one alone
            expected = UserEncoder(bundle.model).encode(histories).vectors.numpy()[rows]
            (vectors,) = session.run(None, {"items": items[rows], "lengths": lengths[rows]})
            difference = max(difference, float(np.abs(vectors - expected).max() / np.abs(expected).max()))
        if not difference < _TOLERANCE:
            raise H2RecError(f"the exported encoder differs from torch by {difference:.1e}")
    return difference


def is_user_encoder(path: Path) -> bool:
    """Whether a file is what `export_user_encoder` writes."""
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return [node.name for node in (*session.get_inputs(), *session.get_outputs())] == _NAMES
    except Exception:  # whatever the runtime has against it
        return False


def _export(encoder: nn.Module, items: torch.Tensor, lengths: torch.Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch")
    try:
        torch.onnx.export(
            encoder,
            (items, lengths),
            path,
            input_names=_NAMES[:2],
            output_names=_NAMES[2:],
            dynamic_shapes={"items": {0: batch}, "lengths": {0: batch}},
            opset_version=_OPSET,
            external_data=False,
            dynamo=True,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise H2RecError(f"this model can't be exported to ONNX ({reason})") from None


def padded(bundle: Bundle, histories: Histories) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Inputs of the exported encoder: items `[n, T]` at the full width, and lengths `[n]`."""
    model = bundle.model
    items, lengths = history_batch(histories, np.arange(len(histories)), model.max_length, model.mask_item)
    wide = torch.nn.functional.pad(items, (0, model.max_length - items.shape[1]))
    return wide.numpy(), lengths.numpy()


def _test_histories(bundle: Bundle) -> Histories:
    random = np.random.default_rng(0)
    lengths = [1, 2, 3, bundle.model.max_length, bundle.model.max_length + 5, 0]
    return Histories.from_lists(
        [random.integers(1, bundle.manifest.item_count + 1, n).tolist() for n in lengths]
    )


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter's talk about its own internals away from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    logger.setLevel(level)
