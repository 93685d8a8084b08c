"""What the notebooks share: how figures, code and checks are shown, the toy problems, the long comparisons.

The method is not here: it is in `memgan`, and everything in this folder calls it there. One module for each subject
of a notebook, with its experiments, its figures (arrays in, a matplotlib `Figure` out) and the checks of its exercises.
"""

from walkthrough.lesson import show, source

__all__ = ["show", "source"]
