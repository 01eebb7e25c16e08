"""The training loop: objective, optimiser, checkpoints that resume to the same bytes, early stopping."""
