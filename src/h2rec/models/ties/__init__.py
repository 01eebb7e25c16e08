"""Ties: what joins branches. Fusion and cross-attention inside the model; alignment and masking as losses."""
