"""What a reader moves: widgets for a notebook, which also work on a page with no kernel behind it."""

from memgan.widgets.film import MemoryFilm
from memgan.widgets.frames import Frames
from memgan.widgets.latent import LatentExplorer
from memgan.widgets.posterior import PosteriorExplorer

__all__ = ["Frames", "LatentExplorer", "MemoryFilm", "PosteriorExplorer"]
