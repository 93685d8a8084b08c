"""Training by several processes, the *ranks* of a `torch.distributed` group, each on a device of its own.

Every rank holds a replica of the model. The replicas stay bitwise equal, because all ranks do the same to them:

    networks    each rank computes the gradients of its part of the batch; DistributedDataParallel averages them
    memory      each rank writes the queries of all ranks, which one `gathered` brings together
    random      each rank draws what the whole batch is given, and keeps the rows of its own part (`own_rows`)

So the batch of a step is the batch of all ranks together, and a step is the step of one process with that batch, but
for batch normalisation, which takes the statistics of a rank's own part on a CPU.
"""

import copy
import hashlib
import inspect
import itertools
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup

__all__ = [
    "are_equal",
    "averaged",
    "checksum",
    "exchanged",
    "exchanged_rows",
    "gathered",
    "gathered_from_all",
    "least",
    "num_ranks",
    "own_rows",
    "own_shard",
    "packed",
    "replicated",
    "share_of_batch",
    "shared_state",
    "unpacked",
]

# Names that PyTorch 2.14 has given to what older versions have, too
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_of_ddp = inspect.signature(nn.parallel.DistributedDataParallel).parameters
_sync_buffers = "forward_sync_buffers" if "forward_sync_buffers" in _of_ddp else "broadcast_buffers"

Model = TypeVar("Model", bound=nn.Module)


# ---------------------------------------------------------------- who does what


def num_ranks(group: ProcessGroup | None) -> int:
    """How many processes work together in `group`: 1 without one."""
    return 1 if group is None else dist.get_world_size(group)


def own_rows(rows: int, group: ProcessGroup | None) -> slice:
    """Which rows of the whole batch are this rank's, where each rank has `rows`."""
    if group is None:
        return slice(0, rows)
    start = dist.get_rank(group) * rows
    return slice(start, start + rows)


def own_shard(number: int, group: ProcessGroup) -> range:
    """Which of `number` things are this rank's where each rank holds some, one after another.

    Cut as PyTorch's DTensor cuts: each rank has `number` / ranks, rounded up, until there are none left. So the last
    ranks may have fewer, or none.
    """
    in_a_shard = -(-number // num_ranks(group))
    start = min(dist.get_rank(group) * in_a_shard, number)
    return range(start, min(start + in_a_shard, number))


def share_of_batch(batch_size: int, group: ProcessGroup | None) -> int:
    """How many of a batch of `batch_size` are this rank's. Raises ValueError where they cannot be shared equally."""
    ranks = num_ranks(group)
    if batch_size % ranks != 0 or batch_size // ranks < 2:
        raise ValueError(
            f"training.batch_size is the batch of all ranks together: expected a multiple of {ranks}, and at least 2 "
            f"for each, got {batch_size}"
        )
    return batch_size // ranks


# ---------------------------------------------------------------- what the ranks tell each other


@torch.no_grad()
def gathered(queries: Tensor, labels: Tensor, group: ProcessGroup) -> tuple[Tensor, Tensor]:
    """The `queries` [B, M] and the `labels` [B] of all ranks, in their order: [ranks * B, M] and [ranks * B].

    Labels are 0 or 1. All ranks give the same B. One collective of fixed size brings both, the label as one more
    column: B (M + 1) numbers from each rank to each other.
    """
    rows, key_dim = queries.shape
    own = torch.cat([queries, labels.to(queries.dtype).unsqueeze(1)], dim=1)
    of_all = own.new_empty(num_ranks(group) * rows, key_dim + 1)
    _all_gather(of_all, own.contiguous(), group=group)
    return of_all[:, :key_dim].contiguous(), of_all[:, key_dim].long()


@torch.no_grad()
def gathered_from_all(own: Tensor, group: ProcessGroup) -> Tensor:
    """What each rank has, [ranks, *shape], where all have a tensor of the same shape, `own`."""
    of_all = own.new_empty(num_ranks(group) * own.numel())
    _all_gather(of_all, own.reshape(-1).contiguous(), group=group)
    return of_all.view(num_ranks(group), *own.shape)


@torch.no_grad()
def exchanged(parts: Tensor, group: ProcessGroup) -> Tensor:
    """`parts` [ranks, ...] has a part for each rank. What each rank had for this one, [ranks, ...]."""
    received = torch.empty_like(parts, memory_format=torch.contiguous_format)
    dist.all_to_all_single(received, parts.contiguous(), group=group)
    return received


@torch.no_grad()
def exchanged_rows(rows: Tensor, sent: list[int], received: list[int], group: ProcessGroup) -> Tensor:
    """`rows` [n, D] begin with `sent[0]` rows for the first rank. The `received[r]` rows of each rank r, in order."""
    of_all = rows.new_empty(sum(received), *rows.shape[1:])
    dist.all_to_all_single(of_all, rows.contiguous(), received, sent, group=group)
    return of_all


def packed(tensors: Iterable[Tensor]) -> Tensor:
    """Tensors [..., n] of any types, side by side as bytes, [..., bytes]: one collective brings them all."""
    return torch.cat([tensor.contiguous().view(torch.uint8) for tensor in tensors], dim=-1)


def unpacked(of_bytes: Tensor, like: Iterable[Tensor]) -> list[Tensor]:
    """What `packed` made bytes of, [..., n]: tensors with the types and the last dimensions of `like`.

    Each part is copied. `contiguous` would leave a single row where it is, which may be no place for its type.
    """
    tensors = []
    start = 0
    for tensor in like:
        stop = start + tensor.shape[-1] * tensor.element_size()
        part = of_bytes[..., start:stop].clone(memory_format=torch.contiguous_format)
        tensors.append(part.view(tensor.dtype))
        start = stop
    return tensors


@torch.no_grad()
def averaged(numbers: Iterable[Tensor], group: ProcessGroup) -> tuple[Tensor, ...]:
    """The mean over the ranks of each of some `numbers`, tensors without dimensions."""
    sums = torch.stack(list(numbers))
    dist.all_reduce(sums, group=group)
    return (sums / num_ranks(group)).unbind()


@torch.no_grad()
def shared_state(tensors: Iterable[Tensor], device: torch.device, group: ProcessGroup) -> None:
    """Give each rank what the first rank has: `tensors` that lie on `device`, and the states of random numbers."""
    for tensor in tensors:
        dist.broadcast(tensor, group=group, group_src=0)
    random = torch.get_rng_state().to(device)
    dist.broadcast(random, group=group, group_src=0)
    torch.set_rng_state(random.cpu())
    if device.type == "cuda":
        random = torch.cuda.get_rng_state(device).to(device)
        dist.broadcast(random, group=group, group_src=0)
        torch.cuda.set_rng_state(random.cpu(), device)


def least(own: int, device: torch.device, group: ProcessGroup | None) -> int:
    """The smallest of the numbers that the ranks of `group` have; without a group, `own`."""
    if group is None:
        return own
    return int(gathered_from_all(torch.tensor(own, device=device), group).min())


# ---------------------------------------------------------------- replicas


def replicated(gan: Model, group: ProcessGroup) -> Model:
    """`gan` as it is trained by the ranks of `group`: with the same weights and the same memory.

    Its `inference` and its `generator` average their gradients over the ranks, each with the weights that require one
    now; a frozen network has none. `gan` itself stays as it is, so that its state has the names that it has without
    ranks. On GPUs its batch normalisation becomes that of the whole batch.
    """
    replica = copy.copy(gan)
    replica._modules = dict(gan._modules)
    for name in ("inference", "generator"):
        network = getattr(gan, name)
        if next(network.parameters()).is_cuda:  # on a CPU, PyTorch has no such layer
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network, group)
            setattr(gan, name, network)
        if any(weight.requires_grad for weight in network.parameters()):
            # each rank keeps its own statistics
            options: dict[str, Any] = {"process_group": group, _sync_buffers: False}
            setattr(replica, name, nn.parallel.DistributedDataParallel(network, **options))
        else:  # DistributedDataParallel, which gives all ranks the first one's weights, refuses a frozen network
            _give_weights(network, group)
            setattr(replica, name, network)
    setattr(replica, "process_group", group)  # noqa: B010 - an attribute that a model has and a module has not
    return replica


def _give_weights(network: nn.Module, group: ProcessGroup) -> None:
    """Give each rank the weights that the first rank has."""
    for weight in network.parameters():
        dist.broadcast(weight.detach(), group=group, group_src=0)


def are_equal(module: nn.Module, group: ProcessGroup) -> bool:
    """Whether the replicas of `module` that the ranks of `group` hold are bitwise equal. Every rank asks."""
    device = next(itertools.chain(module.parameters(), module.buffers())).device
    own = torch.tensor(list(bytes.fromhex(checksum(module))), dtype=torch.uint8, device=device)
    of_all = gathered_from_all(own, group)
    return bool((of_all == of_all[0]).all())


def checksum(module: nn.Module) -> str:
    """A digest of all parameters and buffers, bit by bit: equal replicas have equal ones.

    Of a tensor in shards it sees this rank's.
    """
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        own = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        digest.update(own.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
