"""The documentation as a site, built by `make docs` into build/docs; a warning is an error."""

import sarlp

project = 'sarlp'
version = release = sarlp.__version__
copyright = 'the authors of sarlp, Apache License 2.0'

extensions = ['myst_parser', 'sphinx.ext.apidoc', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
exclude_patterns = ['api/modules.rst']
html_theme = 'furo'
html_title = 'sarlp'
myst_heading_anchors = 3  # for links such as data.md#voc-2007
suppress_warnings = ['ref.python']  # what a package exports is in the reference under both of its paths

# the reference: a page a package, a section a module, an entry whatever has a docstring
apidoc_modules = [
    {
        'path': '../sarlp',
        'destination': 'api/',
        'module_first': True,
        'automodule_options': {'members', 'show-inheritance'},
    }
]
autodoc_mock_imports = ['triton']  # it compiles for GPUs, and is not on machines without one
autodoc_member_order = 'bysource'
napoleon_use_ivar = True

_PAGES = {'../CONTRIBUTING.md': 'contributing.md', '../benchmarks/README.md': 'benchmarks.md'}


def _link_within_site(app, name, source):
    """Where a file of the repository is a page here, links to it go to the page; others fetch the file."""
    for file, page in _PAGES.items():
        source[0] = source[0].replace(f']({file})', f']({page})')


def setup(app):
    app.connect('source-read', _link_within_site)
