"""Which runs does a study take? A study of one preset, and each of its runs as a job."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from memgan.data import ImageData, load_dataset
from memgan.lab.baselines.models import as_model
from memgan.lab.evaluation import Classifier, classifier_for
from memgan.lab.sessions.digest import digest_of
from memgan.lab.studies.grids import STUDIES, Grid, Study
from memgan.presets import PRESETS, Settings

__all__ = ["THREADS", "TUNING_SEED", "Job", "Plan", "settings_of"]

THREADS = 1  # of each run: sums depend on them
TUNING_SEED = 10  # never one that is reported


@dataclass(frozen=True)
class Plan:
    """One study of one preset."""

    name: str
    preset: str
    settings: Settings  # the preset's with what was changed, and the study's number of steps
    tuning_steps: int  # of the runs that choose among the candidates
    device: str
    root: Path | None  # of the data sets

    @classmethod
    def of(
        cls,
        name: str,
        preset: str,
        steps: int | None = None,
        tuning_steps: int | None = None,
        device: str = "cpu",
        root: Path | None = None,
        changes: Sequence[str] = (),
    ) -> "Plan":
        """The study `name` on a preset of PRESETS, with `changes` as `settings_of` takes them.

        Tuning takes a fifth of the steps, but at least 500, or all if there are fewer. Raises ValueError for names that
        there are not, for changes that cannot be made, and for numbers of steps below 1.
        """
        if name not in STUDIES:
            raise ValueError(f"unknown study {name!r}, expected one of {', '.join(sorted(STUDIES))}")
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}, expected one of {', '.join(sorted(PRESETS))}")
        settings = settings_of(PRESETS[preset], changes)
        if steps is not None:
            settings = _with_steps(settings, steps)
        if tuning_steps is None:
            tuning_steps = min(settings.training.steps, max(500, settings.training.steps // 5))
        if tuning_steps < 1:
            raise ValueError(f"expected tuning_steps >= 1, got {tuning_steps}")
        plan = cls(name, preset, settings, tuning_steps, device, root)
        for configuration in plan.grid.values():
            settings_of(settings, configuration)  # what cannot be built is refused before hours have passed
        return plan

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    @property
    def grid(self) -> Grid:
        return self.study.grid(self.settings)

    @property
    def is_tuned(self) -> bool:
        """Whether each configuration is first given the best of the study's candidates, with the same effort."""
        return self.study.candidates is not None

    @property
    def candidates(self) -> Grid:
        """What is tried for each configuration, such as learning rates; nothing where the study is not tuned."""
        return {} if self.study.candidates is None else self.study.candidates(self.settings)

    def refinements(self, configuration: str, candidate: str) -> Grid:
        """What is tried for a configuration together with its best of `candidates`, such as other weights."""
        if self.study.refinements is None:
            return {}
        changes = self.candidates[candidate]
        further = self.study.refinements(settings_of(self.settings, self.grid[configuration]))
        return {f"{candidate}, {name}": changes + more for name, more in further.items()}

    def all_candidates(self, configuration: str) -> Grid:
        """Each of `candidates`, followed by its `refinements`."""
        every: Grid = {}
        for candidate, changes in self.candidates.items():
            every[candidate] = changes
            every |= self.refinements(configuration, candidate)
        return every

    def head(self) -> dict[str, Any]:
        """What every run of a result file has in common."""
        head = {
            "study": self.name,
            "preset": self.preset,
            "settings": asdict(self.settings),
            "question": self.study.question,
            "torch": torch.__version__,
            "threads": THREADS,
        }
        if self.is_tuned:
            head["candidates"] = self.candidates
            head["tuning_steps"] = self.tuning_steps
        if self.study.chosen_by != Study.chosen_by:  # which older files do not name
            head["chosen_by"] = self.study.chosen_by
        return head

    def data(self, split: str) -> ImageData:
        """The images that every run is trained on or compared with."""
        networks = self.settings.networks
        return _data(self.settings.dataset, split, self.root, networks.image_size, self.settings.background)

    def digests(self) -> dict[str, str]:
        """What tells the images from others, wherever they lie: a digest for each split."""
        return {split: digest_of(self.data(split)) for split in ("train", "test")}

    def trial(self, configuration: str, candidate: str, runs: Path) -> "Job":
        """The short run that tries a candidate for a configuration."""
        changes = self.grid[configuration] + self.all_candidates(configuration)[candidate]
        return Job(
            configuration=configuration,
            changes=changes,
            settings=_with_steps(settings_of(self.settings, changes), self.tuning_steps),
            seed=TUNING_SEED,
            folder=runs / _folder_name(configuration) / _folder_name(candidate) / f"seed-{TUNING_SEED}",
            device=self.device,
            root=self.root,
            candidate=candidate,
        )

    def job(self, configuration: str, seed: int, candidate: str | None, runs: Path) -> "Job":
        """The run of a configuration that is reported, with the candidate's changes where it was tuned."""
        changes = self.grid[configuration]
        if candidate is not None:
            changes = changes + self.all_candidates(configuration)[candidate]
        return Job(
            configuration=configuration,
            changes=changes,
            settings=settings_of(self.settings, changes),
            seed=seed,
            folder=runs / _folder_name(configuration) / f"seed-{seed}",
            device=self.device,
            root=self.root,
            candidate=candidate,
        )


@dataclass(frozen=True)
class Job:
    """One run: which configuration, what it changes in the preset, what comes of that, and where it is kept."""

    configuration: str
    changes: list[str]
    settings: Settings
    seed: int
    folder: Path
    device: str
    root: Path | None
    candidate: str | None  # its name, where the study is tuned

    def data(self, split: str = "train") -> ImageData:
        return _data(
            self.settings.dataset, split, self.root, self.settings.networks.image_size, self.settings.background
        )

    def classifier(self) -> Classifier:
        return _classifier(
            self.settings.dataset, self.root, self.settings.networks.image_size, self.settings.background
        )


def settings_of(preset: Settings, changes: Sequence[str]) -> Settings:
    """`preset` with `changes`, as `changed` takes them; before the others, a `model=NAME` is made of equal size."""
    others = []
    for change in changes:
        name, _, value = change.partition("=")
        if name.strip() == "model":
            preset = as_model(preset, value.strip())
        else:
            others.append(change)
    return preset.changed(others)


def _with_steps(settings: Settings, steps: int) -> Settings:
    return replace(settings, training=replace(settings.training, steps=steps))


def _folder_name(name: str) -> str:
    """`name` with its words, letters, digits, dots and underscores, joined by hyphens."""
    kept = [letter if letter.isalnum() or letter in "._" else " " for letter in name]
    return "-".join("".join(kept).split())


@functools.cache
def _data(dataset: str, split: str, root: Path | None, size: int, background: str) -> ImageData:
    return load_dataset(dataset, root, split, size=size, background=background)


@functools.cache
def _classifier(dataset: str, root: Path | None, size: int, background: str) -> Classifier:
    return classifier_for(dataset, data=_data(dataset, "train", root, size, background))
