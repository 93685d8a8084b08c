"""The benchmark of a training step times what it says. Nothing here is timed for its own sake."""

import inspect
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


@pytest.mark.parametrize(("information", "calls"), [("density", 4), ("posterior", 6)])
def test_share_is_that_of_all_that_a_step_asks_of_the_memory(clock, monkeypatch, information, calls):
    """A second for each call of a public method of the memory from outside of it, and for each network 2.

    A step draws twice and reads twice, once with a write; with the posterior's bound it asks for that twice, too.
    """
    inside = [False]

    def slower(kind, name, seconds):
        original = getattr(kind, name)

        def operation(self, *arguments, **options):
            if inside[0]:  # one method of the memory calls another
                return original(self, *arguments, **options)
            clock[0] += seconds
            inside[0] = kind is VMFMemory
            result = original(self, *arguments, **options)
            inside[0] = False
            return result

        monkeypatch.setattr(kind, name, operation)

    for name, attribute in vars(VMFMemory).items():
        if inspect.isfunction(attribute) and not name.startswith("_"):
            slower(VMFMemory, name, 1)
    slower(InferenceNetwork, "forward", 2)
    settings = tiny_settings().changed([f"training.information={information}"])
    result = bench.measure(settings, CPU, rounds=3)
    assert result["memory"] == 1000 * calls and result["step"] == 1000 * (calls + 6)
    assert result["share"] == pytest.approx(calls / (calls + 6))


def test_steps_are_those_of_training():
    steps, gan = bench.steps_of(tiny_settings(), CPU, graph=False)
    assert [step.number for step in itertools.islice(steps, 3)] == [1, 2, 3] and gan.memory.ages.max() <= 3


def test_table_and_goal_say_what_was_measured():
    rows = {bench.GOAL_PRESET: {"step": 400.0, "memory": 30.0, "share": 0.075}}
    assert "400.0" in bench.table(rows) and "30.00" in bench.table(rows) and "7.5%" in bench.table(rows)
    assert bench.goal(rows, "cpu").endswith("at most 10%: reached")
    assert bench.goal(rows, "cuda").endswith("at most 5%: NOT reached")
    assert bench.goal({}, "cpu") == ""
