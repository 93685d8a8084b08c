"""Why does MemoryGAN's last discriminator reject fewer of its old fakes than a DCGAN's does of its own?

Trains the MODELS on MNIST with the same settings and seeds, keeps what each generator makes at ten moments, and asks
each last discriminator about the old fakes of each model. Then four explanations are told apart:

    easier fakes    a discriminator of its own is trained on the old fakes of a model: how well can they be told at all?
    calibration     the AUC, which asks whether real digits score higher than fakes and has no threshold
    the clip        the share of old fakes at D = 1 - epsilon, which no gradient can reach
    the encoder     a logistic regression on the last encoder's features: what could be told from them

Writes results/old-fakes.json, with the commit, and prints the table. About fifteen minutes on one core.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from memgan.data import as_float, load_dataset
from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import build_model
from memgan.lab.baselines.sigmoid import Scorer, SigmoidGAN
from memgan.lab.studies.plan import settings_of
from memgan.lab.studies.provenance import commit
from memgan.presets import PRESETS, Settings
from memgan.training import Trainer, prepare

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "old-fakes.json"
PRESET = "mnist-5k"
SEEDS = (0, 1, 2)
MODELS = {
    "MemoryGAN": [],
    "MemoryGAN, 2048 old fakes": ["training.replay=2048"],
    "DCGAN": ["model=dcgan"],
    "DCGAN, 2048 old fakes": ["model=dcgan", "training.replay=2048"],
}
MOMENTS = 10  # of training, the last of which is its end and not old
FAKES = 200  # of each moment
FRESH_STEPS = 400  # of a discriminator that is trained on the old fakes of one model
BATCH = 64


class Trained(NamedTuple):
    """A model after its training, in evaluation mode, and what its generator made on the way."""

    gan: AdversarialModel
    settings: Settings
    old_fakes: Tensor  # [(MOMENTS - 1) * FAKES, C, H, W]


def trained(changes: list[str], seed: int) -> Trained:
    settings = settings_of(PRESETS[PRESET], changes)
    prepare(seed)
    gan = build_model(settings)
    every = settings.training.steps // MOMENTS
    fakes = []
    for step in Trainer(gan, load_dataset(PRESET), settings.training):
        if step.number % every == 0 and step.number < settings.training.steps:
            with torch.no_grad():
                draw = torch.Generator().manual_seed(step.number)
                fakes.append(gan.eval().generate(FAKES, generator=draw).images)
    return Trained(gan.eval(), settings, torch.cat(fakes))


@torch.no_grad()
def asked(gan: AdversarialModel, real: Tensor, fakes: Tensor) -> dict[str, float]:
    """What a discriminator says of `fakes`, beside what it says of `real` images."""
    d_real, d_fakes = gan.discriminate(real), gan.discriminate(fakes)
    return {
        "rejected": share(d_fakes < 0.5),
        "real_accepted": share(d_real >= 0.5),
        "auc": auc(d_real, d_fakes),
        "clipped": share(d_fakes >= d_fakes.new_tensor(1 - 1e-3)),
    }


def share(chosen: Tensor) -> float:
    return round(float(chosen.double().mean()), 4)


def auc(real: Tensor, fakes: Tensor) -> float:
    """The probability that a real image has the higher score of the two, ties counted as half."""
    labels = [1] * len(real) + [0] * len(fakes)
    return round(float(roc_auc_score(labels, torch.cat([real, fakes]).numpy())), 4)


@torch.no_grad()
def features(gan: AdversarialModel, images: Tensor) -> Tensor:
    """What the encoder makes of images before anything is read from it, [n, M]: the query, or the scorer's features."""
    if isinstance(gan.inference, Scorer):
        return gan.inference.layers[:-2](images)
    return F.normalize(gan.inference(images))


def probe(model: Trained, real: Tensor, unseen: Tensor, old: tuple[Tensor, Tensor]) -> float:
    """AUC of a logistic regression on the last features: fitted to some images, asked about others."""
    seen_fakes, other_fakes = old
    train = features(model.gan, torch.cat([real, seen_fakes])).numpy()
    regression = LogisticRegression(max_iter=2000, class_weight="balanced")
    regression.fit(train, [1] * len(real) + [0] * len(seen_fakes))
    scores = [
        torch.from_numpy(regression.decision_function(features(model.gan, part).numpy()))
        for part in (unseen, other_fakes)
    ]
    return auc(*scores)


def fresh(model: Trained, real: Tensor, unseen: Tensor, old: tuple[Tensor, Tensor]) -> float:
    """AUC of a discriminator that was trained on nothing but real images and the old fakes of a model."""
    seen_fakes, other_fakes = old
    prepare(0)
    gan = SigmoidGAN.from_settings(model.settings.memory, model.settings.networks)
    optimiser = torch.optim.Adam(gan.inference.parameters(), PRESETS[PRESET].training.discriminator_lr, (0.5, 0.99))
    for _ in range(FRESH_STEPS):
        some_real = real[torch.randint(len(real), (BATCH,))]
        some_fakes = seen_fakes[torch.randint(len(seen_fakes), (BATCH,))]
        logits = gan.inference(torch.cat([some_real, some_fakes]))[:, 0]
        labels = torch.tensor([1.0] * BATCH + [0.0] * BATCH)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    gan.eval()
    with torch.no_grad():
        return auc(gan.inference(unseen)[:, 0], gan.inference(other_fakes)[:, 0])


def measure(seed: int) -> list[dict[str, Any]]:
    """All numbers of one seed: a row for each model."""
    real = as_float(load_dataset(PRESET).images)
    unseen = as_float(load_dataset(PRESET, split="test").images)
    models = {name: trained(changes, seed) for name, changes in MODELS.items()}
    rows = []
    for name, model in models.items():
        old = model.old_fakes[::2], model.old_fakes[1::2]
        row: dict[str, Any] = {"model": name, "seed": seed}
        row["of"] = {other: asked(model.gan, unseen, models[other].old_fakes) for other in MODELS}
        row["probe_auc"] = probe(model, real, unseen, old)
        row["fresh_auc"] = fresh(model, real, unseen, old)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    rows = [row for seed in SEEDS for row in measure(seed)]
    result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "commit": commit(), "runs": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
