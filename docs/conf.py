"""How the documentation is built: `make docs`."""

import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import from_code

import ostinato

project = "Ostinato"
copyright = "the Ostinato contributors"
version = release = ostinato.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
autodoc_inherit_docstrings = False  # torch.nn.Module's are not ours to print
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath", "amsmath"]
nb_execution_mode = "force"  # the lecture's pages run at every build, and what fails there fails the build
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_merge_streams = True

# What the pages' notebooks are told: pictures as SVG in colours that everyone can tell apart, no word but of errors.
KERNEL = """
c.IPKernelApp.log_level = "ERROR"
c.InlineBackend.figure_formats = ["svg"]
c.InlineBackend.rc = {"axes.prop_cycle": __import__("cycler").cycler(color=["#0072b2", "#d55e00", "#009e73",
                                                                            "#cc79a7", "#56b4e9", "#e69f00"]),
                      "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "ostinato"}
"""
profile = Path(__file__).parents[1] / "build" / "ipython" / "profile_default"
profile.mkdir(parents=True, exist_ok=True)
(profile / "ipython_kernel_config.py").write_text(KERNEL)
os.environ["IPYTHONDIR"] = str(profile.parent)
logging.getLogger("traitlets").setLevel(logging.WARNING)
html_theme = "furo"
html_title = f"Ostinato {version}"
html_copy_source = False


def fill_in(app, name: str, source: list[str]) -> None:
    """Replace a line ``@cells`` or ``@help train generate`` by what the program says of itself."""
    source[0] = from_code.fill_in(source[0])


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill_in)
