"""A playground in the plane: an engine in JavaScript that equals memgan's training step, and its widget."""

from memgan.widgets.playground.widget import Playground

__all__ = ["Playground"]
