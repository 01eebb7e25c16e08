"""Pages from templates: what is filled in is escaped, and a name that is missing is an error."""

import jinja2


def page_templates(package: str) -> jinja2.Environment:
    """Return the templates in the folder ``templates`` of a package, ready to be filled in."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
