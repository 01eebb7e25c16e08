"""Checks of a sentence-transformers model before it is loaded: known modules and plain data, nothing that can run.

A model's folder may come from anywhere. Loaders follow names in configurations to classes, files and repositories, and
may read pickles; every release differs. So anything that is not known to be harmless is refused here, and the loader
gets a clean folder with the checked files alone.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from h2rec.errors import ConfigError, DataError
from h2rec.files import read_json

_MODULES = {
    "Transformer": ("models", "models.Transformer", "base.modules.transformer"),
    "Pooling": ("models", "models.Pooling", "sentence_transformer.modules.pooling"),
    "Normalize": ("models", "models.Normalize", "base.modules.normalize"),
    "Dense": ("models", "models.Dense", "base.modules.dense"),
}
"""Accepted modules, and their places in releases of sentence-transformers. Others nest modules or read pickles."""
_CLASSES = {f"sentence_transformers.{place}.{name}" for name, places in _MODULES.items() for place in places}
_ACTIVATIONS = {
    f"torch.nn.modules.activation.{name}" for name in ("GELU", "ReLU", "SiLU", "Sigmoid", "Tanh")
} | {"torch.nn.modules.linear.Identity"}
_MODEL_TYPES = {
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "gemma3_text", "modernbert",
    "mpnet", "qwen2", "qwen3", "roberta", "xlm-roberta",
}  # fmt: skip
"""Architectures of text alone, whose configurations name no other model."""
_TOKENIZERS = {
    "Albert", "Bert", "Camembert", "Deberta", "DebertaV2", "DistilBert", "Electra", "Gemma", "MPNet", "Qwen2",
    "Roberta", "XLMRoberta",
}  # fmt: skip
_TOKENIZER_CLASSES = {
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
    *(f"{name}Tokenizer{fast}" for name in _TOKENIZERS for fast in ("", "Fast")),
}
_SENTENCE_KEYS = {
    "max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name", "unpad_inputs",
}  # fmt: skip
_OWN_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
_OTHER_PLACES = (
    "transformers_weights", "base_model_name_or_path", "quantization_config", "backbone", "peft_config", "adapter_path",
)  # fmt: skip
_PLAIN_ATTENTION = (None, "eager", "sdpa")
_LEFT_OUT = re.compile(r"(_file|_files|name_or_path|chat_template)$")
"""Keys that name files and repositories elsewhere, and templates, which are programs."""
_SUFFIXES = (".json", ".txt", ".model", ".safetensors")
_READ = (
    "modules.json", "config.json", "config_sentence_transformers.json", "sentence_*_config.json", "model*.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model",
)  # fmt: skip
"""Files that the loader may read; it never sees adapters, processors, templates or others."""
_PICKLES = (b"\x80", b"PK", b"\x93NUMPY", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_PLAIN_NAME = re.compile(r"\w[\w.-]*")


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model that its loader may read: settings, vocabularies and safetensors, sorted.

    Those of the folder itself and of its modules, nothing deeper or beside them.
    """
    folders = {folder, *(folder / module["path"] for module in _modules(folder))}
    return sorted(
        path
        for parent in folders
        for path in (parent.iterdir() if parent.is_dir() else ())
        if path.is_file() and any(fnmatchcase(path.name, pattern) for pattern in _READ)
    )


def check_model(name: str, folder: Path) -> None:
    """Refuse a model that could make its loader run code, read a pickle or look elsewhere.

    Raises `ConfigError` at the first thing that is not known to be harmless.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"text.encoder: {folder} is no sentence-transformers model (it has no config.json)")
    for module in _modules(folder):
        module_folder = folder / module["path"]
        if module["type"].endswith((".Transformer", ".Dense")):
            _check_weights(name, module_folder)
        if module["type"].endswith(".Dense"):
            activation = _config(module_folder / "config.json").get("activation_function")
            if activation not in _ACTIVATIONS:
                raise _refused(
                    name, f"the activation {str(activation)[:80]!r} of a Dense layer is not one of torch's"
                )
        if module["type"].endswith(".Transformer"):
            _check_transformer(name, module_folder)
    for path in model_files(folder):
        if path.name in ("config.json", "tokenizer_config.json"):
            _check_keys(name, path.name, _config(path))
        with path.open("rb") as stream:
            if stream.read(6).startswith(_PICKLES):
                raise _refused(name, f"{path.name} is not what its name says")


def check_foreign(name: str, folder: Path) -> None:
    """Refuse a foreign model's folder, such as one in a bundle, that holds anything but plain data.

    Such files would not be read, but they show that the folder was tampered with, or that the model needs them.

    Raises `ConfigError` for a file that could hold a pickle or code, or a link.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.suffix in _SUFFIXES):
            raise _refused(name, f"'{path.relative_to(folder)}' could hold code or a pickle")


@contextmanager
def clean_copy(folder: Path) -> Iterator[Path]:
    """Yield a folder with only `model_files`, whose configurations name nothing outside."""
    with tempfile.TemporaryDirectory(prefix="h2rec-model-") as temporary:
        clean = Path(temporary)
        for path in model_files(folder):
            target = clean / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            if path.name in ("config.json", "tokenizer_config.json"):
                plain = {key: value for key, value in _config(path).items() if not _LEFT_OUT.search(key)}
                target.write_text(json.dumps(plain), encoding="utf-8")
            else:
                _link(path, target)
        yield clean


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a system without links, or where they need a privilege
        shutil.copyfile(source, target)


def _modules(folder: Path) -> list[dict[str, str]]:
    """Path and class of every module, none of them unknown; the folder alone where `modules.json` is missing."""
    listed = folder / "modules.json"
    if not listed.is_file():
        return [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules = _json(listed)
    if not isinstance(modules, list) or not modules:
        raise _refused(str(folder), "modules.json is no list of modules")
    checked = []
    for module in modules:
        path, kind = (module.get("path"), module.get("type")) if isinstance(module, dict) else (None, None)
        if kind not in _CLASSES:
            raise _refused(str(folder), f"the module {str(kind)[:80]!r} is none of {', '.join(_MODULES)}")
        if path and not (isinstance(path, str) and _PLAIN_NAME.fullmatch(path)):
            raise _refused(str(folder), f"the path {str(path)[:80]!r} in modules.json is no plain name")
        checked.append({"path": path or "", "type": str(kind)})
    return checked


def _check_transformer(name: str, folder: Path) -> None:
    config = _config(folder / "config.json")
    tokenizer = _config(folder / "tokenizer_config.json")
    if config.get("model_type") not in _MODEL_TYPES:
        kinds = ", ".join(sorted(_MODEL_TYPES))
        raise _refused(name, f"its architecture {str(config.get('model_type'))[:80]!r} is none of {kinds}")
    for values in (tokenizer, config):
        if (kind := values.get("tokenizer_class")) not in (None, *_TOKENIZER_CLASSES):
            raise _refused(name, f"its tokenizer {str(kind)[:80]!r} is not a known one")
    for path in folder.glob("sentence_*_config.json"):
        own = _config(path)
        if unknown := set(own) - _SENTENCE_KEYS:
            raise _refused(name, f"{path.name} sets {min(unknown)[:80]!r}")
        if own.get("transformer_task", "feature-extraction") != "feature-extraction":
            raise _refused(name, f"{path.name} asks for another task than feature extraction")
        modalities = own.get("modality_config") or {}
        for modality in modalities.values() if isinstance(modalities, dict) else [None]:
            if not isinstance(modality, dict) or modality.get("method", "forward") != "forward":
                raise _refused(name, f"{path.name} names another method than forward")


def _check_keys(name: str, file: str, value: Any) -> None:
    if isinstance(value, list):
        for entry in value:
            _check_keys(name, file, entry)
    if not isinstance(value, dict):
        return
    for key, entry in value.items():
        if key in _OWN_CODE and entry:
            raise _refused(name, f"{file} brings code of its own, which is never run ('{key}')")
        attention = "attn_implementation" in key or "experts_implementation" in key
        if (key in _OTHER_PLACES and entry) or (attention and entry not in _PLAIN_ATTENTION):
            raise _refused(name, f"{file} names something outside of its folder ('{key}')")
        _check_keys(name, file, entry)


def _check_weights(name: str, folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = _config(index).get("weight_map")
        for file in set(map(str, files.values())) if isinstance(files, dict) else {""}:
            plain = _PLAIN_NAME.fullmatch(file) and file.endswith(".safetensors")
            if not plain or not (folder / file).is_file():
                reason = f"{index.name} names {file[:80]!r}, which is no safetensors file beside it"
                raise _refused(name, reason)
    elif not (folder / "model.safetensors").is_file():
        hint = "other weight files are pickles, which can run code; save the model again with safetensors"
        raise ConfigError(f"text.encoder: the model '{name}' has no safetensors weights in {folder}", hint)


def _config(path: Path) -> dict[str, Any]:
    value = _json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise ConfigError(f"text.encoder: {path}: expected an object")
    return value


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except DataError as error:
        raise ConfigError(f"text.encoder: {error.message}") from None


def _refused(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"text.encoder: the model '{name}' is refused: {reason}",
        "take a model of text alone that is saved as safetensors and brings no code of its own, or minilm or tfidf",
    )
