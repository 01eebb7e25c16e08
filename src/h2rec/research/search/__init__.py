"""The search of settings on validation: what may be tried, and the trials."""
