"""README.md tells no more than what the code does and what the committed results say."""

import json
import re
from pathlib import Path

import pytest
import torch

from memgan.presets import PRESETS
from memgan.runs import build, save_run
from scripts.benchmark_memory import summary
from scripts.measure_digits import table
from walkthrough import nb07_verdict as verdict

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)  # a widget driven, a training step, a pretrained model


def between(mark):
    return README.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]


def test_example_drives_a_widget(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_run(tmp_path / "runs" / "digits", build(PRESETS["digits"]), PRESETS["digits"], {})
    names = {}
    exec(EXAMPLES[0], names)
    assert names["explorer"].slot == 12


@pytest.mark.thorough
def test_example_trains_a_gan_on_eight_gaussians():
    example = EXAMPLES[1]
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    names = {}
    exec(example, names)
    torch.manual_seed(0)
    angle = torch.arange(8) * torch.pi / 4
    modes = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    memory = names["VMFMemory"](num_slots=512, key_dim=64, top_k=32)
    encoder = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    generator = torch.nn.Sequential(torch.nn.Linear(64 + 2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    optimisers = [torch.optim.Adam(network.parameters(), 2e-3) for network in (encoder, generator)]

    def distance_to_a_mode():
        with torch.no_grad():
            points = generator(torch.cat([memory.sample(500)[0], torch.rand(500, 2)], dim=1))
        return torch.cdist(points, modes).amin(dim=1).median()

    before = distance_to_a_mode()
    for _ in range(200):
        real = modes[torch.randint(0, 8, (64,))] + 0.1 * torch.randn(64, 2)
        names["step"](memory, encoder, generator, *optimisers, real, torch.rand(64, 2))
    assert before > 1.5  # a generator that has learnt nothing draws near the middle, 2 away from every mode
    assert distance_to_a_mode() < 0.8  # the modes are 1.5 apart; five seeds gave 0.18 to 0.40


def test_example_loads_the_pretrained_model():
    names = {}
    exec(EXAMPLES[2], names)
    assert names["gan"].generate(2).images.shape == (2, 1, 28, 28)


def test_numbers_on_clothes_are_those_of_the_committed_studies():
    """A line of the table for each model: lowest and highest of three seeds, and the numbers of real images."""
    seeds, text = verdict.load_seeds(), between("fashion")
    models = verdict.of_model(verdict.load_runs(verdict.FASHION_ABLATION))
    lines = {"`fashion-mnist-slim`, 50 epochs": seeds} | {f"{name}, 4 epochs": runs for name, runs in models.items()}
    measures = {"inception_score": 2, "frechet_distance": 1, "precision": 2, "recall": 2, "slot_purity": 2}
    for label, runs in lines.items():
        assert len(runs) == 3
        ends = [[f"{end(run[name] for run in runs):.{n}f}" for end in (min, max)] for name, n in measures.items()]
        assert f"| {label} | {' | '.join(' to '.join(dict.fromkeys(pair)) for pair in ends)} |" in text
    real = [f"{seeds[0][f'{name}_real']:.{n}f}" for name, n in list(measures.items())[:4]]
    assert f"| real test images | {' | '.join(real)} |" in text
    assert {run["classes_covered"] for run in seeds} == {10} and "all ten classes" in text
    shares = sorted(run["inception_score"] / run["inception_score_real"] for run in seeds)
    assert f"{shares[0]:.3f} to {shares[-1]:.3f} of the Inception Score" in text


def test_times_of_a_step_are_those_of_the_committed_benchmark():
    rows = json.loads((ROOT / "results" / "benchmark-training-cpu.json").read_text(encoding="utf-8"))["rows"]
    for preset in ("fashion-mnist", "fashion-mnist-slim"):
        assert re.search(
            rf"{rows[preset]['step']:.0f} ms.*?{rows[preset]['share']:.1%}".replace("%", " %"), between("times"), re.S
        )


def test_numbers_on_digits_are_those_of_the_committed_run():
    runs = json.loads((ROOT / "results" / "digits.json").read_text(encoding="utf-8"))["runs"]
    assert table(runs) in between("digits")


def test_speeds_are_those_of_the_committed_benchmark():
    result = json.loads((ROOT / "results" / "benchmark-memory-cpu.json").read_text(encoding="utf-8"))
    assert summary(result["rows"]) in between("speed")


def test_ranges_on_digits_are_those_of_the_committed_run():
    """The short table: lowest and highest of the preset's seeds, and the number for real images."""
    runs = json.loads((ROOT / "results" / "digits.json").read_text(encoding="utf-8"))["runs"]
    preset = [run for run in runs if run["rule"] == "preset"]
    for label, key, real, places in [
        ("Inception Score", "inception_score", "inception_score_real", 2),
        ("Frechet distance to training images", "frechet_distance", "frechet_distance_real", 1),
        ("Frechet distance to test images", "frechet_distance_test", "frechet_distance_real", 1),
        ("classes covered", "classes_covered", "classes", 0),
        ("distance to the nearest training image", "nearest_training_distance", "nearest_training_distance_real", 2),
    ]:
        values = sorted(run[key] for run in preset)
        numbers = [f"{value:.{places}f}" for value in (values[0], values[-1], preset[0][real])]
        assert f"| {label} | {' | '.join(numbers)} |" in between("digits")


def test_commands_of_the_readme_are_targets_with_their_settings():
    block = README.split("## Two commands")[1].split("##")[0]
    commands = re.findall(r"^    (make .+)$", block, re.MULTILINE)
    assert [command.split("#")[0].split() for command in commands] == [["make", "lab"], ["make", "test"]]
    assert "(PORT=9999, BROWSER=none)" in commands[0]
