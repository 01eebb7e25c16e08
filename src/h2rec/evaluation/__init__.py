"""Ranks of held-out items and their metrics, slices, exposure and significance."""
