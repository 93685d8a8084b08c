"""Trained models that come with the package, each with a card beside it that says what it is and where it fails."""

from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F

from memgan.gan import MemoryGAN
from memgan.presets import Settings
from memgan.runs import build

__all__ = ["PRETRAINED", "load_pretrained", "read_model"]

_FOLDER = resources.files(__name__)
PRETRAINED = sorted(
    file.name.removesuffix(".safetensors") for file in _FOLDER.iterdir() if file.name.endswith(".safetensors")
)


def load_pretrained(name: str, device: torch.device | str = "cpu") -> tuple[MemoryGAN, Settings]:
    """The model `name`, memory included, in evaluation mode, and its settings, as `load_run` gives them.

    Its card, memgan/pretrained/NAME.md, has data, settings, scores, failures and licence. Raises ValueError for an
    unknown name.
    """
    if name not in PRETRAINED:
        raise ValueError(f"no pretrained model {name!r}, expected one of {PRETRAINED}")
    with resources.as_file(_FOLDER / f"{name}.safetensors") as path:
        return read_model(path, device)


def read_model(path: Path, device: torch.device | str = "cpu") -> tuple[MemoryGAN, Settings]:
    """The model in a file that `scripts/package_pretrained.py` wrote, and its settings; nothing in it is executed.

    Weights and keys are stored in float16: as they were trained, to eleven bits.
    """
    from safetensors import safe_open  # imported here, because only this function needs it

    with safe_open(path, framework="pt") as file:
        settings = Settings.from_json(file.metadata()["settings"])
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is not a mapping
    gan = build(settings, device)
    gan.load_state_dict(stored)  # which converts float16 to the type that the model has
    gan.memory.keys.copy_(F.normalize(gan.memory.keys, dim=1))  # rounding left them a little off the sphere
    return gan.eval(), settings
