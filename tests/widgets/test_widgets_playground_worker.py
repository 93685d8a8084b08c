"""The playground's worker, its frames and its check of states, under Node: nothing that a reader sets may end them."""

import json
import shutil
import subprocess

import pytest

from memgan.widgets.base import script
from memgan.widgets.playground.settings import default_state

NODE = shutil.which("node")


@pytest.fixture
def node(tmp_path):
    """`node(module, code, given)`: what `code` prints as JSON, which imports `module` from ./module.mjs."""
    if NODE is None:
        pytest.skip("no Node: install Debian's nodejs")

    def run(module, code, given):
        (tmp_path / "module.mjs").write_text(module, encoding="utf-8")
        read = 'import { readFileSync } from "node:fs";\nconst given = JSON.parse(readFileSync(0, "utf-8"));\n'
        (tmp_path / "run.mjs").write_text(read + code, encoding="utf-8")
        command = [NODE, str(tmp_path / "run.mjs")]
        done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


ONE_LABEL = """
import { Experiment, frameOf } from "./module.mjs";
const experiment = new Experiment(given.state);
experiment.withMemory.memory.values.fill(given.label);
experiment.step();
const { memory } = frameOf(experiment, [0, 1]);
const placed = Array.from(memory.values.keys()).filter((slot) => Number.isFinite(memory.places[2 * slot]));
const labels = [...new Set(memory.values)];
console.log(JSON.stringify({ labels, placed: placed.length, places: memory.places.length }));
"""


@pytest.mark.parametrize("label", [0, 1])
def test_a_memory_that_one_label_has_taken_over_is_shown(node, label):
    """As comes about where a point may replace the oldest slot of all, whichever its label."""
    frames = script("playground/frame.js") + "\nexport { Experiment };\n"
    shown = node(frames, ONE_LABEL, {"state": default_state(), "label": label})
    assert shown["labels"] == [label]
    assert shown["places"] == 2 * default_state()["settings"]["num_slots"]
    assert shown["placed"] > 0


# A page whose second frame gets lost on its way, as one that cannot be made does.
LOST_FRAME = """
let posted = 0;
globalThis.onmessage = null;
globalThis.postMessage = ({ frame }) => {
  posted += 1;
  if (posted === 2) throw new Error("the second frame");
  if (posted === 3) {
    console.log(JSON.stringify({ steps: frame.done, errors }));
    process.exit(0);
  }
};
const errors = [];
process.on("uncaughtException", ({ message }) => errors.push(message));
await import("./module.mjs");
for (const data of [{ start: given }, { wants: 1 }, { run: { playing: true, speed: "fast" } }]) onmessage({ data });
"""


@pytest.mark.thorough
def test_a_frame_that_cannot_be_made_is_an_error_but_not_the_end_of_the_training(node):
    seen = node(script("playground/worker.js"), LOST_FRAME, default_state())
    assert seen["errors"] == ["the second frame"]
    assert seen["steps"] > 1
