"""MemoryGAN (Kim, Kim & Kim, ICLR 2018): a GAN whose discriminator remembers.

`VMFMemory` is the memory, for use in any GAN, and `ShardedVMFMemory` one whose slots are split over several processes;
`MemoryGAN` joins a memory to two networks. `memgan.presets.PRESETS` holds settings to start from. `memgan.reference`
states the method as plain loops: read it first.
"""

from importlib.metadata import PackageNotFoundError, version

from memgan.gan import MemoryGAN, information_loss
from memgan.memory import MemorySettings, VMFMemory
from memgan.pretrained import load_pretrained
from memgan.sharded import ShardedVMFMemory

__all__ = [
    "MemoryGAN",
    "MemorySettings",
    "ShardedVMFMemory",
    "VMFMemory",
    "__version__",
    "information_loss",
    "load_pretrained",
]

try:
    __version__ = version("memgan")  # pyproject.toml's
except PackageNotFoundError:  # a checkout that is on the path but was never installed
    __version__ = "0+unknown"
