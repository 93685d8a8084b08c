"""The shapes in the memory's signatures are true: jaxtyping and beartype check every call, each dimension a prime."""

import subprocess
import sys

import pytest

CALLS = """
from jaxtyping import install_import_hook
with install_import_hook("memgan.memory", "beartype.beartype"):
    from memgan.memory import VMFMemory
import torch
memory = VMFMemory(17, 3, 5)
queries = torch.randn(7, 3)
labels = torch.arange(7) % 2
memory(queries), memory.read(queries), memory.posterior(queries), memory.top_k_posterior(queries)
memory.log_likelihood(queries), memory.slot_probabilities(), memory.slots_in_use(), memory.sample(11)
memory.write(queries, labels), memory.read_write(queries, labels)
try:
    memory.read(torch.randn(7))
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.thorough
def test_every_public_call_keeps_to_its_annotated_shapes_and_another_shape_does_not():
    run = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() == "TypeCheckError"
