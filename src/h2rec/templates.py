"""Pages from templates: what is filled in is escaped, and a name that is missing is an error."""

from pathlib import Path

import jinja2


def page_templates(*packages: str) -> jinja2.Environment:
    """Return the templates in the folders ``templates`` of some packages, ready to be filled in."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def is_page(path: Path) -> bool:
    """Whether a file is a page of h2rec's making, as its head says."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return False
    return b'<meta name="generator" content="h2rec">' in head or b"<title>h2rec: " in head
