"""Classifiers, images and a damaged file that the tests of the evaluation share."""

import torch
from torch import nn

from memgan.data import ImageData, load_dataset


class FirstPixels(nn.Module):
    """A classifier that reads the class off an image's first pixels: 10 logits, far apart."""

    def __init__(self):
        super().__init__()
        self.features = nn.Flatten()
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(10, 16) * 100)
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(self.features(images))


def some_digits(number=256):
    data = load_dataset("digits")
    return ImageData(data.images[:number], data.labels[:number])


def change_a_byte(path, *, of):
    """Change one byte of the tensor `of` in the file that `torch.save` wrote it into, as a failing disk may."""
    content = bytearray(path.read_bytes())
    tensor = of.numpy().tobytes()
    assert content.count(tensor) == 1
    content[content.find(tensor) + len(tensor) // 2] ^= 0x40
    path.write_bytes(content)
