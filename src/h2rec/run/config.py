"""The configuration of a run: one YAML file, validated, every component's settings in its place."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, SerializeAsAny, field_validator

from h2rec.data.settings import DataSettings
from h2rec.errors import ConfigError
from h2rec.evaluation.settings import EvaluateSettings
from h2rec.files import content_key, read_yaml, write_text
from h2rec.losses.settings import LossSettings
from h2rec.models import MODELS
from h2rec.models.settings import ModelSettings, parse_model
from h2rec.registry import import_plugins
from h2rec.run.blend import BlendSettings
from h2rec.run.presets import preset_names, preset_values, with_preset
from h2rec.run.run_folder import SECTIONS
from h2rec.runtime import RuntimeSettings
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.settings import Settings
from h2rec.text.settings import TextSettings
from h2rec.training.settings import TrainSettings

_DEFAULT_MODEL = "branches"


class BundleSettings(Settings):
    """What is bundled."""

    refit: bool = True
    """Train the model that is bundled again, on all interactions, for as many epochs as the measured one needed; false
    bundles the measured model, which never saw validation and test items."""


class RunConfig(Settings):
    """Everything that decides the outcome of ``h2rec run``; all but `data` has a preset's values."""

    preset: str
    """The preset whose values stand where the file says nothing; `h2rec presets` lists them."""
    plugins: list[str] = Field([])
    """Modules that register parts of your own, imported before anything here is read (docs/extending.md)."""
    data: DataSettings
    """Interactions and items, and how they are cleaned and split."""
    text: TextSettings = TextSettings()
    """How item texts become embeddings."""
    semantic_ids: SemanticIdSettings = SemanticIdSettings()
    """How embeddings become semantic IDs: a few codes for each item."""
    model: SerializeAsAny[ModelSettings]
    """The model: its branches, whose scores are added up, and the backbone that reads histories."""
    loss: LossSettings = LossSettings()
    """What training minimises."""
    train: TrainSettings = TrainSettings()
    """How the model is trained."""
    blend: BlendSettings = BlendSettings()
    """How the weights of the branches are chosen after training."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """How the model is measured."""
    bundle: BundleSettings = BundleSettings()
    """What is deployed."""
    runtime: RuntimeSettings = RuntimeSettings()
    """Where the run takes place, and on how many threads."""

    @field_validator("model", mode="before")
    @classmethod
    def _parse_model(cls, value: Any) -> Any:
        return parse_model(value, default=_DEFAULT_MODEL)

    @classmethod
    def named_parts(cls) -> Mapping[str, type[Settings]]:
        return {"model": MODELS.get(_DEFAULT_MODEL).settings_class}

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, source: str = "configuration") -> Self:
        """Put values over those of the preset that they name, and validate them; see `Settings.parse`."""
        import_plugins(_modules(values), source=f"{source}: plugins")
        try:
            return super().parse(with_preset(values), source=source)
        except ConfigError as error:
            # Parts that go by a name are validated by themselves, and know nothing of the source.
            message = error.message if error.message.startswith(source) else f"{source}: {error.message}"
            raise ConfigError(message, error.hint) from None

    @classmethod
    def parse_resolved(cls, values: Mapping[str, Any], *, source: str = "configuration") -> Self:
        """Validate the values of a whole configuration, as `model_dump` gives them, without those of a preset."""
        import_plugins(_modules(values), source=f"{source}: plugins")
        return super().parse(values, source=source)

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file and apply overrides of the form ``a.b=value``; paths are relative to the file.

        Raises
        ------
        ConfigError
            Naming the file and line, or the key and the nearest valid one.
        """
        values = read_yaml(path)
        # What a run wrote: a branch that it lacks was left out, or stood in no preset yet.
        if values.keys() >= SECTIONS:
            values["model"] = _without_others(values["model"], values.get("preset"))
        for override in overrides:
            apply_override(values, override)
        return cls.parse(values, source=str(path)).resolved(path.resolve().parent)

    def resolved(self, base: Path) -> Self:
        """Return the same configuration with relative paths taken from a folder."""
        ids = self.semantic_ids.resolved(base)
        changes = {"data": self.data.resolved(base), "text": self.text.resolved(base), "semantic_ids": ids}
        return self.model_copy(update=changes)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take over what another process wrote; its parts must be known here, too."""
        super().__setstate__(state)
        import_plugins(self.plugins)

    @property
    def called(self) -> str:
        """What people read as the model's name: the preset's, where its model and backbone were not replaced."""
        own = self.model.model_dump(mode="json")
        usual = parse_model(preset_values(self.preset)["model"], default="branches").model_dump(mode="json")
        if own["name"] != usual["name"]:
            return str(own["name"])
        if own.get("backbone") != usual.get("backbone"):
            return f"{self.preset} with {own['backbone']['name']}"
        return self.preset

    @property
    def key(self) -> str:
        """Key of all that decides the figures: two configurations that share it are the same experiment.

        Files count by their names, not by where they lie; a preset counts by its values; `bundle`, `runtime` and
        `plugins` do not count.
        """
        return key_of_settings(self.model_dump(mode="json"))

    @property
    def training_key(self) -> str:
        """Key of all that decides the training: what is chosen, ranked and measured afterwards does not count."""
        values = self.model_dump(mode="json", exclude={"blend", "evaluate", "bundle", "runtime"})
        return key_of_settings(values | {"model": self.model.for_training().model_dump(mode="json")})

    def save(self, path: Path) -> None:
        """Write the resolved configuration as YAML, unless the file says so already; read again it is the same."""
        values = self.model_dump(mode="json")
        with suppress(ConfigError):
            if read_yaml(path) == values:
                return
        write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


_NO_FIGURES = ("bundle", "runtime", "preset", "plugins")
"""Sections that no figure depends on."""


def key_of_settings(values: Mapping[str, Any]) -> str:
    """Key of a configuration's plain values."""
    counted = {name: value for name, value in values.items() if name not in _NO_FIGURES}
    return content_key({"settings": _names_of_files(counted)})


def _without_others(model: Any, preset: Any) -> Any:
    """A model's plain values; branches of the preset that they don't name are left out by name."""
    own = model.get("branches") if isinstance(model, dict) else None
    if preset not in preset_names() or not isinstance(own, dict):
        return model
    usual = preset_values(preset).get("model", {}).get("branches", {})
    return model | {"branches": dict.fromkeys(usual) | own}


def _modules(values: Mapping[str, Any]) -> list[str]:
    """Names of the modules to import.

    They come before the validation, which needs the parts that they register.
    """
    names = values.get("plugins") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"plugins: expected a list of modules, found {names!r}", "write plugins: [my_parts]"
        )
    return names


def _names_of_files(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _names_of_files(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_names_of_files(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key, ``a.b=value``; the value is read as YAML.

    Raises `ConfigError` if the override is not of that form, or leads through something that is not a section.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"--set {override}: expected key=value, such as train.epochs=10")
    *sections, key = dotted.strip().split(".")
    node = values
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: '{section}' is a value, not a section")
    try:
        node[key] = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"--set {override}: not a YAML value ({error})") from None
