"""Learning rate as a function of the step."""

import math

from h2rec.training.settings import TrainSettings


def learning_rate(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Return the learning rate of a step (from 0): constant, or falling to zero.

    `total_steps` is an estimate, as epochs differ by a few batches. After it the rate stays at its last value.
    """
    done = min(1.0, step / max(1, total_steps))
    match settings.schedule:
        case "linear":
            return settings.learning_rate * (1 - done)
        case "cosine":
            return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
        case _:
            return settings.learning_rate
