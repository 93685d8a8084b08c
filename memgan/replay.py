"""Old fakes that are kept as images and shown to D again, so that it does not forget them.

The paper has nothing of the kind. A memory of features forgets when the network that makes the features moves on
(notebook 7); an image that is shown again is encoded anew. Mixing half of each batch of fakes with older ones is due to
Shrivastava et al., *Learning from simulated and unsupervised images through adversarial training*, CVPR 2017, section
2.3; what is kept here is a random sample in which each of the fakes so far is equally likely.
"""

import operator
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from memgan.data import as_bytes, as_float
from memgan.distributed import gathered_from_all, num_ranks, own_rows
from memgan.engines.precision import exact_dtype

__all__ = ["ReplayBuffer"]


class ReplayBuffer(nn.Module):
    """R of the images that were ever added, each equally likely to be kept, as bytes.

        buffer = ReplayBuffer(2048, gan.image_shape)
        buffer.add(fakes)                  # [B, C, H, W] in [-1, 1]
        old = buffer.draw(32)              # [32, C, H, W] in [-1, 1]

    It takes R C H W bytes: 1.6 MB for 2,048 images of 28x28. Its state is `images` [R, C, H, W] uint8 and `seen`, how
    many images were added. Shapes are fixed and nothing waits for the device, so that a CUDA graph can hold both calls.

    The ranks of a `process_group` keep the same images: each adds its own fakes and keeps those of all, and each draws
    rows of its own. Raises ValueError for a capacity below 1 and for an invalid shape of an image.
    """

    images: Tensor
    seen: Tensor

    def __init__(
        self,
        capacity: int,
        image_shape: Sequence[int],
        *,
        device: torch.device | str | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        capacity = operator.index(capacity)
        if capacity < 1:
            raise ValueError(f"a buffer holds at least 1 image, got capacity {capacity}")
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError(f"expected the shape of an image, [C, H, W], got {list(image_shape)}")
        self.register_buffer("images", torch.zeros(capacity, *image_shape, dtype=torch.uint8, device=device))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64, device=device))
        self.process_group = process_group

    @property
    def capacity(self) -> int:
        """R."""
        return len(self.images)

    @torch.no_grad()
    def add(self, images: Float[Tensor, "batch channels height width"]) -> None:
        """Add `images` [B, C, H, W] in [-1, 1]: the first R are kept, and later ones replace kept ones at random.

        The t-th image ever takes the place of a kept one, drawn at random, with probability R/t, so that all t images
        are equally likely to be kept (Vitter, *Random sampling with a reservoir*, 1985, algorithm R). Of two images of
        a batch that come to one place the later one stays. Raises ValueError for images of another shape.
        """
        if images.shape[1:] != self.images.shape[1:]:
            raise ValueError(
                f"expected images [B, {', '.join(map(str, self.images.shape[1:]))}], got {list(images.shape)}"
            )
        images = as_bytes(images)
        if self.process_group is not None:
            images = gathered_from_all(images, self.process_group).flatten(0, 1)
        sample = torch.arange(len(images), device=images.device)
        earlier = self.seen + sample  # how many images came before each
        drawn = (self._uniform(len(images)) * (earlier + 1)).long()  # one of 0 .. t - 1
        place = torch.where(earlier < self.capacity, earlier, drawn)
        stays = place < self.capacity
        place = place.clamp(max=self.capacity - 1)
        nobody = torch.full((self.capacity,), -1, device=images.device)
        writer = nobody.scatter_reduce(0, place, torch.where(stays, sample, -1), "amax")[place]
        is_written = (writer >= 0).view(-1, 1, 1, 1)
        # every image's place is written, with what is there where it does not stay: shapes are fixed that way
        self.images.index_copy_(0, place, torch.where(is_written, images[writer.clamp(min=0)], self.images[place]))
        self.seen.add_(len(images))

    @torch.no_grad()
    def draw(self, number: int) -> Float[Tensor, "number channels height width"]:
        """`number` of the images that are kept, drawn at random and with repetition, in [-1, 1] and float32.

        As long as nothing was added, they are black.
        """
        number = operator.index(number)
        there = self.seen.clamp(1, self.capacity)
        index = (self._uniform(number * num_ranks(self.process_group)) * there).long()
        return as_float(self.images[index[own_rows(number, self.process_group)]])

    def _uniform(self, number: int) -> Tensor:
        """Numbers in [0, 1), [number], in float64 where the device has it: float32 cannot count every image."""
        return self.seen.new_empty(number, dtype=exact_dtype(self.seen.device)).uniform_()
