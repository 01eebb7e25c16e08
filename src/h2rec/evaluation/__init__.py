"""Ranks of held-out items and what is said about them: metrics, slices, exposure, significance."""
