"""Put a trained run into the package: `python -m scripts.package_pretrained runs/best fashion-mnist-slim`.

Writes memgan/pretrained/NAME.safetensors: weights and keys in float16, everything else as it is, the run's settings
as metadata. The card beside it, NAME.md, is written by hand from the run's evaluation.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from memgan.runs import load_run

FOLDER = Path(__file__).resolve().parent.parent / "memgan" / "pretrained"
MOST_BYTES = 8_000_000


def export(run: Path, name: str, folder: Path = FOLDER) -> Path:
    """Write the model of a run as `name`. Raises ValueError where it would be too large to ship."""
    gan, settings = load_run(run)
    state = {name: _stored(tensor) for name, tensor in gan.state_dict().items()}
    size = sum(tensor.nbytes for tensor in state.values())
    if size > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES / 1e6:.0f} MB, {run} has {size / 1e6:.1f} MB")
    path = folder / f"{name}.safetensors"
    save_file(state, path, {"settings": settings.to_json()})
    path.chmod(0o644)  # safetensors leaves it to its owner alone
    return path


def _stored(tensor: Tensor) -> Tensor:
    """A tensor of the model as the package keeps it: weights and keys in float16.

    Vectors stay as they are: normalisation statistics and the histogram reach beyond what float16 resolves.
    """
    if tensor.is_floating_point() and tensor.ndim > 1:
        tensor = tensor.half()
    return tensor.contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    options = parser.parse_args()
    with torch.no_grad():
        path = export(options.run, options.name)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
