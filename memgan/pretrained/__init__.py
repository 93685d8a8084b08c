"""Trained models that come with the package, each with a card beside it that says what it is and where it fails."""

from importlib import resources

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.gan import MemoryGAN
from memgan.presets import Settings
from memgan.runs import build

__all__ = ["PRETRAINED", "load_pretrained"]

_FOLDER = resources.files(__name__)
PRETRAINED = sorted(
    file.name.removesuffix(".safetensors") for file in _FOLDER.iterdir() if file.name.endswith(".safetensors")
)


def load_pretrained(name: str, device: torch.device | str = "cpu") -> tuple[MemoryGAN, Settings]:
    """The model `name`, memory included, in evaluation mode, and its settings, as `load_run` gives them.

    Weights and keys are stored in float16: as they were trained, to eleven bits. Raises ValueError for an unknown name.
    Its card, memgan/pretrained/NAME.md, has data, settings, scores, failures and licence.
    """
    from safetensors import safe_open  # a reader that cannot run what it reads

    if name not in PRETRAINED:
        raise ValueError(f"no pretrained model {name!r}, expected one of {PRETRAINED}")
    with resources.as_file(_FOLDER / f"{name}.safetensors") as path, safe_open(path, framework="pt") as file:
        settings = Settings.from_json(file.metadata()["settings"])
        state: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
    gan = build(settings, device)
    gan.load_state_dict({key: tensor.to(gan.state_dict()[key].dtype) for key, tensor in state.items()})
    gan.memory.keys.copy_(F.normalize(gan.memory.keys, dim=1))  # rounding left them a little off the sphere
    return gan.eval(), settings
