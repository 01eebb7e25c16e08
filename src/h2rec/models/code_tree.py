"""Items as leaves of the tree of their codes: a vector for every prefix that they share, and one of their own.

Beyond the paper; the prefixes are those of PG-SID (arXiv 2504.02137), here without a hash.
"""

import numpy as np

from h2rec.models.row_sum import RowArray
from h2rec.semantic_ids.codes import CodeArray


def prefix_nodes(codes: CodeArray) -> tuple[RowArray, int]:
    """Number the prefixes that end before the last code, in the order in which items first have them.

    A catalogue that grows at its end keeps the numbers that it has given.

    Parameters
    ----------
    codes
        `[N, L]`.

    Returns
    -------
    tuple
        Rows `[N, max(1, L - 1)]`, counted from 1, and how many there are. One level makes a tree of that level and the
        leaves.
    """
    depth = max(1, codes.shape[1] - 1)
    # A node is told by the node above it and one more code: two whole numbers, whatever the levels and sizes.
    above = np.zeros(len(codes), dtype=np.int64)
    pairs = []
    for level in range(depth):
        _, first, inverse = np.unique(
            np.stack([above, codes[:, level].astype(np.int64)], axis=1),
            axis=0,
            return_index=True,
            return_inverse=True,
        )
        above = inverse.reshape(-1)
        pairs.append(first[above])
    # Told by the item that had it first, and its level: sorted by item, then by level.
    by_item = np.stack(pairs, axis=1) * depth + np.arange(depth)
    nodes, rows = np.unique(by_item, return_inverse=True)
    return rows.reshape(by_item.shape).astype(np.int64) + 1, len(nodes)
