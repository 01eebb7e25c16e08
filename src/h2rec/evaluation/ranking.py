"""The rank of the held-out item, under the full and the sampled protocol."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from h2rec.data.histories import Histories
from h2rec.data.splits import Holdout
from h2rec.errors import DataError, H2RecWarning
from h2rec.evaluation.negatives import draw_negatives
from h2rec.evaluation.repeats import repeated
from h2rec.evaluation.scorer import Scorer
from h2rec.evaluation.settings import FULL, EvaluateSettings, sampled_negatives
from h2rec.evaluation.topk import row_item_pairs, top_items
from h2rec.progress import Advance, progress_bar

Ranks64 = npt.NDArray[np.int64]
Items32 = npt.NDArray[np.int32]

NO_RANK = 0
"""Rank of a case that is in no figure of a protocol."""

SCORES_AT_ONCE = 2**25
"""Most scores in memory at once (128 MiB): chunks of a large catalogue hold fewer users."""
USERS_AT_ONCE = 256
"""Most users scored at once."""
EXACT_IN_FLOAT32 = 2**24
"""Integers up to this are exact in float32."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of the targets of a holdout."""

    by_protocol: dict[str, Ranks64]
    """Protocol name -> rank of the target, int64 `[cases]`, 1 is best. `NO_RANK` for a target in its own history where
    repeats are excluded, and in a sampled protocol where there are too few items to draw from."""
    top: Items32 | None
    """Recommended lists, int32 `[cases, top_k]`, best first, 0 where a list ends early; or None."""


def rank(
    scorer: Scorer,
    holdout: Holdout,
    settings: EvaluateSettings,
    *,
    seed: int = 0,
    top_k: int = 0,
    progress: str | None = None,
) -> Ranks:
    """Rank every target under every protocol of the settings; scores are computed once.

    Parameters
    ----------
    settings
        With `repeats` allowed or excluded; `Repeats.of` resolves ``auto`` on a whole data set.
    seed
        Of the sampled negatives. Give every model the same one, whatever its own seed.
    top_k
        Length of the recommended lists of the full ranking to keep; 0 keeps none.
    progress
        Title of a progress bar; None shows none.

    Raises `DataError` if the holdout names items that the scorer does not know. Warns if targets score NaN, which
    get the worst rank.
    """
    if settings.repeats == "auto":
        raise ValueError("repeats: auto is no rule to rank by, see Repeats.of")
    _check_items(scorer, holdout)
    excluding = settings.repeats == "excluded"
    apart = repeated(holdout) if excluding else np.zeros(len(holdout), dtype=np.bool_)
    ranked = np.flatnonzero(~apart)
    negatives = {}
    for protocol in settings.protocols:
        if protocol != FULL:
            cases, count = holdout.select(ranked), sampled_negatives(protocol)
            drawn = np.zeros((len(holdout), count), dtype=np.int32)
            drawn[ranked] = draw_negatives(cases, scorer.item_count, count, seed, settings.repeats)
            negatives[protocol] = drawn
    ranks = {protocol: np.empty(len(holdout), dtype=np.int64) for protocol in settings.protocols}
    top = np.zeros((len(holdout), top_k), dtype=np.int32) if top_k and FULL in ranks else None
    broken = 0
    with _bar(progress, len(holdout)) as advance:
        chunk = min(USERS_AT_ONCE, max(1, SCORES_AT_ONCE // (scorer.item_count + 1)))
        for rows, scores in _scored_chunks(scorer, holdout, chunk):
            targets = torch.from_numpy(holdout.targets[rows].astype(np.int64)).to(scores.device)
            excluded = holdout.histories.select(rows) if excluding else None
            broken += int(scores.gather(1, targets[:, None]).isnan().sum())
            if FULL in ranks:
                ranks[FULL][rows] = full_ranks(scores, targets, excluded).cpu()
            for protocol, drawn in negatives.items():
                against = torch.from_numpy(drawn[rows].astype(np.int64)).to(scores.device)
                ranks[protocol][rows] = sampled_ranks(scores, targets, against).cpu()
            if top is not None:
                top[rows] = top_items(scores, top_k, excluded)[0].cpu()
            advance(len(rows))
    if FULL in ranks:
        ranks[FULL][apart] = NO_RANK
    if broken:
        warnings.warn(
            f"{broken} of {len(holdout)} targets have the score NaN and are ranked last: the model diverged",
            H2RecWarning,
            stacklevel=2,
        )
    return Ranks(ranks, top)


def full_ranks(scores: torch.Tensor, targets: torch.Tensor, exclude: Histories | None = None) -> torch.Tensor:
    """Rank targets among all items.

    Only items with a lower score are behind the target: ties and NaN count against the model, and a target that scores
    NaN comes last.

    `scores` are `[n, N + 1]`; column 0 (padding) is ignored. `exclude` has the items of each row that are no candidates
    (the history); the rank of a target among them means nothing.

    Returns int64 `[n]`, 1 is best.
    """
    target_scores = scores.gather(1, targets[:, None])
    candidates_scores = scores[:, 1:]
    if candidates_scores.dtype == torch.float32 and candidates_scores.shape[1] < EXACT_IN_FLOAT32:
        # Several times faster on CPUs than comparing into booleans and counting these.
        lower = torch.lt(candidates_scores, target_scores, out=torch.empty_like(candidates_scores))
        behind = lower.sum(dim=1).long()
    else:
        behind = (candidates_scores < target_scores).sum(dim=1)
    candidates = torch.full_like(behind, scores.shape[1] - 1)
    if exclude is not None:
        rows, items = _distinct_pairs(exclude, scores.shape[1], scores.device)
        lower = scores[rows, items] < target_scores[rows, 0]
        behind -= torch.bincount(rows[lower], minlength=len(targets))
        candidates -= torch.bincount(rows, minlength=len(targets))
    return candidates - behind


def sampled_ranks(scores: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """Rank targets among given negatives, int64 `[n, negatives]`, with the rules of `full_ranks`.

    Without negatives (zeros) a target has `NO_RANK`.
    """
    lower = scores.gather(1, negatives) < scores.gather(1, targets[:, None])
    ranks = negatives.shape[1] + 1 - lower.sum(dim=1)
    return ranks.masked_fill(negatives[:, 0] == 0, NO_RANK)


def drop_excluded(scores: torch.Tensor, exclude: Histories) -> None:
    """Set the scores of excluded items to minus infinity, in place, for scores that are ranked many times."""
    rows, items = row_item_pairs(exclude, scores.device)
    scores[rows, items] = -torch.inf


def _distinct_pairs(
    exclude: Histories, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and items of excluded items, each pair once."""
    rows, items = row_item_pairs(exclude, device)
    pairs = torch.unique(rows * width + items)
    return pairs // width, pairs % width


def _bar(title: str | None, total: int) -> AbstractContextManager[Advance]:
    return nullcontext(lambda n=1, note="": None) if title is None else progress_bar(title, total, "users")


def _scored_chunks(
    scorer: Scorer, holdout: Holdout, chunk: int
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    # Histories of like length together: a sequence model then pads little.
    order = np.argsort(holdout.histories.lengths, kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), chunk):
            rows = order[start : start + chunk]
            scores = scorer.score(holdout.histories, rows)
            if scores.shape != (len(rows), scorer.item_count + 1):
                raise ValueError(
                    f"the scorer returned {tuple(scores.shape)}, not {(len(rows), scorer.item_count + 1)}"
                )
            yield rows, scores


def _check_items(scorer: Scorer, holdout: Holdout) -> None:
    for name, items in (("target", holdout.targets), ("history item", holdout.histories.items)):
        if len(items) and not 1 <= items.min() <= items.max() <= scorer.item_count:
            raise DataError(
                f"{name}s run from {items.min()} to {items.max()}, and the model knows the items "
                f"1 to {scorer.item_count}",
                "evaluate a model on the data set that it was trained on",
            )
