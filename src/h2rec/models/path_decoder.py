"""Probabilities of codes, one level after the other, and of an item among those that share all codes."""

from dataclasses import dataclass

import torch
from torch import nn

from h2rec.models.code_table import CodeTable
from h2rec.models.code_tree import Beams, CodeTree, Paths, Step, joined, log_shares
from h2rec.models.item_table import ItemTable
from h2rec.models.score import Score
from h2rec.models.sparse_scores import ragged

PAIRS_AT_ONCE = 2**24
"""Numbers of a beam's vectors that are looked at at once: 64 megabytes."""


@dataclass(frozen=True, eq=False)
class Nodes:
    """The choices of a tree as vectors: a choice's logit is ``<user, vector> + bias``."""

    vectors: torch.Tensor
    """`[C, d]`."""
    biases: torch.Tensor
    """`[C]`."""


class PathDecoder(nn.Module):
    """``p(v | u) = prod_l p(c_l | u, c_<l) * p(v | u, c)``, each a softmax among the children that exist.

    The path so far gates and shifts the user state (FiLM, arXiv 1709.07871):
    ``q_l = A_l u * (1 + g(c_<l)) + b(c_<l)``, with `g` and `b` of the sum of its code vectors. The logit of a node is
    ``<q_l, e> + log n``, where `e` is the mean of the hash IDs of the `n` items below it: to first order the logarithm
    of what a softmax over all items would give them together. So codes say where to look, and identities what is there.
    Gate and shift belong to the path, so that ``<A_l u, (1 + g) * e> + <b, e>`` is one inner product with a static
    vector of the node: the whole tree is scored exactly by matrix products, without a step of a decoder for each path.

    Symbols: `L` levels, `d` hidden size, `n` users or positions, `C` choices of the tree.
    """

    def __init__(self, tree: CodeTree, codes: CodeTable, ids: ItemTable, dim: int, score: Score) -> None:
        super().__init__()
        self.tree = tree
        # In a tuple, so that torch does not register the modules a second time.
        self._tables = codes, ids
        self.score = score
        self.reads = nn.Linear(dim, tree.depths * dim, bias=False)
        self.depth = nn.Parameter(torch.empty(tree.depths, dim))
        gates = nn.Linear(dim, 2 * dim)
        self.path = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), gates)
        nn.init.normal_(self.depth, std=0.02)
        # Starts as what a softmax over all items sees: a user's state as it is, whatever the path.
        nn.init.zeros_(gates.weight)
        nn.init.zeros_(gates.bias)
        with torch.no_grad():
            self.reads.weight.copy_(torch.eye(dim).repeat(tree.depths, 1))
        self._nodes: Nodes | None = None

    def train(self, mode: bool = True) -> "PathDecoder":
        self._nodes = None  # of weights that change
        return super().train(mode)

    def users(self, states: torch.Tensor) -> list[torch.Tensor]:
        """Sides of user states `[n, d]` at each depth, one tensor `[n, d]` a depth."""
        sides = self.reads(states).view(len(states), self.tree.depths, -1)
        return [self.score.user_side(side) for side in sides.unbind(1)]

    def loss(
        self, states: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean of ``-log p(target | u)``, and what each depth gives of it; states `[n, d]`, targets int64 `[n]`."""
        codes, _ = self._tables
        nodes, users = self.tree.path(targets), self.users(states)
        rows = codes.rows(targets)
        by_depth = {}
        prefix = torch.zeros_like(states)
        ends = self._ends()
        for depth, side in enumerate(users):
            above = nodes[:, depth]
            # Where a path has no choice it is sure.
            at = (self.tree.rows[nodes[:, depth + 1]] >= 0).nonzero().squeeze(1)
            gate, shift = self._gates(prefix[at], depth)
            query = side[at] * (1 + gate) + shift
            by_depth[f"depth_{depth + 1}"] = self._surprise(
                query, above[at], nodes[at, depth + 1], depth, ends[depth + 1]
            ) / len(states)
            if depth < codes.levels:
                prefix = prefix + codes.vectors[rows[:, depth]]
        return torch.stack(list(by_depth.values())).sum(), by_depth

    def log_probs(self, states: torch.Tensor) -> torch.Tensor:
        """Exact log-probabilities of all items, `[n, N + 1]`, for user states `[n, d]`."""
        return self.tree.log_probs(self._logits(states))

    def _logits(self, states: torch.Tensor) -> list[torch.Tensor]:
        """Logits of the choices of each depth, one tensor `[C_l, n]` a depth."""
        nodes, starts = self.nodes(), self.tree.choice_starts
        return [
            torch.addmm(nodes.biases[first:last, None], nodes.vectors[first:last], side.T)
            for first, last, side in zip(starts[1:], starts[2:], self.users(states), strict=False)
        ]

    def path_log_probs(self, states: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the steps to items `[M]`, `[n, M, L + 1]`, for user states `[n, d]`.

        A step without a choice is sure.
        """
        nodes, steps = self.tree.path(items), []
        for depth, logits in enumerate(self._logits(states)):
            step = logits.new_zeros(len(items), len(states))
            if len(logits):
                first, last = self.tree.choice_starts[depth + 1 : depth + 3]
                shares = log_shares(logits, self.tree.parent[self.tree.choices[first:last]])
                at = self.tree.rows[nodes[:, depth + 1]]
                step[at >= 0] = shares[at[at >= 0] - first]
            steps.append(step)
        return torch.stack(steps, dim=-1).transpose(0, 1)

    def beam(self, states: torch.Tensor, width: int) -> Beams:
        """The items of the most probable paths for user states `[n, d]`, at most `width` a user."""
        most = int(self.tree.offsets.diff().max())
        few = max(1, PAIRS_AT_ONCE // (states.shape[1] * most * width))
        parts = [self.tree.beam(len(some), self._step(self.users(some)), width) for some in states.split(few)]
        return joined(parts, few)

    def _step(self, users: list[torch.Tensor]) -> Step:
        known = self.nodes()

        def step(paths: Paths) -> torch.Tensor:
            depth, rows, _, places, children = paths
            at = self.tree.rows[children]
            chosen = (at >= 0).nonzero().squeeze(1)
            log_probs = known.biases.new_zeros(len(children))
            if len(chosen):
                own = at[chosen]
                side = users[depth][rows[places[chosen]]]
                logits = (side * known.vectors[own]).sum(-1) + known.biases[own]
                log_probs[chosen] = log_shares(logits[:, None], places[chosen]).squeeze(1)
            return log_probs

        return step

    def nodes(self) -> Nodes:
        """Vectors of all choices; kept until the weights may change."""
        if self._nodes is not None:
            return self._nodes
        codes = self._tables[0]
        tree, starts = self.tree, self.tree.choice_starts
        sums = [codes.vectors.new_zeros(1, codes.vectors.shape[1])]  # of the nodes at the depth before
        vectors, biases = [], []
        ends = self._ends()
        for depth in range(tree.depths):
            first, last = starts[depth + 1 : depth + 3]
            chosen = tree.choices[first:last]
            gate, shift = self._gates(sums[-1][tree.parent[chosen] - tree.starts[depth]], depth)
            own = ends[depth + 1][chosen - tree.starts[depth + 1]]
            vectors.append((1 + gate) * own)
            biases.append((shift * own).sum(-1) + self.tree.below[chosen].log())
            if depth < codes.levels:
                start, stop = tree.starts[depth + 1 : depth + 3]
                of_code = codes.by_level(codes.vectors)[depth][tree.value[start:stop]]
                sums.append(sums[-1][tree.parent[start:stop] - tree.starts[depth]] + of_code)
        nodes = Nodes(torch.cat(vectors), torch.cat(biases))
        if not self.training:
            self._nodes = nodes = Nodes(nodes.vectors.detach(), nodes.biases.detach())
        return nodes

    def _gates(self, prefix: torch.Tensor, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Gate and shift `[n, d]` of paths whose code vectors add up to `prefix` `[n, d]`."""
        gate, shift = self.path(prefix + self.depth[depth]).chunk(2, dim=-1)
        return gate, shift / (self.score.temperature or 1.0)

    def _ends(self) -> list[torch.Tensor]:
        """Vectors of all nodes as scores use them: the mean of the hash IDs below each, one tensor a depth."""
        return self.tree.means(self.score.item_side(self._tables[1](self.tree.items)))

    def _surprise(
        self, query: torch.Tensor, above: torch.Tensor, own: torch.Tensor, depth: int, ends: torch.Tensor
    ) -> torch.Tensor:
        """Sum of ``-log p(own | above)`` for queries `[n, d]`; `ends` are the vectors of the depth below."""
        tree, first = self.tree, self.tree.starts[depth + 1]
        if depth == 0:  # all choose among the children of the root
            logits = query @ ends.T + tree.below[first : first + len(ends)].log()
            return nn.functional.cross_entropy(logits, own - first, reduction="sum")
        if not len(query):
            return query.sum()
        places, children = ragged(tree.offsets, above)
        logits = (query[places] * ends[children - first]).sum(-1) + tree.below[children].log()
        shares = log_shares(logits[:, None], places).squeeze(1)
        return -shares[children == own[places]].sum()
