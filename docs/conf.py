"""How Sphinx builds these pages: `make docs`."""

import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path

# Figures are timed while the pages are built: linear algebra on all cores is faster on an idle
# machine, but many times slower on a busy one. Before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sparsenum

HERE = Path(__file__).parent
ROOT = HERE.parent
MADE = HERE / "made"  # what the build writes beside the sources: nothing of it is kept

sys.path.insert(0, str(ROOT))  # for examples/ and benches/

project = "sparsenum"
author = "The sparsenum developers"
project_copyright = "2026, The sparsenum developers"
version = release = sparsenum.__version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx-mathjax-offline",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "gallery", "figures", "made/benchmarks.md"]
templates_path = ["_templates"]
nitpicky = True

# The API: what numpydoc says of types is enough, and of a class all that can be called is shown.
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
autosummary_generate = True
autosummary_ignore_module_all = False
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

plot_formats = [("png", 160)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_basedir = str(HERE)

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "made/gallery",
    "backreferences_dir": "made/backreferences",
    "doc_module": ("sparsenum", "recsys"),
    "reference_url": {"sparsenum": None},
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_",),
    "download_all_examples": False,
    "show_signature": False,
    "thumbnail_size": (480, 300),
    "write_computation_times": False,
    "remove_config_comments": True,
    "min_reported_time": 1,
}

html_theme = "pydata_sphinx_theme"
html_title = "sparsenum + recsys"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "benchmarks": [], "reproduction": []}
html_theme_options = {
    "logo": {"text": "sparsenum + recsys"},
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], "made/gallery/index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
}


# Of the sections of the benchmarks, in the order in which they come.
TITLES = {
    "summary": "Who wins how often",
    "profile": "Tolerance by tolerance",
    "ot": "Transport",
    "sparse": "Sparse matrices",
    "quality": "Recommenders: quality and bytes",
    "recsys": "Recommenders, set by set",
    "listing": "Lists for all users",
    "startup": "Start-up",
    "scale": "Growth with size",
    "accuracy": "Time against accuracy",
}


def write_benchmarks() -> None:
    """Write what `benches/results.json` holds where the page of the benchmarks takes it."""
    from benches.report import markdown
    from benches.reporting.figures import draw

    results = json.loads((ROOT / "benches" / "results.json").read_text("utf-8"))
    sections = markdown(results)
    MADE.mkdir(exist_ok=True)
    drawn = draw(results["benchmarks"], MADE)
    text = "\n".join(f"![{figure.caption}]({figure.path.name})\n" for figure in drawn)
    for name in sorted(sections, key=lambda name: [*TITLES, name].index(name)):
        text += f"\n## {TITLES.get(name, name)}\n\n{sections[name]}"
    (MADE / "benchmarks.md").write_text(text, encoding="utf-8")


def run_code(app, page, source) -> None:
    """Run the Python of a page, one block after the other, so that it cannot go stale."""
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```", source[0], re.MULTILINE | re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, page, "exec"), names)


def public_signature(app, what, name, thing, options, signature, returns):
    """Leave out of a signature what is private: fields of results that nobody builds."""
    if signature:
        return re.sub(r", _\w+(=[^,)]*)?", "", signature), returns
    return None


def setup(app) -> None:
    """Do what has to be done before Sphinx reads the pages, and before it reads each."""
    write_benchmarks()
    app.connect("source-read", run_code)
    app.connect("autodoc-process-signature", public_signature)
