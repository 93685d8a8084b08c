"""MemoryGAN (Kim, Kim & Kim, ICLR 2018): a GAN whose discriminator remembers.

`VMFMemory` is the memory, for use in any GAN; `MemoryGAN` joins it to two networks. `memgan.reference` states the
method as plain loops: read it first.
"""

from memgan.gan import MemoryGAN, information_loss
from memgan.memory import MemorySettings, VMFMemory
from memgan.pretrained import load_pretrained

__all__ = ["MemoryGAN", "MemorySettings", "VMFMemory", "information_loss", "load_pretrained"]
