"""``python -m h2rec`` is the command ``h2rec``."""

from h2rec.cli.main import main

main()
