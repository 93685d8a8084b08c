"""A real browser on a page that holds widgets and nothing else. Without Chromium or Playwright its tests skip."""

import json
import os
import shutil
from contextlib import contextmanager

import pytest
from ipywidgets.embed import embed_data

from memgan.widgets.base import FOLDER

CHROMIUM = os.environ.get("MEMGAN_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>widgets</title>
<meta name="viewport" content="width=device-width"><body><main><h1>Widgets</h1>
{views}
<script type="application/vnd.jupyter.widget-state+json">{states}</script>
<script type="module">{host}</script></main></body></html>"""


def write_page(path, *widgets):
    """The page, as an exported notebook has it: the views in place, all states below, and the host that runs them."""
    data = embed_data(views=widgets, drop_defaults=False)
    views = "\n".join(
        f'<script type="application/vnd.jupyter.widget-view+json">{json.dumps(view)}</script>'
        for view in data["view_specs"]
    )
    states = json.dumps(data["manager_state"]).replace("</", "<\\/")
    path.write_text(PAGE.format(views=views, states=states, host=(FOLDER / "host.js").read_text()), encoding="utf-8")
    return path


@contextmanager
def chromium():
    """A browser that can reach 127.0.0.1 and nothing else."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright to run browser tests")
    if CHROMIUM is None:
        pytest.skip("no Chromium: install Debian's chromium, or set MEMGAN_CHROMIUM to one")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[OFFLINE, "--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, path, **options):
    """The page of a file; afterwards no error and no request beyond the page itself may have been seen."""
    context = browser.new_context(**({"viewport": {"width": 1000, "height": 800}} | options))
    page, trouble = context.new_page(), []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: message.type == "error" and trouble.append(message.text))
    page.on("requestfailed", lambda request: trouble.append(f"refused: {request.url}"))
    page.goto(path.resolve().as_uri())
    try:
        page.wait_for_selector(".memgan, .memgan-frames", timeout=10_000)
    except Exception as error:
        raise AssertionError(f"no widget came up: {trouble}") from error
    yield page
    context.close()
    assert trouble == []
