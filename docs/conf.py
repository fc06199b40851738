"""Sphinx configuration. Nothing here needs the network."""

from importlib.metadata import version as installed_version

from carpproto import Profile

project = "carpproto"
author = "the carpproto authors"
copyright = "2026, the carpproto authors"
release = installed_version("carpproto")
version = release

extensions = ["sphinx.ext.autodoc", "sphinx.ext.doctest"]
default_role = "py:obj"
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = f"carpproto {release}"


def setup(app):
    """Leave out what autodoc finds in named tuples and has nothing to say of."""

    def skip(app, what, name, obj, skip, options):
        alias = str(getattr(obj, "__doc__", "")).startswith("Alias for field number")
        return True if alias and name not in Profile._fields else None

    app.connect("autodoc-skip-member", skip)
