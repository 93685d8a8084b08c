"""What does Inception-v3 see in an image? For scores that compare with other papers'; nothing is downloaded here."""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.data import as_bytes

__all__ = ["WEIGHTS", "InceptionV3"]

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


class InceptionV3:
    """The features [n, 2048] of the network that Inception Score and Frechet distance were defined with, and logits.

    Grey images are repeated in three channels; all become bytes and 299 pixels wide, as torch-fidelity does it. The
    weights (Apache licence) are looked for where PyTorch keeps what it downloads. Raises ModuleNotFoundError without
    torch-fidelity and ValueError without the weights.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}; Inception-v3 needs: pip install 'memgan[inception]'") from error
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
        if not path.is_file():
            raise ValueError(f"Inception-v3's weights are not here: fetch {URL_INCEPTION_V3} to {path}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
        self._network = network.to(device).eval()
        self._device = device

    @torch.no_grad()
    def features(self, images: Tensor, /) -> Tensor:
        """Of `images` [n, 1 or 3, H, W] in [-1, 1]: [n, 2048], on the CPU."""
        parts = as_bytes(images).expand(-1, 3, -1, -1).split(64)
        return torch.cat([self._network(part.to(self._device))[0].cpu() for part in parts])

    def head(self, features: Tensor, /) -> Tensor:
        """Logits of 1,008 classes, without the bias, as in the code that the score was first computed with."""
        return F.linear(features, self._network.fc.weight.cpu())
