"""Measure the playground: results/playground.json, the table in docs/studies.md, and the widget's still picture.

    python -m scripts.measure_playground            # all kinds; about half an hour on one core
    python -m scripts.measure_playground seeds      # one kind again; the others are kept

seeds          the default settings on ten seeds, both models
presets        each change that breaks a part, three seeds, MemoryGAN alone
distributions  the default settings on each built-in distribution, one seed and more steps, both models
speed          seconds for 1,500 steps of both models with their pictures in Chromium, and the size of the page
still          the picture that viewers without JavaScript see

The engine runs under Node, as it runs in a page.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from PIL import Image

from memgan.lab.studies.provenance import commit
from memgan.widgets import Playground
from memgan.widgets.base import script
from memgan.widgets.page import page
from memgan.widgets.playground.settings import DISTRIBUTIONS, PRESETS, default_state
from memgan.widgets.playground.widget import STILL

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "playground.json"
PROGRAM = Path(__file__).with_suffix(".js")
KINDS = ("seeds", "presets", "distributions", "speed", "still")
STEPS = (500, 1000, 1500, 2000)
STILL_STEPS = (50, 400, 2000)
POINTS = 10_000  # generated points of a measurement
REACH = 3  # of the plane that is drawn

GENERATED = "#e69f00"


def runs_of(kind: str) -> list[dict[str, Any]]:
    """The runs of a kind, as the program takes them."""
    if kind == "seeds":
        return [run_of("default", seed) for seed in range(10)]
    if kind == "presets":
        runs = []
        for name, preset in PRESETS.items():
            runs += [run_of(name, seed, settings=preset.changes, skipsOrdinary=True) for seed in range(3)]
        return runs
    if kind == "distributions":
        built_in = [name for name in DISTRIBUTIONS if name != "painted"]
        return [run_of(name, 0, distribution=name, at=(*STEPS, 4000)) for name in built_in]
    return [run_of("still", 0, at=STILL_STEPS, draws=True)]


def run_of(name: str, seed: int, *, settings: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    state = default_state() | {"seed": seed}
    state["settings"] |= settings or {}
    state["distribution"] = options.pop("distribution", state["distribution"])
    return {
        "name": name,
        "state": state,
        "at": STEPS,
        "number": POINTS,
        "skipsOrdinary": False,
        "draws": False,
    } | options


def measured(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the program says of the runs, a measurement at a time."""
    node = shutil.which("node")
    if node is None:
        raise SystemExit("no Node: install Debian's nodejs")
    with tempfile.TemporaryDirectory() as folder:
        engine = Path(folder, "engine.mjs")
        engine.write_text(script("playground/frame.js") + "\nexport { Experiment, shownPoints };\n", encoding="utf-8")
        program = Path(folder, "program.mjs")
        program.write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
        command = [node, str(program), engine.as_uri()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(json.dumps(runs))
            running.stdin.close()
            for line in running.stdout:
                yield json.loads(line)
        if running.returncode != 0:
            raise SystemExit(f"Node ended with {running.returncode}")


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def line_of(row: dict[str, Any]) -> str:
    """A measurement in words, for the terminal."""
    parts = [f"{row['name']:16} seed {row['seed']} step {row['step']:5}"]
    for model in ("ordinary", "memory"):
        if model in row:
            found = row[model]
            parts.append(f"{model} {found['modes']:2} of {found['of']:2} modes, {found['off']:6.2%} off")
    return " | ".join(parts)


def speed() -> dict[str, Any]:
    """How long the page takes for its first 1,500 steps, and how large it is."""
    from playwright.sync_api import sync_playwright  # only here: it comes with the extra `test`

    chromium = os.environ.get("MEMGAN_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        file = Path(folder, "playground.html")
        file.write_text(page("Playground", "", {"Playground": Playground()}), encoding="utf-8")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1000, "height": 1200})
        tab.goto(file.as_uri())
        tab.wait_for_selector(".memgan")
        started = time.perf_counter()
        tab.wait_for_function("() => memgan[0].get('progress').step >= 1500", timeout=600_000)
        seconds = time.perf_counter() - started
        browser.close()
        return {"commit": commit(), "seconds_of_1500_steps": round(seconds, 1), "bytes_of_page": file.stat().st_size}


# ---------------------------------------------------------------- the still picture


def draw_still(rows: list[dict[str, Any]]) -> None:
    """Both models at three steps, in `STILL`."""
    figure, axes = plt.subplots(2, len(rows), figsize=(7.2, 5.1), dpi=110, layout="constrained")
    for column, row in enumerate(rows):
        frame = row["frame"]
        for line, (model, name) in enumerate({"ordinary": "An ordinary GAN", "withMemory": "A MemoryGAN"}.items()):
            draw_panel(axes[line, column], frame[model], row["real"], by_slot=model == "withMemory")
            seen = frame[model]
            axes[line, column].set_title(
                f"{name}, step {row['step']:,}\n{seen['modes']} of {seen['of']} modes, {seen['off']:.1%} off all modes",
                fontsize=8.5,
            )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    few_colours = Image.open(buffer).convert("RGB").quantize(208, kmeans=4, dither=Image.Dither.NONE)
    few_colours.save(STILL, optimize=True)  # every notebook and page with a playground holds it


def draw_panel(ax: Axes, seen: dict[str, Any], real: list[float], *, by_slot: bool) -> None:
    """One model: D as the ground, the grids of noise, and generated points."""
    side = round(len(seen["heat"]) ** 0.5)
    heat = np.reshape(seen["heat"], (side, side))
    extent = (-REACH, REACH, -REACH, REACH)
    ground = colors.LinearSegmentedColormap.from_list("D", ["#f0c566", "#ffffff", "#66aad1"])
    ax.imshow(heat, extent=extent, origin="lower", cmap=ground, vmin=0, vmax=1, interpolation="bilinear")
    for grid in seen["grids"]:
        lattice = np.reshape(grid["points"], (grid["side"], grid["side"], 2))
        colour = colour_of(grid["slot"]) if by_slot else "#555555"
        ax.plot(lattice[..., 0], lattice[..., 1], color=colour, lw=0.6)
        ax.plot(lattice[..., 0].T, lattice[..., 1].T, color=colour, lw=0.6)
    real_points = np.reshape(real, (-1, 2))
    ax.scatter(real_points[:, 0], real_points[:, 1], s=3, color="#777777", linewidths=0)
    points = np.reshape(seen["points"], (-1, 2))
    of_points = [colour_of(slot) for slot in seen["slots"]] if by_slot else GENERATED
    ax.scatter(points[:, 0], points[:, 1], s=6, c=of_points, edgecolors="black", linewidths=0.25, zorder=3)
    ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[])


def colour_of(slot: int) -> tuple[float, ...]:
    """The same for a slot as in the page, or nearly."""
    return tuple(colors.hsv_to_rgb(((slot * 137.5) % 360 / 360, 0.65, 0.9)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], help="only these")
    again = parser.parse_args().kinds or KINDS
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    for kind in again:
        if kind == "speed":
            kept[kind] = speed()
            print(kept[kind], flush=True)
            RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            continue
        rows = []
        for row in measured(runs_of(kind)):
            rows.append(row)
            print(line_of(row), flush=True)
        if kind == "still":
            draw_still(rows)
            continue
        kept[kind] = {"commit": commit(), "points": POINTS, "rows": [rounded(row) for row in rows]}
        RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
