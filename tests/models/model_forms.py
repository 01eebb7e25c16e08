"""Sections `model` that between them hold every kind of branch, backbone and tie."""

BACKBONES = ["sasrec", "convolution", "bsarec", "esasrec", "bert4rec", "gru4rec"]
KINDS = {
    "ids": {},
    "codes": {},
    "prefixes": {},
    "transitions": {},
    "code_transitions": {},
    "popularity": {"window": 0.5},
    "similar_text": {},
    "similar_vectors": {},
    "generative": {},
    "ids_and_codes": {"join": "concat"},
    "ids_and_text": {},
    "code_sum": {},
    "hashed_prefixes": {},
    "code_pieces": {},
}
"""Every kind of branch, with settings of its own."""


def branches(*kinds, **named):
    """Branches by name, of a kind alone (which is the name, too) or of a kind and its settings."""
    of_kinds = {kind: {"kind": kind, **KINDS[kind]} for kind in kinds}
    return {"branches": of_kinds | {name: {**KINDS[v["kind"]], **v} for name, v in named.items()}}


TWO, THREE = branches("codes", "ids"), branches("codes", "prefixes", "ids")
ONE_OF_EACH = [branches(kind) for kind in KINDS if kind != "similar_vectors"]  # which needs another one
TIED = [
    {**TWO, **form}
    for form in (
        {},
        {"ties": {"fusion": "mean_history"}},
        {"ties": {"fusion": "equal"}},
        {"ties": {"cross_attention": "none"}},
        {"ties": {"cross_attention": "plain"}},
        {"temperature": None},
    )
]
LAST = [
    {**TWO, "backbone": backbone, "ties": {"intent": "last", "fusion": fusion}}
    for backbone in ("sasrec", "gru4rec")
    for fusion in ("adaptive", "mean_history")
]
MIXED = [
    {**THREE},
    {**THREE, "temperature": None},
    branches("popularity", "codes", "ids"),
    branches("similar_vectors", "codes", "ids"),
    branches(first={"kind": "ids", "weight": 0.3}, second={"kind": "ids"}),
    branches(codes={"kind": "codes", "weight": -0.5, "layers": 3}, ids={"kind": "ids"}),
    {"name": "llm_esr"},
]
ON_OTHER_BACKBONES = [
    {"backbone": backbone, **form}
    for backbone in ("bert4rec", "gru4rec")
    for form in (THREE, branches("ids_and_text"), branches("popularity", "code_pieces"), {"name": "llm_esr"})
]
FORMS = [*ONE_OF_EACH, *TIED, *LAST, *MIXED, *ON_OTHER_BACKBONES]


def name_of(form):
    """A form as a test's name."""
    kinds = [branch["kind"] for branch in form.get("branches", {}).values()]
    rest = [str(value) for key, value in form.items() if key != "branches"]
    return "-".join([*kinds, *rest])
