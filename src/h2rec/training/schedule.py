"""Learning rate as a function of the step."""

import math

from h2rec.training.settings import TrainSettings


def learning_rate(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Return the learning rate of a step (from 0): a linear warm-up, then constant or falling to zero.

    Epochs differ by a few batches, so `total_steps` is an estimate: from there on the rate stays what it would be then.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = min(1.0, (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps))
    match settings.schedule:
        case "linear":
            return settings.learning_rate * (1 - done)
        case "cosine":
            return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
        case _:
            return settings.learning_rate
