"""The benchmark of a training step times what it says. Nothing here is timed for its own sake."""

import itertools

import pytest
import torch
from gan_builders import tiny_settings

from memgan import VMFMemory
from memgan.networks import InferenceNetwork
from scripts import benchmark_training as bench

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(bench.time, "process_time", lambda: now[0])
    return now


def test_stopwatch_adds_up_what_it_ran_for_and_begins_anew(clock):
    stopwatch = bench.Stopwatch(CPU)
    for seconds, running in ((2, True), (5, False), (1, True)):
        if running:
            stopwatch.start()
        clock[0] += seconds
        if running:
            stopwatch.stop()
    assert stopwatch.milliseconds() == 3000 and stopwatch.milliseconds() == 0


def test_share_is_that_of_the_memorys_operations(clock, monkeypatch):
    """A step draws twice and reads twice, once with a write: with a second for each and for each network 2."""

    def slower(kind, name, seconds):
        original = getattr(kind, name)

        def operation(self, *arguments):
            clock[0] += seconds
            return original(self, *arguments)

        monkeypatch.setattr(kind, name, operation)

    for name in bench.OPERATIONS:
        slower(VMFMemory, name, 1)
    slower(InferenceNetwork, "forward", 2)
    result = bench.measure(tiny_settings(), CPU, rounds=3)
    assert result == {"step": 10_000, "memory": 4_000, "share": 0.4}


def test_steps_are_those_of_training():
    steps, gan = bench.steps_of(tiny_settings(), CPU, graph=False)
    assert [step.number for step in itertools.islice(steps, 3)] == [1, 2, 3] and gan.memory.ages.max() <= 3


def test_table_and_goal_say_what_was_measured():
    rows = {bench.GOAL_PRESET: {"step": 400.0, "memory": 30.0, "share": 0.075}}
    assert "400.0" in bench.table(rows) and "30.00" in bench.table(rows) and "7.5%" in bench.table(rows)
    assert bench.goal(rows, "cpu").endswith("at most 10%: reached")
    assert bench.goal(rows, "cuda").endswith("at most 5%: NOT reached")
    assert bench.goal({}, "cpu") == ""
