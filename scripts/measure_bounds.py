"""Train MNIST with the paper's memory rule and either information bound: what notebook 5 shows of long trainings.

Every run has the preset mnist-5k with the paper's own memory rule, 1,024 slots, 1,200 steps, and what RUNS says. Writes
results/bounds.json, and a sheet of samples of some runs into figures/; a run that the file holds is not repeated. A
quarter of an hour on one core that is not shared.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from memgan import MemoryGAN, load_pretrained
from memgan.data import as_float, load_dataset
from memgan.lab.evaluation import classifier_for, evaluate
from memgan.lab.evaluation.registry import METRICS
from memgan.lab.studies.provenance import commit
from memgan.plots import tile
from memgan.presets import PRESETS, Settings
from memgan.runs import build
from memgan.training import Trainer, prepare
from walkthrough import nb05_mcgn as nb05

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "results" / "bounds.json"
SHEETS = ROOT / "figures"
STEPS = 1200
PAPERS_RULE = [
    "memory.num_slots=1024",
    f"memory.correct_in_top={PRESETS['mnist-5k'].memory.top_k}",
    "memory.touch=all",
    "memory.replace_within_label=false",
    "training.recount=false",
]
DENSITY = "training.information=density"
PAPERS_NUMBERS = ["memory.kappa=1", "memory.alpha=0.5", "networks.noise_dim=2"]  # Fashion-MNIST and affine-MNIST there
SEED = 0
RUNS: dict[str, list[str]] = {  # what is changed
    "posterior": [],
    "density": [DENSITY, "training.mi_weight=0.02"],
    "no term": ["training.mi_weight=0"],
    "density, Z 4": [DENSITY, "training.mi_weight=0.02", "networks.noise_dim=4"],
    "density, Z 4, lambda 0.1": [DENSITY, "training.mi_weight=0.1", "networks.noise_dim=4"],
    "density, Z 2, lambda .01": [DENSITY, "training.mi_weight=0.01", "networks.noise_dim=2"],
    "paper, density": [DENSITY, "training.mi_weight=0.01", *PAPERS_NUMBERS],
    "paper, posterior": PAPERS_NUMBERS,
}
SHEET_OF = {"posterior": "bound-posterior.png", "density": "bound-density.png", "no term": "bound-none.png"}
PICTURES = tuple(SHEET_OF.values())
SCORES = ("inception_score", "frechet_distance", "recall", "slot_purity", "slots_in_use")


def settings_of(name: str) -> Settings:
    """The preset with the paper's rule and with what the run `name` changes."""
    return PRESETS["mnist-5k"].changed([f"training.steps={STEPS}", *PAPERS_RULE, *RUNS[name]])


def measure(name: str) -> dict[str, Any]:
    """Train one run and measure it; draw its sheet where it has one."""
    settings = settings_of(name)
    train_data = load_dataset(settings.dataset)
    prepare(SEED)
    gan = build(settings)
    started = time.process_time()
    Trainer(gan, train_data, settings.training).run()
    seconds = time.process_time() - started
    gan.eval()
    design = nb05.crossed(gan, classifier_for(settings.dataset))
    if name in SHEET_OF:
        draw_sheet(gan, SHEETS / SHEET_OF[name])
    return {**scores_of(gan, settings, design, name), "seconds": round(seconds, 1)}


def scores_of(gan: MemoryGAN, settings: Settings, design: nb05.Design, name: str) -> dict[str, Any]:
    """The row of a run: its settings, the scores of `memgan evaluate` that the notebook shows, and its own measures."""
    train_data = load_dataset(settings.dataset)
    test_data = load_dataset(settings.dataset, split="test")
    metrics = tuple(metric for metric in METRICS if metric.name in SCORES)
    result = evaluate(gan, classifier_for(settings.dataset), train_data, test_data, metrics=metrics)
    row: dict[str, Any] = {
        "run": name,
        "seed": SEED,
        "commit": commit(),
        "information": settings.training.information,
        "lambda": settings.training.mi_weight,
        "noise_dim": settings.networks.noise_dim,
    }
    for score in SCORES:
        row[score] = getattr(result, score)
        if score not in ("slot_purity", "slots_in_use"):  # which real images have not
            row[f"{score}_real"] = getattr(result, f"{score}_real")
    return row | measures_of(gan, design, as_float(train_data.images), train_data.labels)


def measure_pretrained() -> dict[str, Any]:
    """The same measures of the model that comes with the package, and its least pure slots."""
    gan, settings = load_pretrained("mnist-5k")
    design = nb05.crossed(gan, classifier_for(settings.dataset))
    return {**scores_of(gan, settings, design, "pretrained"), "least_pure": least_pure(design)}


def least_pure(design: nb05.Design) -> list[dict[str, Any]]:
    """The four slots whose images the classifier agrees least about, and how often it sees each class."""
    classes = design.classes
    purity = (classes == classes.mode(dim=1).values.unsqueeze(1)).double().mean(dim=1)
    worst = purity.argsort(stable=True)[:4].tolist()
    return [
        {"slot": int(design.slots[place]), "classes": classes[place].bincount(minlength=10).tolist()} for place in worst
    ]


def measures_of(gan: MemoryGAN, design: nb05.Design, real: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """What notebook 5 says of a crossed design: who decides what, how well a slot is read back, how varied it is."""
    slot, noise, both = nb05.shares_of_variance(design.images)
    slots = design.slots.repeat_interleave(design.queries.shape[1])
    cosine = torch.einsum("srm,sm->sr", design.queries, gan.memory.keys[design.slots])
    return {
        "class_from_slot": nb05.shared_information(design.classes),
        "class_from_noise": nb05.shared_information(design.classes.T),
        "variance_slot": slot,
        "variance_noise": noise,
        "variance_both": both,
        "variety": nb05.variety(design.images, real, labels),
        "cosine": float(cosine.mean()),
        "bound": nb05.information_bound(gan.memory, slots, design.queries.flatten(0, 1)),
    }


def draw_sheet(gan: MemoryGAN, path: Path) -> None:
    """Eight slots as the generator is given them, one in a row, each with the same twelve noises."""
    generator = torch.Generator().manual_seed(0)
    keys, _ = gan.memory.sample(8, generator)
    noise = torch.rand(12, gan.noise_dim, generator=generator) * 2 - 1
    with torch.no_grad():
        images = gan.generator(keys.repeat_interleave(12, dim=0), noise.repeat(8, 1))
    write_sheet(images, 12, path)


def write_sheet(images: torch.Tensor, columns: int, path: Path) -> None:
    """`images` in [-1, 1] as one grey PNG."""
    picture = (tile(images, columns) * 255).round().astype("uint8")
    Image.fromarray(picture).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"run only these of {', '.join(RUNS)}")
    names = parser.parse_args().names or [*RUNS, "pretrained"]
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["runs"] if RESULT.exists() else []
    done = {row["run"] for row in rows}
    for name in names:
        if name in done:
            continue
        row = measure_pretrained() if name == "pretrained" else measure(name)
        rows.append(row)
        text = json.dumps({"steps": STEPS, "runs": rows}, indent=1)
        RESULT.write_text(text + "\n", encoding="utf-8")
        scores = {key: round(value, 3) for key, value in row.items() if isinstance(value, float)}
        print(name, scores, flush=True)


if __name__ == "__main__":
    main()
