"""A step that is recorded and replayed: the logic with a recorder of this file's own, the rest on a GPU."""

import copy
import gc
import itertools
import warnings
import weakref

import pytest
import torch
from gan_builders import TINY_TRAINING, random_images, tiny_gan

from memgan.cuda_graph import WARM_UP, RepeatedStep, constants_of
from memgan.training import StepNumbers, Trainer, TrainingSettings


class PlainRecorder:
    """Records on any device: a recording is the step itself, done with the tensors of the model as they are then."""

    def __init__(self, error=None):
        self.error = error
        self.warmed_up = self.recorded = 0

    def warm_up(self, step):
        self.warmed_up += 1
        return step()

    def record(self, step):
        if self.error:
            raise self.error
        self.recorded += 1
        numbers = (torch.zeros(()),)

        def replay():
            with torch.no_grad():
                numbers[0].copy_(step()[0])

        return replay, numbers


class IdleRecorder(PlainRecorder):
    """Its recordings of a training step do nothing: it counts how many there are."""

    def record(self, step):
        self.recorded += 1
        return lambda: None, tuple(torch.zeros(()) for _ in StepNumbers._fields)


class Counter:
    """A step that counts in a tensor without raising its version, as a replay on a GPU does."""

    def __init__(self):
        self.state = torch.zeros(1)

    def step(self):
        self.state.detach().numpy()[0] += 1
        return (self.state[0].clone(),)


def repeated(times, repeated_step, counter, constants=0):
    return [float(repeated_step(counter.step, [counter.state], constants)[0]) for _ in range(times)]


def test_a_step_is_warmed_up_recorded_once_and_replayed():
    recorder, counter = PlainRecorder(), Counter()
    assert repeated(9, RepeatedStep(recorder), counter) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert recorder.warmed_up == WARM_UP and recorder.recorded == 1


def test_each_replay_raises_the_versions_of_what_it_changes():
    """Who follows a model, as an explorer in a notebook does, looks at the versions of its tensors."""
    repeated_step, counter, versions = RepeatedStep(PlainRecorder()), Counter(), []
    for _ in range(WARM_UP + 4):
        repeated(1, repeated_step, counter)
        versions.append(counter.state._version)
    assert versions[WARM_UP:] == [1, 2, 3, 4]


def test_numbers_of_a_replay_are_not_overwritten_by_the_next():
    repeated_step, counter = RepeatedStep(PlainRecorder()), Counter()
    numbers = [repeated_step(counter.step, [counter.state], 0)[0] for _ in range(8)]
    assert [float(number) for number in numbers] == list(range(1, 9))


def test_other_constants_are_recorded_anew():
    recorder, counter = PlainRecorder(), Counter()
    repeated_step = RepeatedStep(recorder)
    repeated(6, repeated_step, counter, constants=("kappa", 60.0))
    repeated(6, repeated_step, counter, constants=("kappa", 60.0))
    assert recorder.recorded == 1
    repeated(6, repeated_step, counter, constants=("kappa", 30.0))
    assert recorder.recorded == 2 and recorder.warmed_up == 2 * WARM_UP


def descended(rates, optimiser, weight, recorder):
    """Steps of size `rates` down a slope of 1, each through one `RepeatedStep`."""
    repeated_step = RepeatedStep(recorder)

    def step():
        weight.grad = torch.ones_like(weight)
        optimiser.step()
        return (weight.detach()[0].clone(),)

    for rate in rates:
        if torch.is_tensor(optimiser.param_groups[0]["lr"]):
            optimiser.param_groups[0]["lr"].fill_(rate)
        else:
            optimiser.param_groups[0]["lr"] = rate
        repeated_step(step, [weight], constants_of(optimiser))


def test_a_rate_that_is_a_number_is_recorded_anew_when_it_changes():
    weight, recorder = torch.zeros(1), PlainRecorder()
    optimiser = torch.optim.SGD([weight], lr=0.5)
    descended([0.5] * 6 + [0.25] * 6, optimiser, weight, recorder)
    assert float(weight) == -4.5 and recorder.recorded == 2


def test_a_number_that_changes_with_each_step_is_never_frozen_in_a_recording():
    weight, recorder = torch.zeros(1), PlainRecorder()
    descended([2.0**-i for i in range(9)], torch.optim.SGD([weight], lr=1.0), weight, recorder)
    assert recorder.recorded == 0 and float(weight) == -(2 - 2.0**-8)


def test_a_rate_in_a_tensor_is_recorded_once():
    weight, recorder = torch.zeros(1), PlainRecorder()
    optimiser = torch.optim.SGD([weight], lr=torch.tensor(1.0))
    descended([2.0**-i for i in range(9)], optimiser, weight, recorder)
    assert recorder.recorded == 1 and float(weight) == -(2 - 2.0**-8)


def test_a_network_that_is_frozen_or_trained_again_is_recorded_anew():
    """Else a recording would go on to change the weights that must stay, or leave alone those that are to learn."""
    recorder = IdleRecorder()
    trainer = Trainer(
        tiny_gan(), random_images(23), TrainingSettings(**{**TINY_TRAINING, "steps": 18, "decay_from": 1})
    )
    trainer._repeated_step = RepeatedStep(recorder)  # which a trainer on a GPU has
    recorded = {}
    for step in trainer:
        recorded[step.number] = recorder.recorded
        trainer.gan.generator.requires_grad_(not 6 <= step.number < 12)
    assert (recorded[6], recorded[12], recorded[18]) == (1, 2, 3)


def test_a_tensor_in_another_place_is_recorded_anew():
    recorder, counter = PlainRecorder(), Counter()
    repeated_step = RepeatedStep(recorder)
    repeated(6, repeated_step, counter)
    kept = counter.state
    counter.state = kept.clone()
    repeated(6, repeated_step, counter)
    assert recorder.recorded == 2


def test_what_cannot_be_recorded_runs_as_it_is_after_one_warning():
    recorder, counter = PlainRecorder(RuntimeError("operation not permitted when stream is capturing")), Counter()
    repeated_step = RepeatedStep(recorder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert repeated(9, repeated_step, counter) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "cannot be recorded" in message and "not permitted when stream is capturing" in message
    assert "training.cuda_graph=false" in message
    assert not repeated_step.is_recorded


def test_the_owner_of_a_step_is_not_kept_alive():
    """Else a trainer and its graph hold each other, and a GPU's memory is free only after a garbage collection."""
    repeated_step, counter = RepeatedStep(PlainRecorder()), Counter()
    for _ in range(WARM_UP):
        repeated_step(counter.step, [counter.state], 0)
    owner = weakref.ref(counter)
    gc.disable()
    try:
        del counter
        assert owner() is None
    finally:
        gc.enable()


def test_a_trainer_is_gone_as_soon_as_nobody_holds_it():
    torch.manual_seed(0)
    trainer = Trainer(tiny_gan(), random_images(23), TrainingSettings(**TINY_TRAINING))
    next(iter(trainer))
    assert not trainer.is_recorded
    owner = weakref.ref(trainer)
    gc.collect()
    gc.disable()
    try:
        del trainer
        assert owner() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------- on a GPU

gpu = pytest.mark.gpu
WIDE = {"width": 16, "hidden": 32}


def devices():
    """The first GPU, and the last one, which need not be the current one."""
    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return sorted({"cuda:0", f"cuda:{max(number - 1, 0)}"})


def trainer_of(*, device="cuda:0", memory=None, networks=None, validate=None, **changes):
    gan = tiny_gan(memory=memory, networks=networks or WIDE)
    gan.memory.validate = validate
    torch.manual_seed(0)
    settings = TrainingSettings(**{**TINY_TRAINING, "steps": 50, "batch_size": 32, **changes})
    return Trainer(gan.to(device), random_images(97).to(device), settings)


def first_steps(trainer, number):
    return torch.stack([torch.stack(step[1:]).cpu() for step in itertools.islice(trainer, number)])


@gpu
@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_in_a_graph_is_the_plain_step(precision, device):
    """Random numbers, rates and the order of images included; the first three steps are not replayed."""
    plain = first_steps(trainer_of(device=device, precision=precision, decay_from=0.1, cuda_graph=False), 20)
    trainer = trainer_of(device=device, precision=precision, decay_from=0.1)
    graph = first_steps(trainer, 20)
    assert trainer.is_recorded
    torch.testing.assert_close(graph, plain, rtol=0.05, atol=0.05)
    torch.testing.assert_close(graph[:5], plain[:5], rtol=2e-3, atol=2e-3)


@gpu
def test_a_step_with_a_gradient_penalty_is_recorded_too():
    plain = first_steps(trainer_of(gradient_penalty=0.1, cuda_graph=False), 8)
    trainer = trainer_of(gradient_penalty=0.1)
    torch.testing.assert_close(first_steps(trainer, 8), plain, rtol=0.05, atol=0.05)
    assert trainer.is_recorded


@gpu
def test_rates_in_a_graph_fall_for_each_network_by_itself():
    trainer = trainer_of(generator_lr=4e-4, discriminator_lr=1e-4, decay_from=0)
    first_steps(trainer, 50)
    for optimiser, rate in ((trainer.optimisers.generator, 4e-4), (trainer.optimisers.discriminator, 1e-4)):
        assert float(optimiser.param_groups[0]["lr"]) == pytest.approx(rate / 50, rel=1e-4)  # of the last of 50 steps


@gpu
def test_a_graph_goes_on_after_a_state_was_loaded():
    whole = first_steps(trainer_of(), 20)
    trainer = trainer_of()
    first_steps(trainer, 10)
    state = copy.deepcopy(trainer.state_dict())
    again = trainer_of()
    first_steps(again, 6)
    again.load_state_dict(state)
    torch.testing.assert_close(first_steps(again, 10), whole[10:], rtol=0.05, atol=0.05)


@gpu
def test_settings_that_change_are_not_frozen_in_the_graph():
    trainer = trainer_of()
    first_steps(trainer, 6)
    trainer.gan.memory.settings = trainer.gan.memory.settings.changed(epsilon=0.3)
    numbers = first_steps(trainer, 6)
    assert bool((numbers[:, 3] >= 0.3 - 1e-6).all()) and trainer.is_recorded


@gpu
def test_a_network_that_was_frozen_stays_as_it_is_in_the_graph():
    trainer = trainer_of()
    first_steps(trainer, 6)
    trainer.gan.generator.requires_grad_(False)
    before = [weight.clone() for weight in trainer.gan.generator.parameters()]
    first_steps(trainer, 6)
    assert trainer.is_recorded
    assert all(map(torch.equal, before, trainer.gan.generator.parameters()))


@gpu
def test_a_memory_that_looks_at_values_is_not_recorded_and_says_so_once():
    trainer = trainer_of(validate=True)
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph") as caught:
        numbers = first_steps(trainer, 12)
    assert len(caught) == 1 and bool(numbers.isfinite().all())
    plain = first_steps(trainer_of(validate=True, cuda_graph=False), 12)
    torch.testing.assert_close(numbers, plain, rtol=0.05, atol=0.05)


@gpu
def test_a_model_that_was_moved_after_it_was_built_is_recorded():
    trainer = trainer_of()
    first_steps(trainer, 6)
    assert trainer.is_recorded


@gpu
def test_a_replayed_step_waits_for_nothing():
    trainer = trainer_of()
    first_steps(trainer, 5)
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(itertools.islice(trainer, 12))  # over the end of an epoch
    finally:
        torch.cuda.set_sync_debug_mode("default")
