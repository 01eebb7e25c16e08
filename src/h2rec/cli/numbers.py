"""Numbers on the command line: ``0-3,6``."""

from h2rec.errors import ConfigError


def read_numbers(option: str, text: str) -> list[int]:
    """Read whole numbers and ranges of them, each once, in order.

    Raises `ConfigError`, naming the option, if there is anything else in the text.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not dash:
            last = first
        if not (first.strip().isdecimal() and last.strip().isdecimal()):
            raise ConfigError(f"{option} {text}: expected numbers, such as 0-3 or 0,2")
        if int(last) < int(first):
            raise ConfigError(f"{option} {text}: {part} counts backwards")
        numbers.update(range(int(first), int(last) + 1))
    return sorted(numbers)
