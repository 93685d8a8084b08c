"""MemoryGAN without MCGN: the memory is the discriminator, and the generator is not told which slot was drawn."""

from jaxtyping import Float
from torch import Tensor

from memgan.gan import Generated, Information, MemoryGAN
from memgan.networks import Generator, NetworkSettings

__all__ = ["NoiseGenerator", "UnconditionalMemoryGAN"]


class NoiseGenerator(Generator):
    """A generator that sees noise only, whatever key it is given."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__(settings, key_dim=0)

    def forward(
        self, keys: Float[Tensor, "batch key_dim"], noise: Float[Tensor, "batch noise_dim"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Images of `noise` alone."""
        return self.layers(noise)


class UnconditionalMemoryGAN(MemoryGAN):
    """A MemoryGAN with a `NoiseGenerator`."""

    conditional = False

    def information(
        self, generated: Generated, queries: Float[Tensor, "batch key_dim"], bound: Information = "density"
    ) -> Float[Tensor, ""]:
        """0: there is nothing to read back."""
        return queries.new_zeros(())
