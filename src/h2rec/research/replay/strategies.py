"""The ways of keeping a model fresh that a replay compares, and what it measures."""

NEVER, COUNTS, UPDATE, FULL = "never", "counts alone", "update", "full training"
STRATEGIES = {
    NEVER: "the model of the beginning answers all the time",
    COUNTS: "counts are kept up to date, what was learned stays",
    UPDATE: "counts are kept up to date, and weights learn on to a budget",
    FULL: "everything is trained again",
}
METRICS = ("ndcg@100", "hit@100", "ndcg@10", "hit@10")
SLICES = ("all", "new items", "new users")
