"""Models from settings and arrays with starting weights, from stored weights, or grown by new items."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from h2rec.models import MODELS
from h2rec.models.features import ItemFeatures, NewItems
from h2rec.models.protocol import SequenceModel
from h2rec.models.settings import EncoderSettings, ModelSettings
from h2rec.models.warm_start import TextStart
from h2rec.models.weights import load_weights
from h2rec.semantic_ids.codes import SemanticIds

logger = logging.getLogger(__name__)


def build_model(settings: ModelSettings, features: ItemFeatures, *, seed: int) -> SequenceModel:
    """Make a model and start its weights; the same seed gives the same weights.

    Raises `ConfigError` if the name is unknown, or the model needs codes or text that the catalogue does not have.
    """
    torch.manual_seed(seed)
    model = MODELS.get(settings.name).build(settings, features)
    known = features.text is not None or (features.semantic_ids is not None and not features.stored)
    if isinstance(settings, EncoderSettings) and settings.warm_start and known:
        start = TextStart(features, settings.dim)
        if start.too_few:
            count = int(features.described.sum())
            logger.warning("%d items have a text, too few for a warm start: all start cold", count)
        else:
            model.start(start)
    return model


def model_for_weights(
    settings: ModelSettings,
    item_count: int,
    semantic_ids: SemanticIds | None,
    weights: Mapping[str, torch.Tensor],
) -> SequenceModel:
    """Make the model that stored weights belong to, with the weights in it.

    Raises `ConfigError` if the settings ask for codes that are not there; `H2RecError` if names or shapes differ.
    """
    features = ItemFeatures(item_count, semantic_ids, stored=weights)
    with torch.random.fork_rng(devices=[]), _Unfilled():  # the caller's random numbers stay as they are
        model = build_model(settings, features, seed=0)
    load_weights(model, dict(weights))
    return model.eval()


_STARTS = {torch.Tensor.normal_, torch.Tensor.uniform_}
_STARTS |= {start for name, start in vars(nn.init).items() if name.endswith("_") and name[0] != "_"}
"""What fills weights at random, by itself or, where torch is asked through `nn.init`, by name."""


class _Unfilled(TorchFunctionMode):
    """Leaves out random starts: of a large catalogue they take as long as all else, and weights replace them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        if func in _STARTS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def grown_model(
    model: SequenceModel, settings: ModelSettings, ids: SemanticIds, new: NewItems
) -> SequenceModel:
    """Copy a model and give it the new items' rows; the old items keep their vectors to the bit.

    `ids`: codes of all items, old and new, `[N + M, L]`.
    `new`: what is known of the new ones.
    """
    # Only the shape of this text counts: `grow` copies the old items' text and appends that of the new ones.
    text = None if new.text is None else new.text[:1].repeat(len(ids), axis=0)
    with torch.random.fork_rng(devices=[]):
        grown = MODELS.get(settings.name).build(settings, ItemFeatures(len(ids), ids, text))
    grown.grow(model, new)
    return grown.eval()
