"""How good the images are: as a small classifier of the same data sees them, and how far they are from copies."""

import copy
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

from memgan.data import ImageData
from memgan.gan import MemoryGAN
from memgan_lab.classifier import Classifier, accuracy
from memgan_lab.metrics import frechet_distance, inception_score, nearest_distances, slot_purity

__all__ = ["Evaluation", "evaluate"]


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
