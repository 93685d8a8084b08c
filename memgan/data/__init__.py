"""Images to train on: `load_dataset` loads them by name, `batch_of` cuts batches from them.

A new data set is one entry of `DATASETS` in memgan/data/registry.py.
"""

from memgan.data.images import ImageData, as_bytes, as_float, batch_of
from memgan.data.registry import DATASETS, DataSet, load_dataset

__all__ = ["DATASETS", "DataSet", "ImageData", "as_bytes", "as_float", "batch_of", "load_dataset"]
