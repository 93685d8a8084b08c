"""Widgets: pictures that a reader moves. They take arrays and never train, and work on a page without a kernel."""

from memgan.widgets.frames import Frames

__all__ = ["Frames"]
