"""How good are a model's images? A classifier of the same data, the metrics, and the report of `memgan evaluate`."""

from memgan.lab.evaluation.classifier import Classifier, FeatureExtractor, accuracy, classifier_for, train_classifier
from memgan.lab.evaluation.old_fakes import OldFakes, old_fakes_of
from memgan.lab.evaluation.registry import METRICS, Metric
from memgan.lab.evaluation.report import Evaluation, evaluate
from memgan.lab.evaluation.spread import Interval

__all__ = [
    "METRICS",
    "Classifier",
    "Evaluation",
    "FeatureExtractor",
    "Interval",
    "Metric",
    "OldFakes",
    "accuracy",
    "classifier_for",
    "evaluate",
    "old_fakes_of",
    "train_classifier",
]
