"""Widgets: pictures that a reader moves. They take arrays and never train; all that they show is in their state."""

from memgan.widgets.frames import Frames

__all__ = ["Frames"]
