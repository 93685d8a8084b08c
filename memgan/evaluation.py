"""How good the images are: as a small classifier of the same data sees them, and how far they are from copies."""

import copy
import os
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import ImageData, load_dataset
from memgan.gan import MemoryGAN
from memgan.runs import written_whole

__all__ = ["Classifier", "Evaluation", "accuracy", "classifier_for", "evaluate", "train_classifier"]
__all__ += ["frechet_distance", "inception_score", "nearest_distances", "slot_purity"]


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


def inception_score(logits: Tensor) -> float:
    """exp E KL(p(y|x) || p(y)), from a classifier's `logits` [n, classes]: 1 to the number of classes.

    Salimans et al. 2016, in one split, as torchmetrics computes it.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", category=UserWarning)  # memory footprint; the spread over a single split
        torch.manual_seed(0)  # it shuffles, for the splits it is not asked for
        metric = InceptionScore(feature=_Given(logits.shape[1]), splits=1)
        metric.update(logits)
        return float(metric.compute()[0])


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to two sets of features [n, d] (Heusel et al. 2017)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]))
    metric.update(features.double(), real=True)
    metric.update(others.double(), real=False)
    return float(metric.compute())


class _Given(nn.Identity):
    """A feature extractor for torchmetrics that is handed the features."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def nearest_distances(images: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance in pixels of each of `images` [n, ...] to the nearest of `others` [m, ...], [n]."""
    return torch.cdist(images.flatten(1), others.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)


def slot_purity(classes: Tensor) -> float:
    """Mean share of the most frequent class in a slot, from `classes` [slots, samples] of images of each slot."""
    return float(F.one_hot(classes).double().mean(dim=1).amax(dim=1).mean())


@dataclass(frozen=True)
class Evaluation:
    """What `memgan evaluate` reports. Scores of real images stand beside those of generated ones."""

    classifier_accuracy: float  # on test images
    inception_score: float
    inception_score_real: float  # of the test images
    frechet_distance: float  # generated images, as many at a time as there are test images, to training images
    frechet_distance_test: float  # generated images, as many as there are training images, to test images
    frechet_distance_real: float  # test images to training images: the yardstick of both
    classes_covered: int  # classes that at least 1 % of the generated images belong to
    classes: int
    slot_purity: float  # 128 slots as the generator draws them, 16 images each
    slots_in_use: float  # exp entropy of p(c|v=1)
    nearest_training_distance: float  # mean over generated images, in pixels: a copy would be at 0
    nearest_training_distance_real: float  # mean over test images

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        nearest, nearest_real = self.nearest_training_distance, self.nearest_training_distance_real
        rows = [  # what, decimals, generated, real
            ("Inception Score", 2, self.inception_score, self.inception_score_real),
            ("Frechet distance to training images", 1, self.frechet_distance, self.frechet_distance_real),
            ("Frechet distance to test images", 1, self.frechet_distance_test, self.frechet_distance_real),
            ("distance to nearest training image", 2, nearest, nearest_real),
            ("classes covered", 0, self.classes_covered, self.classes),
            ("slot purity", 3, self.slot_purity, None),
            ("slots in use", 0, self.slots_in_use, None),
            ("accuracy of the judge on test images", 3, None, self.classifier_accuracy),
        ]
        lines = [f"{'':38}{'generated':>10}{'real':>8}"]
        for name, decimals, *numbers in rows:
            generated, real = ("" if number is None else f"{number:.{decimals}f}" for number in numbers)
            lines.append(f"{name:38}{generated:>10}{real:>8}".rstrip())
        return "\n".join(lines)


@torch.no_grad()
def evaluate(gan: MemoryGAN, judge: Classifier, train: ImageData, test: ImageData, seed: int = 0) -> Evaluation:
    """Judge `gan` on the CPU by its images in evaluation mode; the model is left in the mode it came in.

    Raises ValueError where there are more test images than training images.
    """
    if len(test.images) > len(train.images):
        most = len(train.images)
        raise ValueError(f"expected at most {most} test images, one per training image, got {len(test.images)}")
    gan = copy.deepcopy(gan).eval()
    generator = torch.Generator(gan.memory.keys.device).manual_seed(seed)
    images = gan.generate(len(train.images), generator=generator).images.cpu()
    of_slots = gan.sample_slots(128, 16, generator=generator)[0].cpu()

    features, train_features, test_features = map(judge.features, (images, train.images, test.images))
    logits = judge.head(features)
    as_many = [part for part in features.split(len(test.images)) if len(part) == len(test.images)]
    share = F.one_hot(logits.argmax(dim=1), judge.head.out_features).double().mean(dim=0)
    usage = (gan.memory.histogram * gan.memory.values).double()
    return Evaluation(
        classifier_accuracy=accuracy(judge, test),
        inception_score=inception_score(logits),
        inception_score_real=inception_score(judge.head(test_features)),
        frechet_distance=sum(frechet_distance(part, train_features) for part in as_many) / len(as_many),
        frechet_distance_test=frechet_distance(features, test_features),
        frechet_distance_real=frechet_distance(test_features, train_features),
        classes_covered=int((share >= 0.01).sum()),
        classes=len(share),
        slot_purity=slot_purity(judge(of_slots.flatten(0, 1)).argmax(dim=1).view(128, 16)),
        slots_in_use=float(torch.special.entr(usage / usage.sum()).sum().exp()),
        nearest_training_distance=float(nearest_distances(images, train.images).mean()),
        nearest_training_distance_real=float(nearest_distances(test.images, train.images).mean()),
    )
