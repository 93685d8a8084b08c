"""The judge: a small classifier of the same data, trained once and kept."""

import os
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import ImageData, load_dataset
from memgan.runs import written_whole

__all__ = ["Classifier", "accuracy", "classifier_for", "train_classifier"]


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


def train_classifier(data: ImageData, seed: int = 0, epochs: int = 15, batch_size: int = 64) -> Classifier:
    """Train on images shifted by up to a pixel. The global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(data.images.shape[1], data.images.shape[2], int(data.labels.max()) + 1)
        optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        batches = len(data.images) // batch_size
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * batches)
        for _ in range(epochs):
            for index in torch.randperm(len(data.images)).split(batch_size)[:batches]:
                loss = F.cross_entropy(model(_shifted(data.images[index])), data.labels[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return model.eval()


def _shifted(images: Tensor, most: int = 1) -> Tensor:
    """Each of `images` [B, C, H, W] moved by up to `most` pixels either way, its edge repeated."""
    batch, _, height, width = images.shape
    padded = F.pad(images, [most] * 4, mode="replicate")
    down, right = torch.randint(0, 2 * most + 1, (2, batch)).tolist()
    places = zip(padded, down, right, strict=True)
    return torch.stack([image[:, y : y + height, x : x + width] for image, y, x in places])


def classifier_for(dataset: str, folder: Path | None = None) -> Classifier:
    """The judge of a data set: trained with seed 0 on its training split the first time, then read from `folder`.

    `folder` defaults to $MEMGAN_CACHE or ~/.cache/memgan.
    """
    train = load_dataset(dataset)
    model = Classifier(train.images.shape[1], train.images.shape[2], int(train.labels.max()) + 1)
    folder = folder or Path(os.environ.get("MEMGAN_CACHE") or Path.home() / ".cache" / "memgan")
    path = folder / f"classifier-{dataset}.pt"
    if path.is_file():
        with suppress(Exception):  # a damaged file is replaced by what it should have held
            model.load_state_dict(torch.load(path, weights_only=True))
            return model.eval()
    model = train_classifier(train)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        torch.save(model.state_dict(), unfinished)
    return model


@torch.no_grad()
def accuracy(model: Classifier, data: ImageData) -> float:
    """Share of images that the classifier gets right."""
    return float((model(data.images).argmax(dim=1) == data.labels).double().mean())
