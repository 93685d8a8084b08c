"""Put the numbers of results/*.json and the presets into README.md and the pages of docs/: `make docs-tables`.

A page says where a table belongs with two lines, `<!-- table: NAME -->` and `<!-- end -->`, NAME being one of `TABLES`.
What stands between them is replaced; all else on a page is written by hand. The tables of docs/studies.md are made by
scripts/studies_page.py.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame, Series

from memgan.presets import PRESETS
from memgan.widgets.playground.settings import DISTRIBUTIONS, PRESETS as PLAYGROUND_PRESETS
from scripts.benchmark_sharded import computed_bytes
from walkthrough.nb07_verdict import load_compared

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
OPENING = "<!-- table: "
CLOSING = "<!-- end -->"

MODELS = {  # names in the studies of ablations, and what README.md calls them
    "memoryGAN": "MemoryGAN",
    "without EM": "without EM",
    "without MCGN": "without MCGN",
    "without memory: DCGAN": "DCGAN",
    "InfoGAN, 10 codes": "InfoGAN, 10 codes",
    "InfoGAN, 64 codes": "InfoGAN, 64 codes",
}
PLANE = {  # kinds of run in results/plane.json, and what they are called on the page
    "memory": "MemoryGAN",
    "memory, sigma 0.05": "MemoryGAN, modes half as wide",
    "memory, unequal modes": "MemoryGAN, every other mode with three times the data",
    "32 slots": "MemoryGAN with 32 slots instead of 128",
    "one slot vouches": "MemoryGAN, `correct_in_top` 1 instead of k",
    "two slots vouch": "MemoryGAN, `correct_in_top` 2 instead of k",
    "all of S_y young": "MemoryGAN, all of S_y made young",
    "oldest of all": "MemoryGAN, the oldest slot of all replaced",
    "the paper's rule": "MemoryGAN, both of these",
    "the paper's term": "MemoryGAN with the paper's mutual-information term",
    "no blur": "MemoryGAN without noise on the discriminator's inputs",
    "kappa 5": "MemoryGAN, kappa 5 instead of 15",
    "kappa 60": "MemoryGAN, kappa 60 instead of 15",
    "generator without key": "MemoryGAN without MCGN",
    "lambda 0": "MemoryGAN without the mutual-information term",
    "one-hot": "InfoGAN, one-hot code of 8",
    "one-hot, lambda 0": "InfoGAN without the mutual-information term",
    "one-hot, unequal modes": "InfoGAN, every other mode with three times the data",
    "one-hot, 5 codes": "InfoGAN, one-hot code of 5",
    "one-hot, 12 codes": "InfoGAN, one-hot code of 12",
    "plain": "plain GAN",
    "plain, 16 noise dimensions": "plain GAN, 16 noise dimensions",
}
SAME_IN_PYTHON = {  # presets of the playground, and the kind of run in results/plane.json with the same change
    "default": "memory",
    "no_key": "generator without key",
    "no_information": "lambda 0",
    "density": "the paper's term",
    "one_vouches": "one slot vouches",
}
PLAIN_STEPS = (1200, 9600)  # a plain GAN is measured at several lengths of training; these are shown


# ---------------------------------------------------------------- pages


def filled(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """`page` with a new table in each of its marked places.

    Raises ValueError for a place whose table is unknown or whose end is missing.
    """
    before, *parts = page.split(OPENING)
    for part in parts:
        name, opened, rest = part.partition(" -->\n")
        _, closed, after = rest.partition(CLOSING)
        if not opened or not closed:
            raise ValueError(f"expected a line {CLOSING} after {OPENING}{name.splitlines()[0]} -->")
        if name not in tables:
            raise ValueError(f"unknown table {name!r}, expected one of {', '.join(tables)}")
        before += f"{OPENING}{name} -->\n\n{tables[name]()}\n\n{CLOSING}{after}"
    return before


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]], texts: int = 1) -> str:
    """A table in Markdown: the first `texts` columns to the left, the others, which are numbers, to the right."""
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    lines = []
    for cells in [head, rule, *rows]:
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


# ---------------------------------------------------------------- numbers


def spread(values: Series, decimals: int) -> str:
    """The mean, and in brackets lowest and highest; the mean alone where all are equal."""
    mean = f"{values.mean():.{decimals}f}"
    low = f"{values.min():.{decimals}f}"
    high = f"{values.max():.{decimals}f}"
    return mean if low == high else f"{mean} ({low}–{high})"


def span(values: Series, decimals: int) -> str:
    """Lowest to highest; nothing where no value is there."""
    if values.isna().all():
        return ""
    low = f"{values.min():.{decimals}f}"
    high = f"{values.max():.{decimals}f}"
    return low if low == high else f"{low}–{high}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# ---------------------------------------------------------------- images


def compared(preset: str) -> DataFrame:
    """Each model's runs, as notebook 7 compares them."""
    return DataFrame([run for runs in load_compared(preset).values() for run in runs])


def results() -> str:
    """What README.md shows: both data sets side by side, lowest and highest of the seeds."""
    mnist = compared("mnist-5k")
    fashion = compared("fashion-mnist-slim")
    columns = [  # head, runs, measure, decimals
        ("MNIST: IS\u00a0↑", mnist, "inception_score", 2),
        ("FD\u00a0↓", mnist, "frechet_distance", 1),
        ("recall\u00a0↑", mnist, "recall", 2),
        ("Fashion-MNIST: IS\u00a0↑", fashion, "inception_score", 2),
        ("FD\u00a0↓", fashion, "frechet_distance", 1),
        ("recall\u00a0↑", fashion, "recall", 2),
    ]
    rows = []
    for configuration, label in MODELS.items():
        cells = [label]
        for _, runs, measure, decimals in columns:
            cells.append(span(runs[runs["configuration"] == configuration][measure], decimals))
        rows.append(cells)
    real = ["real test images"]
    for _, runs, measure, decimals in columns:
        real.append(span(runs[f"{measure}_real"], decimals))
    head = ["", *(column[0] for column in columns)]
    return markdown(head, [*rows, real])


def fashion() -> str:
    """Fashion-MNIST: all models after 16 and after 4 epochs, and MemoryGAN with the paper's term, lowest to highest."""
    rivals = {configuration: label for configuration, label in MODELS.items() if configuration != "memoryGAN"}
    sources = [  # result file, the label of each configuration that is shown, and what the labels end with
        ("study-seeds-fashion-mnist-slim.json", MODELS, ", 16 epochs"),
        ("study-ablation-fashion-mnist-slim-long.json", rivals, ", 16 epochs"),
        ("study-rivals-fashion-mnist-slim-long.json", MODELS, ", 16 epochs, tuned more widely"),
        ("study-ablation-fashion-mnist-slim.json", MODELS, ", 4 epochs"),
        ("study-rivals-fashion-mnist-slim.json", MODELS, ", 4 epochs, tuned more widely"),
        ("study-parts-fashion-mnist-slim.json", MODELS, ", 4 epochs, today's memory"),
        ("study-seeds-fashion-mnist-slim-density.json", MODELS, ", the paper's term, 50 epochs"),
    ]
    measures = {"inception_score": 2, "frechet_distance": 1, "precision": 2, "recall": 2, "slot_purity": 2}
    rows = []
    for file, labels, ending in sources:
        runs = DataFrame(load(file)["runs"])
        for configuration, label in labels.items():
            own = runs[runs["configuration"] == configuration]
            if len(own) > 0:
                rows.append([label + ending, *(span(own[measure], decimals) for measure, decimals in measures.items())])
    real = ["real test images"]
    for measure, decimals in measures.items():
        real.append(span(runs[f"{measure}_real"], decimals) if f"{measure}_real" in runs else "")
    head = ["Fashion-MNIST, three seeds", "Inception Score", "Frechet distance", "precision", "recall", "slot purity"]
    return markdown(head, [*rows, real])


# ---------------------------------------------------------------- the two problems


def plane() -> str:
    """Eight Gaussians in the plane: modes found and points off all modes, over all seeds of each kind of GAN."""
    runs = DataFrame(load("plane.json")["runs"])
    runs["steps"] = [settings["steps"] for settings in runs["settings"]]
    rows = []
    for (kind, steps), of_kind in runs.groupby(["kind", "steps"], sort=False):
        if kind in PLANE and (not kind.startswith("plain") or steps in PLAIN_STEPS):
            modes = span(of_kind["modes"], 0)
            off_mode = span(100 * of_kind["off_mode"], 1)
            rows.append([PLANE[kind], steps, len(of_kind), modes, off_mode])
    return markdown(["eight modes in the plane", "steps", "seeds", "modes found", "% of points off all modes"], rows)


def playground_seeds() -> str:
    """The playground's default settings: both models on each seed, after the last step that was measured."""
    rows = _last_rows("seeds")
    lines = []
    for row in rows:
        cells = [f"{row['seed']}"]
        for model in ("ordinary", "memory"):
            cells += [f"{row[model]['modes']}", f"{100 * row[model]['off']:.2f}"]
        lines.append(cells)
    head = ["seed", "ordinary GAN: modes", "% off all modes", "MemoryGAN: modes", "% off all modes"]
    return markdown(head, lines)


def playground_presets() -> str:
    """What MemoryGAN reaches in the playground with one part changed, and in Python with the same change."""
    rows = _last_rows("presets")
    in_python = DataFrame(load("plane.json")["runs"])
    lines = []
    for name, preset in PLAYGROUND_PRESETS.items():
        found = [row["memory"] for row in rows if row["name"] == name]
        cells = [preset.label, f"{len(found)}", *_modes_and_off(found)]
        same = in_python[in_python["kind"] == SAME_IN_PYTHON.get(name)]
        if len(same):
            cells += [f"{len(same)}", span(same["modes"], 0), span(100 * same["off_mode"], 1)]
        else:
            cells += ["", "", ""]
        lines.append(cells)
    head = ["MemoryGAN on the ring", "seeds", "modes", "% off all modes"]
    return markdown([*head, "seeds in Python", "modes", "% off all modes"], lines)


def playground_distributions() -> str:
    """Both models with the default settings on each built-in distribution."""
    lines = []
    for row in _last_rows("distributions"):
        cells = [DISTRIBUTIONS[row["name"]], f"{row['step']:,}"]
        for model in ("ordinary", "memory"):
            cells += [f"{row[model]['modes']} of {row[model]['of']}", f"{100 * row[model]['off']:.1f}"]
        lines.append(cells)
    head = ["data", "steps", "ordinary GAN: modes", "% off all modes", "MemoryGAN: modes", "% off all modes"]
    return markdown(head, lines)


def playground_speed() -> str:
    """How long the playground takes, and how large its page is."""
    stored = load("playground.json")
    of_step = Series([row["milliseconds"] for row in _last_rows("seeds")]).median()
    speed = stored["speed"]
    cells = [f"{speed['seconds_of_1500_steps']:.0f}", f"{of_step:.0f}", f"{speed['bytes_of_page'] / 1000:.0f}"]
    return markdown(["seconds for 1,500 steps", "milliseconds of a step", "kilobytes of the page"], [cells], texts=0)


def _last_rows(kind: str) -> list[dict[str, Any]]:
    """The measurements of the playground after the last step of each run."""
    last: dict[tuple[str, int], dict[str, Any]] = {}
    for row in load("playground.json")[kind]["rows"]:
        last[row["name"], row["seed"]] = row
    return list(last.values())


def _modes_and_off(found: list[dict[str, Any]]) -> list[str]:
    modes = Series([row["modes"] for row in found])
    off = Series([100 * row["off"] for row in found])
    return [span(modes, 0), span(off, 1)]


def forgetting() -> str:
    """The share of fakes A that a discriminator still rejects after some steps on fakes B."""
    curves = DataFrame(load("forgetting.json")["curves"])
    shown = {0: "before B", 1: "1 step on B", 5: "5 steps", 50: "50 steps", 300: "300 steps"}
    rows = []
    for variant, runs in curves.groupby("variant", sort=False):
        cells = [variant]
        for step in shown:
            shares = Series([run["old"][run["steps"].index(step)] for _, run in runs.iterrows()])
            cells.append(spread(shares, 2))
        rows.append(cells)
    return markdown(["share of A still rejected", *shown.values()], rows)


def old_fakes() -> str:
    """What each last discriminator says of its fakes, asked with running averages and with a batch's statistics."""
    runs = load("old-fakes.json")["runs"]
    rows = []
    for model in dict.fromkeys(run["model"] for run in runs):
        of_model = [run for run in runs if run["model"] == model]
        for way, title in OLD_FAKES_WAYS.items():
            own = [run[way][model] for run in of_model]
            cells = [spread(Series([said[measure] for said in own]), 2) for measure in OLD_FAKES_MEASURES]
            neutral = [run["neutral"]["auc"] for run in of_model if "neutral" in run]
            cells.append(spread(Series(neutral), 2) if neutral and way == "running" else "")
            rows.append([model, title, *cells])
    head = ["last discriminator", "asked with", *OLD_FAKES_MEASURES.values(), "AUC of one of its own"]
    return markdown(head, rows, texts=2)


def old_fakes_of_fashion() -> str:
    """The same of the runs of a study on Fashion-MNIST."""
    runs = load("old-fakes-fashion-mnist.json")["runs"]
    rows = []
    for model, name in {"memorygan": "MemoryGAN", "dcgan": "DCGAN", "infogan:10+2": "InfoGAN, 10 codes"}.items():
        of_model = [run for run in runs if run["model"] == model]
        for way, title in OLD_FAKES_WAYS.items():
            cells = [spread(Series([run[way][measure] for run in of_model]), 2) for measure in OLD_FAKES_MEASURES]
            rows.append([name, title, *cells])
    return markdown(["last discriminator", "asked with", *OLD_FAKES_MEASURES.values()], rows, texts=2)


OLD_FAKES_WAYS = {"running": "running averages", "batch": "the batch's statistics"}
OLD_FAKES_MEASURES = {
    "old_rejected": "its old fakes rejected",
    "new_rejected": "its newest",
    "real_rejected": "real test images",
    "old_auc": "AUC, old",
}


def old_fakes_neighbours() -> str:
    """Which slots lie next to real images and to fakes of several ages, without and with R1."""
    runs = DataFrame(load("old-fakes-neighbours.json")["runs"])
    rows = []
    for (model, images), of_seeds in runs.groupby(["model", "images"], sort=False):
        cells = [spread(of_seeds[measure], 2) for measure in NEIGHBOURS_MEASURES]
        rows.append([model, images, *cells])
    return markdown(["last discriminator", "asked about", *NEIGHBOURS_MEASURES.values()], rows, texts=2)


NEIGHBOURS_MEASURES = {
    "nearest": "similarity of the nearest slot",
    "real_slots": "real share of the 32 nearest",
    "d": "mean D",
    "d_spread": "standard deviation of D",
    "rejected": "rejected",
}


def ordinary_training() -> str:
    """What the final discriminator of ordinary training on MNIST still rejects."""
    names = {"memoryGAN": "MemoryGAN", "without memory: DCGAN": "DCGAN"}
    stored = load("study-seeds-mnist-5k.json")["runs"]
    rows = []
    for run in stored:
        shares = [f"{moment['value']:.2f}" for moment in run["old_fakes"]]
        label = f"{names[run['configuration']]}, seed {run['seed']}"
        rows.append([label, *shares, f"{run['new_fakes_rejected']:.2f}", f"{1 - run['real_rejected']:.2f}"])
    moments = [f"step {moment['step']}" for moment in stored[0]["old_fakes"]]
    return markdown(["fakes of", *moments, "the end", "real test images accepted"], rows)


def averaging() -> str:
    """The digits' generator as it is, and its moving averages: mean over the seeds, lowest to highest."""
    runs = DataFrame(load("averaging.json")["runs"])
    rows = []
    for (schedule, decay, keys), of_seeds in runs.groupby(["schedule", "decay", "keys"], sort=False):
        name = "no average" if decay == 0 else f"decay {decay:g}, keys {keys}"
        scores = [spread(of_seeds["inception_score"], 2), spread(of_seeds["frechet_distance"], 1)]
        rows.append([schedule, name, *scores, spread(of_seeds["recall"], 2), spread(of_seeds["slot_purity"], 2)])
    return markdown(["rates", "generator", "Inception Score", "Frechet distance", "recall", "purity"], rows, texts=2)


# ---------------------------------------------------------------- speed


def memory_speed() -> str:
    """Milliseconds of the memory's operations, and of other ways of doing the same."""
    names = ["memgan", "ordinary", "vq", "faiss", "limit"]
    operations = {"read": "read", "read_write": "read and write"}
    rows = []
    for row in load("benchmark-memory-cpu.json")["rows"]:
        if row["operation"] in operations:
            times = row["milliseconds"]
            cells = [f"{times[name]:.1f}" if name in times else "" for name in names]
            rows.append([operations[row["operation"]], *row["size"], *cells])
    return markdown(["milliseconds of", "B", "N", "M", "k", *names], rows)


def step_speed() -> str:
    """Milliseconds of a training step, and the memory's share of it, in both precisions."""
    stored = load("benchmark-training-cpu.json")["rows"]
    rows = []
    for preset in PRESETS:
        if preset in stored:
            single = stored[preset]
            half = stored[f"{preset}, bfloat16"]
            milliseconds = [f"{single['step']:.0f}", f"{single['memory']:.1f}", percent(single["share"])]
            rows.append([f"`{preset}`", *milliseconds, f"{half['step']:.0f}", percent(half["share"])])
    head = ["preset", "step, ms", "memory, ms", "memory's share", "step in bfloat16, ms", "memory's share"]
    return markdown(head, rows)


def engine_techniques() -> str:
    """How many times as long the memory takes without each technique of the engine for a CPU, at each size."""
    rows_of = load("engine-cpu.json")["rows"]
    head = ["without"]
    for row in rows_of:
        size = ", ".join(map(str, row["size"]))
        head += [f"read, {size}", "with write"]
    rows = []
    for technique in rows_of[0]["milliseconds"]:
        if technique != "all":
            cells = [technique]
            for row in rows_of:
                whole, without = row["milliseconds"]["all"], row["milliseconds"][technique]
                cells += [f"{without[operation] / whole[operation]:.2f}" for operation in ("read", "read_write")]
            rows.append(cells)
    return markdown(head, rows)


def step_compared() -> str:
    """Milliseconds of a training step before and after the work on its speed."""
    stored = load("compare-training-cpu.json")
    before, after = stored["before"], stored["after"]
    rows = []
    for label, old in before["rows"].items():
        new = after["rows"][label]
        steps = [f"{old['step']:.1f}", f"{new['step']:.1f}", f"{old['step'] / new['step']:.2f}"]
        rows.append([label, *steps, f"{old['memory']:.1f}", f"{new['memory']:.1f}"])
    head = ["preset", f"step at {before['commit']}, ms", f"at {after['commit']}, ms", "times as fast"]
    return markdown([*head, "memory before, ms", "after, ms"], rows)


# ---------------------------------------------------------------- a memory in shards


def shards_speed() -> str:
    """The largest memory of the benchmark: milliseconds of one memory and of a shard, and of the processor."""
    rows = []
    stored = load("benchmark-sharded.json")["rows"]
    row = max(stored, key=lambda row: row["N"])
    for operation in row["sent_by_a_rank"]:
        cells = []
        for kind in ("milliseconds", "processor_milliseconds"):
            alone = row[kind]["alone"][operation]
            shard = row[kind]["shards"][operation]
            cells += [f"{alone:,.0f}", f"{shard:,.0f}", f"{alone / shard:.2f}"]
        rows.append([operation, *cells])
    head = ["N = {:,}, B = {}, k = {}".format(row["N"], row["B"], row["k"])]
    return markdown(
        [*head, "one memory, ms", "a shard, ms", "ratio", "one memory, CPU ms", "a shard, CPU ms", "ratio"], rows
    )


def shards_memory() -> str:
    """Megabytes that the buffers of one memory and of a shard take."""
    rows = []
    for number, row in {row["N"]: row for row in load("benchmark-sharded.json")["rows"]}.items():
        sizes = []
        for kind in ("buffers_MB", "peak_MB"):
            sizes += [f"{row[kind]['alone']:,.0f}", f"{row[kind]['shard']:,.0f}"]
        rows.append([f"{number:,}", *sizes])
    head = ["slots", "one memory: its buffers, MB", "a shard: its buffers, MB"]
    return markdown([*head, "one memory: process at most, MB", "a shard: process at most, MB"], rows, texts=0)


def shards_traffic() -> str:
    """Kilobytes that a rank sends in a call, as measured, and in brackets as computed."""
    rows = []
    stored = load("benchmark-sharded.json")
    for row in stored["rows"]:
        cells = []
        for operation, sent in row["sent_by_a_rank"].items():
            computed = computed_bytes(operation, stored["ranks"], row["B"], row["M"], row["k"])
            cells.append(f"{sent / 1e3:.1f} ({computed / 1e3:.1f})")
        rows.append([f"{row['N']:,}", row["B"], row["k"], *cells])
    return markdown(["N", "B", "k", *stored["rows"][0]["sent_by_a_rank"]], rows, texts=0)


def shards_on_paper() -> str:
    """A step with 10^8 slots on 64 GPUs: what each GPU holds, sends and computes, and how long that takes at least."""
    ranks = 64
    num_slots = 10**8
    key_dim = 512
    top_k = 256
    batch = 1024
    shard = num_slots / ranks
    key_bytes = shard * key_dim * 4
    score_bytes = batch * shard * 4
    sent = computed_bytes("read and write, gradient", ranks, batch, key_dim, top_k)
    products = 2 * 2 * batch * shard * key_dim  # of the search, and of the M-step on a GPU
    passes_over_keys = batch * shard / 2**26 + 3  # in a search of that many scores at a time, and in the M-step
    moved = passes_over_keys * key_bytes + 11 * score_bytes  # scores and their likes, written and read
    quantities = [
        ("memory held for good", f"{(key_bytes + 20 * shard) / 1e9:.2f} GB", ""),
        ("sent to other GPUs", f"{sent / 1e6:.1f} MB", f"{sent / 50e9 * 1e3:.2f}"),
        ("10 collectives of 0.05 ms to begin", "", f"{10 * 0.05:.2f}"),
        ("multiplied and added", f"{products / 1e12:.2f} TFLOP", f"{products / 67e12 * 1e3:.0f}"),
        ("read from and written to its memory", f"{moved / 1e9:.0f} GB", f"{moved / 3.35e12 * 1e3:.0f}"),
    ]
    return markdown(["of each GPU, in a step", "amount", "ms, at least"], quantities)


# ---------------------------------------------------------------- presets


def presets() -> str:
    """Size of every preset."""
    kinds = {"dcgan": "DCGAN", "residual": "residual"}
    rows = []
    for name, settings in PRESETS.items():
        networks = settings.networks
        memory = settings.memory
        rows.append(
            [
                f"`{name}`",
                kinds[networks.kind],
                networks.width,
                networks.hidden or "none",
                f"{networks.image_size}x{networks.image_size}x{networks.channels}",
                f"{memory.num_slots}, {memory.key_dim}, {memory.top_k}",
                f"{settings.training.steps:,}",
            ]
        )
    head = ["preset", "networks", "channels", "hidden layer", "image", "N, M, k", "steps"]
    return markdown(head, rows, texts=2)


def preset_rules() -> str:
    """The memory's rule and the generator's loss of every preset."""
    rows = []
    for name, settings in PRESETS.items():
        memory = settings.memory
        replaced = "its label" if memory.replace_within_label else "all"
        loss = settings.training.generator_loss.replace("_", "\u2011")  # a hyphen that does not break
        rows.append(
            [f"`{name}`", memory.touch, replaced, loss, f"{memory.kappa:g}", f"{memory.alpha:g}", memory.correct_in_top]
        )
    head = ["preset", "`touch`", "oldest slot of", "loss of G", "kappa", "alpha", "`correct_in_top`"]
    return markdown(head, rows, texts=4)


def preset_training() -> str:
    """Noise, the information term with its weight, and learning rates of every preset."""
    rows = []
    for name, settings in PRESETS.items():
        training = settings.training
        numbers = [training.mi_weight, training.generator_lr, training.discriminator_lr, training.decay_from]
        cells = [f"{number:g}" for number in numbers]
        rows.append([f"`{name}`", training.information, settings.networks.noise_dim, *cells])
    return markdown(
        ["preset", "information", "Z", "lambda", "rate of G", "rate of D", "rates fall from"], rows, texts=2
    )


def own_encoders() -> str:
    """What becomes of README's training step with four encoders, lowest to highest of the seeds."""
    columns = {  # head: measure, decimals
        "cosine before": ("cosine before", 2),
        "after": ("cosine after", 2),
        "slots in use": ("slots in use", 0),
        "D of real images": ("D of real", 2),
        "of generated ones": ("D of generated", 2),
        "to the nearest digit": ("to the nearest digit", 1),
        "from a digit": ("from a digit", 1),
    }
    runs = DataFrame(load("encoders.json")["rows"])
    rows = []
    for encoder, own in runs.groupby("encoder", sort=False):
        cells = []
        for measure, decimals in columns.values():
            cells.append(span(own[measure].round(decimals) + 0.0, decimals))  # + 0.0 makes -0.0 a plain zero
        rows.append([encoder, *cells])
    return markdown(["encoder", *columns], rows)


def counts() -> str:
    """The scores of the same models whose slots are drawn by four kinds of counts."""
    runs = DataFrame(load("counts.json")["rows"])
    columns = {  # head: score, decimals
        "Inception Score": ("inception_score", 2),
        "Frechet distance": ("frechet_distance", 1),
        "precision": ("precision", 2),
        "recall": ("recall", 2),
        "slot purity": ("slot_purity", 2),
        "slots in use": ("slots_in_use", 0),
        "drawn from idle slots": ("idle_slots", 2),
    }
    rows = []
    for (preset, kind), own in runs.groupby(["preset", "counts"], sort=False):
        cells = [spread(own[score], decimals) for score, decimals in columns.values()]
        rows.append([f"`{preset}`", kind, *cells])
    return markdown(["model", "counts", *columns], rows, texts=2)


TABLES: dict[str, Callable[[], str]] = {
    "counts": counts,
    "own-encoders": own_encoders,
    "results": results,
    "fashion": fashion,
    "plane": plane,
    "playground-seeds": playground_seeds,
    "playground-presets": playground_presets,
    "playground-distributions": playground_distributions,
    "playground-speed": playground_speed,
    "forgetting": forgetting,
    "old-fakes": old_fakes,
    "old-fakes-fashion": old_fakes_of_fashion,
    "old-fakes-neighbours": old_fakes_neighbours,
    "ordinary-training": ordinary_training,
    "averaging": averaging,
    "memory-speed": memory_speed,
    "step-speed": step_speed,
    "engine-techniques": engine_techniques,
    "step-compared": step_compared,
    "shards-speed": shards_speed,
    "shards-memory": shards_memory,
    "shards-traffic": shards_traffic,
    "shards-on-paper": shards_on_paper,
    "presets": presets,
    "preset-rules": preset_rules,
    "preset-training": preset_training,
}


def main() -> None:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        page = path.read_text(encoding="utf-8")
        if OPENING in page:
            path.write_text(filled(page, TABLES), encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
