"""What does a classifier of the same data see in an image? It is small, trained once for each data set, and kept."""

import hashlib
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import ImageData, as_float, batch_of, load_dataset
from memgan.data.images import check_values
from memgan.files import cache_folder, written_whole
from memgan.runs import read_tensors, serialised

__all__ = [
    "RECIPE",
    "Classifier",
    "FeatureExtractor",
    "accuracy",
    "cache_path",
    "checked",
    "classifier_for",
    "classify",
    "features_of",
    "has_classes",
    "is_kept",
    "train_classifier",
]

RECIPE = 3  # part of the name in the cache: to be raised with every change that moves a weight
_MANY_IMAGES = 5000  # from here on batches are larger, epochs fewer, and shifts cost more than they bring
_AT_ONCE = 256  # images classified at once: their activations stay within a CPU's cache

Say = Callable[[str], object]  # is told a sentence


class FeatureExtractor(Protocol):
    """What makes features [n, d] of images in [-1, 1], and logits [n, classes] of features."""

    def features(self, images: Tensor, /) -> Tensor: ...

    def head(self, features: Tensor, /) -> Tensor: ...


class Classifier(nn.Module):
    """A small convolutional classifier; `features` gives the 64 numbers that its last layer sees.

    `image_size` is the height and the width of an image, or one number for both, at least 4 pixels.
    Photographs are harder to tell apart than digits or clothes, so images in colour have two more convolutions.
    """

    def __init__(self, channels: int, image_size: int | tuple[int, int], num_classes: int) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        layers = [*_convolution(channels, 32), nn.MaxPool2d(2), *_convolution(32, 64)]
        features, height, width = 64, height // 2, width // 2
        if channels > 1:
            layers += _convolution(64, 64)
            if min(height, width) >= 4:  # so that no map between the convolutions is a single number
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            layers += _convolution(64, 128)
            features = 128
        layers.append(nn.MaxPool2d(2))
        numbers = features * (height // 2) * (width // 2)
        layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(numbers, 64), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def train_classifier(
    data: ImageData, seed: int = 0, epochs: int | None = None, *, say: Say | None = None
) -> Classifier:
    """Train a classifier on one thread: the same bits for the same seed on the same machine.

    Fewer than 5,000 images are shown 15 times, in batches of 64, each time shifted by up to a pixel. More images are
    shown as they are, in batches of 128, until some 200,000 were shown. In colour it is some 400,000, shifted as well,
    and half of the images are mirrored, as is usual for photographs. `epochs` overrides that; where there are
    fewer images than a batch holds, all of them are a batch. `say` is told before each batch how far it is. The global
    random state is left as it was. It learns under `torch.no_grad` and in inference mode, too. Raises TypeError for
    what is no `ImageData`, and ValueError for images outside [-1, 1], for labels that are no classes, and where there
    is one class only.
    """
    data = checked("data", data)
    if data.images.ndim != 4:
        raise ValueError(f"expected images [n, C, H, W], got {list(data.images.shape)}")
    number = len(data.images)
    many = number >= _MANY_IMAGES
    in_colour = data.images.shape[1] > 1
    batch_size = min(128 if many else 64, number)
    if epochs is None:
        shown = 400_000 if in_colour else 200_000
        epochs = min(15, max(3, shown // number)) if many else 15
    shift = 1 if in_colour or not many else 0
    with torch.random.fork_rng(devices=[]), _one_thread(), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        model = _untrained(data)
        optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        batches = number // batch_size
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=epochs * batches)
        done = 0
        started = time.perf_counter()
        for _ in range(epochs):
            for index in torch.randperm(number).split(batch_size)[:batches]:
                if say is not None and done > 0:
                    seconds_left = (time.perf_counter() - started) / done * (epochs * batches - done)
                    say(f"training the classifier: {done / (epochs * batches):.0%}, {seconds_left:.0f} s left")
                done += 1
                loss = F.cross_entropy(model(batch_of(data, index, shift=shift, flip=in_colour)), data.labels[index])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return model.eval()


def classifier_for(
    dataset: str,
    folder: Path | None = None,
    data: ImageData | None = None,
    *,
    say: Say | None = None,
    warn: Say = warnings.warn,
) -> Classifier:
    """The classifier of a data set: trained with seed 0 on its training split the first time, then read from `folder`.

    `folder` defaults to $MEMGAN_CACHE or ~/.cache/memgan; `data` is the training split, where it is at hand already.
    `say` is told how far the training is. Where the classifier cannot be kept, `warn` is told why, and it is returned
    all the same. Raises ValueError where the images have no classes.
    """
    if data is None:
        data = load_dataset(dataset)
    kept = _read(dataset, data, folder)
    if kept is not None:
        return kept
    if say is None:
        model = train_classifier(data)
    else:
        number, _, height, width = data.images.shape
        say(f"training a classifier of {dataset} on {number:,} images of {width} x {height} pixels")
        model = train_classifier(data, say=say)
    try:
        path = cache_path(dataset, data, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            unfinished.write_bytes(serialised(model.state_dict()))
    except (OSError, ValueError) as error:
        where = "" if folder is not None else "; MEMGAN_CACHE names a folder that can be written"
        warn(f"the classifier of {dataset} was not kept, and will be trained again: {error}{where}")
    return model


def is_kept(dataset: str, data: ImageData, folder: Path | None = None) -> bool:
    """Whether `classifier_for` finds the classifier of `data` trained already."""
    return _read(dataset, data, folder) is not None


def _read(dataset: str, data: ImageData, folder: Path | None) -> Classifier | None:
    """The classifier of `data` that is kept; None where there is none, or where the file is damaged."""
    model = _untrained(data)
    try:
        weights = read_tensors(cache_path(dataset, data, folder))  # which looks at the sums, as PyTorch does not
        model.load_state_dict(weights)
    except Exception:  # a foreign file can hold anything; it is replaced by a new one
        return None
    return model.eval()


def cache_path(dataset: str, data: ImageData, folder: Path | None = None) -> Path:
    """Where the classifier of `data` is kept: its name says the data set, what is in it, and by which recipe.

    Raises ValueError where no folder is given and `memgan.files.cache_folder` finds none.
    """
    digest = hashlib.sha256()
    for part in (data.images, data.labels, data.source):
        if part is not None:
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.cpu().contiguous().numpy().data)
    if folder is None:
        folder = cache_folder()
    name = re.sub(r"[^\w-]+", "-", dataset.partition(":")[0])
    return folder / f"classifier-{name}-{digest.hexdigest()[:12]}-{RECIPE}.pt"


@torch.no_grad()
def features_of(model: FeatureExtractor, images: Tensor) -> Tensor:
    """`model.features` of `images` [n, C, H, W], bytes or in [-1, 1], some at a time: [n, d]."""
    return torch.cat([model.features(as_float(part)) for part in images.split(_AT_ONCE)])


@torch.no_grad()
def classify(model: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """The confidence (largest probability) and class that `model` gives `images` [..., C, H, W], each [...].

    The images may be bytes or in [-1, 1].
    """
    shape = images.shape[:-3]
    logits = torch.cat([model(as_float(part)) for part in images.flatten(0, -4).split(_AT_ONCE)])
    confidence, label = logits.softmax(dim=1).max(dim=1)
    return confidence.view(shape), label.view(shape)


@torch.no_grad()
def accuracy(model: Classifier, data: ImageData) -> float:
    """Share of images that the classifier gets right."""
    answers = model.head(features_of(model, data.images)).argmax(dim=1)
    return float((answers == data.labels).double().mean())


def has_classes(data: ImageData) -> bool:
    """Whether the images are of two classes or more, so that there is something to tell apart."""
    return data.labels.unique().numel() > 1


def checked(name: str, data: ImageData) -> ImageData:
    """The data with images as bytes or in float32, and labels in int64.

    Raises TypeError for what is no `ImageData` and for types that mean nothing, and ValueError for images outside
    [-1, 1] and for labels that are no classes.
    """
    if not isinstance(data, ImageData):
        raise TypeError(
            f"{name} must be ImageData(images, labels), got {type(data).__name__}; labels of images without classes "
            "are zeros"
        )
    images, labels = data.images, data.labels
    check_values(images)
    if not torch.is_tensor(labels) or labels.is_floating_point():
        kind = labels.dtype if torch.is_tensor(labels) else type(labels).__name__
        raise TypeError(f"the labels of {name} must be a tensor of whole numbers, got {kind}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"expected a label for each of the {len(images):,} images of {name}, got {list(labels.shape)}")
    if len(labels) > 0 and int(labels.min()) < 0:
        raise ValueError(f"the labels of {name} count the classes from 0, got {int(labels.min())}")
    if images.is_floating_point():
        images = images.float()
    return data._replace(images=images, labels=labels.long())


def _untrained(data: ImageData) -> Classifier:
    """A classifier for images of this size, and for their classes. Raises ValueError where there are none.

    A class that has a name may have no training images.
    """
    if not has_classes(data):
        raise ValueError(
            "a classifier needs images of two classes or more, and these are of one: in a folder, each subfolder is "
            "a class; or have `memgan evaluate` use the classifier of another data set (--classifier)"
        )
    _, channels, height, width = data.images.shape
    if min(height, width) < 4:
        raise ValueError(f"a classifier needs images of 4 pixels a side or more, got {min(height, width)}")
    num_classes = max(int(data.labels.max()) + 1, len(data.class_names or ()))
    model = Classifier(channels, (height, width), num_classes)
    if len(data.images) >= _MANY_IMAGES:
        return model.to(memory_format=torch.channels_last)  # three times as fast on a CPU
    return model


def _convolution(before: int, after: int) -> list[nn.Module]:
    """A convolution that keeps the image's size, normalised."""
    return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: with more, sums come in another order on another machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
