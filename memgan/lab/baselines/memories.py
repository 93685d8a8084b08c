"""Memories that are written by another rule than (7-10), to see what the rule is worth. All are read as `VMFMemory`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.engines import Candidates
from memgan.memory import VMFMemory

__all__ = ["MEMORIES", "AveragingMemory", "LastWriteWins", "OneByOne"]


class AveragingMemory(VMFMemory):
    """The update of life-long memory (Kaiser et al. 2017) in the place of (8-10); everything else is as it was.

    A sample that finds its label counts for its best matching slot alone: K <- normalise(K + q), whatever h is, and
    h <- alpha h + 1. In a batch, the samples of a slot count as one query, their mean, and as their number in h. Kaiser
    et al. keep no h; here it says how often each slot was the best match, so that the slots can be read and sampled.
    """

    def expectation_maximisation(self, queries: Tensor, matching: Candidates, belongs: Tensor, moves: Tensor) -> None:
        """The average of each key with the queries that it matches best."""
        best = matching.scores.argmax(dim=1, keepdim=True)
        best_slot = matching.slots.gather(1, best)[:, 0]
        best_slot_moves = moves.gather(1, best)[:, 0]
        nowhere = self.num_slots  # a column that is cut off again
        assigned = F.one_hot(torch.where(best_slot_moves, best_slot, nowhere), self.num_slots + 1)
        assigned = assigned[:, : self.num_slots].to(queries)  # [B, N]
        count = assigned.sum(dim=0)
        mean_query = assigned.T @ queries / count.clamp(min=1).unsqueeze(1)
        touched = count > 0
        averaged = F.normalize(self.keys + mean_query, dim=1)
        self.keys.copy_(torch.where(touched.unsqueeze(1), averaged, self.keys))
        self.histogram.copy_(torch.where(touched, self.alpha * self.histogram + count, self.histogram))


class LastWriteWins(VMFMemory):
    """Of the samples of a batch that would move one slot, the last one does; what the others bring is lost.

    Each slot then changes as (8-10) say for that one sample, for T = 1. The authors' code scatters so (which sample is
    the last is not defined on its GPU); here it is the one with the highest place in the batch.
    """

    def expectation_maximisation(self, queries: Tensor, matching: Candidates, belongs: Tensor, moves: Tensor) -> None:
        """(8-10), with one sample for each slot."""
        nowhere = self.num_slots  # a place that is never asked for
        slot = torch.where(moves, matching.slots, nowhere)
        sample = torch.arange(len(queries), device=slot.device).unsqueeze(1).expand_as(slot)
        nobody = slot.new_full((self.num_slots + 1,), -1)
        last = nobody.scatter_reduce(0, slot.flatten(), sample.flatten(), "amax")
        is_last = last[slot] == sample
        super().expectation_maximisation(queries, matching, belongs, moves & is_last)


class OneByOne(VMFMemory):
    """The samples of a batch are written one after another, in the batch's order: the paper's text, and slow.

    Each finds the memory as the one before it left it, and every slot's age grows by one with each sample. A read of
    the batch sees the memory from before its first write, as in every other memory here.
    """

    @torch.no_grad()
    def write(self, queries: Tensor, labels: Tensor) -> None:
        if self.process_group is not None:
            raise ValueError("one-by-one has no order for the samples of several ranks: train it in one process")
        for query, label in zip(queries.split(1), labels.split(1), strict=True):
            super().write(query, label)

    def read_write(self, queries: Tensor, labels: Tensor) -> Tensor:
        probability = self.read(queries)
        self.write(queries, labels)
        return probability


MEMORIES: dict[str, type[VMFMemory]] = {
    "kaiser": AveragingMemory,
    "last-write-wins": LastWriteWins,
    "one-by-one": OneByOne,
}
