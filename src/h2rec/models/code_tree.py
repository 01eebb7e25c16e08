"""The tree of the codes that exist: its leaves are the items, and a path to one is its codes and then itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from h2rec.models.sparse_scores import ragged
from h2rec.semantic_ids.codes import CodeArray


@dataclass(frozen=True, eq=False)
class Beams:
    """What a beam search found: for each of `n` users the items whose paths survived."""

    rows: torch.Tensor
    """Users, int64 `[z]`, ascending."""
    items: torch.Tensor
    """Items, int64 `[z]`, ascending for each user; a pair occurs once."""
    log_probs: torch.Tensor
    """Log-probabilities of the paths, `[z]`."""
    survivors: torch.Tensor
    """Paths that survived at each depth, int64 `[L + 1, n]`, the items' own last."""
    expanded: torch.Tensor
    """Paths that they were chosen from, int64 `[L + 1, n]`: the survivors where the beam was wide enough."""


class Paths(NamedTuple):
    """Where a beam search is, and where it may go next."""

    depth: int
    rows: torch.Tensor
    """Users of the paths, int64 `[z]`, ascending."""
    nodes: torch.Tensor
    """Ends of the paths, int64 `[z]`."""
    places: torch.Tensor
    """The path that each child extends, int64 `[c]`, ascending."""
    children: torch.Tensor
    """Nodes one deeper, int64 `[c]`."""


Step = Callable[[Paths], torch.Tensor]
"""One depth of a beam search: log-probabilities `[c]` of the children, each given its parent."""


class CodeTree(nn.Module):
    """Nodes are numbered by depth, then by codes: the root is 0, and the children of any node stand side by side.

    Depth ``l`` has the prefixes of `l` codes, depth ``L + 1`` the items, so that items that share all codes are
    siblings. Only a node that has siblings is a choice and has a logit; a path goes through all others for sure.

    `codes`: `[N, L]`.
    """

    def __init__(self, codes: CodeArray) -> None:
        super().__init__()
        count, levels = codes.shape
        self.depths = levels + 1
        order = np.lexsort((np.arange(count), *codes.T[::-1]))
        ordered = codes[order]
        place = np.zeros(count, np.int64)  # the node of each item, in order, at the depth before
        parents, values, self.starts = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], [0, 1]
        below = [np.full(1, count, np.int64)]
        for depth in range(1, levels + 2):
            column = order + 1 if depth > levels else ordered[:, depth - 1].astype(np.int64)
            fresh = np.ones(count, np.bool_)
            fresh[1:] = (place[1:] != place[:-1]) | (column[1:] != column[:-1])
            parents.append(place[fresh])
            values.append(column[fresh])
            below.append(np.diff(np.flatnonzero(fresh), append=count))
            place = self.starts[-1] + np.cumsum(fresh) - 1
            self.starts.append(self.starts[-1] + int(fresh.sum()))
        parent, value = np.concatenate(parents), np.concatenate(values)
        offsets = 1 + np.searchsorted(parent[1:], np.arange(self.starts[-2] + 1))
        choices = np.flatnonzero(np.diff(offsets)[parent] > 1)
        choices = choices[choices > 0]
        rows = np.full(len(parent), -1)
        rows[choices] = np.arange(len(choices))
        for name, array in (
            ("parent", parent), ("value", value), ("offsets", offsets), ("choices", choices), ("rows", rows),
            ("below", np.concatenate(below)),
        ):  # fmt: skip
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64)), persistent=False)
        leaf = np.concatenate([[0], self.starts[-2] + np.argsort(order)])
        self.register_buffer("items", torch.from_numpy(order + 1), persistent=False)
        self.register_buffer("leaf", torch.from_numpy(leaf), persistent=False)
        self.choice_starts = np.searchsorted(choices, self.starts).tolist()

    parent: torch.Tensor
    """The node above each node, int64 `[G]`; the root's is itself."""
    value: torch.Tensor
    """The code of each node, int64 `[G]`; of the items, the item."""
    offsets: torch.Tensor
    """The children of a node that is no item are ``offsets[g]`` to ``offsets[g + 1] - 1``, int64 `[G - N + 1]`."""
    choices: torch.Tensor
    """Nodes that have siblings, int64 `[C]`."""
    rows: torch.Tensor
    """Place of each node among the choices, int64 `[G]`; -1 for a node without siblings."""
    below: torch.Tensor
    """How many items are below each node, int64 `[G]`; 1 for an item itself."""
    items: torch.Tensor
    """The items in the order of their nodes, int64 `[N]`."""
    leaf: torch.Tensor
    """The node of each item, int64 `[N + 1]`, the root for padding."""

    def path(self, items: torch.Tensor) -> torch.Tensor:
        """Nodes on the way to items `[M]`, int64 `[M, L + 2]`: the root first, the item itself last."""
        nodes = [self.leaf[items]]
        for _ in range(self.depths):
            nodes.append(self.parent[nodes[-1]])
        return torch.stack(nodes[::-1], dim=1)

    def means(self, leaves: torch.Tensor) -> list[torch.Tensor]:
        """Mean over the items below each node of their vectors `[N, d]`, which are in the order of `items`.

        One tensor a depth, the root's first.
        """
        sums = [leaves]
        for depth in range(self.depths, 0, -1):
            start, stop = self.starts[depth : depth + 2]
            above = leaves.new_zeros(start - self.starts[depth - 1], leaves.shape[1])
            parents = self.parent[start:stop] - self.starts[depth - 1]
            sums.append(above.index_add(0, parents, sums[-1]))
        below = self.below[:, None].split(np.diff(self.starts).tolist())
        return [total / count for total, count in zip(sums[::-1], below, strict=True)]

    def log_probs(self, logits: list[torch.Tensor]) -> torch.Tensor:
        """Log-probabilities of all items, `[n, N + 1]`, minus infinity for padding.

        `logits`: of the choices of each depth, one tensor `[C_l, n]` a depth.
        """
        users = logits[0].shape[1]
        above = logits[0].new_zeros(1, users)
        for depth in range(1, self.depths + 1):
            start, stop = self.starts[depth], self.starts[depth + 1]
            now = above.index_select(0, self.parent[start:stop] - self.starts[depth - 1])
            first, last = self.choice_starts[depth : depth + 2]
            if last > first:
                chosen = self.choices[first:last]
                now.index_add_(0, chosen - start, log_shares(logits[depth - 1], self.parent[chosen]))
            above = now
        scores = above.new_full((users, len(self.leaf)), -torch.inf)
        scores[:, 1:] = above.index_select(0, self.leaf[1:] - self.starts[-2]).T
        return scores

    def beam(self, count: int, step: Step, width: int) -> Beams:
        """Search the items of most probable paths; only paths that exist are ever looked at.

        Equal paths at the edge of the beam survive in the order of the nodes.

        Parameters
        ----------
        count
            Users, n.
        step
            What decodes one depth.
        width
            Most paths of a user that survive a depth.
        """
        rows = torch.arange(count, device=self.parent.device)
        nodes, log_probs = torch.zeros_like(rows), torch.zeros(count, device=rows.device)
        survivors, expanded = [], []
        for depth in range(self.depths):
            places, children = ragged(self.offsets, nodes)
            log_probs = log_probs[places] + step(Paths(depth, rows, nodes, places, children))
            rows, nodes = rows[places], children
            expanded.append(torch.bincount(rows, minlength=count))
            kept = _best(rows, log_probs, expanded[-1], width)
            rows, nodes, log_probs = rows[kept], nodes[kept], log_probs[kept]
            survivors.append(torch.bincount(rows, minlength=count))
        items = self.value[nodes]
        order = (rows * len(self.leaf) + items).argsort()
        return Beams(rows, items[order], log_probs[order], torch.stack(survivors), torch.stack(expanded))


def joined(parts: Sequence[Beams], users: int) -> Beams:
    """Beams of all users from those of some of them, so many at a time."""
    return Beams(
        torch.cat([part.rows + place * users for place, part in enumerate(parts)]),
        torch.cat([part.items for part in parts]),
        torch.cat([part.log_probs for part in parts]),
        torch.cat([part.survivors for part in parts], dim=1),
        torch.cat([part.expanded for part in parts], dim=1),
    )


def log_shares(logits: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """Log-softmax of logits `[C, n]` among the rows of each group `[C]`; rows of one group are neighbours."""
    _, place = torch.unique_consecutive(group, return_inverse=True)
    shape = int(place[-1]) + 1, logits.shape[1]
    # The largest of a group only keeps the exponentials in range: it needs no gradient.
    top = logits.new_full(shape, -torch.inf)
    top.scatter_reduce_(0, place[:, None].expand_as(logits), logits.detach(), "amax")
    shifted = logits - top.index_select(0, place)
    total = logits.new_zeros(shape).index_add(0, place, shifted.exp())
    return shifted - total.log().index_select(0, place)


def _best(rows: torch.Tensor, values: torch.Tensor, counts: torch.Tensor, width: int) -> torch.Tensor:
    """Places of the `width` largest values of each row, ascending; the first of equals. Rows ascend."""
    if int(counts.max()) <= width:
        return torch.arange(len(rows), device=rows.device)
    order = values.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(rows), device=rows.device) - first[rows[order]]
    return order[rank < width].sort().values
