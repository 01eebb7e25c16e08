"""Sequence models: sums of branches, on any backbone. A model sees tensors and codes, never files or texts."""

from typing import TYPE_CHECKING

from h2rec.registry import Registry

if TYPE_CHECKING:
    from h2rec.models.protocol import SequenceModel

MODELS: Registry[type["SequenceModel"]] = Registry(
    "model",
    "h2rec.models",
    {
        "branches": "h2rec.models.branch_model:BranchModel",
        "llm_esr": "h2rec.models.baselines.llm_esr:LlmEsr",
        "tiger": "h2rec.models.baselines.tiger:Tiger",
    },
    base="h2rec.models.protocol:SequenceModel",
)
"""Models by name; `model.name` names one."""
