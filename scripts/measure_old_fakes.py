"""Why does MemoryGAN's last discriminator reject fewer of its old fakes than a DCGAN's does of its own?

Trains the MODELS on MNIST with the same settings and seeds, keeps what each generator makes at ten moments, and asks
each last discriminator about the old fakes of each model. Five explanations are told apart:

    easier fakes            a discriminator of its own, that learns from the old fakes of both models alike, says whose
                            are harder to reject
    the threshold           the AUC, which asks whether real digits score higher than fakes, has none
    the clip                the share of old fakes at D = 1 - epsilon, where no gradient could reach them
    the encoder             a logistic regression on its last features says what could be told from them
    batch normalisation     D is asked with its running averages, as in evaluation, and with the statistics of a batch
                            of images of one kind, as in training

Writes results/old-fakes.json, with the commit, and prints the rows. About ten minutes on one core.

Then it asks which slots lie next to old fakes, without and with R1, and writes results/old-fakes-neighbours.json: six
trainings, ten minutes more. With `--neighbours` it does that alone.

With `--runs FOLDER` it trains nothing. It asks the last discriminators of the finished runs of a study on Fashion-MNIST
in both ways, and writes results/old-fakes-fashion-mnist.json:

    python -m scripts.measure_old_fakes --runs runs/study-ablation-fashion-mnist-slim-long
"""

import argparse
import json
from collections.abc import Callable
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
from memgan.lab.baselines.sigmoid import Scorer
from memgan.lab.evaluation import old_fakes_of
from memgan.lab.sessions import load_model
from memgan.lab.studies.plan import settings_of
from memgan.lab.studies.provenance import commit
from memgan.presets import PRESETS
from memgan.training import Trainer, prepare, running_averages_kept

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "old-fakes.json"
NEIGHBOURS = ROOT / "results" / "old-fakes-neighbours.json"
OF_A_STUDY = ROOT / "results" / "old-fakes-fashion-mnist.json"
PRESET = "mnist-5k"
SEEDS = (0, 1, 2)
MODELS = {
    "MemoryGAN": [],
    "DCGAN": ["model=dcgan"],
    "MemoryGAN, 2048 old fakes": ["training.replay=2048"],
    "DCGAN, 2048 old fakes": ["model=dcgan", "training.replay=2048"],
    "MemoryGAN, R1": ["training.gradient_penalty=0.5"],
}
COMPARED = ("MemoryGAN", "DCGAN")  # whose fakes the discriminator of its own learns from
MOMENTS = 10  # of training, the last of which is its end and not old
FAKES = 192  # of each moment: three batches
BATCH = 64
NEUTRAL_STEPS = 400  # of the discriminator of its own


class Trained(NamedTuple):
    """A model after its training, in evaluation mode, and what its generator made."""

    gan: AdversarialModel
    old: Tensor  # [MOMENTS - 1, FAKES, C, H, W]
    new: Tensor  # [n, C, H, W], at the end


def trained(changes: list[str], seed: int) -> Trained:
    settings = settings_of(PRESETS[PRESET], [*changes, "training.recount=false"])
    prepare(seed)
    gan = build_model(settings)
    every = settings.training.steps // MOMENTS
    fakes = []
    for step in Trainer(gan, load_dataset(PRESET), settings.training):
        if step.number % every == 0:
            draw = torch.Generator().manual_seed(step.number)
            with torch.no_grad():
                fakes.append(gan.eval().generate(FAKES, generator=draw).images)
    return Trained(gan.eval(), torch.stack(fakes[:-1]), fakes[-1])


# ---------------------------------------------------------------- what D says


@torch.no_grad()
def answers(gan: AdversarialModel, images: Tensor, *, of_the_batch: bool) -> Tensor:
    """D of `images` [n, C, H, W], which are of one kind, [n]; `of_the_batch`: normalised as in training."""
    gan.inference.train(of_the_batch)
    with running_averages_kept(gan.inference):
        said = torch.cat([gan.discriminate(part) for part in images.split(BATCH)])
    gan.inference.eval()
    return said


def asked(gan: AdversarialModel, real: Tensor, model: Trained, *, of_the_batch: bool) -> dict[str, float]:
    """What a discriminator says of the fakes of `model`, beside what it says of `real` images."""
    d_real = answers(gan, real, of_the_batch=of_the_batch)
    d_old = torch.cat([answers(gan, fakes, of_the_batch=of_the_batch) for fakes in model.old])
    d_new = answers(gan, model.new, of_the_batch=of_the_batch)
    return {
        "old_rejected": share(d_old < 0.5),
        "new_rejected": share(d_new < 0.5),
        "real_rejected": share(d_real < 0.5),
        "old_auc": auc(d_real, d_old),
        "old_clipped": share(d_old >= d_old.new_tensor(1 - 1e-3)),
    }


def share(chosen: Tensor) -> float:
    return round(float(chosen.double().mean()), 4)


def auc(real: Tensor, fakes: Tensor) -> float:
    """The probability that a real image has the higher score of the two, ties counted as half."""
    labels = [1] * len(real) + [0] * len(fakes)
    return round(float(roc_auc_score(labels, torch.cat([real, fakes]).numpy())), 4)


# ---------------------------------------------------------------- what could be said


@torch.no_grad()
def features(gan: AdversarialModel, images: Tensor) -> Tensor:
    """What the encoder makes of images before anything is read from it, [n, M]: the query, or the scorer's features."""
    if isinstance(gan.inference, Scorer):
        return gan.inference.layers[:-2](images)
    return F.normalize(gan.inference(images))


def probe(model: Trained, real: Tensor, unseen: Tensor) -> float:
    """AUC of a logistic regression on the features, in evaluation mode: fitted to some fakes, asked about others."""
    fakes = model.old.flatten(0, 1)
    known, others = fakes[::2], fakes[1::2]
    regression = LogisticRegression(max_iter=2000, class_weight="balanced")
    regression.fit(features(model.gan, torch.cat([real, known])).numpy(), [1] * len(real) + [0] * len(known))
    scores = []
    for part in (unseen, others):
        scores.append(torch.from_numpy(regression.decision_function(features(model.gan, part).numpy())))
    return auc(*scores)


def neutral(models: dict[str, Trained], real: Tensor, unseen: Tensor) -> dict[str, dict[str, float]]:
    """What a discriminator that learnt from half of the old fakes of all `models` says of the other half.

    It is a DCGAN's, and it is asked with its running averages. For each model: the share that is rejected, and the AUC.
    """
    settings = settings_of(PRESETS[PRESET], ["model=dcgan"])
    prepare(0)
    network = Scorer(settings.networks, settings.memory.key_dim, 0)
    optimiser = torch.optim.Adam(network.parameters(), settings.training.discriminator_lr, (0.5, 0.99))
    halves = {name: (model.old.flatten(0, 1)[::2], model.old.flatten(0, 1)[1::2]) for name, model in models.items()}
    known = torch.cat([half for half, _ in halves.values()])
    labels = torch.tensor([1.0] * BATCH + [0.0] * BATCH)
    for _ in range(NEUTRAL_STEPS):
        images = torch.cat([some(real), some(known)])
        loss = F.binary_cross_entropy_with_logits(network(images)[:, 0], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    said = {}
    with torch.no_grad():
        of_real = network(unseen)[:, 0]
        for name, (_, others) in halves.items():
            of_fakes = network(others)[:, 0]
            said[name] = {"rejected": share(of_fakes < 0), "auc": auc(of_real, of_fakes)}
    return said


def some(images: Tensor) -> Tensor:
    """A batch of the images, drawn at random and with repetition."""
    return images[torch.randint(len(images), (BATCH,))]


# ---------------------------------------------------------------- which slots are near


@torch.no_grad()
def near(gan: AdversarialModel, images: Tensor) -> dict[str, float]:
    """Averages over `images` of one kind: similarity of the nearest slot, real share of the k nearest, and D."""
    memory = gan.memory
    similarity, slots = (features(gan, images) @ memory.keys.mT).topk(memory.settings.top_k, dim=1)
    said = answers(gan, images, of_the_batch=False)
    return {
        "nearest": round(float(similarity[:, 0].mean()), 4),
        "real_slots": share(memory.values[slots] == 1),
        "d": round(float(said.mean()), 4),
        "d_spread": round(float(said.std()), 4),
        "rejected": share(said < 0.5),
    }


def neighbours(seed: int) -> list[dict[str, Any]]:
    """What is near to real, new and old images, a row for each memory and kind of image."""
    unseen = as_float(load_dataset(PRESET, split="test").images)[: BATCH * 15]
    rows = []
    for name in ("MemoryGAN", "MemoryGAN, R1"):
        model = trained(MODELS[name], seed)
        kinds = {
            "real test images": unseen,
            "the newest fakes": model.new,
            "its old fakes": model.old.flatten(0, 1),
            "its first ones": model.old[0],
        }
        for kind, images in kinds.items():
            rows.append({"model": name, "seed": seed, "images": kind, **near(model.gan, images)})
            print(json.dumps(rows[-1]), flush=True)
    return rows


# ---------------------------------------------------------------- the runs of a study


def of_study(folder: Path) -> list[dict[str, Any]]:
    """What each last discriminator of a study says of its own old fakes, a row for each run, in both ways.

    Raises ValueError where the folder holds no finished runs.
    """
    rows = []
    for run in sorted(folder.glob("*/seed-*")):  # the runs that chose learning rates lie one folder deeper
        loaded = load_model(run)
        gan = loaded.gan
        settings = loaded.settings
        kept = old_fakes_of(run, gan)
        if kept is None:
            raise ValueError(f"{run} has no old fakes: is the run finished?")
        is_old = kept.steps < settings.training.steps
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            new = gan.generate(FAKES, generator=draw).images
        model = Trained(gan, as_float(kept.images[is_old]), new)
        unseen = as_float(load_dataset(settings.dataset, split="test").images)[: BATCH * 15]
        row: dict[str, Any] = {"model": settings.model, "seed": int(run.name.removeprefix("seed-"))}
        row["steps"] = settings.training.steps
        for way, of_the_batch in (("running", False), ("batch", True)):
            row[way] = asked(gan, unseen, model, of_the_batch=of_the_batch)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if not rows:
        raise ValueError(f"expected the runs of a study in {folder}, found none")
    return rows


# ---------------------------------------------------------------- all seeds


def measure(seed: int) -> list[dict[str, Any]]:
    """All numbers of one seed: a row for each model."""
    real = as_float(load_dataset(PRESET).images)
    unseen = as_float(load_dataset(PRESET, split="test").images)[: BATCH * 15]  # whole batches
    models = {name: trained(changes, seed) for name, changes in MODELS.items()}
    by_neutral = neutral({name: models[name] for name in COMPARED}, real, unseen)
    rows = []
    for name, model in models.items():
        row: dict[str, Any] = {"model": name, "seed": seed, "probe_auc": probe(model, real, unseen)}
        if name in by_neutral:
            row["neutral"] = by_neutral[name]
        for way, of_the_batch in (("running", False), ("batch", True)):
            row[way] = {other: asked(model.gan, unseen, models[other], of_the_batch=of_the_batch) for other in MODELS}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", action="store_true", help="which slots are near to old fakes, and nothing else")
    parser.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="ask the finished runs of a study, and nothing else"
    )
    options = parser.parse_args()
    if options.runs is not None:
        write(OF_A_STUDY, of_study(options.runs))
        return
    if not options.neighbours:
        write(RESULT, of_all_seeds(measure))
    write(NEIGHBOURS, of_all_seeds(neighbours))


def of_all_seeds(of_seed: Callable[[int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [row for seed in SEEDS for row in of_seed(seed)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows into a result file, with what made them."""
    result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "commit": commit(), "runs": rows}
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
