"""Ties between branches. Fusion and cross-attention inside the model; alignment and masking as losses."""
