"""What a reader moves: widgets for a notebook, which also work on a page with no kernel behind it."""

from memgan.widgets.frames import Frames
from memgan.widgets.latent import LatentExplorer

__all__ = ["Frames", "LatentExplorer"]
