"""From histories to tensors: jagged batches, targets, masks, negatives, neighbours."""
