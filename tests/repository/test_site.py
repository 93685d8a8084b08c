"""The site: built from the stored notebooks without a warning, whole, and readable with no other host and no server."""

import importlib.util
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import memgan
from memgan import widgets
from tests.browser import chromium

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(os.environ.get("MEMGAN_AXE") or ROOT / "node_modules" / "axe-core" / "axe.min.js")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
VIEW = "application/vnd.jupyter.widget-view+json"
LEFT = "net::ERR_ABORTED"  # not refused: the reader has gone on to the next page before it was there
LOADED_BY = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx-mathjax-offline")
MISSING = ", ".join(name for name in NEEDED if importlib.util.find_spec(name) is None)

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(MISSING), reason=f"the site is built with memgan's extra 'site'; missing: {MISSING}"),
]


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = {"", "top"}, set(), set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        if given.get(LOADED_BY.get(tag)) and given.get("rel") not in ("index", "search", "next", "prev"):
            self.loaded.add(given[LOADED_BY[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as `make site` does."""
    folder = tmp_path_factory.mktemp("site")
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", folder / "doctrees"]
    run = subprocess.run([*sphinx, ".", folder / "html"], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its path; the theme leaves two templates among its static files."""
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}


@pytest.fixture(scope="module")
def server(site):
    """The address at which the site is served, as by `make serve`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@contextmanager
def reading(browser, address, **options):
    """The page at `address`, its formulas set; afterwards no error and no refused request may have been seen."""
    context = browser.new_context(**({"viewport": DESKTOP} | options))
    tab, trouble = context.new_page(), []
    tab.on("pageerror", lambda error: trouble.append(f"{tab.url}: {error}"))
    tab.on("console", lambda message: message.type == "error" and trouble.append(f"{tab.url}: {message.text}"))
    tab.on(
        "requestfailed", lambda request: request.failure != LEFT and trouble.append(f"{request.failure} {request.url}")
    )
    go(tab, address)
    yield tab
    context.close()
    assert trouble == []


def go(tab, address):
    tab.goto(address)
    tab.evaluate("() => window.MathJax?.startup?.promise?.then(() => {})")


# What stands in the files


def test_root_leads_to_the_first_page(site):
    """On any server and from a disk, without JavaScript."""
    root = (site / "index.html").read_text(encoding="utf-8")
    (first,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', root)
    assert (site / first).is_file()


def test_every_link_leads_somewhere(pages):
    dead = []
    for path, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            if urlsplit(address).scheme in ("http", "https"):
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            known = pages[target].anchors if target in pages else {""}
            if not target.is_file() or (target in pages and unquote(anchor) not in known):
                dead.append(f"{path.name}: {link}")
    assert dead == []


def test_pages_load_nothing_from_elsewhere_and_nothing_that_is_missing(pages, site):
    for path, page in pages.items():
        for address in page.loaded:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data"), f"{path.name} loads {address}"
            if not parts.scheme:
                assert (path.parent / unquote(parts.path)).is_file(), f"{path.name} misses {address}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_figures_have_texts_and_widgets_have_pictures(pages, site):
    view = re.compile(rf'<script type="{VIEW}">.*?</script>\s*(<noscript>\s*(?:<a [^>]*>)?<img )?', re.DOTALL)
    for path in sorted(site.glob("notebooks/*.html")):
        images = re.findall(r"<img [^>]*_images[^>]*>", pages[path].text)
        assert all(re.search(r' alt="[^"]{20,}"', image) for image in images), path.name
        assert all(view.findall(pages[path].text)), path.name


def test_reference_shows_every_public_name_of_the_package(pages, site):
    anchors = set().union(*(page.anchors for path, page in pages.items() if path.parent == site / "docs" / "api"))
    offered = [(name, getattr(memgan, name)) for name in memgan.__all__]
    assert {f"{thing.__module__}.{name}" for name, thing in offered if callable(thing)} <= anchors
    assert {f"memgan.widgets.{name}" for name in widgets.__all__} <= anchors
    assert {f"equation-{number}" for number in range(1, 15)} <= pages[site / "docs" / "notation.html"].anchors


# What a reader sees


@pytest.mark.parametrize("place", ["server", "disk"])
def test_reader_who_opens_the_root_comes_to_the_first_page(browser, site, server, place):
    address = f"{server}/" if place == "server" else (site / "index.html").as_uri()
    tab = browser.new_page()
    tab.goto(address)
    tab.wait_for_url("**/docs/index.html")
    tab.locator(".memgan .pad").first.wait_for()
    tab.context.close()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("place", ["server", "disk"])
def test_first_screen_holds_the_explorer_and_it_moves(browser, site, server, place, viewport):
    base = server if place == "server" else site.as_uri()
    with reading(browser, f"{base}/docs/index.html", viewport=viewport, has_touch=viewport is PHONE) as tab:
        pad, image = tab.locator(".memgan .pad").first, tab.locator(".memgan canvas").first
        pad.wait_for()
        for shown in (pad.bounding_box(), image.bounding_box()):
            assert shown["width"] >= 120
            assert shown["x"] >= 0 and shown["x"] + shown["width"] <= viewport["width"]
            assert shown["y"] + shown["height"] <= viewport["height"]
        seen = [image.evaluate("canvas => canvas.toDataURL()")]
        pad.focus()
        tab.keyboard.press("Shift+ArrowRight")
        seen.append(image.evaluate("canvas => canvas.toDataURL()"))
        (pad.tap if viewport is PHONE else pad.click)(position={"x": 20, "y": 20})
        seen.append(image.evaluate("canvas => canvas.toDataURL()"))
        assert len(set(seen)) == 3
        first, second = tab.evaluate("window.memgan[0].get('noise')")[:2]
        assert first < -0.6 and second > 0.6


def test_slider_of_a_notebook_moves_its_picture(browser, server):
    with reading(browser, f"{server}/notebooks/02_vmf_posterior.html") as tab:
        widget = tab.locator(".cell_output", has=tab.locator("input[type=range]")).first
        slider = widget.locator("input[type=range]").first
        slider.focus()
        before = slider.get_attribute("aria-valuetext"), widget.screenshot()
        tab.keyboard.press("ArrowRight")
        after = slider.get_attribute("aria-valuetext"), widget.screenshot()
        assert before[0] != after[0] and before[1] != after[1]


def test_formulas_are_set(browser, site):
    with reading(browser, (site / "docs" / "notation.html").as_uri()) as tab:
        assert tab.locator("mjx-container").count() == tab.locator(".math").count() > 40
        assert tab.locator("[data-mjx-error]").count() == 0


@pytest.mark.parametrize("place", ["server", "disk"])
def test_search_finds_the_posterior(browser, site, server, place):
    base = server if place == "server" else site.as_uri()
    with reading(browser, f"{base}/search.html?q=posterior") as tab:
        found = tab.locator("#search-results li", has=tab.locator("a[href*='02_vmf_posterior.html']")).first
        found.wait_for()
        if place == "server":  # a page on a disk may not read others for their excerpts
            assert "posterior" in found.locator(".context").inner_text().lower()


def test_every_page_opens_from_disk_on_a_phone_with_its_widgets_and_does_not_scroll_sideways(browser, pages, site):
    sources = [path for path in pages if "_modules" in path.parts]
    left_out = {site / "index.html", *sources[3:]}  # it leads on by itself; and a few pages of code are like all
    shown = [path for path in pages if path not in left_out]
    wide = {}
    with reading(browser, shown[0].as_uri(), viewport=PHONE) as tab:
        for path in shown:
            go(tab, path.as_uri())
            stored = pages[path].text.count(f'<script type="{VIEW}">')
            if stored:
                tab.wait_for_function(f"window.memgan?.length === {stored}", timeout=10_000)
            width = tab.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                wide[path.name] = width
    assert wide == {}


def test_without_javascript_widgets_are_pictures(browser, site):
    tab = browser.new_page(java_script_enabled=False)
    for name, part in (("docs/index", ".front"), ("notebooks/02_vmf_posterior", ".cell_output")):
        tab.goto((site / f"{name}.html").as_uri())
        assert tab.locator(f"{part} noscript img").first.evaluate("image => image.naturalWidth") > 50
    tab.context.close()


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core: npm install axe-core, or set MEMGAN_AXE to axe.min.js")
@pytest.mark.parametrize(
    ("page", "scheme"),
    [
        ("docs/index", "light"),
        ("docs/index", "dark"),
        ("notebooks/02_vmf_posterior", "light"),
        ("docs/api/memory", "dark"),
    ],
)
def test_nothing_serious_stands_in_the_way_of_a_screen_reader(browser, server, page, scheme):
    with reading(browser, f"{server}/{page}.html", color_scheme=scheme) as tab:
        tab.wait_for_function("document.querySelector('.bd-sidenav summary').ariaLabel")
        tab.add_script_tag(path=AXE)
        found = tab.evaluate("axe.run().then(({ violations }) => violations)")
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert serious == []
