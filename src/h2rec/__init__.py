"""H2Rec: sequential recommendation for the long tail with hash IDs and semantic IDs, harmonized.

For people with frames: `Dataset.from_frames`, then `H2Rec().fit(data)` or another model (`SASRec`, `BERT4Rec`,
`GRU4Rec`, `BSARec`, `ESASRec`, `Popularity`, `Transitions`). It then answers, shows its figures and is saved; `load`
has it back as a `Model`.

The pipeline, in the order that data walks through it:

- `RunConfig` says everything that decides the outcome; `fit` carries it out and returns a `Model`.
- `prepare` reads interactions and items into a `Dataset`; `split` holds out what validates and tests.
- `embed` turns item texts into embeddings, `tokenize` turns those into `SemanticIds`, `audit` judges them.
- `Pipeline` does all that, trains, evaluates and bundles, stage by stage, reusing what is done.
- `compare_models` tests saved ranks for significance.
- `Recommender` answers `recommend(history, k)` from a bundle, for services: ids are texts there.

Mistakes of a user raise `H2RecError`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from h2rec.cores import wait_passively

if TYPE_CHECKING:
    from h2rec.data.dataset import Dataset as Dataset
    from h2rec.data.prepare import prepare as prepare
    from h2rec.data.splits import split as split
    from h2rec.errors import H2RecError as H2RecError
    from h2rec.evaluation.significance import compare_models as compare_models
    from h2rec.python.estimators import BERT4Rec as BERT4Rec
    from h2rec.python.estimators import BSARec as BSARec
    from h2rec.python.estimators import ESASRec as ESASRec
    from h2rec.python.estimators import GRU4Rec as GRU4Rec
    from h2rec.python.estimators import H2Rec as H2Rec
    from h2rec.python.estimators import Popularity as Popularity
    from h2rec.python.estimators import SASRec as SASRec
    from h2rec.python.estimators import Transitions as Transitions
    from h2rec.python.fit import fit as fit
    from h2rec.python.model import Model as Model
    from h2rec.python.model import load as load
    from h2rec.retrieval.filters import ItemFilter as ItemFilter
    from h2rec.retrieval.recommender import Recommender as Recommender
    from h2rec.run.config import RunConfig as RunConfig
    from h2rec.run.pipeline import Pipeline as Pipeline
    from h2rec.semantic_ids.audit import audit as audit
    from h2rec.semantic_ids.codes import SemanticIds as SemanticIds
    from h2rec.semantic_ids.tokenize import tokenize as tokenize
    from h2rec.text.embed import embed as embed

wait_passively()  # before anything loads torch

__version__ = "0.1.0"

_MODELS = ("BERT4Rec", "BSARec", "ESASRec", "GRU4Rec", "H2Rec", "Popularity", "SASRec", "Transitions")
_HOMES = {
    **dict.fromkeys(_MODELS, "h2rec.python.estimators"),
    "Dataset": "h2rec.data.dataset",
    "H2RecError": "h2rec.errors",
    "Pipeline": "h2rec.run.pipeline",
    "Recommender": "h2rec.retrieval.recommender",
    "ItemFilter": "h2rec.retrieval.filters",
    "Model": "h2rec.python.model",
    "load": "h2rec.python.model",
    "RunConfig": "h2rec.run.config",
    "SemanticIds": "h2rec.semantic_ids.codes",
    "audit": "h2rec.semantic_ids.audit",
    "compare_models": "h2rec.evaluation.significance",
    "embed": "h2rec.text.embed",
    "fit": "h2rec.python.fit",
    "prepare": "h2rec.data.prepare",
    "split": "h2rec.data.splits",
    "tokenize": "h2rec.semantic_ids.tokenize",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # A name is imported when it is asked for: reading a bundle does not load what trains a model.
    if name not in _HOMES:
        raise AttributeError(f"module 'h2rec' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
