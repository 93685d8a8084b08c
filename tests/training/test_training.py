"""The training step and the loop around it."""

import copy
import itertools
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from gan_builders import TINY_TRAINING, random_images, same_state, state_of, tiny_gan, tiny_settings

import memgan.training
from memgan import MemoryGAN, VMFMemory
from memgan.data import ImageData
from memgan.lab.baselines.models import build_model
from memgan.presets import PRESETS
from memgan.training import (
    Optimisers,
    Step,
    Trainer,
    TrainingSettings,
    adam_optimisers,
    gradient_penalty,
    is_large,
    prepare,
    rate_factor,
    train,
    training_step,
)

BATCH = TINY_TRAINING["batch_size"]


def settings_with(**changes):
    return TrainingSettings(**{**TINY_TRAINING, **changes})


class Spied:
    """One training step, with what the parameters and their gradients were around each optimiser's step."""

    def __init__(self, **changes):
        torch.manual_seed(0)
        self.gan, settings = tiny_gan(), settings_with(**changes)
        self.gan.train()
        self.optimisers = adam_optimisers(self.gan, settings)
        self.events = []
        for name in ("discriminator", "generator"):
            self.spy_on(name, getattr(self.optimisers, name))
        self.before = self.parameters()
        self.result = training_step(self.gan, random_images(BATCH), self.optimisers, settings)
        self.after = self.parameters()

    def spy_on(self, name, optimiser):
        def before(*_):
            self.events.append({"who": name, "before": self.parameters(), "gradients": self.gradients()})

        def after(*_):
            self.events[-1]["after"] = self.parameters()

        optimiser.register_step_pre_hook(before)
        optimiser.register_step_post_hook(after)

    def parameters(self):
        return {
            part: {name: p.detach().clone() for name, p in getattr(self.gan, part).named_parameters()}
            for part in ("inference", "generator")
        }

    def gradients(self):
        return {
            part: {
                name: None if p.grad is None else p.grad.clone()
                for name, p in getattr(self.gan, part).named_parameters()
            }
            for part in ("inference", "generator")
        }


def equal(some, others):
    return all(torch.equal(some[name], others[name]) for name in some)


def all_differ(some, others):
    return all(not torch.equal(some[name], others[name]) for name in some)


# ---------------------------------------------------------------- one step


def test_one_step_is_one_of_d_and_then_one_of_g():
    assert [event["who"] for event in Spied().events] == ["discriminator", "generator"]


def test_step_of_d_leaves_the_generator_alone_and_step_of_g_the_inference_network():
    spied = Spied()
    of_d, of_g = spied.events
    assert equal(of_d["after"]["generator"], spied.before["generator"])
    assert all_differ(of_d["after"]["inference"], spied.before["inference"])
    assert equal(of_g["before"]["generator"], spied.before["generator"])
    assert equal(of_g["after"]["inference"], of_d["after"]["inference"])
    assert all_differ(of_g["after"]["generator"], of_d["after"]["generator"])
    assert equal(spied.after["inference"], of_d["after"]["inference"])
    assert equal(spied.after["generator"], of_g["after"]["generator"])


def test_no_gradient_of_d_reaches_the_generator_nor_of_g_the_inference_network():
    of_d, of_g = Spied().events
    assert all(gradient is None or not gradient.any() for gradient in of_d["gradients"]["generator"].values())
    for name, gradient in of_d["gradients"]["inference"].items():
        assert gradient is not None and gradient.abs().sum() > 0, name
        later = of_g["gradients"]["inference"][name]
        assert later is None or torch.equal(later, gradient) or not later.any(), name
    for name, gradient in of_g["gradients"]["generator"].items():
        assert gradient is not None and gradient.abs().sum() > 0, name


def test_both_networks_can_learn_again_after_a_step():
    assert all(parameter.requires_grad for parameter in Spied().gan.parameters())


def test_reported_numbers_are_means_without_a_graph():
    loss_d, loss_g, real, generated = Spied().result
    for number in (loss_d, loss_g, real, generated):
        assert number.shape == () and not number.requires_grad and bool(number.isfinite())
    assert 0 < real < 1 and 0 < generated < 1


def test_losses_without_the_information_term_are_those_of_the_reported_probabilities():
    """With kappa near 0 every slot is as probable, half of them are real, and D = 1/2 wherever it is asked."""
    torch.manual_seed(0)
    gan = tiny_gan(memory={"num_slots": 62, "top_k": 62, "kappa": 1e-9})
    settings = settings_with(mi_weight=0.0, generator_loss="saturating")
    loss_d, _, real, generated = training_step(gan, random_images(BATCH), adam_optimisers(gan, settings), settings)
    assert float(real) == pytest.approx(0.5, abs=1e-6) and float(generated) == pytest.approx(0.5, abs=1e-6)
    assert float(loss_d) == pytest.approx(2 * np.log(2), abs=1e-6)


def test_information_term_enters_both_losses_with_its_weight():
    """The same step at two weights differs by weight times -kappa E cos, which lies within [-kappa, kappa]."""
    losses = {weight: Spied(mi_weight=weight).result for weight in (0.0, 0.5, 1.0)}
    for_d = [float(losses[weight][0]) for weight in (0.0, 0.5, 1.0)]
    assert for_d[2] - for_d[0] == pytest.approx(2 * (for_d[1] - for_d[0]), rel=1e-4)
    assert 0 < abs(for_d[2] - for_d[0]) <= 11.0
    assert float(losses[1.0][1]) != pytest.approx(float(losses[0.0][1]), abs=1e-3)


# ---------------------------------------------------------------- the memory in a step


def test_memory_is_written_once_with_as_many_generated_as_real_queries():
    gan, settings, written = tiny_gan(), settings_with(), []
    for name in ("write", "read_write"):
        original = getattr(gan.memory, name)

        def spy(queries, labels, original=original):
            written.append((queries.shape, labels.tolist()))
            return original(queries, labels)

        setattr(gan.memory, name, spy)
    training_step(gan, random_images(BATCH), adam_optimisers(gan, settings), settings)
    ((shape, labels),) = written
    assert shape == (2 * BATCH, 7) and labels.count(1) == labels.count(0) == BATCH


def test_slots_that_nobody_touches_age_by_one_with_each_step():
    gan, settings = tiny_gan(memory={"num_slots": 499}), settings_with()
    optimisers = adam_optimisers(gan, settings)
    for step in range(1, 4):
        training_step(gan, random_images(BATCH, seed=step), optimisers, settings)
        assert gan.memory.ages.max() == step
        assert (gan.memory.ages == 0).sum() <= 2 * BATCH * 5


def test_mass_of_the_memory_grows_by_one_for_each_query():
    """alpha = 1 and every label vouched for: sum h grows by sum gamma = 2B exactly, real and generated alike."""
    memory = {"num_slots": 29, "top_k": 29, "correct_in_top": 29, "alpha": 1.0}
    gan, settings = tiny_gan(memory=memory), settings_with()
    optimisers = adam_optimisers(gan, settings)
    for step in range(1, 4):
        training_step(gan, random_images(BATCH, seed=step), optimisers, settings)
        of_real, of_generated = (float(gan.memory.histogram[gan.memory.values == v].sum()) for v in (1, 0))
        assert of_real == pytest.approx(step * BATCH, rel=1e-4)
        assert of_generated == pytest.approx(step * BATCH, rel=1e-4)


def test_memory_carries_no_gradient():
    gan = Spied().gan
    for name, buffer in gan.memory.named_buffers():
        assert not buffer.requires_grad and buffer.grad_fn is None, name
    assert not list(gan.memory.parameters())


# ---------------------------------------------------------------- learning rates


@pytest.mark.parametrize("decay_from", [0.0, 0.3, 0.5, 1.0])
def test_rates_hold_and_then_fall_linearly_to_zero(decay_from):
    torch.manual_seed(0)
    settings = settings_with(steps=20, decay_from=decay_from, generator_lr=3e-3, discriminator_lr=7e-4)
    trainer = Trainer(tiny_gan(), random_images(BATCH), settings)
    for done, _ in enumerate(trainer):
        share = 1.0 if decay_from == 1 else np.interp(done / 20, [decay_from, 1], [1.0, 0.0])
        (of_g,) = trainer.optimisers.generator.param_groups
        (of_d,) = trainer.optimisers.discriminator.param_groups
        assert of_g["lr"] == pytest.approx(3e-3 * share, rel=1e-9)
        assert of_d["lr"] == pytest.approx(7e-4 * share, rel=1e-9)
    assert rate_factor(20, settings) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("at", [1, 4, 13])
def test_rates_of_a_resumed_training_are_those_of_one_that_was_not_interrupted(at):
    changes = {"steps": 20, "decay_from": 0.3}
    first = trainer_of(**changes)
    list(itertools.islice(first, at))
    again = trainer_of(**changes)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    for trainer in (first, again):
        next(iter(trainer))
        assert trainer.optimisers.generator.param_groups[0]["lr"] == 2e-4 * rate_factor(at, trainer.settings)


def test_rates_in_tensors_are_set_in_place_to_the_same_values():
    """As a CUDA graph needs them: LambdaLR must neither replace the tensor nor round twice."""
    torch.manual_seed(0)
    settings = settings_with(steps=20, decay_from=0.3, generator_lr=3e-3)
    gan = tiny_gan()
    rates = [torch.tensor(3e-3), torch.tensor(3e-3)]
    optimisers = [
        torch.optim.Adam([{"params": list(network.parameters()), "initial_lr": 3e-3}], lr=rate)
        for network, rate in zip((gan.inference, gan.generator), rates, strict=True)
    ]
    trainer = Trainer(gan, random_images(BATCH), settings, optimisers)
    for done, _ in enumerate(trainer):
        for rate, optimiser in zip(rates, optimisers, strict=True):
            assert optimiser.param_groups[0]["lr"] is rate
            assert torch.equal(rate, torch.tensor(3e-3 * rate_factor(done, settings)))


def test_rates_follow_the_steps_of_training(monkeypatch):
    """4 steps at 0.5: the last uses half the rate, because it is half way down."""
    seen = []

    def step(gan, images, optimisers, settings, replay):
        seen.append(optimisers.generator.param_groups[0]["lr"])
        return training_step(gan, images, optimisers, settings, replay)

    monkeypatch.setattr(memgan.training, "training_step", step)
    list(train(tiny_gan(), random_images(BATCH), settings_with(steps=4, decay_from=0.5, generator_lr=0.008)))
    assert seen == pytest.approx([0.008, 0.008, 0.008, 0.004])


def test_each_network_has_its_own_rate():
    """Adam's first step moves each weight by its rate where the gradient is large against 1e-8."""
    spied = Spied(steps=1000, generator_lr=0.003, discriminator_lr=0.0007)
    for part, rate in (("generator", 0.003), ("inference", 0.0007)):
        moved = torch.cat([(spied.after[part][n] - spied.before[part][n]).flatten() for n in spied.before[part]])
        assert float(moved.abs().median()) == pytest.approx(rate, rel=1e-3)


# ---------------------------------------------------------------- the loop


def trained(*, seed, steps=5):
    prepare(seed)
    settings = tiny_settings(training={"steps": steps})
    gan = MemoryGAN.from_settings(settings.memory, settings.networks)
    history = list(train(gan, random_images(23), settings.training))
    return gan, history


def test_same_seed_gives_bitwise_the_same_run_and_another_seed_another():
    (gan, history), (again, history_again) = trained(seed=7), trained(seed=7)
    assert same_state(again, state_of(gan))
    assert history == history_again
    other, _ = trained(seed=8)
    now, then = other.state_dict(), gan.state_dict()
    for name in ("memory.keys", "inference.layers.0.weight", "generator.layers.0.weight"):
        assert not torch.equal(now[name], then[name])


def test_steps_are_numbered_from_one_to_the_last():
    gan, history = trained(seed=0)
    assert [step.number for step in history] == [1, 2, 3, 4, 5]
    assert all(isinstance(step, Step) for step in history)
    assert gan.training


def test_each_step_is_handed_out_as_it_is_done():
    gan = tiny_gan()
    steps = train(gan, random_images(23), settings_with())
    next(steps)
    before = state_of(gan.memory)
    next(steps)
    assert not same_state(gan.memory, before)


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(ValueError, match=f"at least a batch of {BATCH} images, got {BATCH - 1}"):
        list(train(tiny_gan(), random_images(BATCH - 1), settings_with()))
    assert len(list(train(tiny_gan(), random_images(BATCH), settings_with(steps=2)))) == 2


def images_seen(monkeypatch):
    """The value of the first pixel of every real image that a training step is given, batch by batch."""
    seen = []
    original = memgan.training.training_step

    def step(gan, images, *rest):
        seen.append(images[:, 0, 0, 0].tolist())
        return original(gan, images, *rest)

    monkeypatch.setattr(memgan.training, "training_step", step)
    return seen


def numbered_images(number):
    """Image i is of one colour, i / number."""
    return (2 * torch.arange(number) / number - 1).view(number, 1, 1, 1).repeat(1, 3, 4, 4)


@pytest.mark.thorough
def test_each_epoch_shows_every_image_at_most_once_in_a_new_order(monkeypatch):
    """23 images in batches of 5: four whole batches of 20 different images, and three left out."""
    seen = images_seen(monkeypatch)
    list(train(tiny_gan(), numbered_images(23), settings_with(steps=120, batch_size=5)))
    numbers = [[round(23 * (value + 1) / 2) for value in batch] for batch in seen]
    epochs = [list(itertools.chain(*numbers[start : start + 4])) for start in range(0, 120, 4)]
    assert all(len(batch) == 5 for batch in numbers)
    assert all(len(set(epoch)) == 20 and set(epoch) <= set(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
    # an image is left out of an epoch with probability 3/23: out of all thirty about once in 10^26
    assert set(itertools.chain(*epochs)) == set(range(23))


@pytest.mark.parametrize("steps", [3, 50, 73])
def test_losses_that_are_not_finite_end_the_training(steps):
    gan = tiny_gan()
    gan.memory.validate = False  # as on a GPU, where nothing looks at the queries
    with torch.no_grad():
        next(gan.generator.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="no longer finite"):
        list(train(gan, random_images(BATCH), settings_with(steps=steps)))


def test_finite_losses_do_not_end_the_training():
    assert len(list(train(tiny_gan(), random_images(BATCH), settings_with(steps=51)))) == 51


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 10.5}, "steps must be a whole number, got 10.5"),
        ({"steps": True}, "steps must be a whole number, got True"),
        ({"batch_size": 1}, "batch_size"),
        ({"batch_size": 11.0}, "batch_size must be a whole number, got 11.0"),
        ({"replay": 2.5}, "replay must be a whole number"),
        ({"mi_weight": float("nan")}, "mi_weight must be finite, got nan"),
        ({"gradient_penalty": float("nan")}, "gradient_penalty must be finite, got nan"),
        ({"generator_lr": float("inf")}, "generator_lr must be finite, got inf"),
        ({"beta1": "0.5"}, "beta1 must be a number, got '0.5'"),
        ({"flip": "no"}, "flip must be True or False, got 'no'"),
        ({"decay_from": 1.5}, "decay_from"),
        ({"decay_from": -0.1}, "decay_from"),
        ({"decay_from": float("nan")}, "decay_from"),
        ({"generator_loss": "hinge"}, "'saturating', 'non_saturating'.*got 'hinge'"),
        ({"precision": "float16"}, "'float32', 'bfloat16'.*got 'float16'"),
        ({"brightness": -0.1}, "brightness"),
        ({"shift": -1}, "shift"),
        ({"gradient_penalty": -1.0}, "gradient_penalty"),
    ],
)
def test_settings_that_cannot_train_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        settings_with(**change)


# ---------------------------------------------------------------- put down and taken up


def trainer_of(*, seed=0, **changes):
    prepare(seed)
    settings = tiny_settings(training=changes)
    return Trainer(MemoryGAN.from_settings(settings.memory, settings.networks), random_images(23), settings.training)


@pytest.mark.parametrize("at", [0, 1, 2, 5])
def test_a_trainer_goes_on_bitwise_where_another_stopped(at):
    whole = trainer_of(steps=9)
    history = list(whole)
    first = trainer_of(steps=9)
    before = list(itertools.islice(first, at))
    state, again = copy.deepcopy(first.state_dict()), trainer_of(steps=9, seed=99)
    again.load_state_dict(state)
    assert before + list(again) == history
    assert same_state(again.gan, state_of(whole.gan))


@pytest.mark.parametrize(
    ("images", "replay", "message"),
    [(400, 0, "of training on 23 images, there are 400"), (23, 20, "without a replay buffer, this one is with")],
)
def test_a_state_of_another_training_is_refused_before_anything_changes(images, replay, message):
    first = trainer_of(steps=9)
    list(itertools.islice(first, 2))
    settings = tiny_settings(training={"steps": 9, "replay": replay})
    gan = MemoryGAN.from_settings(settings.memory, settings.networks)
    other = Trainer(gan, random_images(images), settings.training)
    before = state_of(gan)
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(first.state_dict())
    assert same_state(gan, before) and other.number == 0


def test_a_state_of_more_steps_than_there_are_is_refused():
    """The rates would be below 0."""
    longer = trainer_of(steps=6)
    longer.run()
    with pytest.raises(ValueError, match="at most 3 steps, got one of 6"):
        trainer_of(steps=3).load_state_dict(longer.state_dict())


@pytest.mark.parametrize("frozen", ["inference", "generator"])
def test_a_network_that_is_frozen_stays_as_it_is_while_the_other_trains(frozen):
    trainer = trainer_of(steps=3)
    network = getattr(trainer.gan, frozen).requires_grad_(False)
    other = getattr(trainer.gan, "generator" if frozen == "inference" else "inference")
    before = [weight.clone() for weight in network.parameters()]
    of_other = [weight.clone() for weight in other.parameters()]
    trainer.run()
    assert all(torch.equal(weight, old) for weight, old in zip(network.parameters(), before, strict=True))
    assert not all(torch.equal(weight, old) for weight, old in zip(other.parameters(), of_other, strict=True))


def test_a_trainer_is_iterated_in_as_many_pieces_as_one_likes():
    whole, pieces = list(trainer_of(steps=9)), trainer_of(steps=9)
    assert [step for number in (1, 3, 0, 4, 20) for step in itertools.islice(pieces, number)] == whole


def test_state_holds_the_number_of_the_step_and_every_tensor_of_the_model():
    trainer = trainer_of()
    list(itertools.islice(trainer, 4))
    state = trainer.state_dict()
    assert state["number"] == trainer.number == 4
    assert state["gan"].keys() == trainer.gan.state_dict().keys()
    assert all(moments["step"] == 4 for part in Optimisers._fields for moments in state[part].values())


def test_bytes_train_as_the_floats_that_they_stand_for():
    """x / 127.5 - 1 by hand, on the same orders and draws."""
    images = torch.randint(256, (23, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    runs = []
    for data in (ImageData(images, torch.zeros(23, dtype=torch.long)), images.float() / 127.5 - 1):
        prepare(0)
        gan = tiny_gan()
        runs.append([step[1:] for step in train(gan, data, settings_with())])
    assert runs[0] == runs[1]


def test_images_are_changed_as_the_settings_say(monkeypatch):
    seen = {}

    def spy(data, index, **how):
        seen.update(how)
        return data.images[index]

    monkeypatch.setattr(memgan.training, "batch_of", spy)
    list(train(tiny_gan(), random_images(23), settings_with(steps=1, flip=True, brightness=0.2, shift=2)))
    assert seen == {"flip": True, "brightness": 0.2, "shift": 2}


# ---------------------------------------------------------------- faster ways of the same step


def first_steps(number, *, networks=None, memory=None, device="cpu", **changes):
    """The numbers of the first steps on random images, from the same weights; [number, 4]."""
    gan = tiny_gan(networks=networks, memory=memory)
    torch.manual_seed(0)
    trainer = Trainer(gan.to(device), random_images(97).to(device), settings_with(steps=50, batch_size=32, **changes))
    steps = [torch.stack(step[1:]).cpu() for step in itertools.islice(trainer, number)]
    return torch.stack(steps), trainer


def test_a_step_in_bfloat16_is_close_to_one_in_float32_but_not_the_same():
    """bfloat16 has 8 bits: a layer is off by some parts in a thousand; scores are kappa = 11 times a cosine."""
    wide = {"width": 16, "hidden": 32}
    exact, of_exact = first_steps(1, networks=wide)
    rounded, of_rounded = first_steps(1, networks=wide, precision="bfloat16")
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    for part in ("inference", "generator"):
        pairs = [list(getattr(trainer.gan, part).parameters()) for trainer in (of_exact, of_rounded)]
        one, other = (torch.cat([parameter.grad.flatten() for parameter in side]) for side in pairs)
        assert one.dtype == other.dtype == torch.float32
        assert torch.cosine_similarity(one, other, dim=0) > 0.95, part


@pytest.mark.parametrize("name", ["read", "read_write"])
def test_bfloat16_stays_within_the_networks(monkeypatch, name):
    """What the memory reads are unit vectors of float32, and it is asked outside autocast."""
    gan, seen = tiny_gan(), []
    original = getattr(gan.memory, name)

    def spy(queries, *labels):
        seen.append(
            (queries.dtype, float((queries.detach().norm(dim=1) - 1).abs().max()), torch.is_autocast_enabled("cpu"))
        )
        return original(queries, *labels)

    setattr(gan.memory, name, spy)
    list(train(gan, random_images(23), settings_with(steps=2, precision="bfloat16")))
    assert len(seen) == 2
    for dtype, off, autocast in seen:
        assert dtype == torch.float32 and off < 1e-6 and not autocast


FRESH_PAGES = """
import resource, sys, torch
from memgan.training import prepare

if sys.argv[1] == "prepared":
    prepare(seed=0)

def use_a_large_tensor():
    torch.ones(10_000_000)  # more bytes than glibc keeps by itself

for _ in range(5):
    use_a_large_tensor()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use_a_large_tensor()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep freed memory")
@pytest.mark.thorough
def test_the_memory_that_a_large_tensor_leaves_is_used_again_without_fresh_pages():
    pages = {}
    for how in ("plain", "prepared"):
        command = [sys.executable, "-c", FRESH_PAGES, how]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        pages[how] = int(finished.stdout)
    assert pages["prepared"] < pages["plain"] / 20


def test_large_networks_give_the_same_numbers_as_if_they_were_small(monkeypatch):
    """Channels last and fused Adam change the order of sums, no more."""
    wide = {"width": 16, "hidden": 32}
    plain, small = first_steps(5, networks=wide)
    monkeypatch.setattr(memgan.training, "is_large", lambda gan: True)
    fast, large = first_steps(5, networks=wide)
    (group,) = large.optimisers.generator.param_groups
    assert group["fused"] and not small.optimisers.generator.param_groups[0]["fused"]
    assert any(p.is_contiguous(memory_format=torch.channels_last) for p in large.gan.parameters() if p.ndim == 4)
    torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)


def test_the_authors_sizes_are_large_and_the_digits_are_not():
    """The digits' numbers stand in README.md and the notebooks, so their order of sums is not touched."""
    for name in ("fashion-mnist", "cifar10", "digits"):
        with torch.device("meta"):
            gan = MemoryGAN.from_settings(PRESETS[name].memory, PRESETS[name].networks)
        assert is_large(gan) == (name != "digits")


# ---------------------------------------------------------------- the loop and its user


def test_run_calls_back_with_each_step():
    trainer, seen = trainer_of(steps=5), []
    trainer.run(seen.append)
    assert [step.number for step in seen] == [1, 2, 3, 4, 5] and seen == list(trainer_of(steps=5))
    trainer.run()  # nothing is left to do
    assert trainer.number == 5


def test_a_step_of_ones_own_refuses_a_model_in_evaluation_mode():
    """Its G would not learn, because what it generates carries no gradient."""
    trainer = trainer_of()
    with pytest.raises(ValueError, match="training mode.*call train"):
        training_step(trainer.gan.eval(), random_images(7), trainer.optimisers, trainer.settings)


def test_evaluation_mode_between_steps_does_not_leak_into_training():
    calm = trainer_of(steps=5)
    expected = list(calm)
    disturbed = trainer_of(steps=5)
    history = []
    for step in disturbed:
        history.append(step)
        disturbed.gan.eval()
    assert history == expected
    assert same_state(disturbed.gan, state_of(calm.gan))


def test_optimisers_of_ones_own_step_the_networks():
    """Plain gradient descent: each weight of mu moves by its rate times its gradient."""
    torch.manual_seed(0)
    gan = tiny_gan()
    optimisers = [torch.optim.SGD(network.parameters(), lr=0.1) for network in (gan.inference, gan.generator)]
    trainer = Trainer(gan, random_images(23), settings_with(steps=4, decay_from=0.5), optimisers)
    for done, rate in enumerate([0.1, 0.1, 0.1, 0.05]):
        before = {name: weight.detach().clone() for name, weight in gan.inference.named_parameters()}
        next(iter(trainer))
        for name, weight in gan.inference.named_parameters():
            torch.testing.assert_close(weight, before[name] - rate * weight.grad, rtol=1e-5, atol=1e-7)
        assert trainer.number == done + 1


def adam(*networks):
    return torch.optim.Adam([weight for network in networks for weight in network.parameters()])


@pytest.mark.parametrize(
    ("optimisers", "kind", "message"),
    [
        (lambda gan: (adam(gan.generator), adam(gan.inference)), ValueError, "first .*inference, .*some of gan.gener"),
        (lambda gan: [adam(gan.inference)] * 2, ValueError, "second .* gan.generator, it holds some of gan.inference"),
        (lambda gan: [adam(gan)] * 2, ValueError, "first .* gan.inference, it holds some of gan.generator"),
        (lambda gan: (adam(tiny_gan().inference), adam(gan.generator)), ValueError, "first .* it holds none of them"),
        (lambda gan: (adam(gan.inference),), TypeError, r"\(of gan.inference, of gan.generator\), got \(Adam\)"),
        (lambda gan: {"of_inference": adam(gan.inference)}, TypeError, r"of gan.generator\), got \(dict\)"),
        (lambda gan: adam(gan), TypeError, "of gan.inference, of gan.generator"),
        (lambda gan: (gan.inference, gan.generator), TypeError, "got .*InferenceNetwork"),
    ],
)
def test_optimisers_of_other_weights_are_refused(optimisers, kind, message):
    gan = tiny_gan()
    with pytest.raises(kind, match=message):
        Trainer(gan, random_images(23), settings_with(), optimisers(gan))


def test_an_optimiser_of_a_frozen_network_may_hold_anything():
    gan = tiny_gan()
    gan.inference.requires_grad_(False)
    nothing = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.1)
    optimisers = iter([nothing, adam(gan.generator)])
    assert len(list(Trainer(gan, random_images(23), settings_with(steps=2), optimisers))) == 2


def test_an_optimiser_may_step_some_of_a_networks_weights_and_others_beside_them():
    gan, scale = tiny_gan(), torch.nn.Parameter(torch.ones(()))
    of_g = torch.optim.SGD([next(gan.generator.parameters()), scale], lr=0.1)
    optimisers = (torch.optim.SGD(gan.inference.parameters(), lr=0.1), of_g)
    assert len(list(Trainer(gan, random_images(23), settings_with(steps=2), optimisers))) == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_default_type_and_device_do_not_matter(precision):
    """A default device where nothing has a value: whatever is made there by mistake cannot be used."""
    expected = list(trainer_of(steps=5, precision=precision))
    trainer = trainer_of(steps=5, precision=precision)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        state = copy.deepcopy(trainer.state_dict())
        history = list(itertools.islice(trainer, 2))
        trainer.load_state_dict(state)
        again = list(trainer)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("cpu")
    assert history == expected[:2] and again == expected


def test_a_model_in_double_precision_trains_on_bytes_and_on_both_types_of_numbers():
    images = torch.randint(256, (23, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    as_numbers = images.float() / 127.5 - 1
    runs = []
    for data in (images, as_numbers, as_numbers.double()):
        prepare(0)
        gan = tiny_gan().double()
        runs.append(list(train(gan, data, settings_with())))
    assert runs[0] == runs[1] == runs[2] and runs[0][0].discriminator_loss.dtype == torch.float64


# ---------------------------------------------------------------- gradient penalty


class LinearModel(torch.nn.Module):
    """D(x) = sigmoid(w . x), of which everything is known."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def discriminate(self, images):
        return (images.flatten(1) @ self.weight).sigmoid()


def test_penalty_of_a_linear_logit_is_half_its_squared_slope():
    weight = torch.arange(1.0, 49.0, dtype=torch.double) / 50
    model = LinearModel(weight)
    penalty = gradient_penalty(model, random_images(7).double() / 10)
    assert penalty.item() == pytest.approx(float((weight**2).sum()) / 2, rel=1e-9)
    penalty.backward()
    torch.testing.assert_close(model.weight.grad, weight, rtol=1e-8, atol=0)


def penalised_gan(model):
    """A model in double precision whose D is nowhere at the clip, in evaluation mode: images do not meet there."""
    prepare(0)
    settings = replace(tiny_settings(memory={"top_k": 61, "kappa": 3.0}), model=model)
    gan = build_model(settings).double().eval()
    with torch.no_grad():
        for weight in gan.inference.parameters():
            weight.mul_(10)
    return gan


@pytest.mark.parametrize("model", ["memorygan", "dcgan"])
def test_penalty_is_half_the_squared_slope_of_the_logit_by_finite_differences(model):
    gan, images, step = penalised_gan(model), random_images(3).double(), 1e-6
    with torch.no_grad():
        squares = torch.zeros(3, dtype=torch.double)
        for pixel in range(48):
            moved = torch.zeros(48, dtype=torch.double)
            moved[pixel] = step
            moved = moved.view(1, 3, 4, 4)
            above, below = gan.discriminate(images + moved).logit(), gan.discriminate(images - moved).logit()
            squares += ((above - below) / (2 * step)) ** 2
    assert gradient_penalty(gan, images).item() == pytest.approx(float(squares.mean()) / 2, rel=1e-6)


@pytest.mark.parametrize("model", ["memorygan", "dcgan"])
def test_gradient_of_the_penalty_is_its_slope_along_random_directions(model):
    """By finite differences of the penalty itself, in the weights of mu."""
    gan, images, step = penalised_gan(model), random_images(5).double(), 1e-5
    weights = list(gan.inference.parameters())
    gradients = torch.autograd.grad(gradient_penalty(gan, images), weights, allow_unused=True)
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        directions = [torch.randn(weight.shape, generator=draw, dtype=torch.double) for weight in weights]
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for weight, direction in zip(weights, directions, strict=True):
                    weight.add_(sign * step * direction)
            values.append(gradient_penalty(gan, images).item())
            with torch.no_grad():
                for weight, direction in zip(weights, directions, strict=True):
                    weight.sub_(sign * step * direction)
        slope = (values[0] - values[1]) / (2 * step)
        products = [
            (gradient * direction).sum()
            for gradient, direction in zip(gradients, directions, strict=True)
            if gradient is not None
        ]
        assert float(sum(products)) == pytest.approx(slope, rel=1e-4)


def test_penalty_enters_the_loss_of_d_with_its_weight_and_not_that_of_g():
    losses = {}
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        gan, settings = tiny_gan(), settings_with(gradient_penalty=weight)
        losses[weight] = training_step(gan.train(), random_images(BATCH), adam_optimisers(gan, settings), settings)
    penalty = losses[1.0].discriminator_loss - losses[0.0].discriminator_loss
    half = losses[0.5].discriminator_loss - losses[0.0].discriminator_loss
    assert float(penalty) > 1e-4 and float(penalty) == pytest.approx(2 * float(half), rel=1e-3)
    assert losses[1.0].real == losses[0.0].real


def test_gradient_of_the_penalty_is_that_of_the_memory_before_it_was_written():
    """In a step of D the memory is written between the penalty and its backward pass."""
    images = random_images(BATCH)
    gradients = []
    for writes in (True, False):
        gan = tiny_gan()
        penalty = gradient_penalty(gan, images)
        if writes:
            gan.memory.write(gan.inference(images), torch.arange(BATCH) % 2)
        penalty.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in gan.inference.parameters()]))
    assert torch.equal(gradients[0], gradients[1]) and float(gradients[0].abs().sum()) > 0


@pytest.mark.thorough
def test_two_images_are_learnt():
    """The left half white, or the right: after 200 steps images are near one of the two, and both are made."""
    prepare(0)
    one = torch.full((3, 4, 4), -0.8)
    one[:, :, :2] = 0.8
    data = torch.stack([one, -one])
    memory = {"num_slots": 64, "top_k": 4, "kappa": 10.0, "alpha": 0.9}
    rates = {"generator_lr": 4e-3, "discriminator_lr": 2e-3, "beta1": 0.5, "decay_from": 0.5, "mi_weight": 0.01}
    settings = tiny_settings(
        memory=memory,
        networks={"width": 16, "noise_dim": 2},
        training={"steps": 200, "batch_size": 32, **rates},
    )
    gan = MemoryGAN.from_settings(settings.memory, settings.networks)

    def distances():
        images = copy.deepcopy(gan).eval().generate(211).images.detach()
        return torch.stack([(images - image).flatten(1).norm(dim=1) for image in data], dim=1)

    before = distances().amin(dim=1).mean()
    for _ in train(gan, data.repeat(16, 1, 1, 1), settings.training):
        pass
    nearest, which = distances().min(dim=1)
    apart = float((data[0] - data[1]).norm())
    assert before > 0.4 * apart  # grey lies half way between the two
    assert nearest.mean() < 0.3 * apart
    assert 0 < which.double().mean() < 1


# ---------------------------------------------------------------- other data, other models


def test_vectors_train_as_images_do():
    torch.manual_seed(0)
    decoder = torch.nn.Bilinear(8, 3, 5)
    decoder.noise_dim = 3
    gan = MemoryGAN(VMFMemory(64, 8, 8), torch.nn.Linear(5, 8), decoder)
    before = gan.generator.weight.detach().clone()
    steps = list(train(gan, torch.rand(50, 5) * 2 - 1, settings_with(steps=3, batch_size=8)))
    assert len(steps) == 3 and gan.image_shape == (5,)
    assert not torch.equal(gan.generator.weight, before)


@pytest.mark.parametrize(("name", "value"), [("flip", True), ("brightness", 0.1), ("shift", 1)])
def test_settings_that_vary_images_are_refused_for_vectors(name, value):
    gan = MemoryGAN(VMFMemory(64, 8, 8), torch.nn.Linear(5, 8), torch.nn.Identity(), noise_dim=3, image_shape=(5,))
    with pytest.raises(ValueError, match=rf"training.{name} varies images .* data \[5\], got {value}"):
        Trainer(gan, torch.rand(50, 5), settings_with(**{name: value}))


def test_a_compiled_model_is_refused_with_what_to_compile():
    with pytest.raises(TypeError, match="OptimizedModule: compile its `inference` and its `generator`"):
        Trainer(torch.compile(tiny_gan(), backend="eager"), random_images(23), settings_with())
