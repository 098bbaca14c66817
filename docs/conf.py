"""
How Sphinx builds the documentation; run it with C{make docs}.
"""

from importlib.metadata import version as _version

project = "txsocks5"
author = "The txsocks5 developers"
copyright = "The txsocks5 developers"
release = version = _version("txsocks5")

extensions = ["sphinx.ext.intersphinx"]
nitpicky = True

# The API documentation is written by pydoctor, before, into the same folder:
# :py:class:`txsocks5.SOCKS5Factory` links to it.
intersphinx_mapping = {"txsocks5": ("api/", "../build/docs/html/api/objects.inv")}
intersphinx_disabled_reftypes: list[str] = []

html_theme = "alabaster"
html_theme_options = {"description": "A complete SOCKS5 server for Twisted"}
html_copy_source = False
