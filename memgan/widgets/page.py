"""One self-contained HTML page with widgets, to open without a server and to mail to a colleague."""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from memgan.extras import required
from memgan.plots import legible
from memgan.widgets.base import FOLDER, PictureWidget

with required("notebooks", "memgan.widgets"):
    from ipywidgets.embed import dependency_state, embed_data

__all__ = ["page"]


def page(title: str, lead: str, widgets: Mapping[str, PictureWidget]) -> str:
    """The text of the page: each widget under its heading, all that they need inside, nothing fetched from anywhere.

    It can be stored as UTF-8, whatever names of folders `title`, `lead` and the headings hold.
    """
    views = list(widgets.values())
    embedded = embed_data(views=views, state=dependency_state(views, drop_defaults=False), drop_defaults=False)
    manager_state = embedded["manager_state"]
    _store_once(manager_state["state"])
    sections = [
        _section(heading, widget, view)
        for (heading, widget), view in zip(widgets.items(), embedded["view_specs"], strict=True)
    ]
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(legible(title)),
        lead=html.escape(legible(lead)),
        body="\n".join(sections),
        states=json.dumps(manager_state).replace("<", "\\u003c"),  # in a script, "</" and "<!--" mean something
        host=(FOLDER / "host.js").read_text(encoding="utf-8"),
    )


def _store_once(states: Mapping[str, dict[str, Any]]) -> None:
    """Replace a buffer that was stored before, such as a generator that two widgets show, by where the first one is.

    `states` maps a widget's id to its state; a buffer's place is that id and the buffer's number in the state.
    """
    first_place: dict[str, list[object]] = {}  # of each buffer's content
    for model_id, state in states.items():
        for number, buffer in enumerate(state.get("buffers", [])):
            content = buffer["data"]
            if content in first_place:
                del buffer["data"]
                buffer["same"] = first_place[content]
            else:
                first_place[content] = [model_id, number]


def _section(heading: str, widget: PictureWidget, view: Mapping[str, Any]) -> str:
    """A widget under its heading, and its picture for readers without JavaScript."""
    picture = base64.b64encode(widget.picture()).decode()
    return (
        f'<h2>{html.escape(legible(heading))}</h2>\n<script type="application/vnd.jupyter.widget-view+json">'
        f"{json.dumps(view)}</script>\n<noscript>{html.escape(repr(widget))}: "
        f'<img src="data:image/png;base64,{picture}" alt=""></noscript>'
    )
