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
    first_items = []
    for length in range(1, depth + 1):
        _, first, inverse = np.unique(codes[:, :length], axis=0, return_index=True, return_inverse=True)
        first_items.append(first[inverse.reshape(-1)])
    # A prefix is told by the item that had it first, and its length: numbered by item, then by length.
    by_item = np.stack(first_items, axis=1) * depth + np.arange(depth)
    nodes, rows = np.unique(by_item, return_inverse=True)
    return rows.reshape(by_item.shape).astype(np.int64) + 1, len(nodes)
