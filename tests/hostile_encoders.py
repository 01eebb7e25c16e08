"""Text encoders as a hostile bundle could carry them: each would leave a file, or read what is not its own."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

SIZE = 8
MODULE = "sentence_transformers.models."


class Trap:
    """A pickle that leaves a file where it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def tiny_model(folder: Path) -> Path:
    """Write a sentence-transformers model of one small layer, as any release could have saved it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True)
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "blue": 5, "shoe": 6}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})
    torch.manual_seed(0)
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(words), hidden_size=SIZE, max_position_embeddings=32, **layers)
    BertModel(config).save_pretrained(folder)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    modules(folder, ("", "Transformer"), ("1_Pooling", "Pooling"))
    (folder / "1_Pooling").mkdir()
    write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": SIZE, "pooling_mode_mean_tokens": True},
    )
    return folder


def write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def change(path: Path, **values: object) -> None:
    write(path, {**json.loads(path.read_text()), **values})


def modules(folder: Path, *parts: tuple[str, str]) -> None:
    kinds = [kind if "." in kind else MODULE + kind for _, kind in parts]
    listed = [
        {"idx": row, "name": str(row), "path": path, "type": kind}
        for row, ((path, _), kind) in enumerate(zip(parts, kinds, strict=True))
    ]
    write(folder / "modules.json", listed)


PLAIN = (("", "Transformer"), ("1_Pooling", "Pooling"))


def _nested(kind: str, inner: str) -> Callable[[Path, Path], None]:
    """A module that names modules of its own, whose `load` gets a file of the attacker's."""

    def make(model: Path, trap: Path) -> None:
        modules(model, *PLAIN, ("2_Nested", kind))
        described = {
            "types": {"0": inner},
            "structure": {"query": ["0"]},
            "parameters": {"allow_empty_key": True},
        }
        write(model / "2_Nested" / "config.json", described)
        write(model / "2_Nested" / "router_config.json", described)
        (model / "2_Nested" / "0").write_bytes(pickle.dumps(Trap(trap)))

    return make


def _pickled(kind: str, config: dict[str, object]) -> Callable[[Path, Path], None]:
    """A module whose weights are a pickle."""

    def make(model: Path, trap: Path) -> None:
        modules(model, *PLAIN, (f"2_{kind}", kind))
        write(model / f"2_{kind}" / "config.json", config)
        (model / f"2_{kind}" / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(trap)))

    return make


def _importable(model: Path, trap: Path) -> None:
    """Write a module beside the model, where the running Python may find it."""
    code = f"import pathlib\npathlib.Path({str(trap)!r}).touch()\nclass Trap:\n    pass\n"
    (model / "trap.py").write_text(code)
    (model.parent / "trap.py").write_text(code)


def _own_module(model: Path, trap: Path) -> None:
    _importable(model, trap)
    modules(model, *PLAIN, ("", "trap.Trap"))


def _activation(model: Path, trap: Path) -> None:
    _importable(model, trap)
    modules(model, *PLAIN, ("2_Dense", "Dense"))
    config = {"in_features": SIZE, "out_features": SIZE, "bias": True, "activation_function": "trap.Trap"}
    write(model / "2_Dense" / "config.json", config)
    save_file(
        {"linear.weight": torch.eye(SIZE), "linear.bias": torch.zeros(SIZE)},
        model / "2_Dense" / "model.safetensors",
    )


def _word_embeddings(model: Path, trap: Path) -> None:
    _importable(model, trap)
    modules(model, ("", "WordEmbeddings"), PLAIN[1])
    write(
        model / "wordembedding_config.json",
        {"tokenizer_class": "trap.Trap", "update_embeddings": False, "max_seq_length": 9},
    )


def _auto_map(model: Path, trap: Path) -> None:
    _importable(model, trap)
    change(
        model / "config.json",
        auto_map={"AutoModel": "trap.Trap", "AutoConfig": "trap.Trap"},
        model_type="own",
    )


def _tokenizer_code(model: Path, trap: Path) -> None:
    _importable(model, trap)
    change(
        model / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["trap.Trap", None]},
        tokenizer_class="Trap",
    )


def _sentence_settings(model: Path, trap: Path) -> None:
    _auto_map(model, trap)
    change(
        model / "sentence_bert_config.json",
        model_args={"trust_remote_code": True},
        config_args={"trust_remote_code": True},
    )


def _whole_pickle(model: Path, trap: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(trap)))


def _pickle_beside(model: Path, trap: Path) -> None:
    (model / "training_args.bin").write_bytes(pickle.dumps(Trap(trap)))


def _pickle_called_safetensors(model: Path, trap: Path) -> None:
    (model / "model.safetensors").write_bytes(pickle.dumps(Trap(trap)))


def _index_of_pickles(model: Path, trap: Path) -> None:
    (model / "model.safetensors").unlink()
    (model.parent / "outside.bin").write_bytes(pickle.dumps(Trap(trap)))
    write(model / "model.safetensors.index.json", {"metadata": {}, "weight_map": {"a": "../outside.bin"}})


def _other_weights(model: Path, trap: Path) -> None:
    (model / "weights.txt").write_bytes(pickle.dumps(Trap(trap)))
    change(model / "config.json", transformers_weights="weights.txt")


def _path_outside(model: Path, trap: Path) -> None:
    _pickled("Dense", {"in_features": SIZE, "out_features": SIZE})(model.parent, trap)
    modules(model, *PLAIN, ("../2_Dense", "Dense"))


def _adapter(model: Path, trap: Path) -> None:
    write(
        model / "adapter_config.json",
        {"peft_type": "LORA", "base_model_name_or_path": "some/model", "task_type": None},
    )
    (model / "adapter_model.bin").write_bytes(pickle.dumps(Trap(trap)))


def _kernel(model: Path, trap: Path) -> None:
    change(model / "config.json", attn_implementation="some/kernel")


def _linked(model: Path, trap: Path) -> None:
    (model.parent / "elsewhere.json").write_text("{}")
    (model / "added_tokens.json").symlink_to(model.parent / "elsewhere.json")


_DENSE = {
    "in_features": SIZE,
    "out_features": SIZE,
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
}
_CNN = {"in_word_embedding_dimension": SIZE, "out_channels": SIZE, "kernel_sizes": [1]}
_LSTM = {"word_embedding_dimension": SIZE, "hidden_dim": SIZE}
_LAYERS = {"word_embedding_dimension": SIZE, "layer_start": 0, "num_hidden_layers": 1}

HOSTILE: dict[str, Callable[[Path, Path], None]] = {
    "router to joblib": _nested("Router", "sklearn.utils.validation.joblib"),
    "asym to joblib": _nested("Asym", "sklearn.utils.validation.joblib"),
    "router by its new path": _nested(
        "sentence_transformers.base.modules.router.Router", "sklearn.utils.validation.joblib"
    ),
    "router to dense": _nested("Router", MODULE + "Dense"),
    "dense, pickled": _pickled("Dense", _DENSE),
    "CNN, pickled": _pickled("CNN", _CNN),
    "LSTM, pickled": _pickled("LSTM", _LSTM),
    "layer norm, pickled": _pickled("LayerNorm", {"dimension": SIZE}),
    "layer weights, pickled": _pickled("WeightedLayerPooling", _LAYERS),
    "activation of its own": _activation,
    "module of its own": _own_module,
    "tokenizer of word embeddings": _word_embeddings,
    "auto_map": _auto_map,
    "tokenizer with auto_map": _tokenizer_code,
    "trust in sentence_bert_config": _sentence_settings,
    "pickled weights": _whole_pickle,
    "pickle beside the weights": _pickle_beside,
    "pickle called safetensors": _pickle_called_safetensors,
    "index of pickles outside": _index_of_pickles,
    "other weights": _other_weights,
    "path outside": _path_outside,
    "adapter": _adapter,
    "attention from the hub": _kernel,
    "link": _linked,
}


def hostile_encoder(folder: Path, name: str, trap: Path) -> Path:
    """Write an encoder's folder as a bundle holds it, with a hostile model in it."""
    model = tiny_model(folder / "model")
    HOSTILE[name](model, trap)
    write(folder / "encoder.json", description())
    return folder


def description(model: str | None = None) -> dict[str, object]:
    kind = {"kind": "sentence_transformers", "model": model}
    return {**kind, "fingerprint": "any"}
