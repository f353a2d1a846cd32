"""Sphinx settings of the site; `build.py` lays out the sources and builds them."""

import os
import sys
from pathlib import Path

import fastals

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

project = "fastals"
author = "The fastals developers"
copyright = author
version = release = fastals.__version__

extensions = [
    "extensions.docstrings",
    "extensions.mathml",
    "extensions.names",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["benchmarks/tables/*", "_templates"]
templates_path = ["_templates"]
nitpick_ignore_regex = [("py:.*", ".*")]

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parent / "executed")
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = (
    "remove-warn"  # nothing that code prints for its author alone is for readers
)

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give the types, with shapes
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "py:obj"  # a name in single backticks is a link where it can be

# Other projects' inventories are fetched only if asked for: a build needs no network.
intersphinx_mapping = {}
if os.environ.get("FASTALS_SITE_ONLINE"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
    }

html_title = f"fastals {release}"
html_theme = "pydata_sphinx_theme"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_domain_indices = False
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
copybutton_prompt_text = r">>> |\.\.\. |\$ |In \[\d*\]: "
copybutton_prompt_is_regexp = True
