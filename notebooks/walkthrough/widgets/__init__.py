"""The widgets of the lesson: pictures under a slider, and a memory on a circle or a sphere, read and written.

They are made like those of `memgan.widgets`, which explore a MemoryGAN.
"""

from walkthrough.widgets.film import MemoryFilm
from walkthrough.widgets.frames import Frames
from walkthrough.widgets.posterior import PosteriorExplorer

__all__ = ["Frames", "MemoryFilm", "PosteriorExplorer"]
