"""A playground for the plane: its engine in JavaScript equals memgan's training step, and its widget runs in any page."""

from memgan.widgets.playground.widget import Playground

__all__ = ["Playground"]
