"""How Sphinx makes the site: `make site`. The source is the repository itself, and its first page is docs/index.md."""

import importlib.util
import sys
from pathlib import Path

from memgan.widgets.base import FOLDER

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent), str(DOCS.parent / "notebooks")]

project = "memgan"
author = "memgan contributors"
project_copyright = "memgan contributors, MIT licence"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "notebook_pages",
    "docstrings",
]

root_doc = "docs/index"
html_extra_path = ["_root"]  # index.html, which leads from the root of the site to its first page
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md"]
include_patterns += ["memgan/pretrained/*.md", "notebooks/**.ipynb"]
exclude_patterns = [".*", "build", "dist", "node_modules", "runs", "data", "**/.ipynb_checkpoints"]
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # types in signatures: other packages' pages are not here, nor are aliases

suppress_warnings = ["myst.header"]  # a solution begins with the heading of its exercise, two levels down

nb_execution_mode = "off"  # the notebooks are stored with their outputs
nb_custom_formats = {".ipynb": "notebook_pages.read"}
nb_ipywidgets_js = {}  # notebook_pages puts the package's own host.js where widgets are
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True

# One file that holds all of MathJax, its fonts as paths: nothing is fetched later, not even from file://
MATHJAX = (
    Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax" / "tex-svg-full.js"
)
mathjax_path = MATHJAX.name
mathjax3_config = {"options": {"enableMenu": False}}

html_theme = "sphinx_book_theme"
html_title = "memgan"
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_static_path = ["_static", str(MATHJAX), str(FOLDER / "host.js")]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
html_use_index = False  # search finds names
html_domain_indices = False
html_theme_options = {
    "navbar_persistent": [],  # search is in the sidebar
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,  # arrow keys belong to the widgets
    "search_bar_text": "Search",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
