"""Widgets to explore a MemoryGAN, in a notebook and on a page with no kernel behind it.

Those that show a memory on a circle, slot by slot, are part of the lesson: notebooks/walkthrough/widgets.
"""

from memgan.widgets.interpolation import Interpolation
from memgan.widgets.latent import LatentExplorer
from memgan.widgets.playground import Playground
from memgan.widgets.slots import SlotExplorer

__all__ = ["Interpolation", "LatentExplorer", "Playground", "SlotExplorer"]
