"""The programs of docs/training.md run as they stand there, with fewer steps."""

import re
from pathlib import Path

import pytest
from gan_builders import random_images
from torch import nn

from memgan.lab.commands.cli import main
from memgan.runs import load_run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.thorough
def test_the_program_trains_a_run_that_the_commands_take(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, replaced = re.subn(r"training\.steps=\d+", "training.steps=60", EXAMPLES[0])
    assert replaced == 1
    names = {}
    exec(program, names)
    assert names["images"].shape == (10, 12, 1, 16, 16) and names["trainer"].number == 60
    gan, settings = load_run("runs/mine")
    assert settings.training.steps == 60 and gan.memory.num_slots == settings.memory.num_slots
    assert main(["sample", "runs/mine", "--out", "sheet.png"]) == 0


def test_a_model_is_built_from_modules_of_ones_own():
    names = {"encoder": nn.Sequential(nn.Flatten(), nn.Linear(48, 64)), "decoder": nn.Identity()}
    exec(EXAMPLES[1], names)
    assert names["gan"].discriminate(random_images(5)).shape == (5,)
