"""The baselines: each is what its name says, and the trainer and the evaluation treat it as they treat a MemoryGAN."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gan_builders import TINY_ASSIGNMENTS, TINY_TRAINING, random_images, same_state, state_of, tiny_settings
from memory_builders import assert_equals_reference, lived_in_memory, reference_of, unit_rows
from scipy.special import log_softmax
from scipy.stats import chisquare, entropy, norm

from memgan import MemoryGAN
from memgan.gan import Generated, generator_loss
from memgan.lab.baselines.memories import AveragingMemory, LastWriteWins, OneByOne
from memgan.lab.baselines.models import MODELS, as_model, build_model, parameters
from memgan.lab.baselines.sigmoid import SigmoidGAN
from memgan.lab.commands.cli import main
from memgan.lab.sessions import load_model
from memgan.presets import PRESETS
from memgan.runs import build, load_run, save_run
from memgan.training import adam_optimisers, prepare, train, training_step

CODES, CONTINUOUS = 3, 2
BATCH = TINY_TRAINING["batch_size"]
SHORT = {"steps": 5}
INFOGAN = f"infogan:{CODES}+{CONTINUOUS}"
each_baseline = pytest.mark.parametrize("name", MODELS[1:])


def tiny_baseline_settings(name, **changes):
    return replace(tiny_settings(**changes), model=INFOGAN if name == "infogan" else name)


def tiny_baseline(name, **changes):
    prepare(0)
    return build_model(tiny_baseline_settings(name, **changes))


@each_baseline
def test_trainer_takes_it_and_both_networks_learn(name):
    gan, settings = tiny_baseline(name), tiny_settings(training=SHORT).training
    before = copy.deepcopy(gan)
    steps = list(train(gan, random_images(23), settings))
    assert len(steps) == settings.steps and all(bool(s.discriminator_loss.isfinite()) for s in steps)
    for part in ("inference", "generator"):
        pairs = zip(getattr(gan, part).parameters(), getattr(before, part).parameters(), strict=True)
        assert all(not torch.equal(now, then) for now, then in pairs), part


@each_baseline
def test_same_seed_gives_the_same_run(name):
    runs = []
    for _ in range(2):
        gan = tiny_baseline(name)
        list(train(gan, random_images(23), tiny_settings(training=SHORT).training))
        runs.append(state_of(gan))
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


@each_baseline
def test_scores_are_probabilities_inside_the_clip(name):
    gan = tiny_baseline(name).eval()
    scores = gan.discriminate(random_images(7) * 100)
    epsilon = torch.tensor(1e-7 if isinstance(gan, SigmoidGAN) else 1e-3)
    assert scores.shape == (7,) and bool(((scores >= epsilon) & (scores <= 1 - epsilon)).all())


def test_the_generator_of_a_sigmoid_learns_however_sure_d_is():
    """The gradient of -log D by the logit is D - 1, which is -1 where D is sure of a fake."""
    logits = torch.tensor([[-15.0], [-8.0], [0.0], [8.0]], requires_grad=True)
    generator_loss(tiny_baseline("dcgan").read(logits), "non_saturating").backward()
    exact = (torch.sigmoid(logits.detach().double()) - 1) / 4
    assert torch.allclose(logits.grad.double(), exact, rtol=1e-3)


@each_baseline
def test_images_and_samples_of_slots_have_the_shapes_that_the_classifier_expects(name):
    gan = tiny_baseline(name).eval()
    assert gan.generate(5).images.shape == (5, 3, 4, 4)
    images, slots = gan.sample_slots(2, 6)
    assert images.shape == (2, 6, 3, 4, 4) and slots.shape == (2,)


@each_baseline
def test_the_key_of_a_slot_is_the_one_that_it_is_drawn_with(name):
    gan = tiny_baseline(name).eval()
    keys, slots = gan.sample_keys(101, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gan.keys_of(slots), keys)


@each_baseline
def test_slots_are_drawn_as_often_as_they_say_and_slots_in_use_is_the_exponential_of_their_entropy(name):
    gan = tiny_baseline(name).eval()
    _, slots = gan.sample_keys(20_011, generator=torch.Generator().manual_seed(0))
    probabilities = gan.slot_probabilities().numpy()
    expected = 20_011 * probabilities
    observed = np.bincount(slots.numpy(), minlength=len(probabilities))
    drawn = expected > 0
    assert observed[~drawn].sum() == 0
    assert drawn.sum() == 1 or chisquare(observed[drawn], expected[drawn]).pvalue > 1e-3
    assert float(gan.slots_in_use()) == pytest.approx(np.exp(entropy(probabilities)), rel=1e-6)


@each_baseline
def test_images_depend_on_the_key_where_the_model_says_that_it_is_conditional(name):
    gan = tiny_baseline(name).eval()
    keys, slots = gan.sample_keys(101, generator=torch.Generator().manual_seed(0))
    others = keys[slots != slots[0]]
    pair = torch.stack([keys[0], others[0] if len(others) else keys[0]])
    first, last = gan.generator(pair, pair.new_zeros(2, gan.noise_dim))
    assert gan.conditional == (not torch.equal(first, last))


@each_baseline
def test_what_it_says_of_itself_is_true(name):
    gan = tiny_baseline(name)
    made = gan.generate(7)
    assert gan.image_shape == made.images.shape[1:] and gan.noise_dim == made.noise.shape[1]
    assert gan.device == torch.device("cpu")
    queries = gan.inference(made.images)
    before = gan.read(queries)
    assert torch.equal(gan.read_write(queries, torch.ones(7, dtype=torch.long)), before)
    assert gan.information(made, queries).shape == ()


@pytest.mark.parametrize("name", ["dcgam", "infogan:", "infogan:0+2", "infogan:3", "infogan:3+-1", "no_mcgn", ""])
def test_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match="expected one of memorygan, kaiser, .*, dcgan, infogan"):
        build_model(replace(tiny_settings(), model=name))
    with pytest.raises(ValueError, match=re.escape(f"unknown model {name!r}")):
        as_model(tiny_settings(), name)


def test_more_continuous_codes_than_noise_are_refused():
    with pytest.raises(ValueError, match="6 continuous codes need noise_dim >= 6, got 5"):
        build_model(replace(tiny_settings(), model="infogan:3+6"))


def test_memorygan_is_built_by_the_package_alone():
    models = []
    for make in (build, build_model):
        prepare(0)
        models.append(make(tiny_settings()))
    assert same_state(models[0], models[1].state_dict()) and type(models[1]) is MemoryGAN
    with pytest.raises(ValueError, match="expected a MemoryGAN, got the baseline 'dcgan'"):
        build(replace(tiny_settings(), model="dcgan"))


@each_baseline
def test_a_run_comes_back_as_it_was_saved(name, tmp_path):
    gan = tiny_baseline(name)
    settings = tiny_baseline_settings(name, training=SHORT)
    list(train(gan, random_images(23), settings.training))
    save_run(tmp_path, gan, settings, {})
    loaded = load_model(tmp_path)
    again = loaded.gan
    assert loaded.settings == settings and same_state(again, gan.state_dict())
    assert type(again) is type(gan)
    assert type(getattr(again, "memory", None)) is type(getattr(gan, "memory", None))
    with pytest.raises(ValueError, match=f"got the baseline {re.escape(repr(settings.model))}"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", ["dcgan", "no-mcgn"])
def test_generator_without_a_key_sees_noise_only(name):
    gan = tiny_baseline(name).eval()
    made = gan.generate(7)
    assert torch.equal(gan.generator(torch.roll(made.keys, 1, dims=0), made.noise), made.images)
    assert not torch.equal(gan.generator(made.keys, torch.roll(made.noise, 1, dims=0)), made.images)


@pytest.mark.parametrize("name", ["dcgan", "no-mcgn"])
def test_without_a_condition_there_is_nothing_to_read_back(name):
    gan = tiny_baseline(name)
    made = gan.generate(7)
    assert float(gan.information(made, gan.inference(made.images))) == 0


@pytest.mark.parametrize("name", ["dcgan", "infogan"])
def test_sigmoid_takes_the_place_of_the_memory(name):
    gan = tiny_baseline(name).eval()
    images = random_images(7)
    logit = gan.inference(images)[:, 0].detach().double().numpy()
    expected = np.clip(1 / (1 + np.exp(-logit)), 1e-3, 1 - 1e-3)
    np.testing.assert_allclose(gan.discriminate(images).detach().numpy(), expected, atol=1e-6)


def test_dcgan_step_is_the_binary_cross_entropy():
    gan, settings = tiny_baseline("dcgan"), tiny_settings(training={"mi_weight": 0.0}).training
    images = random_images(BATCH)
    spy = copy.deepcopy(gan)
    torch.manual_seed(3)
    loss_d, *_ = training_step(gan, images, adam_optimisers(gan, settings), settings)
    torch.manual_seed(3)
    with torch.no_grad():
        fakes = spy.generate(BATCH).images
    real, fake = spy.inference(images)[:, 0], spy.inference(fakes)[:, 0]
    expected = F.binary_cross_entropy_with_logits(real, torch.ones(BATCH))
    expected += F.binary_cross_entropy_with_logits(fake, torch.zeros(BATCH))
    assert float(loss_d) == pytest.approx(expected.item(), abs=1e-5)


def test_infogan_bound_is_the_log_probability_of_both_kinds_of_codes():
    gan, draw = tiny_baseline("infogan"), torch.Generator().manual_seed(0)
    slots = torch.tensor([0, 2, 1, 2])
    scores, noise = torch.randn(4, 1 + CODES + CONTINUOUS, generator=draw), torch.rand(4, 5, generator=draw) * 2 - 1
    answers = scores.double().numpy()
    categorical = [log_softmax(answers[row, 1 : 1 + CODES])[code] for row, code in enumerate(slots)]
    gaussian = norm.logpdf(noise[:, :CONTINUOUS].double().numpy(), loc=answers[:, 1 + CODES :]).sum(axis=1)
    expected = -np.mean(np.array(categorical) + gaussian)
    made = Generated(torch.empty(0), torch.eye(CODES)[slots], slots, noise)
    assert float(gan.information(made, scores)) == pytest.approx(expected, rel=1e-5)


def test_infogan_without_continuous_codes_is_the_cross_entropy_alone():
    gan = build_model(replace(tiny_settings(), model=f"infogan:{CODES}+0"))
    slots = torch.tensor([0, 2, 1])
    logits = torch.tensor([[0.0, 8, 0, 0], [3, 0, 0, 7], [-2, 0, 9, 0]])
    made = Generated(torch.empty(0), torch.eye(CODES)[slots], slots, torch.rand(3, 5))
    expected = -np.mean([log_softmax(row)[slot] for row, slot in zip(logits[:, 1:].numpy(), slots, strict=True)])
    assert float(gan.information(made, logits)) == pytest.approx(expected, rel=1e-5)


def test_infogan_learns_to_read_both_kinds_of_codes_back():
    """By the bound alone, on what the generator draws: better than to know nothing of either code."""
    gan = tiny_baseline("infogan", networks={"width": 8})
    optimiser = torch.optim.Adam(gan.parameters(), 1e-2)
    for _ in range(200):
        made = gan.generate(64)
        queries = gan.inference(made.images)
        loss = gan.information(made, queries)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    errors = (queries[:, 1 + CODES :] - made.noise[:, :CONTINUOUS]).square().mean(dim=0)
    right = (queries[:, 1 : 1 + CODES].argmax(dim=1) == made.slots).double().mean()
    assert bool((errors < 1 / 3 / 2).all()) and float(right) > 0.9  # 1/3: the variance of a code


def test_infogan_codes_are_one_hot_and_equally_probable():
    made = tiny_baseline("infogan").generate(3001, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.keys, torch.eye(CODES)[made.slots])
    assert bool((made.keys.mean(dim=0) - 1 / CODES).abs().max() < 0.04)


@pytest.mark.parametrize("preset", ["digits", "fashion-mnist-slim", "cifar10"])
@each_baseline
def test_baselines_have_as_many_weights_as_memorygan(preset, name):
    """Generators exactly, discriminators but for the last layer; the keys of a memory are counted apart."""
    settings = PRESETS[preset]
    full, other = parameters(build_model(settings)), parameters(build_model(as_model(settings, name)))
    assert other["generator"] == full["generator"]
    outputs = {"dcgan": 1, "infogan": 1 + 10 + 2}.get(name, 0)
    assert other["inference"] == full["inference"] + outputs * (settings.memory.key_dim + 1)
    assert other["inference"] <= 1.03 * full["inference"]
    assert full["memory"] == settings.memory.num_slots * settings.memory.key_dim
    assert other["memory"] == (full["memory"] if name not in ("dcgan", "infogan") else 0)


def test_only_the_settings_of_a_memorygan_become_those_of_another():
    assert as_model(PRESETS["digits"], "memorygan") == PRESETS["digits"]
    with pytest.raises(ValueError, match="expected the settings of a memorygan, got those of 'dcgan'"):
        as_model(as_model(PRESETS["digits"], "dcgan"), "kaiser")


@pytest.fixture
def run_of_model(tmp_path, request):
    """The folder of a run that `memgan train --model` made."""
    words = [word for change in TINY_ASSIGNMENTS for word in ("--set", change)]
    assert main(["train", "--model", request.param, "--out", str(tmp_path / request.param), *words]) == 0
    return tmp_path / request.param


@pytest.mark.parametrize("run_of_model", ["no-mcgn", "dcgan", "infogan"], indirect=True)
def test_commands_draw_its_run_and_explore_refuses_it(run_of_model, capsys):
    picture = run_of_model / "grid.png"
    assert main(["sample", str(run_of_model), "--out", str(picture), "--slots", "2", "--samples", "2"]) == 0
    assert picture.stat().st_size > 1000
    assert main(["explore", str(run_of_model)]) == 1
    assert f"holds a {run_of_model.name}: its generator is given no slot" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("run_of_model", ["kaiser", "no-mcgn", "dcgan", "infogan"], indirect=True)
def test_evaluate_takes_its_run(run_of_model, capsys):
    assert main(["evaluate", str(run_of_model)]) == 0
    assert "Inception Score" in capsys.readouterr().out


# ---------------------------------------------------------------- memories with another rule


LABELS = torch.tensor([1, 0, 1, 0, 0, 1, 1, 0, 1])


def another(kind, **settings):
    """The same life twice: in the usual memory, and in one of another `kind`."""
    memory = lived_in_memory(correct_in_top=5, **settings)
    other = kind(17, 3, 5, kappa=6.0, alpha=0.7, correct_in_top=5, **settings).double()
    other.load_state_dict(state_of(memory))
    return memory, other


def test_average_moves_the_best_slot_alone_by_a_plain_loop():
    memory, other = another(AveragingMemory)
    before = copy.deepcopy(other)
    query = F.normalize(unit_rows(1, 3, seed=5), dim=1)
    other.write(query, torch.tensor([1]))
    joint = [
        float(np.exp(6.0 * float(query[0] @ before.keys[i])) * before.histogram[i]) * int(before.values[i])
        for i in range(17)
    ]
    best = int(np.argmax(joint))
    expected = before.keys[best] + query[0]
    torch.testing.assert_close(other.keys[best], expected / expected.norm(), rtol=0, atol=1e-12)
    assert float(other.histogram[best]) == pytest.approx(0.7 * float(before.histogram[best]) + 1, rel=1e-12)
    rest = [slot for slot in range(17) if slot != best]
    assert torch.equal(other.keys[rest], before.keys[rest]) and torch.equal(
        other.histogram[rest], before.histogram[rest]
    )


def test_samples_of_one_slot_count_as_their_mean_and_as_their_number():
    _, other = another(AveragingMemory)
    before = copy.deepcopy(other)
    slot = int(before.histogram.mul(before.values).argmax())
    queries = F.normalize(before.keys[slot] + 0.05 * unit_rows(4, 3, seed=6), dim=1)
    other.write(queries, torch.ones(4, dtype=torch.long))
    moved = F.normalize(before.keys[slot] + queries.mean(dim=0), dim=0)
    torch.testing.assert_close(other.keys[slot], moved, rtol=0, atol=1e-12)
    assert float(other.histogram[slot]) == pytest.approx(0.7 * float(before.histogram[slot]) + 4, rel=1e-12)


@pytest.mark.parametrize("kind", [AveragingMemory, LastWriteWins])
def test_what_is_not_em_is_as_it_was(kind):
    """The same read, and the same slots replaced with the same content."""
    memory, other = another(kind)
    queries, labels = unit_rows(9, 3, seed=7), LABELS
    assert torch.equal(memory.read(queries), other.read(queries))
    memory.write(queries, labels)
    other.write(queries, labels)
    assert torch.equal(memory.values, other.values) and torch.equal(memory.ages, other.ages)


def test_order_of_a_batch_does_not_matter_without_em_either():
    _, one = another(AveragingMemory)
    other = copy.deepcopy(one)
    queries, labels = unit_rows(9, 3, seed=8), LABELS
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    one.write(queries, labels)
    other.write(queries[order], labels[order])
    for name in ("keys", "histogram", "values", "ages"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-12)


@pytest.mark.parametrize("touch", ["best", "all"])
@pytest.mark.parametrize("within", [True, False])
def test_samples_written_one_after_another_are_the_papers_loop(touch, within):
    _, other = another(OneByOne, touch=touch, replace_within_label=within)
    loops, queries = reference_of(other), unit_rows(9, 3, seed=9)
    before = other.read(queries)
    assert torch.equal(other.read_write(queries, LABELS), before)
    for query, label in zip(queries.numpy(), LABELS.tolist(), strict=True):
        loops.write(query, label)
    assert_equals_reference(other, loops, tolerance=1e-10)


def test_of_several_samples_in_a_slot_the_last_one_stays():
    """A loop over the batch in which each sample starts from the memory as it was, later ones over earlier ones."""
    _, other = another(LastWriteWins)
    homes = other.keys[other.values == 1][:2]
    queries = F.normalize(homes.repeat(3, 1) + 0.1 * unit_rows(6, 3, seed=10), dim=1)
    before = reference_of(other)
    expected = reference_of(other)
    for query in queries.numpy():
        alone = copy.deepcopy(before)
        matching = alone.nearest(query, 1)
        alone.expectation_maximisation(query, 1)
        for slot in matching:
            expected.keys[slot], expected.histogram[slot] = alone.keys[slot], alone.histogram[slot]
    other.write(queries, torch.ones(6, dtype=torch.long))
    assert_equals_reference(other, expected, ages=False)


def test_where_nobody_meets_last_write_wins_is_the_usual_write():
    memory, other = another(LastWriteWins)
    query = unit_rows(1, 3, seed=11)
    memory.write(query, torch.tensor([1]))
    other.write(query, torch.tensor([1]))
    assert same_state(other, memory.state_dict())
    memory.write(unit_rows(9, 3, seed=12), LABELS)
    other.write(unit_rows(9, 3, seed=12), LABELS)
    assert not torch.equal(memory.keys, other.keys)
