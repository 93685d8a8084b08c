"""README.md tells no more than what the code does and what the committed results say."""

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks.memory import summary
from scripts.digits import table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def between(mark):
    return README.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]


def test_example_runs_and_trains_both_networks():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    torch.manual_seed(0)
    names = {}
    exec(example, names)
    assert names["memory"].histogram.sum() > 1  # written once
    encoder, generator = (names[name].weight for name in ("encoder", "generator"))
    (of_encoder,) = torch.autograd.grad(names["loss_d"], encoder)
    (of_generator,) = torch.autograd.grad(names["loss_g"], generator, allow_unused=True)
    assert of_encoder.abs().sum() > 0
    assert of_generator is not None and bool(of_generator.isfinite().all())


def test_numbers_on_digits_are_those_of_the_committed_run():
    runs = json.loads((ROOT / "results" / "digits.json").read_text(encoding="utf-8"))["runs"]
    assert table(runs) in between("digits")


def test_speeds_are_those_of_the_committed_benchmark():
    result = json.loads((ROOT / "benchmarks" / "memory-cpu.json").read_text(encoding="utf-8"))
    assert summary(result["rows"]) in between("speed")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", README))))
def test_link_leads_to_a_file(link):
    assert (ROOT / link).exists()
