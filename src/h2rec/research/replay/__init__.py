"""Living through the days: a model is trained at a moment, kept fresh in one way or another, and asked every day."""
