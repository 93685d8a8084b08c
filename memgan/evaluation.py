"""How good the images are, as told by a small classifier of the same data and by distances to it."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.data import ImageData
from memgan.gan import MemoryGAN

class Classifier(nn.Module):
    """A small convolutional classifier; `num_features` numbers [B, 64] before its last layer."""

    num_features = 64

    def __init__(self, channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        side = image_size // 4
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * side * side, self.num_features), nn.ReLU(),
        )
        self.head = nn.Linear(self.num_features, num_classes)

    def forward(self, images):
        return self.head(self.features(images))


def train_classifier(data: ImageData, seed: int = 0, epochs: int = 15) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(data.images.shape[1], data.images.shape[2], int(data.labels.max()) + 1)
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
        steps = epochs * (len(data.images) // 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
        for _ in range(epochs):
            order = torch.randperm(len(data.images))
            for index in order.split(64)[: len(data.images) // 64]:
                images = shifted(data.images[index])
                loss = F.cross_entropy(model(images), data.labels[index])
                optimiser.zero_grad(); loss.backward(); optimiser.step(); schedule.step()
        return model.eval()

def shifted(images, most=1):
    """Each image moved by up to `most` pixels, edge repeated"""
    n, c, h, w = images.shape
    padded = F.pad(images, [most] * 4, mode="replicate")
    dy, dx = torch.randint(0, 2 * most + 1, (2, n))
    rows = (dy[:, None] + torch.arange(h))[:, None, :, None]
    cols = (dx[:, None] + torch.arange(w))[:, None, None, :]
    return padded[torch.arange(n)[:, None, None, None], torch.arange(c)[None, :, None, None], rows, cols]
