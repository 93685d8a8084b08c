"""The explorer in JupyterLab, with a kernel behind it, moved by a real browser."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import nbformat
import pytest

from tests.browser import chromium

pytestmark = pytest.mark.thorough

CELLS = {
    "show": """
        import torch
        from memgan.runs import build
        from memgan.presets import PRESETS
        from memgan.widgets import LatentExplorer
        gan = build(PRESETS["digits"]).eval()
        gan.generator.layers[-2].weight.data *= 50
        explorer = LatentExplorer(gan, slot=3)
        explorer""",
    "read back": "print('now', explorer.slot, explorer.noise)",
    "drive": "explorer.slot, explorer.noise = 5, [0.5, 0.0, 0.0, -0.5]",
    "wrong": "explorer.slot = 4000",
    "train": "gan.memory.keys.copy_(-gan.memory.keys)",
    "observers": "print('callbacks', len(get_ipython().events.callbacks['post_run_cell']))",
    "playground": """
        from memgan.widgets import Playground
        playground = Playground({"seed": 2}, playing=False)
        playground.advance(25)
        playground""",
    "advance": "playground.advance(25)",
    "progress": "print('step', playground.progress['step'], 'seed', playground.state['seed'])",
    "another seed": "playground.state = playground.state | {'seed': 4}",
    "close": "playground.close()",
    "twice": """
        twice = Playground(playing=False)
        display(twice, twice)""",
    "progress of the last": "print('step', twice.progress['step'])",
    "advance both": "twice.advance(3)",
    "close both": "twice.close()",
}
INK = """() => document.querySelector(".memgan canvas").toDataURL()"""
# From a key press to the frame in which the picture is another: what a reader waits.
PRESS = """(times) => new Promise((done) => {
  const [pad, canvas] = [document.querySelector(".memgan .pad"), document.querySelector(".memgan canvas")];
  const waits = [];
  const press = () => {
    const [before, start] = [canvas.toDataURL(), performance.now()];
    const key = waits.length % 2 ? "ArrowRight" : "ArrowLeft";
    pad.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const look = () => {
      if (canvas.toDataURL() === before) return requestAnimationFrame(look);
      waits.push(performance.now() - start);
      if (waits.length < times) setTimeout(press, 30);
      else done(waits.sort((a, b) => a - b));
    };
    requestAnimationFrame(look);
  };
  press();
})"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A JupyterLab of its own, on 127.0.0.1, that knows nothing of its user's settings."""
    pytest.importorskip("jupyterlab", reason="pip install jupyterlab to run this test")
    folder = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell("\n".join(map(str.strip, text.strip().splitlines()))) for text in CELLS.values()]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "explorer.ipynb")
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab"
    for plugin, content in {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        path = settings / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {name: str(folder / name.lower()) for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    variables |= {"JUPYTER_CONFIG_DIR": str(folder / "config"), "OMP_NUM_THREADS": "1"}
    command = ["-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    options = ["--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, *command, *options], env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield _when_up(f"http://127.0.0.1:{port}", server, log)
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def _when_up(address, server, log):
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/api/status").close()
            return address
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no server after 30 s:\n{log.read_text()}")


@pytest.fixture(scope="module")
def notebook(address):
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.goto(f"{address}/lab/tree/explorer.ipynb")
        wait_until_idle(page)
        yield page


def wait_until_idle(page):
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function("() => document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'")


def run(page, name):
    """Run one cell, wait until the kernel is done, and return the text under it."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(list(CELLS).index(name))
    prompt = cell.locator(".jp-InputArea-prompt").first
    before = prompt.inner_text()
    for wait in range(300):
        if page.locator(".jp-Dialog .jp-mod-accept").count():  # JupyterLab asks, as when a kernel is slow to start
            page.locator(".jp-Dialog .jp-mod-accept").first.click()
        if prompt.inner_text() == before and wait % 60 == 0:  # again where the kernel was not ready to listen
            cell.locator(".jp-InputArea-editor").click()
            page.keyboard.press("Control+Enter")
        page.wait_for_timeout(50)
        if prompt.inner_text() not in (before, "[*]:"):
            return cell.locator(".jp-OutputArea").inner_text() if cell.locator(".jp-OutputArea").count() else ""
    raise AssertionError(f"{name} is not done after 15 s")


def show(page):
    """Run the widget's cell, and again where JupyterLab, just started, had no widget manager yet and left it blank."""
    for _ in range(3):
        run(page, "show")
        for _ in range(100):
            page.wait_for_timeout(50)
            if page.locator(".memgan .pad").count():
                return
    raise AssertionError(f"no widget: {page.locator('.jp-OutputArea').all_inner_texts()}")


def changed_from(page, picture):
    for _ in range(100):
        if page.evaluate(INK) != picture:
            return True
        page.wait_for_timeout(50)
    return False


def test_explorer_and_kernel_move_each_other(notebook):
    show(notebook)
    first = notebook.evaluate(INK)

    notebook.locator(".memgan .pad").press("ArrowRight")
    notebook.locator(".memgan .pad").press("ArrowUp")
    assert notebook.evaluate(INK) != first
    notebook.wait_for_timeout(300)
    assert "now 3 [0.05, 0.05, 0, 0]" in run(notebook, "read back").replace(".0,", ",").replace(".0]", "]")

    here = notebook.evaluate(INK)
    run(notebook, "drive")
    assert changed_from(notebook, here)
    assert notebook.get_by_role("spinbutton", name="slot").input_value() == "5"

    here = notebook.evaluate(INK)
    assert "slot must be in 0..511, got 4000" in run(notebook, "wrong")
    assert notebook.evaluate(INK) == here
    notebook.locator(".memgan .pad").press("ArrowLeft")  # the widget lives
    assert notebook.evaluate(INK) != here

    here = notebook.evaluate(INK)
    run(notebook, "train")
    assert changed_from(notebook, here)


def test_running_the_cell_again_leaves_one_callback(notebook):
    counts = []
    for _ in range(3):
        show(notebook)
        notebook.wait_for_timeout(300)
        counts.append(run(notebook, "observers"))
    assert counts[0] == counts[1] == counts[2]
    assert "callbacks" in counts[0]


def test_a_page_that_is_loaded_anew_leaves_no_callback_behind(notebook):
    show(notebook)
    notebook.wait_for_timeout(300)
    before = run(notebook, "observers")
    for _ in range(2):
        notebook.reload()
        wait_until_idle(notebook)
        show(notebook)
        notebook.wait_for_timeout(300)
        assert run(notebook, "observers") == before


def test_a_new_picture_is_there_within_100_ms_of_a_key(notebook):
    waits = notebook.evaluate(PRESS, 21)
    assert waits[10] < 100, waits


def wait_for_counts(page, counts):
    """Until the playgrounds of the page have done so many steps."""
    shown = "[...document.querySelectorAll('.memgan .count')].map((node) => node.textContent).join()"
    page.wait_for_function(f"(counts) => {shown} === counts", arg=",".join(counts))


def test_playground_is_driven_from_python_and_leaves_no_worker_behind(notebook):
    before = len(notebook.workers)
    run(notebook, "playground")
    count = notebook.locator(".memgan .count")
    count.wait_for()
    assert len(notebook.workers) == before + 1
    wait_for_counts(notebook, ["step 25"])  # of the cell that made it
    run(notebook, "advance")
    wait_for_counts(notebook, ["step 50"])
    notebook.wait_for_timeout(300)
    assert "step 50 seed 2" in run(notebook, "progress")
    seed = notebook.get_by_label("seed", exact=True)
    seed.fill("7")
    seed.press("Enter")
    notebook.wait_for_timeout(300)
    assert "seed 7" in run(notebook, "progress")
    run(notebook, "another seed")
    notebook.wait_for_function("() => document.querySelector('.memgan input[aria-label=seed]').value === '4'")
    run(notebook, "close")
    count.wait_for(state="detached")
    notebook.wait_for_timeout(300)
    assert len(notebook.workers) == before


def test_two_views_of_a_playground_learn_on_their_own_and_the_last_one_reports(notebook):
    run(notebook, "twice")
    wait_for_counts(notebook, ["step 0", "step 0"])
    first, last = notebook.get_by_role("button", name="one step").all()
    last.click()
    wait_for_counts(notebook, ["step 0", "step 1"])
    first.click()
    wait_for_counts(notebook, ["step 1", "step 1"])
    first.click()
    wait_for_counts(notebook, ["step 2", "step 1"])
    notebook.wait_for_timeout(300)
    assert "step 1" in run(notebook, "progress of the last")
    run(notebook, "advance both")
    wait_for_counts(notebook, ["step 5", "step 4"])
    notebook.wait_for_timeout(300)
    assert "step 4" in run(notebook, "progress of the last")
    run(notebook, "close both")
