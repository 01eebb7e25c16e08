"""Failure signs of two-branch models in training: measured, and reported as warnings."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import chain

import torch

from h2rec import collectives, distributed
from h2rec.batching.sequences import Batch
from h2rec.models.protocol import UserStates
from h2rec.training.objective import Terms

WATCH_EVERY = 8
"""One batch in this many is measured in detail: margins, alpha, norms."""


class Diagnosis:
    """Means over an epoch that show H2Rec's failure signs."""

    def __init__(self, head: torch.Tensor | None = None) -> None:
        """`head`: bool `[N + 1]`, which items are head items, for the branches' shares by popularity."""
        self._head = head
        self._gradients: dict[str, float] = {}
        self._margins: dict[str, list[float]] = {}
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = defaultdict(int)

    def add_gradients(
        self,
        terms: Terms,
        parameters: Iterable[torch.nn.Parameter],
        spread: Collection[torch.Tensor] = (),
    ) -> None:
        """Measure the gradient norm of each weighted loss term, in the first batch of the epoch that has it.

        Costs a backward pass a term. `spread`: those of which this worker has a part, with the gradient of all.
        """
        fresh = [name for name in terms.values if name not in self._gradients]
        if not fresh:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        parts = {id(parameter) for parameter in spread}
        for name in fresh:
            weighted = terms.weights[name] * terms.values[name]
            grads = torch.autograd.grad(weighted, trained, retain_graph=True, allow_unused=True)
            known = [
                (id(p) in parts, g.coalesce() if g.is_sparse else g)
                for p, g in zip(trained, grads, strict=True)
                if g is not None
            ]
            if distributed.size() > 1:
                known = [(part, g if part else _of_all(g)) for part, g in known]
            squares = trained[0].new_zeros(2)
            for part, gradient in known:
                values = gradient.values() if gradient.is_sparse else gradient
                squares[int(part)] += values.square().sum()
            if parts:
                squares[1] = collectives.add_up(squares[1].clone())
            self._gradients[name] = float(squares.sum()) ** 0.5

    def add(self, terms: Terms, states: UserStates, batch: Batch) -> None:
        """Add one batch; of several workers each adds its part."""
        for name, value in terms.values.items():
            self._add(f"loss/{name}", value)
        self._add("loss", terms.total)
        for name, figure in terms.figures.items():
            self._add(name, figure / distributed.size())
        if terms.margins is None:
            return
        share, targets = batch.share, batch.targets
        # The rest changes slowly: it is measured only with the margins.
        if len(terms.margins) > 1 and self._head is not None:
            is_head = self._head[targets[targets > 0]]
            for side, members in (("head", is_head), ("tail", ~is_head)):
                sums = self._margins.setdefault(side, [0.0] * len(terms.margins))
                for branch, margin in enumerate(terms.margins):
                    sums[branch] += float(margin[members].sum()) if share else 0.0
        if states.norms is not None:
            hid, read = states.norms
            self._add("mca_to_hid_norm", share * float(read / hid.clamp(min=1e-12)))
        # One level has nothing to collapse.
        if states.read_alpha is not None and states.read_alpha.shape[-1] > 1:
            alpha = states.read_alpha.detach()
            entropy = -(alpha * alpha.clamp(min=1e-12).log()).sum(-1).mean()
            self._add("alpha_entropy", share * float(entropy) / math.log(alpha.shape[-1]))
            for level, mean in enumerate(alpha.mean(0).tolist()):
                self._add(f"alpha/{level + 1}", share * mean)

    def _add(self, name: str, value: torch.Tensor | float) -> None:
        figure = float(value.detach() if isinstance(value, torch.Tensor) else value)
        self._sums[name] = self._sums.get(name, 0.0) + figure
        self._counts[name] += 1

    def summary(self) -> dict[str, float]:
        """Means over the batches.

        `alpha_entropy` is 1 for equal weights and 0 for a single level; `gradient/TERM` is the gradient norm of a
        weighted term; `first_branch_share/head` and `/tail` are the first branch's shares of the target's lead over the
        negatives (for H2Rec, of the branch of codes).
        """
        sums, margins = self._of_all_workers()
        means = {name: value / self._counts[name] for name, value in sums.items()}
        means |= {f"gradient/{name}": norm for name, norm in self._gradients.items()}
        for side, leads in margins.items():
            total = sum(leads)
            means[f"first_branch_share/{side}"] = leads[0] / total if total else 1 / len(leads)
        return means

    def _of_all_workers(self) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Sums and margins of all workers, which have the same names in the same order."""
        flat = [*self._sums.values(), *chain.from_iterable(self._margins.values())]
        totals = iter(collectives.add_up(torch.tensor(flat, dtype=torch.float64)).tolist())
        sums = {name: next(totals) for name in self._sums}
        return sums, {side: [next(totals) for _ in leads] for side, leads in self._margins.items()}


def _of_all(gradient: torch.Tensor) -> torch.Tensor:
    """Sum of all workers' gradients; this one's stays as it is."""
    return collectives.add_up_rows(gradient) if gradient.is_sparse else collectives.add_up(gradient.clone())


def warnings_for(summary: dict[str, float]) -> list[str]:
    """Failure signs in an epoch's summary, each as a sentence with what to try."""
    warnings = []
    if summary.get("alpha_entropy", 1.0) < 0.1:
        highest = max((n for n in summary if n.startswith("alpha/")), key=lambda n: summary[n])
        level = highest.removeprefix("alpha/")
        warnings.append(
            f"fusion collapsed on level {level} (entropy of alpha {summary['alpha_entropy']:.2f} of 1): "
            "a lower learning rate or model.ties.fusion 'equal' tells whether it matters"
        )
    if summary.get("mca_to_hid_norm", 0.0) > 3.0:
        warnings.append(
            f"the cross-attention's output is {summary['mca_to_hid_norm']:.1f} times as long as the HID and drowns it: "
            "a warm start or weight decay keeps it down"
        )
    if summary.get("positives_per_item", 0.0) > 0.25 * summary.get("items_compared", math.inf):
        warnings.append(
            f"an item has {summary['positives_per_item']:.0f} positives among {summary['items_compared']:.0f}: "
            "the alignment is mostly noise, raise model.ties.alignment.shared_levels or lower the window"
        )
    return warnings
