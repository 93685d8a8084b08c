"""The benchmark compares like with like, and its tables say what was measured. Nothing here is timed."""

import sys

import pytest
import torch
import torch.nn.functional as F

from memgan import VMFMemory
from scripts import benchmark_memory as bench

SIZE = (5, 37, 11, 3)  # B, N, M, k


@pytest.fixture
def without_rivals(monkeypatch):
    """As if neither of the optional packages were installed."""
    for name in ("vector_quantize_pytorch", "faiss"):
        monkeypatch.setitem(sys.modules, name, None)


def unit_rows(number, dimension):
    return F.normalize(torch.randn(number, dimension, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("kappa", [1.0, 13.0])
def test_the_ordinary_memory_computes_the_same_probability(kappa):
    torch.manual_seed(0)
    memory = VMFMemory(37, 11, 3, kappa=kappa, epsilon=1e-12)
    memory.values.copy_(torch.arange(37) % 2)
    memory.histogram.copy_(torch.arange(1, 38) / 7)
    ordinary = bench.OrdinaryMemory(memory.keys.clone(), memory.values.clone(), 3, kappa, memory.alpha)
    ordinary.histogram.copy_(memory.histogram)
    queries = unit_rows(53, 11)
    expected = memory.read(queries)
    assert expected.min() < 0.4 and expected.max() > 0.6  # the question is not trivial
    torch.testing.assert_close(ordinary.read(queries), expected, rtol=0, atol=1e-5)


def test_the_ordinary_memory_writes_the_same_where_one_sample_comes_alone():
    """Right label: EM moves the same slots to the same place. Wrong label: the oldest slot is overwritten."""
    torch.manual_seed(0)
    settings = {"kappa": 5.0, "alpha": 0.5, "touch": "all", "replace_within_label": False}
    memory = VMFMemory(37, 11, 3, **settings)
    memory.histogram.copy_(torch.arange(1, 38) / 7)
    memory.ages.copy_(torch.arange(37).flip(0))
    ordinary = bench.OrdinaryMemory(memory.keys.clone(), memory.values.clone(), 3, 5.0, 0.5)
    ordinary.histogram.copy_(memory.histogram)
    ordinary.ages.copy_(memory.ages)
    replaced = 0
    for step, query in enumerate(unit_rows(13, 11)):
        batch, label = query.unsqueeze(0), torch.tensor([step % 2])
        values = memory.values.clone()
        memory.write(batch, label)
        ordinary.write(batch, label)
        replaced += int(not torch.equal(values, memory.values))
        torch.testing.assert_close(ordinary.keys, memory.keys, rtol=0, atol=1e-5)
        assert torch.equal(ordinary.values, memory.values) and torch.equal(ordinary.ages, memory.ages)
        # an overwritten slot takes the mean of a histogram; which one, before or after, is a detail of the rival
        memory.histogram.copy_(ordinary.histogram)
    assert 0 < replaced < 13


@torch.no_grad()
def test_contestants_start_from_the_same_memory(without_rivals):
    torch.manual_seed(0)
    work, missing = bench.contestants(SIZE, torch.device("cpu"))
    assert missing == ["vq", "faiss"]
    for operation in ("read", "read_write"):
        ours, theirs = work[operation]["memgan"](), work[operation]["ordinary"]()
        assert ours.shape == theirs.shape == (5,)
        torch.testing.assert_close(ours, theirs.clamp(1e-3, 1 - 1e-3), rtol=0, atol=1e-5)
    assert set(work) == {"read", "write", "read_write", "sample"}


@torch.no_grad()
def test_every_contestant_can_take_several_turns(without_rivals):
    work, _ = bench.contestants(SIZE, torch.device("cpu"))
    for runs in work.values():
        for run in runs.values():
            for _ in range(3):
                run()


def test_measuring_takes_turns_and_reports_medians_after_a_warm_up():
    turns, times = [], {"a": iter([100, 100, 1, 9, 2]), "b": iter([100, 100, 5, 4, 6])}
    work = {name: lambda name=name: turns.append(name) for name in times}

    def clock(run):
        run()
        return next(times[turns[-1]])

    assert bench.measure(work, 3, clock) == {"a": 2, "b": 5}
    assert turns == ["a", "a", "b", "b"] * 5  # the second time counts


def rows(ours, **rivals):
    """Rows as the benchmark makes them, the same times at every size."""
    times = {"memgan": ours, **rivals}
    return [
        {"size": size, "operation": operation, "rounds": 3, "milliseconds": times}
        for size in bench.SIZES
        for operation in ("read", "read_write")
    ]


def test_table_shows_milliseconds_and_how_many_times_as_long():
    header, line = bench.table(rows(2.0, ordinary=9.0)[:1]).splitlines()
    assert header.split()[:5] == ["B,", "N,", "M,", "k", "operation"]
    assert "2.00 (1.00)" in line and "9.00 (4.50)" in line and ", ".join(map(str, bench.SIZES[0])) in line
    assert line.split().count("-") == len(bench.COLUMNS) - 2  # who did not take part
    assert len(bench.table(rows(2.0)).splitlines()) == 1 + 2 * len(bench.SIZES)
    assert len(bench.table(rows(2.0), header=False).splitlines()) == 2 * len(bench.SIZES)


def test_goals_say_reached_and_not_reached():
    factor = max(bench.GOALS["vq"])
    for times, expected in [(factor + 1, "reached"), (0.5, "NOT reached")]:
        lines = bench.goals(rows(1.0, vq=times))
        assert len(lines) == len(bench.SIZES)
        assert all(line.endswith(f": {expected}") and "times faster than vq" in line for line in lines)


def test_the_limit_is_reached_from_above():
    best, worst = min(bench.GOALS["limit"]), max(bench.GOALS["limit"])
    assert all(line.endswith(": reached") for line in bench.goals(rows(1.0, limit=1 / best)))
    lines = bench.goals(rows(1.0, limit=1 / (worst + 0.5)))
    assert len(lines) == len(bench.SIZES) and all(line.endswith(": NOT reached") for line in lines)
    assert f"{worst + 0.5:.2f} of the limit" in lines[0]


def test_reading_is_held_against_faiss_at_all_sizes():
    for ours, expected in ((1.0, "reached"), (3.0, "NOT reached")):
        lines = [line for line in bench.goals(rows(ours, faiss=2.0)) if "faiss" in line]
        assert [line.split(":")[0] for line in lines] == [str(size) for size in bench.SIZES]
        assert all(line.endswith(f": {expected}") for line in lines)


def test_the_picture_is_written(tmp_path):
    bench.picture(rows(1.0, ordinary=9.0, limit=0.5), tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_help_works_and_describes_the_contestants(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark_memory.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    said = capsys.readouterr()
    assert ended.value.code == 0 and said.err == ""
    assert "--device" in said.out and "ordinary" in said.out and "faiss" in said.out
