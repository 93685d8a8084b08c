"""What ranks send each other as bytes, and by what they compare replicas."""

import pytest
import torch

from memgan.distributed import checksum, packed, unpacked


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("columns", [1, 7, 8])
def test_what_is_packed_comes_back_whatever_its_place_among_the_bytes(rows, columns):
    tensors = [
        torch.randn(rows, columns),
        torch.arange(rows * 3).view(rows, 3),
        torch.randn(rows, 1) > 0,
        torch.randn(rows, columns, dtype=torch.float64),
        torch.arange(rows).view(rows, 1),
    ]
    of_bytes = packed(tensors)
    found = unpacked(of_bytes, tensors)
    of_first_row = unpacked(of_bytes[:1], tensors)
    for tensor, whole, row in zip(tensors, found, of_first_row, strict=True):
        assert torch.equal(whole, tensor) and torch.equal(row, tensor[:1]) and whole.dtype == tensor.dtype


def test_a_checksum_sees_every_tensor_also_one_without_dimensions():
    layer = torch.nn.BatchNorm1d(3)
    before = checksum(layer)
    assert checksum(layer) == before
    layer.num_batches_tracked += 1
    counted = checksum(layer)
    layer.running_mean[2] = torch.nextafter(torch.tensor(0.0), torch.tensor(1.0))
    assert len({before, counted, checksum(layer)}) == 3
