"""Training runs in folders: checkpoints, resumption, diagnosis, and what one sees of a run while it lasts.

from memgan.lab.sessions import Session, SessionOptions, resume
"""

from memgan.lab.sessions.diagnosis import TrainingError
from memgan.lab.sessions.loading import LoadedModel, load_model
from memgan.lab.sessions.session import Interrupted, Session, SessionOptions, resume

__all__ = ["Interrupted", "LoadedModel", "Session", "SessionOptions", "TrainingError", "load_model", "resume"]
