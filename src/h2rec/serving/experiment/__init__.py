"""Online experiments in the server: who gets which arm, what was shown, and what came of it."""
