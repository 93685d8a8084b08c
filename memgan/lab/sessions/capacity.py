"""Does a run fit into the memory of the machine? Asked before anything is allocated, because nobody can ask afterwards.

The estimate counts what certainly is there at one time, so that it refuses nothing that would have fitted.
"""

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from memgan.gan import AdversarialModel
from memgan.lab.baselines.models import build_model
from memgan.presets import Settings

__all__ = ["installed_bytes", "refuse_beyond_memory"]

BYTES = 4  # of a float32
PER_WEIGHT = 4 * BYTES  # the weight, its gradient and Adam's two moments
PER_SLOT = 2 * 8 + BYTES  # value, age and histogram
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def refuse_beyond_memory(settings: Settings, device: torch.device | str = "cpu", *, training: bool = True) -> None:
    """ValueError where the model of `settings` cannot fit on `device`, with the sizes that would be needed.

    Training images do not count: they may lie in a file that is mapped. Where `training` is False, the model is only
    to be looked at.
    """
    needed = _needed(settings, training=training)
    installed = installed_bytes(torch.device(device))
    total = sum(needed.values())
    if installed is None or total <= installed:
        return
    largest = sorted(needed, key=lambda part: needed[part], reverse=True)[:2]
    listed = ", ".join(f"{_gigabytes(needed[part])} for {part}" for part in largest)
    raise ValueError(f"this needs {_gigabytes(total)} of memory, {device} has {_gigabytes(installed)}: {listed}")


def installed_bytes(device: torch.device) -> int | None:
    """How much memory there is on a device, for this process; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # on Windows
        return None
    for path in CGROUP_LIMITS:  # of a container
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # "max": there is none
            continue
    return min(limits)


def _needed(settings: Settings, *, training: bool) -> dict[str, int]:
    """Bytes, by what they are for."""
    memory = settings.memory
    batch = settings.training.batch_size
    replay = settings.training.replay
    try:
        with torch.device("meta"):  # shapes alone: nothing is allocated
            gan = build_model(settings, "meta")
            num_weights = sum(weight.numel() for weight in gan.parameters())
            outputs = _numbers_computed(gan, settings, batch) if training else 0
    except (RuntimeError, OverflowError, TypeError) as error:
        raise ValueError(
            f"no machine holds a model of memory.num_slots={memory.num_slots}, memory.key_dim={memory.key_dim}, "
            f"networks.width={settings.networks.width}, networks.image_size={settings.networks.image_size} and "
            f"training.batch_size={batch}"
        ) from error
    return {
        f"{memory.num_slots:,} slots with keys of {memory.key_dim:,} numbers": memory.num_slots
        * (memory.key_dim * BYTES + PER_SLOT),
        f"{num_weights:,} weights": num_weights * (PER_WEIGHT if training else BYTES),
        f"what the layers make of batches of {batch:,} images": outputs * BYTES,
        f"{replay:,} old fakes": replay * math.prod(settings.networks.image_shape) if training else 0,
    }


def _numbers_computed(gan: AdversarialModel, settings: Settings, batch: int) -> int:
    """How many numbers the layers of mu give out for a batch: the backward pass needs them all."""
    total = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel()

    for module in gan.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    gan.inference(torch.empty(batch, *settings.networks.image_shape))
    return total


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"
