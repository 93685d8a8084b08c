"""What must an encoder be like? `python -m scripts.measure_encoders` trains README's step with four of them.

All have three convolutions. Two end in a mean over the image, and two have a batch normalisation without weights as
their last layer, as docs/own-gan.md advises. Each trains on scikit-learn's digits of 8x8 pixels for 300 steps, with
three seeds. Writes results/encoders.json; a minute on one core.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from memgan import VMFMemory
from memgan.lab.studies.provenance import commit
from memgan.training import prepare

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "encoders.json"
STEPS = 300
SEEDS = (0, 1, 2)
KEY_DIM = 64
NOISE_DIM = 4
BATCH = 64


def encoder(*, averages: bool, spreads: bool) -> nn.Sequential:
    """Three convolutions, and what makes 64 features of them."""
    layers: list[nn.Module] = [
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
    ]
    if averages:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, KEY_DIM)]
    else:
        layers += [nn.Flatten(), nn.Linear(64 * 4 * 4, KEY_DIM)]
    if spreads:
        layers.append(nn.BatchNorm1d(KEY_DIM, affine=False))
    return nn.Sequential(*layers)


ENCODERS: dict[str, dict[str, bool]] = {
    "all features": {"averages": False, "spreads": False},
    "all features, normalised": {"averages": False, "spreads": True},
    "means over the image": {"averages": True, "spreads": False},
    "means over the image, normalised": {"averages": True, "spreads": True},
}


def readme_step() -> Callable[..., None]:
    """The training step that README.md shows."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example.group(1), names)
    return names["step"]


def measure(step: Callable[..., None], options: dict[str, bool], seed: int) -> dict[str, float]:
    """Train one encoder, and look at its queries, its memory and its generator's images."""
    prepare(seed)
    digits = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    memory = VMFMemory(num_slots=512, key_dim=KEY_DIM, top_k=32, kappa=15, alpha=0.95, correct_in_top=2)
    networks = {"encoder": encoder(**options), "generator": generator()}
    optimisers = {
        "encoder": torch.optim.Adam(networks["encoder"].parameters(), 5e-4, betas=(0.5, 0.999)),
        "generator": torch.optim.Adam(networks["generator"].parameters(), 1e-3, betas=(0.5, 0.999)),
    }

    def updater(name: str) -> Callable[[Tensor], None]:
        def update(loss: Tensor) -> None:
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()

        return update

    cosine_before = mean_cosine(networks["encoder"], digits[:500])
    for _ in range(STEPS):
        real = digits[torch.randint(len(digits), (BATCH,))]
        update_d, update_g = updater("encoder"), updater("generator")
        step(memory, networks["encoder"], networks["generator"], update_d, update_g, real, noise(BATCH))
    with torch.no_grad():
        keys, _ = memory.sample(500)
        drawn = networks["generator"](torch.cat([keys, noise(500)], dim=1))
        distances = torch.cdist(drawn.flatten(1), digits.flatten(1))
        return {
            "cosine before": cosine_before,
            "cosine after": mean_cosine(networks["encoder"], digits[:500]),
            "slots in use": float(memory.slots_in_use()),
            "D of real": float(memory.read(networks["encoder"](digits[:500])).mean()),
            "D of generated": float(memory.read(networks["encoder"](drawn)).mean()),
            "to the nearest digit": float(distances.amin(dim=1).mean()),
            "from a digit": float(distances.amin(dim=0).mean()),
        }


def generator() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(KEY_DIM + NOISE_DIM, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Unflatten(1, (32, 4, 4))),
        *(nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1), nn.Tanh()),
    )


def noise(number: int) -> Tensor:
    return torch.rand(number, NOISE_DIM) * 2 - 1


@torch.no_grad()
def mean_cosine(encoder: nn.Module, images: Tensor) -> float:
    """Between the queries of any two images."""
    directions = F.normalize(encoder(images), dim=1)
    number = len(images)
    return float(((directions @ directions.T).sum() - number) / (number * (number - 1)))


def main() -> None:
    step = readme_step()
    rows = []
    for name, options in ENCODERS.items():
        for seed in SEEDS:
            row: dict[str, Any] = {"encoder": name, "seed": seed, **measure(step, options, seed)}
            rows.append(row)
            print(f"{name}, seed {seed}: {row['slots in use']:.0f} slots in use", flush=True)
    RESULT.write_text(json.dumps({"commit": commit(), "steps": STEPS, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
