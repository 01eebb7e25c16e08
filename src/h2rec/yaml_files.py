"""YAML files of users: mappings, each key once."""

from pathlib import Path
from typing import Any

import yaml

from h2rec.errors import ConfigError


class _KeysOnce(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML takes the last one, and what the first one says is lost in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping; see `yaml.composer.Composer`."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands twice", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises `ConfigError` if the file is missing, is no YAML (with its line), or holds something else.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _KeysOnce)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not valid YAML ({getattr(error, 'problem', error)})") from None
    except (RecursionError, ValueError) as error:  # nested without end, or a date that there is not
        raise ConfigError(f"{path}: no YAML that can be read ({error})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, such as 'data:', found {type(values).__name__}")
    return values
