import numpy as np
import pytest

from h2rec.data.histories import Histories
from h2rec.errors import MissingExtraError
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.onnx_export import export_user_encoder, padded
from h2rec.retrieval.users import UserEncoder
from made_bundles import FUSED, make_bundle


@pytest.mark.parametrize("model", [{}, FUSED], ids=["default", "fused"])
def test_the_exported_encoder_gives_torchs_vectors_for_any_batch(tmp_path, model):
    runtime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    bundle = Bundle.load(make_bundle(tmp_path / "bundle", **model))
    assert export_user_encoder(bundle, tmp_path / "users.onnx") < 1e-5
    session = runtime.InferenceSession((tmp_path / "users.onnx").read_bytes())
    histories = Histories.from_lists(
        [[3], [9, 1, 60], [5] * 6, [1, 2], [60, 59, 58, 57, 56, 55, 54], [8, 8], [2]]
    )
    items, lengths = padded(bundle, histories)
    (found,) = session.run(None, {"items": items, "lengths": lengths})
    np.testing.assert_allclose(
        found, UserEncoder(bundle.model).encode(histories).vectors.numpy(), rtol=1e-4, atol=1e-4
    )


def test_without_onnx_the_extra_is_named(bundle_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"h2rec\[onnx\]"):
        export_user_encoder(Bundle.load(bundle_folder), tmp_path / "users.onnx")
    assert list(tmp_path.iterdir()) == []
