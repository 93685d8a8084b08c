"""How the memory is computed: two engines with the same functions and the same results.

    blocked    for a CPU: scores in blocks that fit in the cache, keys updated where they are touched
    dense      for a GPU, for torch.compile and for torch.func: few large operations of fixed shapes

Both have `nearest`, `nearest_and_matching` and `m_step`; `engine_for` chooses. `memgan.memory` says what is computed,
in the words of the equations, and an engine makes it fast.
"""

from memgan.engines.candidates import Candidates, joined, marked
from memgan.engines.choice import engine_for, is_transformed
from memgan.engines.derivative import (
    derivative_of_mean,
    derivative_with_keys,
    expected_value,
    log_posterior,
    log_posterior_in_top_k,
    scores_of,
    with_derivative,
)
from memgan.engines.portions import rows_at_once

__all__ = [
    "Candidates",
    "derivative_of_mean",
    "derivative_with_keys",
    "engine_for",
    "expected_value",
    "is_transformed",
    "joined",
    "log_posterior",
    "log_posterior_in_top_k",
    "marked",
    "rows_at_once",
    "scores_of",
    "with_derivative",
]
