"""Suite files: shipped ones by name, inheritance between them, and where their data sets lie."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from h2rec.data.sources import list_sources
from h2rec.errors import ConfigError
from h2rec.files import read_yaml
from h2rec.run.presets import merge
from h2rec.text.settings import encoder_path

SHIPPED = Path(__file__).parent / "shipped"
DATASETS_VARIABLE = "H2REC_DATASETS"
"""Environment variable that names a folder of data sets, ``NAME/NAME.inter`` and ``NAME/NAME.item``."""

Values = dict[str, Any]


def shipped_suites() -> dict[str, str]:
    """Names of the suites that come with the package, and the first comment line of each."""
    titles = {}
    for path in sorted(SHIPPED.glob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        if path.stem != "base":
            titles[path.stem] = first.lstrip("# ")
    return titles


def suite_path(suite: str) -> Path:
    """Path of a suite's file, given its path or the name of a shipped one.

    Raises `ConfigError` if there is neither such a file nor such a name.
    """
    if (SHIPPED / f"{suite}.yaml").is_file():
        return SHIPPED / f"{suite}.yaml"
    path = Path(suite)
    if not path.is_file():
        raise ConfigError(
            f"{suite}: no such file, and no suite of that name", f"shipped are: {', '.join(shipped_suites())}"
        )
    return path


def read_suite(path: Path, data: Sequence[str] = ()) -> Values:
    """Read a suite's file and what it extends; relative paths become absolute.

    Raises `ConfigError` if a file can't be read, extends itself, or a data set can't be found or is named twice.

    Parameters
    ----------
    data
        Data sets instead of the suite's own: ``NAME`` (a folder of `H2REC_DATASETS`, or a named public data set),
        ``CONFIG.yaml`` or ``NAME=CONFIG.yaml`` (the keys of a run's configuration, but for its preset and the name of
        its model, which are the rows').
    """
    values = _extended(path, ())
    models = values.get("models", {})
    dropped = {name for name, row in models.items() if row is None}
    values["models"] = {name: row for name, row in models.items() if row is not None}
    if isinstance(foreign := values.get("foreign"), Mapping):
        dropped |= {name for name, row in foreign.items() if row is None}
        values["foreign"] = {name: row for name, row in foreign.items() if row is not None}
    _leave_out(values, [*models, *(values.get("foreign") or {}), *dropped], dropped)
    if data:
        named = [_data_option(option) for option in data]
        values["data"] = dict(named)
        if len(values["data"]) < len(named):
            raise ConfigError(
                f"--data {' --data '.join(data)}: two data sets of one name",
                "name them: --data NAME=CONFIG.yaml",
            )
    else:
        values["data"] = {
            name: located(name) if config is None else config
            for name, config in values.get("data", {}).items()
        }
        if not values["data"]:
            raise ConfigError(
                f"{path.stem}: the suite names no data set of its own",
                "give --data NAME=CONFIG.yaml, or --data with a name of `h2rec datasets list`",
            )
        skipped = values.get("skip")
        for name in skipped if isinstance(skipped, Mapping) else ():
            if name not in values["data"]:
                raise ConfigError(f"{path}: skip.{name} is none of the data sets {', '.join(values['data'])}")
    return values


def _extended(path: Path, below: tuple[Path, ...]) -> Values:
    path = path.resolve()
    if path in below:
        raise ConfigError(f"{path}: extends itself by way of {below[-1]}")
    own = read_yaml(path)
    parent = own.pop("extends", None)
    for name in ("base", "data", "models"):
        if not isinstance(own.setdefault(name, {}), Mapping):
            raise ConfigError(f"{path}: {name}: expected keys and values")
    own["base"] = _absolute(own["base"], path.parent)
    for name in ("data", "models"):
        for row, part in own[name].items():
            if not isinstance(row, str):
                raise ConfigError(
                    f"{path}: {name}.{row}: a name is text, found {type(row).__name__}",
                    f"put it in quotes: '{row}'",
                )
            if part is not None and not isinstance(part, Mapping):
                raise ConfigError(
                    f"{path}: {name}.{row}: expected the keys of a run's configuration, found {part}"
                )
        own[name] = {
            row: None if part is None else _absolute(part, path.parent) for row, part in own[name].items()
        }
    own |= {"foreign": _files_from(own["foreign"], path.parent)} if "foreign" in own else {}
    if isinstance(sweep := own.get("sweep"), Mapping):
        own["sweep"] = {key: _absolute_values(key, values, path.parent) for key, values in sweep.items()}
    beside = path.parent / str(parent)
    extended: Values = {}
    if parent is not None:
        extended = _extended(beside if beside.is_file() else suite_path(str(parent)), (*below, path))
    sweep = own.get("sweep")
    if isinstance(sweep, Mapping) and (extended.get("sweep") or any(v is not None for v in sweep.values())):
        extended.pop("contrasts", None)  # of rows that have other names now
    for row, part in own["models"].items():
        if part is None and row not in extended.get("models", {}):
            raise ConfigError(
                f"{path}: models.{row}: null drops a row of a suite that is extended, and there is none of that name",
                f"a row at the default settings is '{row}: {{}}'",
            )
    return merged(extended, own)


def _leave_out(values: Values, models: Sequence[str], dropped: set[str]) -> None:
    """Take rows that a suite drops out of what names rows, and contrasts and the like that are given as null."""
    longest_first = sorted(models, key=len, reverse=True)

    def is_left(name: Any) -> bool:
        # A row of a sweep has its model's name in front, which may begin like another one's.
        swept = values.get("sweep") and isinstance(name, str)
        matches = (m for m in longest_first if name == m or (swept and name.startswith(f"{m}, ")))
        return next(matches, None) not in dropped

    for part in ("contrasts", "tuned_as", "skip"):
        if isinstance(asked := values.get(part), Mapping):
            values[part] = {
                row: list(filter(is_left, others)) if isinstance(others, list) else others
                for row, others in asked.items()
                if others is not None and is_left(row) and is_left(others)
            }
    if isinstance(sweep := values.get("sweep"), Mapping):
        values["sweep"] = {key: swept for key, swept in sweep.items() if swept is not None}
    if isinstance(unswept := values.get("unswept"), list):
        values["unswept"] = list(filter(is_left, unswept))


def _data_option(option: str) -> tuple[str, Values]:
    name, equals, file = option.rpartition("=")
    if not equals and Path(option).suffix not in (".yaml", ".yml"):
        return option, located(option)
    path = Path(file)
    values = _absolute(read_yaml(path), path.resolve().parent)
    return name or path.stem, _without_model(values)


def _without_model(values: Values) -> Values:
    """Drop a configuration's preset and model name: a suite's rows set them."""
    kept = {key: value for key, value in values.items() if key != "preset"}
    if isinstance(model := kept.get("model"), Mapping):
        kept["model"] = {key: value for key, value in model.items() if key != "name"}
    return kept


def located(name: str) -> Values:
    """Find a data set by its name: in the folder that `H2REC_DATASETS` names, else among the named public ones.

    Raises `ConfigError` if it is at neither place.
    """
    folder = os.environ.get(DATASETS_VARIABLE)
    files = Path(folder).expanduser().resolve() / name / name if folder else Path(name)
    interactions, items, codes = (Path(f"{files}{ending}") for ending in (".inter", ".item", ".index.json"))
    if folder and interactions.is_file():
        values: Values = {"data": {"interactions": str(interactions)}}
        if items.is_file():
            values["data"]["items"] = str(items)
        elif codes.is_file():  # no text, but published codes
            values["semantic_ids"] = {"quantizer": str(codes)}
        return values
    if name in {source.name for source in list_sources()}:
        return {"data": {"source": name}}
    if folder and not Path(folder).expanduser().is_dir():
        raise ConfigError(
            f"data set '{name}' is not to be found: {DATASETS_VARIABLE} names {folder}, where there is no folder",
            f"give --data {name}=CONFIG.yaml, or let it name a folder that holds {name}/{name}.inter",
        )
    raise ConfigError(
        f"data set '{name}' is not to be found",
        f"give --data {name}=CONFIG.yaml with its data.interactions and data.items, or let {DATASETS_VARIABLE} name "
        f"a folder that holds {name}/{name}.inter",
    )


def tuned_file(folder: Path, data: str, row: str) -> Path:
    """Path of a row's tuned settings on a data set: ``FOLDER/beauty/sasrec-warm.yaml``."""
    signed = re.sub(r"(?<![a-z0-9])-(?=\d)", "minus-", row.lower())
    return folder / data / f"{re.sub(r'[^a-z0-9]+', '-', signed).strip('-')}.yaml"


def read_tuned(folder: Path, data: str, row: str) -> Values:
    """Read a row's tuned settings on a data set; none where there is no file."""
    path = tuned_file(folder, data, row)
    return read_yaml(path) if path.exists() else {}


def merged(*layers: Mapping[str, Any]) -> Values:
    """Merge nested mappings, as presets are: the later one wins."""
    result: Values = reduce(merge, layers, {})
    return result


def nested(key: str, value: Any) -> Values:
    """Return the mapping in which a dotted key has a value."""
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def flat(values: Mapping[str, Any], above: str = "") -> Values:
    """Return the values of nested mappings by dotted key."""
    flattened: Values = {}
    for key, value in values.items():
        flattened |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flattened


_PATHS = (
    "data.interactions",
    "data.items",
    "semantic_ids.quantizer",
    "semantic_ids.quantizer.name",
    "text.encoder",
)
"""Keys of a run's configuration that may hold the path of a file or folder."""


def _absolute_values(key: str, swept: Any, folder: Path) -> Any:
    """Take a swept key's relative paths from a folder."""
    if not isinstance(swept, list) or key not in _PATHS:
        return swept
    return [flat(_absolute(nested(key, value), folder)).get(key, value) for value in swept]


def _files_from(value: Any, folder: Path) -> Any:
    """Take all files that foreign rows name from a folder."""
    if isinstance(value, Mapping):
        return {name: _files_from(part, folder) for name, part in value.items()}
    return str(folder / value) if isinstance(value, str) else value


def _absolute(values: Values, folder: Path) -> Values:
    """Take a configuration's relative paths from a folder."""
    named = {key: value for key, value in flat(values).items() if key in _PATHS and value is not None}
    return merged(values, *(nested(key, _absolute_path(value, key, folder)) for key, value in named.items()))


def _absolute_path(value: Any, key: str, folder: Path) -> Any:
    if isinstance(value, list):
        return [_absolute_path(part, key, folder) for part in value]
    if not isinstance(value, str):
        return value
    if key == "text.encoder":
        return encoder_path(value, folder)
    return str(folder / value) if key.startswith("data.") or value.endswith(".json") else value
