"""Signs that a training goes wrong in the ways that two-branch models do, measured and said aloud."""

from collections import defaultdict

import torch

from h2rec.models.protocol import UserStates
from h2rec.training.objective import Terms


class Diagnosis:
    """Means over an epoch of what H2Rec's failure signs are read from."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._alpha: torch.Tensor | None = None
        self._batches = 0

    def add(self, terms: Terms, states: UserStates, reads: torch.Tensor) -> None:
        """Take one batch into account; `reads` `[B, T]` are the positions that were trained."""
        self._batches += 1
        for name, value in terms.values.items():
            self._sums[f"loss/{name}"] += float(value.detach())
        self._sums["loss"] += float(terms.total.detach())
        if terms.positives_per_item is not None:
            self._sums["positives_per_item"] += terms.positives_per_item
        if states.norms is not None:
            hid, read = states.norms
            self._sums["mca_to_hid_norm"] += float(read / hid.clamp(min=1e-12))
        if states.alpha is not None:
            alpha = states.alpha.detach()[reads]
            entropy = -(alpha * alpha.clamp(min=1e-12).log()).sum(-1).mean() / torch.log(
                torch.tensor(float(alpha.shape[-1]))
            ).clamp(min=1e-12)
            self._sums["alpha_entropy"] += float(entropy)
            mean = alpha.mean(0).cpu()
            self._alpha = mean if self._alpha is None else self._alpha + mean

    def summary(self) -> dict[str, float]:
        """Means over the batches; `alpha_entropy` is 1 for equal weights and 0 for a single level."""
        means = {name: value / self._batches for name, value in self._sums.items()}
        if self._alpha is not None:
            means |= {f"alpha/{level + 1}": float(a) / self._batches for level, a in enumerate(self._alpha)}
        return means


def warnings_for(summary: dict[str, float], items_compared: int) -> list[str]:
    """Failure signs in an epoch's summary, each as a sentence with what to try."""
    found = []
    if summary.get("alpha_entropy", 1.0) < 0.1:
        level = max((n for n in summary if n.startswith("alpha/")), key=lambda n: summary[n]).removeprefix(
            "alpha/"
        )
        found.append(
            f"fusion collapsed on level {level} (entropy of alpha {summary['alpha_entropy']:.2f} of 1): "
            "a lower learning rate or fusion 'equal' tells whether it matters"
        )
    if summary.get("mca_to_hid_norm", 0.0) > 3.0:
        found.append(
            f"the cross-attention's output is {summary['mca_to_hid_norm']:.1f} times as long as the HID and drowns it: "
            "a warm start or weight decay keeps it down"
        )
    if summary.get("positives_per_item", 0.0) > 0.25 * items_compared:
        found.append(
            f"an item has {summary['positives_per_item']:.0f} positives among at most {items_compared}: "
            "the alignment is mostly noise, raise loss.alignment.shared_levels or lower the window"
        )
    return found
