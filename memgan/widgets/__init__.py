"""What a reader moves: widgets for a notebook, which also work on a page with no kernel behind it."""

from memgan.widgets.film import MemoryFilm
from memgan.widgets.frames import Frames
from memgan.widgets.interpolation import Interpolation
from memgan.widgets.latent import LatentExplorer
from memgan.widgets.posterior import PosteriorExplorer
from memgan.widgets.slots import SlotExplorer

__all__ = ["Frames", "Interpolation", "LatentExplorer", "MemoryFilm", "PosteriorExplorer", "SlotExplorer"]
