"""The judge: a small classifier of the same data, trained once and kept."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import ImageData, as_float, batch_of, load_dataset
from memgan.runs import written_whole

__all__ = ["RECIPE", "Classifier", "FeatureExtractor", "accuracy", "cache_path", "classifier_for", "judged_features"]
__all__ += ["has_classes", "train_classifier"]

RECIPE = 2  # part of the name in the cache: to be raised with every change that moves a weight
_MANY_IMAGES = 5000  # from here on batches are larger, epochs fewer, and shifts cost more than they bring
_AT_ONCE = 256  # images judged at once: within a cache


class FeatureExtractor(Protocol):
    """What makes features [n, d] of images in [-1, 1] and logits [n, classes] of features: a judge, or Inception-v3."""

    def features(self, images: Tensor, /) -> Tensor: ...

    def head(self, features: Tensor, /) -> Tensor: ...


class Classifier(nn.Module):
    """A small convolutional classifier; `features` gives the 64 numbers that its last layer sees."""

    def __init__(self, channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Dropout(0.3)),
            *(nn.Linear(64 * (image_size // 4) ** 2, 64), nn.ReLU()),
        )
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def train_classifier(
    data: ImageData, seed: int = 0, epochs: int | None = None, batch_size: int | None = None
) -> Classifier:
    """Train a judge on one thread: the same bits for the same seed on the same machine.

    Fewer than 5,000 images are shown 15 times, in batches of 64, each time shifted by up to a pixel; more of them as
    they are, in batches of 128, until some 200,000 were shown. `epochs` and `batch_size` override that. The global
    random state is left as it was. Raises ValueError where there are no classes.
    """
    many = len(data.images) >= _MANY_IMAGES
    batch_size = batch_size or (128 if many else 64)
    epochs = epochs or (min(15, max(3, 200_000 // len(data.images))) if many else 15)
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        model = _fresh(data)
        optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        batches = len(data.images) // batch_size
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * batches)
        for _ in range(epochs):
            for index in torch.randperm(len(data.images)).split(batch_size)[:batches]:
                loss = F.cross_entropy(model(batch_of(data, index, shift=0 if many else 1)), data.labels[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return model.eval()


def classifier_for(dataset: str, folder: Path | None = None, data: ImageData | None = None) -> Classifier:
    """The judge of a data set: trained with seed 0 on its training split the first time, then read from `folder`.

    `folder` defaults to $MEMGAN_CACHE or ~/.cache/memgan; `data` is the training split, where it is at hand already.
    Raises ValueError where the images have no classes.
    """
    data = load_dataset(dataset) if data is None else data
    model, path = _fresh(data), cache_path(dataset, data, folder)
    if path.is_file():
        with suppress(Exception):  # a damaged file is replaced by what it should have held
            model.load_state_dict(torch.load(path, weights_only=True))
            return model.eval()
    model = train_classifier(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        torch.save(model.state_dict(), unfinished)
    return model


def cache_path(dataset: str, data: ImageData, folder: Path | None = None) -> Path:
    """Where the judge of `data` is kept: its name says the data set, what is in it, and by which recipe."""
    digest = hashlib.sha256()
    for part in (data.images, data.labels, data.source):
        if part is not None:
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.cpu().contiguous().numpy().data)
    folder = folder or Path(os.environ.get("MEMGAN_CACHE") or Path.home() / ".cache" / "memgan")
    name = re.sub(r"[^\w-]+", "-", dataset.partition(":")[0])
    return folder / f"classifier-{name}-{digest.hexdigest()[:12]}-{RECIPE}.pt"


@torch.no_grad()
def judged_features(model: FeatureExtractor, images: Tensor) -> Tensor:
    """`model.features` of `images` [n, C, H, W], bytes or in [-1, 1], some at a time: [n, d]."""
    return torch.cat([model.features(as_float(part)) for part in images.split(_AT_ONCE)])


@torch.no_grad()
def accuracy(model: Classifier, data: ImageData) -> float:
    """Share of images that the classifier gets right."""
    answers = model.head(judged_features(model, data.images)).argmax(dim=1)
    return float((answers == data.labels).double().mean())


def has_classes(data: ImageData) -> bool:
    """Whether the images are of two classes or more, so that there is something to judge."""
    return bool(data.labels.max() > 0)


def _fresh(data: ImageData) -> Classifier:
    if not has_classes(data):
        advice = "in a folder, each subfolder is one; or let another data set's classifier judge (--judge)"
        raise ValueError(f"a judge needs images of two classes or more, these are of one: {advice}")
    model = Classifier(data.images.shape[1], data.images.shape[2], int(data.labels.max()) + 1)
    many = len(data.images) >= _MANY_IMAGES
    return model.to(memory_format=torch.channels_last if many else torch.contiguous_format)  # thrice as quick on a CPU


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: with more, sums come in another order on another machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
