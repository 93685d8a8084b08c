"""Docstrings as they read in the code: plain text, names in backticks, formulas indented, numbers of equations.

Sphinx expects reStructuredText. Here prose is escaped, an indented block stays as it is, the numbers of
equations lead to the page of notation, and the comments beside the fields of a dataclass become a list.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
from typing import Any

import traitlets
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.inspect import signature, stringify_signature

import memgan

_NUMBERS = re.compile(r"(?<=[.:] )\(\d[\d, -]*\)|^\(\d[\d, -]*\)$", re.MULTILINE)
SECTIONS = ("Args:", "Returns:", "Raises:")
_FIELD = re.compile(r"^    (\w+): [^#]*#\s*(.+)$", re.MULTILINE)


def prose(text: str) -> str:
    """A paragraph of a docstring as reStructuredText."""
    parts = re.split(r"`([^`]+)`", text)
    written = [name(part) if at % 2 else linked(part) for at, part in enumerate(parts)]
    # a name is set off from what follows at once, as in `slot`s
    return re.sub(r"(``\w[^`]*``)(?=\w)", r"\1\\ ", "".join(written)).replace(
        "docs/notation.md", ":doc:`/docs/notation`"
    )


def name(code: str) -> str:
    """Code as such, and the name of a public class or of a module as a link."""
    found = public_names().get(code)
    return f":py:obj:`{code} <{found}>`" if found else f"``{code}``"


@functools.cache
def public_names() -> dict[str, str]:
    """The modules of the package, and where each class stands that one of them offers."""
    names = {found.name: found.name for found in pkgutil.walk_packages(memgan.__path__, "memgan.")}
    for module in [memgan, *map(importlib.import_module, list(names))]:
        for offered in getattr(module, "__all__", []):
            if inspect.isclass(thing := getattr(module, offered)):
                names[offered] = names[f"memgan.{offered}"] = f"{thing.__module__}.{offered}"
    return names


def linked(text: str) -> str:
    """Prose without names: escaped, its numbers of equations as links."""
    pieces, at = [], 0
    for match in _NUMBERS.finditer(text):
        pieces.append(escaped(text[at : match.start()]))
        pieces.append(re.sub(r"\d+", lambda number: rf"\ :ref:`{number[0]} <equation-{number[0]}>`\ ", match[0]))
        at = match.end()
    return "".join([*pieces, escaped(text[at:])])


def escaped(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\*|_])", r"\\\1", text)


def section(block: str) -> str:
    """A section such as "Args:", whose entries are indented and whose continued lines are indented further, as a list.

    An entry "name: text" is one of `name`; what a function returns has no name.
    """
    heading, *lines = block.splitlines()
    entries: list[str] = []
    for line in lines:
        begins = line.startswith("    ") and not line.startswith("     ")
        if begins and (heading != "Returns:" or not entries):
            entries.append(line.strip())
        else:
            entries[-1] += " " + line.strip()
    if heading == "Returns:":
        return f"**Returns:** {prose(entries[0])}"
    listed = []
    for entry in entries:
        entry_name, _, text = entry.partition(": ")
        listed.append(f"- ``{entry_name}``: {prose(text)}")
    title = {"Args:": "Arguments", "Raises:": "Raises"}[heading]
    return f"**{title}:**\n\n" + "\n".join(listed)


def written(block: str) -> str:
    """A block of a docstring, between empty lines, as reStructuredText."""
    if block.startswith("    "):
        return f".. code-block:: text\n\n{block}"
    if block.partition("\n")[0] in SECTIONS:
        return section(block)
    return prose(block)


def readable(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Rewrites `lines`, the docstring of `thing`, in place."""
    blocks = re.split(r"\n{2,}", "\n".join(lines).strip("\n"))
    parts = [written(block) for block in blocks if block]
    if inspect.isclass(thing) and (dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")):
        fields = _FIELD.findall(inspect.getsource(thing))
        parts.append("\n".join(f"- ``{field}``: {prose(says)}" for field, says in fields))
    lines[:] = [*"\n\n".join(parts).splitlines(), ""]


def own_arguments(app: Sphinx, what: str, name: str, thing: Any, options: Any, *default: str | None) -> Any:
    """The arguments of a widget are those of its `__init__`, not those that traitlets gives every class."""
    if what != "class" or not issubclass(thing, traitlets.HasTraits):
        return default
    found = signature(thing.__init__, bound_method=True)
    return stringify_signature(found, show_return_annotation=False, unqualified_typehints=True), None


class EquationTargets(SphinxTransform):
    r"""On the page of notation a formula with \tag{4} can be linked to as `equation-4`."""

    default_priority = 800

    def apply(self, **options: Any) -> None:
        if self.env.docname != "docs/notation":
            return
        for formula in list(self.document.findall(nodes.math_block)):
            if tag := re.search(r"\\tag\{(\d+)\}", formula.astext()):
                target = nodes.target("", "", ids=[f"equation-{tag[1]}"], names=[f"equation-{tag[1]}"])
                formula.parent.insert(formula.parent.index(formula), target)
                self.document.note_explicit_target(target)


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", readable)
    app.connect("autodoc-process-signature", own_arguments)
    app.add_transform(EquationTargets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
