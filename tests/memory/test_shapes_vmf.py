"""The shapes in the signatures of `memgan.vmf` hold, and a wrong shape is noticed: jaxtyping and beartype look on."""

import subprocess
import sys

import pytest

# In a process of its own, because the import hook must come before the first import. Every dimension is another prime.
START = """
import torch
from jaxtyping import TypeCheckError, install_import_hook
with install_import_hook("memgan.vmf", "beartype.beartype"):
    from memgan import vmf

def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(shape), dim=-1)
"""

RIGHT = {
    "a Bessel function of a number": ("vmf.log_bessel_i(2.5, 7.0)", []),
    "Bessel functions of a tensor": ("vmf.log_bessel_i(2.5, torch.rand(5, 3) + 1)", [5, 3]),
    "a normaliser of a number": ("vmf.log_normaliser(7.0, 11)", []),
    "normalisers of a tensor": ("vmf.log_normaliser(torch.rand(5, 3) + 1, 11)", [5, 3]),
    "a density": ("vmf.log_density(unit(11), unit(11), 7.0)", []),
    "densities around one mean": ("vmf.log_density(unit(5, 11), unit(11), 7.0)", [5]),
    "densities of every pair": ("vmf.log_density(unit(5, 1, 11), unit(7, 11), 7.0)", [5, 7]),
    "a concentration for each mean": ("vmf.log_density(unit(5, 1, 11), unit(7, 11), torch.rand(7) + 1)", [5, 7]),
    "samples": ("vmf.sample(unit(11), 7.0, 13)", [13, 11]),
    "no samples": ("vmf.sample(unit(11), 7.0, 0)", [0, 11]),
}

WRONG = {
    "vectors of two lengths": "vmf.log_density(unit(5, 11), unit(5, 7), 7.0)",
    "batches that do not broadcast": "vmf.log_density(unit(5, 11), unit(7, 11), 7.0)",
    "concentrations that do not broadcast": "vmf.log_density(unit(5, 11), unit(11), torch.rand(7) + 1)",
    "a batch of means": "vmf.sample(unit(5, 11), 7.0, 13)",
    "whole numbers as vectors": "vmf.log_density(torch.ones(11).long(), unit(11), 7.0)",
}


@pytest.mark.thorough
def test_the_shapes_of_the_signatures_hold_and_a_wrong_shape_is_noticed():
    attempt = """
try:
    {call}
    print("accepted")
except TypeCheckError:
    print("refused")
"""
    code = START
    code += "".join(f"print(list(({call}).shape))\n" for call, _ in RIGHT.values())
    code += "".join(attempt.format(call=call) for call in WRONG.values())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = dict(zip([*RIGHT, *WRONG], done.stdout.splitlines(), strict=True))
    assert found == {name: str(shape) for name, (_, shape) in RIGHT.items()} | dict.fromkeys(WRONG, "refused")
