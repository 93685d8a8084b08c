"""Stored notebooks as pages: live widgets, a picture of each for who runs no JavaScript, texts for figures."""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from myst_nb.sphinx_ import SelectMimeType
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
ANCHOR = re.compile(r"(?<=\]\()#[^)\s]+|(?<=\.ipynb)#[^)\s]+")  # of this notebook, or of another


def read(text: str) -> nbformat.NotebookNode:
    """A notebook with what the site can show of it: figures' code folded, progress bars as text, only live widgets."""
    notebook = nbformat.reads(text, as_version=4)
    states = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # JupyterLab keeps the capitals of a heading in its anchor, Sphinx does not
            cell.source = ANCHOR.sub(lambda anchor: anchor[0].lower(), cell.source)
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if VIEW in data and "_esm" not in states[data[VIEW]["model_id"]]["state"]:
                data["text/plain"] = as_text(states, data.pop(VIEW)["model_id"])
    live = {model: stored for model, stored in states.items() if "_esm" in stored["state"]}
    notebook.metadata["widgets"] = {STATE: {"state": live}}
    return notebook


def as_text(states: dict[str, Any], model: str) -> str:
    """What an ipywidgets box of texts and bars says, such as the progress bar of tqdm when it was done."""
    stored = states[model.removeprefix("IPY_MODEL_")]
    state, kind = stored["state"], stored["model_name"]
    if kind == "FloatProgressModel":
        done = round(20 * state["value"] / state["max"])
        return "█" * done + "░" * (20 - done)
    if kind == "HTMLModel":
        return html.unescape(state["value"]).strip()
    return " ".join(as_text(states, child) for child in state.get("children", []))


def in_script(data: Any) -> str:
    """JSON that cannot end the script element around it."""
    return json.dumps(data).replace("</", r"<\/").replace("<!--", r"<\u0021--")


class Outputs(SphinxPostTransform):
    """Before myst-nb selects one form of each output: pictures get their texts, widgets their pictures."""

    default_priority = SelectMimeType.default_priority - 1
    formats = ("html",)

    def run(self, **options: Any) -> None:
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            forms = {form["mime_type"]: form for form in bundle.children}
            for image in bundle.findall(nodes.image):
                image["alt"] = re.sub(r"^<Figure: (.*)>$", r"\1", forms["text/plain"].astext(), flags=re.DOTALL)
            if VIEW in forms and "image/png" in forms:
                picture = [raw("<noscript>"), *forms["image/png"].children, raw("</noscript>")]
                forms[VIEW].extend(node.deepcopy() for node in picture)


def raw(text: str) -> nodes.raw:
    """HTML as it stands."""
    return nodes.raw(text=text, format="html")


class Widget(SphinxDirective):
    """`widget NOTEBOOK CLASS`: the first widget of this class in this notebook, live, as it was stored."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        name, wanted = self.arguments
        _, path = self.env.relfn2path(name)
        self.env.note_dependency(path)
        notebook = nbformat.read(path, as_version=4)
        states = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                view = output.get("data", {}).get(VIEW)
                stored = states[view["model_id"]] if view else {"state": {}}
                if stored["state"].get("_anywidget_id", "").split(".")[-1] == wanted:
                    picture, text = output["data"].get("image/png", ""), output["data"].get("text/plain", "")
                    return [front({"state": {view["model_id"]: stored}}, view, picture.strip(), text)]
        raise self.error(f"{name} stores no {wanted}: run that notebook (make notebooks), or name another one")


class PretrainedExplorer(SphinxDirective):
    """`pretrained-explorer NAME SLOTS FIRST`: the latent explorer of a model of the package, with its most used slots.

    FIRST is the slot that is shown before a reader chooses one.
    """

    required_arguments = 3

    def run(self) -> list[nodes.Node]:
        from ipywidgets.embed import dependency_state, embed_data

        from memgan import load_pretrained
        from memgan.widgets import LatentExplorer
        from walkthrough.nb06_full_training import fewer_slots

        name, slots, first = self.arguments
        gan, _ = load_pretrained(name)
        widget = LatentExplorer(fewer_slots(gan, int(slots)))
        widget.slot = int(first)
        state = dependency_state([widget], drop_defaults=False)
        embedded = embed_data(views=[widget], state=state, drop_defaults=False)
        (view,) = embedded["view_specs"]
        return [front(embedded["manager_state"], view, base64.b64encode(widget.picture()).decode(), repr(widget))]


def front(state: dict[str, Any], view: dict[str, Any], picture: str, text: str) -> nodes.raw:
    """A live widget without a notebook around it, or its `picture`, a PNG in base64, where no JavaScript runs."""
    image = f'<img alt="{html.escape(text)}" src="data:image/png;base64,{picture}">'
    scripts = f'<script type="{STATE}">{in_script(state)}</script><script type="{VIEW}">{in_script(view)}</script>'
    return raw(f'<div class="front">{scripts}<noscript>{image}</noscript></div>')


class LinksToCode(SphinxTransform):
    """A link to a module of the package leads to its page of source code, not to a download."""

    default_priority = 900

    def apply(self, **options: Any) -> None:
        for link in list(self.document.findall(download_reference)):
            path = Path(self.env.relfn2path(link["reftarget"], self.env.docname)[0])
            if path.parts[0] == "memgan" and path.suffix == ".py":
                up = "../" * self.env.docname.count("/")
                to_code = nodes.reference("", "", *link.children, refuri=f"{up}_modules/{path.with_suffix('.html')}")
                link.replace_self(to_code)


def finish(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Pages with a widget load what runs it; a fold is called what it says."""
    body = context.get("body", "")
    context["body"] = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    if VIEW in body:
        app.add_js_file("host.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_directive("widget", Widget)
    app.add_directive("pretrained-explorer", PretrainedExplorer)
    app.add_transform(LinksToCode)
    app.add_post_transform(Outputs)
    app.connect("html-page-context", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
