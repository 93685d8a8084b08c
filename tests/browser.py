"""A real browser on a page that holds widgets and nothing else. Without Chromium or Playwright its tests skip."""

import base64
import os
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from memgan.widgets.page import page

CHROMIUM = os.environ.get("MEMGAN_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def write_page(path, *widgets):
    """A page of widgets, each under a heading, as `memgan explore` writes it."""
    path.write_text(
        page("Widgets", "", {f"{i}: {type(w).__name__}": w for i, w in enumerate(widgets)}), encoding="utf-8"
    )
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
    tab, trouble = context.new_page(), []
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("console", lambda message: message.type == "error" and trouble.append(message.text))
    tab.on("requestfailed", lambda request: trouble.append(f"refused: {request.url}"))
    tab.goto(path.resolve().as_uri())
    try:
        tab.wait_for_selector(".memgan", timeout=10_000)
    except Exception as error:
        raise AssertionError(f"no widget came up: {trouble}") from error
    yield tab
    context.close()
    assert trouble == []


# As one string: Playwright looks at every number of a list
_PIXELS = """(canvases) => canvases.map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""))];
})"""


def pixels(canvases):
    """The pixels of each canvas that a locator finds, [H, W, 3] from 0 to 255."""
    shown = []
    for height, width, encoded in canvases.evaluate_all(_PIXELS):
        flat = np.frombuffer(base64.b64decode(encoded), dtype=np.uint8).astype(int)
        shown.append(flat.reshape(height, width, 4)[..., :3])
    return shown
