"""Ways to damage a bundle; every one takes the folder of a copy and changes it in place."""

import json
import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from h2rec.files import file_hash

Damage = Callable[[Path], None]

PARTS = (
    "model.safetensors",
    "items.parquet",
    "item_vectors.npy",
    "codes.npy",
    "text.npy",
    "encoder/encoder.json",
    "encoder/encoder.safetensors",
    "quantizer/quantizer.json",
    "quantizer/quantizer.safetensors",
)
_SETTINGS = (
    ("item_count", (0, -1, 1 << 50, 61, 1.5, "60", None, True)),
    ("codebook_sizes", ([], [4, 4], [4, 4, 1 << 62], [0, 4, 4], [-4, 4, 4], "444", None, [4] * 100_000)),
    ("collisions", ("suffix", "explode", 3)),
    ("text_fields", ([], ["nothing"], "title", [3], ["title"] * 100_000)),
    ("provenance", ([], {"items_added_after_training": "many"}, {"items_added_after_training": -(10**300)})),
    ("files", ({}, [], {"../x": "0"}, {"a" * 300: "0"}, {"a/" * 2000: "0"}, {"\0": "0"}, {"/dev/zero": "0"})),
    ("format_version", (3, True, "2")),
    ("model.name", ("branches", "llm_esr", "h2rec", "os", "x" * 1_000_000)),
    (
        "model.branches",
        (
            {},
            {"ids": {"kind": "ids"}},
            *({"one": {"kind": kind}} for kind in ("popularity", "ids_and_text", "code_sum", "code_pieces")),
            {"one": {"kind": "hashed_prefixes", "rows": 10**12}},
            {"one": {"kind": "code_pieces", "vocabulary": 10**12}},
            {"codes": {"kind": "codes", "layers": 10**9}, "ids": {"kind": "ids"}},
            {"codes": {"kind": "codes", "weight": 1e300}, "ids": {"kind": "ids"}},
            {f"ids_{n}": {"kind": "ids"} for n in range(10_000)},
            {"one": {"kind": "x" * 1_000_000}},
        ),
    ),
    ("model.backbone", ({"name": "gru4rec"}, {"name": "bert4rec"}, {"name": "os"}, "sasrec", 3)),
    ("model.dim", (0, -8, 1 << 30, 10**400, 4096)),
    ("model.layers", (0, 60, 10**9, 1 << 70)),
    ("model.heads", (3, 8, 1 << 40)),
    ("model.max_length", (2, 10**9, 1 << 70)),
    ("model.temperature", (0, -1, 1e-300, 1e300)),
    ("model.ties", ({"intent": "last"}, {"cross_attention": "none"}, {"fusion": "x"}, 3)),
    ("model.dropout", (1.0, "half")),
)


def of_manifest(key: str, value: object) -> Damage:
    """Set one value of the manifest."""

    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        *way, last = key.split(".")
        section = manifest
        for name in way:
            section = section[name]
        section[last] = value
        path.write_text(json.dumps(manifest))

    return change


def rehash(folder: Path) -> None:
    """Let the manifest's hashes be those of the files as they are now."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        if (folder / name).is_file():
            manifest["files"][name] = file_hash(folder / name)
    path.write_text(json.dumps(manifest))


def bytes_of(name: str, change: Callable[[bytearray], bytes]) -> Damage:
    """Change a file's bytes."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change(bytearray((folder / name).read_bytes())))

    return damage


def text_of(name: str, change: Callable[[str], str]) -> Damage:
    """Change a file's text."""

    def damage(folder: Path) -> None:
        (folder / name).write_text(change((folder / name).read_text()))

    return damage


def value_of(name: str, key: str, value: object) -> Damage:
    """Set one value of a JSON file."""
    return text_of(name, lambda text: json.dumps(json.loads(text) | {key: value}))


def table_of(change: Callable[[pa.Table], pa.Table], **settings: object) -> Damage:
    """Write another item table."""

    def damage(folder: Path) -> None:
        path = folder / "items.parquet"
        pq.write_table(change(pq.read_table(path)), path, **settings)

    return damage


def column(name: str, values: Callable[[int], object], kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    """Put a column into a table."""

    def change(table: pa.Table) -> pa.Table:
        array = pa.array(values(table.num_rows), kind)
        place = table.schema.get_field_index(name)
        return table.append_column(name, array) if place < 0 else table.set_column(place, name, array)

    return change


def many_rows(count: int) -> Callable[[pa.Table], pa.Table]:
    """Repeat the last row: a run takes a few bytes, whatever its length."""
    return lambda table: table.take(pa.array(np.full(count, table.num_rows - 1)))


def array_of(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Write another array."""
    return lambda folder: np.save(folder / name, change(np.load(folder / name)), allow_pickle=True)


def header_of(name: str, text: str) -> Damage:
    """Put another header before an array's numbers."""

    def change(data: bytearray) -> bytes:
        numbers = bytes(data[128:])
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode().ljust(117) + b"\n" + numbers

    return bytes_of(name, change)


def tensors_of(name: str, change: Callable[[dict], dict]) -> Damage:
    """Write other tensors."""
    return lambda folder: save_file(change(load_file(folder / name)), folder / name)


def first_set(value: float, tensors: dict) -> dict:
    """Set the first number of the first tensor."""
    first = next(iter(tensors))
    tensors[first] = tensors[first].copy()
    tensors[first].flat[0] = value
    return tensors


def flipped(seed: int, data: bytearray) -> bytes:
    """Flip a few bytes, half of them where formats describe themselves."""
    random = np.random.default_rng(seed)
    for _ in range(1 + seed % 4):
        near = random.random() < 0.5
        place = int(random.integers(min(300, len(data)) if near else len(data)))
        data[place] ^= int(random.integers(1, 256))
    return bytes(data)


def damages() -> Iterator[tuple[str, Damage, bool, bool]]:
    """Name, damage, whether hashes are corrected afterwards, and whether it must be refused."""
    for name in PARTS:
        for seed in range(2):
            yield (
                f"{name}: bytes flipped, old hash, {seed}",
                bytes_of(name, partial(flipped, seed)),
                False,
                True,
            )
        for seed in range(10):
            yield f"{name}: bytes flipped, {seed}", bytes_of(name, partial(flipped, 100 + seed)), True, False
        for share in (0, 0.3, 0.9):
            cut = bytes_of(name, lambda data, share=share: bytes(data[: int(share * len(data))]))
            yield f"{name}: cut to {share:.0%}", cut, True, False
        yield f"{name}: a tail", bytes_of(name, lambda data: bytes(data) + b"\0" * 9), True, False
        yield f"{name}: missing", lambda folder, name=name: (folder / name).unlink(), False, True
    for key, values in _SETTINGS:
        for value in values:
            yield f"manifest: {key} {str(value)[:20]}", of_manifest(key, value), False, False
    yield from _texts()
    yield from _tables()
    yield from _numbers()
    yield from _folders()


_DEEP = "[" * 100_000


def _texts() -> Iterator[tuple[str, Damage, bool, bool]]:
    for name in ("manifest.json", "quantizer/quantizer.json", "encoder/encoder.json"):
        must, again = name == "manifest.json", name != "manifest.json"
        for what, change in {
            "a key twice": lambda text: text.replace("{", '{"kind": "x", "kind": "x", ', 1),
            "nested without end": lambda text: text.replace("{", '{"deep": ' + _DEEP, 1),
            "NaN": lambda text: text.replace("{", '{"nan": NaN, ', 1),
            "1e999": lambda text: text.replace("{", '{"inf": 1e999, ', 1),
            "a long number": lambda text: text.replace("{", '{"long": ' + "9" * 5000 + ", ", 1),
            "no JSON": lambda text: text[1:],
            "a list": lambda _: "[1, 2]",
            "null": lambda _: "null",
            "8 MB": lambda text: text + " " * (8 << 20),
        }.items():
            yield f"{name}: {what}", text_of(name, change), again, must
        yield f"{name}: no UTF-8", bytes_of(name, lambda data: b"\xff\xfe" + bytes(data)), again, must
    for key, value in {
        "levels": 10**8,
        "codebook_size": 10**12,
        "quantizer": "rqvae",
        "error_quantiles": [1e308] * 101,
        "format": 7,
    }.items():
        yield f"quantizer.json: {key}", value_of("quantizer/quantizer.json", key, value), True, False
    for key, value in {"dim": 10**9, "words": [], "kind": "sentence_transformers", "idf": 3}.items():
        yield f"encoder.json: {key}", value_of("encoder/encoder.json", key, value), True, False
    yield "encoder.json: words", value_of("encoder/encoder.json", "words", "a" * 100_000), True, False


def _tables() -> Iterator[tuple[str, Damage, bool, bool]]:
    text, long = pa.string(), "long " * 400_000
    changes = {
        "100 million rows": many_rows(100_000_000),
        "one long text for all rows": column("title", lambda n: [long] * n, text),
        "a column of numbers": column("title", range, pa.int64()),
        "a column of lists": column("title", lambda n: [["a"]] * n, pa.list_(text)),
        "a column of bytes": column("title", lambda n: [b"\xff"] * n, pa.binary()),
        "no text in UTF-8": column("title", lambda n: pa.array([b"\xff"] * n).view(text), text),
        "negative counts": column("train_count", lambda n: range(-n, 0), pa.int64()),
        "counts in 32 bits": column("train_count", range, pa.int32()),
        "missing ids": column("item_id", lambda n: [None] * n, text),
        "one id": column("item_id", lambda n: ["i1"] * n, text),
        "no heads": column("head", lambda n: [None] * n, pa.bool_()),
        "no ids": lambda table: table.drop_columns(["item_id"]),
        "no texts": lambda table: table.select(["item_id", "train_count", "head"]),
        "fewer rows": lambda table: table.slice(1),
    }
    harmless = ("no texts", "a column of bytes")
    for what, change in changes.items():
        yield f"items.parquet: {what}", table_of(change, compression="zstd"), True, what not in harmless
    zeros = column("title", lambda n: ["\0" * (4 << 20) + str(row) for row in range(n)], text)
    yield (
        "items.parquet: zeros, compressed",
        table_of(zeros, compression="zstd", use_dictionary=False),
        True,
        True,
    )
    prefixes = column("title", lambda n: [long + str(row) for row in range(n)], text)
    shared = {"column_encoding": {"title": "DELTA_BYTE_ARRAY"}, "use_dictionary": False}
    yield "items.parquet: shared prefixes", table_of(prefixes, **shared), True, True


def _numbers() -> Iterator[tuple[str, Damage, bool, bool]]:
    for what, text in {
        "a huge shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (61, 99999999999), }",
        "a negative shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (61, -32), }",
        "columns first": "{'descr': '<f4', 'fortran_order': True, 'shape': (61, 32), }",
        "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (61, 32), }",
        "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (61, 32), }",
        "an unknown type": "{'descr': '<f4000', 'fortran_order': False, 'shape': (61, 32), }",
        "no literal": "__import__('os').abort()",
        "one axis": "{'descr': '<f4', 'fortran_order': False, 'shape': (1952,), }",
    }.items():
        for name in ("item_vectors.npy", "codes.npy"):
            yield f"{name}: {what}", header_of(name, text), True, True
    for value in (np.nan, np.inf, 1e38):
        changed = array_of("item_vectors.npy", lambda array, value=value: np.full_like(array, value))
        yield f"item_vectors.npy: {value}", changed, True, True
        for name in ("model.safetensors", "quantizer/quantizer.safetensors", "encoder/encoder.safetensors"):
            must = name == "model.safetensors" and not np.isfinite(value)
            yield f"{name}: {value}", tensors_of(name, partial(first_set, value)), True, must
    for value in (-1, 99, 2**31 - 1):
        yield f"codes.npy: {value}", array_of("codes.npy", lambda a, value=value: a * 0 + value), True, True
    yield (
        "item_vectors.npy: float64",
        array_of("item_vectors.npy", lambda a: a.astype(np.float64)),
        True,
        True,
    )
    for name in ("model.safetensors", "quantizer/quantizer.safetensors", "encoder/encoder.safetensors"):
        for what, length in {"a header of 2^62 bytes": 1 << 62, "a header of 90 MB": 90 << 20}.items():
            changed = bytes_of(name, lambda data, length=length: struct.pack("<Q", length) + bytes(data[8:]))
            yield f"{name}: {what}", changed, True, name == "model.safetensors"
        wide = tensors_of(name, lambda tensors: {key: a.astype(np.float64) for key, a in tensors.items()})
        yield f"{name}: float64", wide, True, False
        one = tensors_of(name, lambda tensors: dict([next(iter(tensors.items()))]))
        yield f"{name}: one tensor only", one, True, name == "model.safetensors"


def _folders() -> Iterator[tuple[str, Damage, bool, bool]]:
    def linked(folder: Path, name: str, target: Path | None = None) -> None:
        moved = folder.parent / f"{folder.name}.moved"
        (folder / name).rename(moved)
        (folder / name).symlink_to(target or moved)

    def pipe(folder: Path, name: str) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    def in_place(folder: Path, name: str) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    def deep(folder: Path) -> None:
        at = str(folder)
        for _ in range(1200):
            at += "/d"
            os.mkdir(at)  # noqa: PTH102  # pathlib recurses

    for name in ("codes.npy", "encoder", "quantizer", "encoder/encoder.json", "manifest.json"):
        yield f"{name}: a link", partial(linked, name=name), False, True
    yield (
        "codes.npy: a link to a device",
        partial(linked, name="codes.npy", target=Path("/dev/zero")),
        False,
        True,
    )
    yield "encoder: a link to /", partial(linked, name="encoder", target=Path("/")), False, True
    yield "encoder: a link to itself", partial(linked, name="encoder", target=Path("encoder")), False, True
    for name in ("codes.npy", "extra", "manifest.json", "encoder/extra"):
        yield f"{name}: a pipe", partial(pipe, name=name), False, True
    for name in ("codes.npy", "manifest.json"):
        yield f"{name}: a folder", partial(in_place, name=name), False, True
    yield "an extra file", lambda folder: (folder / "encoder" / "extra.bin").write_bytes(b"x"), False, True
    yield "folders 1,200 deep", deep, False, False
    yield (
        "a name that is no text",
        lambda folder: (folder / os.fsdecode(b"\xff")).write_bytes(b""),
        False,
        True,
    )
