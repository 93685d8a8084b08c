"""One self-contained HTML page with widgets, to open without a server and to mail to a colleague."""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

from ipywidgets.embed import dependency_state, embed_data

from memgan.widgets.base import FOLDER, PictureWidget

__all__ = ["page"]


def page(title: str, lead: str, widgets: Mapping[str, PictureWidget]) -> str:
    """The text of the page: each widget under its heading, all that they need inside, nothing fetched from anywhere."""
    views, seen = list(widgets.values()), dict[str, list[object]]()
    embedded = embed_data(views=views, state=dependency_state(views, drop_defaults=False), drop_defaults=False)
    for model, stored in embedded["manager_state"]["state"].items():
        for at, buffer in enumerate(stored.get("buffers", [])):
            if seen.setdefault(buffer["data"], [model, at]) != [model, at]:  # a generator that two widgets show, say
                buffer["same"] = seen[buffer.pop("data")]
    parts = [
        f'<h2>{html.escape(heading)}</h2>\n<script type="application/vnd.jupyter.widget-view+json">'
        f"{json.dumps(view)}</script>\n<noscript>{html.escape(repr(widget))}: "
        f'<img src="data:image/png;base64,{base64.b64encode(widget.picture()).decode()}" alt=""></noscript>'
        for (heading, widget), view in zip(widgets.items(), embedded["view_specs"], strict=True)
    ]
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        lead=html.escape(lead),
        body="\n".join(parts),
        states=json.dumps(embedded["manager_state"]).replace("</", "<\\/"),
        host=(FOLDER / "host.js").read_text(encoding="utf-8"),
    )
