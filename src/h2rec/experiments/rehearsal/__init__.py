"""Rehearsal of an experiment: made users with known preferences, the real server, the real log, the real analysis."""
