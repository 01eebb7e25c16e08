"""Branches: how items are represented, histories are read, and both are scored. One file a kind."""

from typing import TYPE_CHECKING

from h2rec.registry import Registry

if TYPE_CHECKING:
    from h2rec.models.branches.protocol import Branch

BRANCHES: Registry[type["Branch"]] = Registry(
    "kind of branch",
    "h2rec.branches",
    {
        "ids": "h2rec.models.branches.ids:IdsBranch",
        "codes": "h2rec.models.branches.codes:CodesBranch",
        "prefixes": "h2rec.models.branches.prefixes:PrefixesBranch",
        "transitions": "h2rec.models.branches.transitions:TransitionsBranch",
        "code_transitions": "h2rec.models.branches.transitions:CodeTransitionsBranch",
        "popularity": "h2rec.models.branches.popularity:PopularityBranch",
        "similar_text": "h2rec.models.branches.similar:SimilarTextBranch",
        "similar_vectors": "h2rec.models.branches.similar:SimilarVectorsBranch",
        "generative": "h2rec.models.branches.generative:GenerativeBranch",
        "ids_and_codes": "h2rec.models.baselines.ids_and_codes:IdsAndCodesBranch",
        "ids_and_text": "h2rec.models.baselines.ids_and_text:IdsAndTextBranch",
        "code_sum": "h2rec.models.baselines.code_sum:CodeSumBranch",
        "hashed_prefixes": "h2rec.models.baselines.hashed_prefixes:HashedPrefixesBranch",
        "code_pieces": "h2rec.models.baselines.code_pieces:CodePiecesBranch",
    },
    base="h2rec.models.branches.protocol:Branch",
)
"""Kinds of branches by name; `model.branches.NAME.kind` names one."""
