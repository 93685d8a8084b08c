"""What does each `memgan study` compare? Configurations by name, each a list of assignments to a preset.

An assignment is written as for `--set`; `model=NAME` turns the preset into that model's of equal size first
(`memgan.lab.baselines.models.as_model`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from memgan.presets import Settings

__all__ = ["STUDIES", "Grid", "Study", "candidate_rates", "candidate_weights", "smaller_weights", "wide_rates"]

Grid = dict[str, list[str]]


@dataclass(frozen=True)
class Study:
    """A question, the configurations that answer it, and the metrics that its figure shows."""

    question: str
    grid: Callable[[Settings], Grid]  # for the preset that it starts from
    metrics: tuple[str, ...] = ("inception_score", "frechet_distance", "recall", "slot_purity")
    candidates: Callable[[Settings], Grid] | None = None  # of which each configuration takes its best, where tuned
    refinements: Callable[[Settings], Grid] | None = None  # tried with the best of those; of a configuration's settings
    chosen_by: str = "inception_score"  # of the trials; or "frechet_distance", which sees variety as well


def candidate_rates(preset: Settings) -> Grid:
    """The pairs of learning rates that are tried for every configuration."""
    generator_lr = preset.training.generator_lr
    discriminator_lr = preset.training.discriminator_lr
    return {
        "the preset's": _rates(generator_lr, discriminator_lr),
        "D as fast as G": _rates(generator_lr, generator_lr),
        "G as slow as D": _rates(discriminator_lr, discriminator_lr),
        "both twice as fast": _rates(2 * generator_lr, 2 * discriminator_lr),
    }


def wide_rates(preset: Settings) -> Grid:
    """`candidate_rates`, and both rates four times and eight times as fast: not every model learns best near ours."""
    generator_lr = preset.training.generator_lr
    discriminator_lr = preset.training.discriminator_lr
    return candidate_rates(preset) | {
        "both four times as fast": _rates(4 * generator_lr, 4 * discriminator_lr),
        "both eight times as fast": _rates(8 * generator_lr, 8 * discriminator_lr),
    }


def smaller_weights(settings: Settings) -> Grid:
    """A third and a tenth of a model's weight of the information term; nothing for a model that has no such term."""
    if settings.model in ("dcgan", "no-mcgn"):
        return {}
    weights = (settings.training.mi_weight * factor for factor in (0.3, 0.1))
    return {f"lambda {weight:g}": [f"training.mi_weight={weight:g}"] for weight in weights}


def candidate_weights(preset: Settings) -> Grid:
    """The weights of the mutual information that are tried for both bounds: the density's are small."""
    return {f"lambda {weight}": [f"training.mi_weight={weight}"] for weight in ("0.005", "0.02", "0.1", "0.3", "1")}


def _rates(generator_lr: float, discriminator_lr: float) -> list[str]:
    return [f"training.generator_lr={generator_lr:g}", f"training.discriminator_lr={discriminator_lr:g}"]


def _seeds(preset: Settings) -> Grid:
    return {"memoryGAN": [], "without memory: DCGAN": ["model=dcgan"]}


def _ablation(preset: Settings) -> Grid:
    return {
        "memoryGAN": [],
        "without EM": ["model=kaiser"],
        "without MCGN": ["model=no-mcgn"],
        "without memory: DCGAN": ["model=dcgan"],
        "DCGAN, little noise": ["model=dcgan", "networks.noise_dim=16"],  # fewer weights, and often better
        "InfoGAN, 10 codes": ["model=infogan:10+2"],
        "InfoGAN, 64 codes": ["model=infogan:64+2"],
    }


def _rivals(preset: Settings) -> Grid:
    """The models of `_ablation` in which no part is taken out."""
    models = _ablation(preset)
    del models["without EM"], models["without MCGN"]
    return models


def _penalty(preset: Settings) -> Grid:
    """The models of `_ablation`, each with R1 on real images, of the weight that the preset has, or else 0.5."""
    weight = preset.training.gradient_penalty or 0.5
    return {
        f"{name}, R1": [*changes, f"training.gradient_penalty={weight:g}"]
        for name, changes in _ablation(preset).items()
    }


def _kappa(preset: Settings) -> Grid:
    return {f"kappa {kappa}": [f"memory.kappa={kappa}"] for kappa in (1, 8, 15, 30, 60)}


def _memory_size(preset: Settings) -> Grid:
    slots = preset.memory.num_slots
    sizes = (slots // 4, slots // 2, slots, 2 * slots, 4 * slots)
    grid: Grid = {}
    for size in sizes:
        top_k = max(1, size * preset.memory.top_k // slots)
        changes = [f"memory.num_slots={size}", f"memory.top_k={top_k}"]
        if preset.memory.correct_in_top > top_k or preset.memory.correct_in_top == preset.memory.top_k:
            changes.append(f"memory.correct_in_top={top_k}")
        grid[f"{size} slots"] = changes
    return grid


def _top_k(preset: Settings) -> Grid:
    """A quarter of the preset's k to four times as many. Where all k may vouch, they still do."""
    memory = preset.memory
    grid: Grid = {}
    for top_k in (max(1, memory.top_k // 4), memory.top_k, min(4 * memory.top_k, memory.num_slots)):
        changes = [f"memory.top_k={top_k}"]
        if memory.correct_in_top == memory.top_k:
            changes.append(f"memory.correct_in_top={top_k}")
        grid[f"k {top_k}"] = changes
    return grid


def _collisions(preset: Settings) -> Grid:
    return {
        "summed in a batch": [],
        "last write wins": ["model=last-write-wins"],
        "one after another": ["model=one-by-one"],
    }


def _forgetting(preset: Settings) -> Grid:
    slots = preset.memory.num_slots
    top_k = preset.memory.top_k
    return {
        "memoryGAN": [],
        "nothing decays": ["memory.alpha=1"],
        "four times the slots": [f"memory.num_slots={4 * slots}", f"memory.top_k={4 * top_k}"],
        "without EM": ["model=kaiser"],
        "without memory: DCGAN": ["model=dcgan"],
        "memoryGAN, 2048 old fakes": ["training.replay=2048"],
        "DCGAN, 2048 old fakes": ["model=dcgan", "training.replay=2048"],
    }


def _paper_rule(preset: Settings) -> Grid:
    """Each choice of the paper that this project does not share, alone; then all of them, and all but kappa = 1.

    Raises ValueError for a preset that has the paper's choices already.
    """
    if preset.memory.kappa == 1 and preset.memory.correct_in_top == preset.memory.top_k:
        raise ValueError("this study puts the paper's choices in the place of this project's: expected no paper preset")
    choices = {
        "kappa 1": ["memory.kappa=1"],
        "alpha 0.5": ["memory.alpha=0.5"],
        "all of S may vouch": [f"memory.correct_in_top={preset.memory.top_k}"],
        "all of S_y made young": ["memory.touch=all"],
        "the oldest of all replaced": ["memory.replace_within_label=false"],
        "saturating loss": ["training.generator_loss=saturating"],
        "the density's term": ["training.information=density", "training.mi_weight=1e-2"],
        "published rates": [
            "training.generator_lr=2e-4",
            "training.discriminator_lr=2e-4",
            "training.beta2=0.999",
            "training.decay_from=1",
        ],
    }
    grid: Grid = {"this project's choices": [], **choices}
    without_kappa = [change for name, changes in choices.items() if name != "kappa 1" for change in changes]
    grid["all of these"] = choices["kappa 1"] + without_kappa
    grid["all but kappa 1"] = without_kappa
    return grid


def _information(preset: Settings) -> Grid:
    grid: Grid = {}
    for bound in ("density", "posterior"):
        for noise_dim in (4, 16, 64):
            changes = [f"training.information={bound}", f"networks.noise_dim={noise_dim}"]
            grid[f"{bound}, Z {noise_dim}"] = changes
    return grid


def _weight(preset: Settings) -> Grid:
    if preset.training.mi_weight == 0:
        raise ValueError("this study multiplies training.mi_weight, which must be above 0")
    weights = (factor * preset.training.mi_weight for factor in (0, 0.2, 1, 5, 20))
    return {f"lambda {weight:g}": [f"training.mi_weight={weight:g}"] for weight in weights}


def _queries(preset: Settings) -> Grid:
    """Queries as they are and spread over the sphere, at the preset's rates and with a slower discriminator."""
    slower = f"training.discriminator_lr={preset.training.discriminator_lr / 4:g}"
    spread = "networks.spread_queries=true"
    return {
        "as they are": [],
        "spread": [spread],
        "as they are, D a quarter as fast": [slower],
        "spread, D a quarter as fast": [spread, slower],
    }


def _length(preset: Settings) -> Grid:
    """Half the preset's steps to four times as many, without R1 on real images and with it."""
    grid: Grid = {}
    for name, weight in (("", 0), (", R1", 0.5)):
        for factor in (0.5, 1, 2, 4):
            steps = max(1, round(factor * preset.training.steps))
            grid[f"{steps:,} steps{name}"] = [f"training.steps={steps}", f"training.gradient_penalty={weight}"]
    return grid


def _rule(preset: Settings) -> Grid:
    """This project's rule for writing, each choice of the paper alone, and all three, under both bounds.

    Each bound has the weight, the noise and the kappa that suit it: for one of them, those of the preset.
    """
    bounds = {
        "density": [
            "training.information=density",
            "training.mi_weight=0.02",
            "networks.noise_dim=4",
            "memory.kappa=60",
        ],
        "posterior": [
            "training.information=posterior",
            "training.mi_weight=1",
            "networks.noise_dim=16",
            "memory.kappa=15",
        ],
    }
    bounds[preset.training.information] = []
    ours = ["memory.correct_in_top=2", "memory.touch=best", "memory.replace_within_label=true"]
    papers = {
        "the oldest of all replaced": ["memory.replace_within_label=false"],
        "all of S_y made young": ["memory.touch=all"],
        "all of S may vouch": [f"memory.correct_in_top={preset.memory.top_k}"],
    }
    grid: Grid = {}
    for bound, changes in bounds.items():
        grid[f"{bound}: the project's rule"] = changes + ours
        all_of_the_paper: list[str] = []
        for name, change in papers.items():
            grid[f"{bound}: {name}"] = changes + ours + change
            all_of_the_paper = all_of_the_paper + change
        grid[f"{bound}: all three"] = changes + ours + all_of_the_paper
    return grid


STUDIES = {
    "seeds": Study("How much depends on the seed?", _seeds),
    "ablation": Study("What is each part of MemoryGAN worth?", _ablation, candidates=candidate_rates),
    "rivals": Study(
        "Who is ahead if each model has the rates and the weight that suit it?",
        _rivals,
        candidates=wide_rates,
        refinements=smaller_weights,
        chosen_by="frechet_distance",
    ),
    "penalty": Study("Who is ahead where R1 calms every discriminator?", _penalty, candidates=candidate_rates),
    "kappa": Study("How sharply should a slot look? At kappa = 1 its likelihood spans only e^2.", _kappa),
    "memory-size": Study("How many slots does it take, with k in proportion?", _memory_size),
    "top-k": Study("How many slots should a query be compared with?", _top_k),
    "collisions": Study("What if several samples of a batch write to one slot?", _collisions),
    "forgetting": Study(
        "Are old fakes still rejected at the end?",
        _forgetting,
        ("old_fakes_rejected", "inception_score", "frechet_distance"),
    ),
    "information": Study(
        "Which bound on the mutual information, and how much noise does each bear?",
        _information,
        candidates=candidate_weights,
    ),
    "length": Study(
        "How long should it train, and does it need R1 for that?",
        _length,
        ("inception_score", "frechet_distance", "recall", "slots_in_use"),
    ),
    "queries": Study(
        "Do more slots stay in use if queries are spread over the sphere, and D is slower?",
        _queries,
        ("inception_score", "frechet_distance", "recall", "slots_in_use"),
    ),
    "weight": Study("How strongly should an image be tied to its key?", _weight),
    "rule": Study("Is the paper's own rule for writing as good, and under which bound?", _rule),
    "paper-rule": Study("Which of the published choices stops it from training?", _paper_rule),
}
