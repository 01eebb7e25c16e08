"""Numbers on the command line: ``0-3,6``."""

from h2rec.errors import ConfigError


def read_numbers(option: str, text: str) -> list[int]:
    """Read whole numbers and ranges of them, each once, in order.

    Raises
    ------
    ConfigError
        Naming the option, if there is anything else in the text.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.strip().isdigit() or (last and not last.strip().isdigit()):
            raise ConfigError(f"{option} {text}: expected numbers, such as 0-3 or 0,2")
        if int(last or first) < int(first):
            raise ConfigError(f"{option} {text}: {part} counts backwards")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)
