"""Evaluating a model: scores are of the sets that they name, each beside its known value; nothing is changed."""

import copy
import json
import math
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from evaluation_builders import FirstPixels, change_a_byte, some_digits
from gan_builders import same_state, state_of, tiny_gan, tiny_settings
from matplotlib.axes import Axes
from torch import nn

from memgan import MemoryGAN, VMFMemory
from memgan.data import ImageData, as_float, load_dataset
from memgan.lab.baselines.models import as_model, build_model
from memgan.lab.commands.cli import main
from memgan.lab.evaluation import METRICS, Classifier, Metric, OldFakes, evaluate, old_fakes_of, train_classifier
from memgan.lab.evaluation.figure import evaluation_figure
from memgan.lab.evaluation.inception import WEIGHTS, InceptionV3
from memgan.lab.evaluation.metrics import frechet_distance, ms_ssim, precision_recall
from memgan.lab.evaluation.spread import Interval, bootstrap_mean
from memgan.lab.evaluation.walks import in_between, walk
from memgan.lab.studies import comparison
from memgan.lab.studies.grids import STUDIES
from memgan.presets import PRESETS
from memgan.runs import build, save_run

RESULTS = Path(__file__).resolve().parents[3] / "results"

# ---------------------------------------------------------------- quality


class Copies(nn.Module):
    """A generator that hands out training images: the key says which, the noise nothing."""

    noise_dim = 2

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, keys, noise):
        return self.images[keys.argmax(dim=1)]


@pytest.fixture(scope="module")
def classifier():
    return train_classifier(some_digits(), epochs=1)


@pytest.fixture(scope="module")
def digits():
    data = some_digits(101)
    return ImageData(data.images[:64], data.labels[:64]), ImageData(data.images[64:], data.labels[64:])


def gan_of_copies(images):
    """A MemoryGAN with one slot, one unit key and one image each."""
    number = len(images)
    networks = {"image_size": images.shape[-1], "channels": images.shape[1]}
    settings = tiny_settings(memory={"num_slots": number, "key_dim": number, "top_k": 1}, networks=networks)
    gan = MemoryGAN.from_settings(settings.memory, settings.networks)
    gan.memory.keys.copy_(torch.eye(number))
    gan.memory.values.fill_(1)
    gan.memory.histogram.fill_(0.5)
    gan.generator = Copies(images)
    return gan


def only(*names):
    """The metrics of these names: what a test does not look at need not be measured."""
    chosen = tuple(metric for metric in METRICS if metric.name in names)
    assert len(chosen) == len(names)
    return chosen


def test_copies_of_the_training_images_are_found_out(classifier, digits):
    train, test = digits
    result = evaluate(gan_of_copies(train.images), classifier, train, test)
    assert result.nearest_training_distance == pytest.approx(0, abs=1e-6)
    assert result.nearer_to_training > 0.65  # 37 of the 64 are among those that are compared
    assert result.slot_purity == 1
    assert result.slots_in_use == pytest.approx(64, rel=1e-6)


def test_copies_of_the_test_images_and_images_of_neither_are_not_taken_for_copies_of_training_images(digits):
    train, test = digits
    nearer = only("nearer_to_training")
    copies = gan_of_copies(as_float(test.images))
    assert evaluate(copies, None, train, test, metrics=nearer).nearer_to_training == 0
    other = torch.rand(64, 1, *train.images.shape[2:], generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert 0.1 < evaluate(gan_of_copies(other), None, train, test, metrics=nearer).nearer_to_training < 0.9
    of_both = evaluate(gan_of_copies(other), None, train, train, metrics=nearer)
    assert of_both.nearer_to_training == 0.5  # each is as near to both


def test_a_generator_of_real_images_scores_like_real_images(digits):
    """Ten classes, drawn evenly and recognised surely: Inception Score and coverage at their best."""
    images = torch.eye(10, 16).view(10, 1, 4, 4).repeat(20, 1, 1, 1)
    data = ImageData(images, torch.arange(10).repeat(20))
    result = evaluate(gan_of_copies(images), FirstPixels(), data, data)
    assert result.classifier_accuracy == 1
    assert result.classes_covered == result.classes == 10
    assert result.inception_score_real == pytest.approx(10, rel=1e-5)
    assert 9 < result.inception_score <= 10  # 200 draws from 10 classes
    assert result.frechet_distance_real == pytest.approx(0, abs=1e-6)
    assert result.frechet_distance < 0.05  # against 0.9, the variance of ten such classes
    assert result.nearest_training_distance == result.nearest_training_distance_real == pytest.approx(0, abs=1e-6)


def test_a_generator_of_one_image_is_found_out():
    images = torch.eye(10, 16).view(10, 1, 4, 4).repeat(20, 1, 1, 1)
    data = ImageData(images, torch.arange(10).repeat(20))
    gan = gan_of_copies(images[:3].clone())
    gan.memory.histogram.copy_(torch.tensor([1.0, 0.0, 0.0]))
    result = evaluate(gan, FirstPixels(), data, data)
    assert result.classes_covered == 1 and result.classes == 10
    assert result.inception_score == pytest.approx(1, abs=1e-5)
    assert result.slots_in_use == pytest.approx(1, rel=1e-6)
    # the mean is (e_0 - 1/10) off, 0.9^2 + 9 * 0.1^2 = 0.9, and the variance 0.9 of the real images is missing
    assert result.frechet_distance == pytest.approx(0.9 + 0.9 * 200 / 199, rel=1e-4)


def test_frechet_distances_are_between_the_sets_that_they_name():
    """64 images of 16 pixels to train on, 19 to test on, and what the generator drew, by scipy on the raw pixels."""
    generator = torch.Generator().manual_seed(0)
    train, test = (ImageData(torch.rand(n, 1, 4, 4, generator=generator), torch.zeros(n).long()) for n in (64, 19))
    gan, drawn = gan_of_copies(torch.rand(7, 1, 4, 4, generator=generator)), []
    original = gan.generator.forward
    gan.generator.forward = lambda keys, noise: drawn.append(original(keys, noise)) or drawn[-1]
    frechet = only("frechet_distance", "frechet_distance_test")
    result = evaluate(gan, FirstPixels(), train, test, metrics=frechet)

    def distance(one, other):
        one, other = (images.flatten(1).double().numpy() for images in (one, other))
        c, d = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
        between = np.sqrt(np.linalg.eigvals(c @ d).astype(complex)).real.sum()
        return np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2) + np.trace(c) + np.trace(d) - 2 * between

    parts = [distance(drawn[0][start : start + 19], train.images) for start in (0, 19, 38)]  # and 7 left over
    assert result.frechet_distance == pytest.approx(np.mean(parts), rel=1e-4)
    assert result.frechet_distance_test == pytest.approx(distance(drawn[0], test.images), rel=1e-4)
    assert result.frechet_distance_real == pytest.approx(distance(test.images, train.images), rel=1e-4)


def test_of_more_test_images_than_training_images_as_many_are_compared(classifier, digits):
    train, test = digits
    result = evaluate(digits_gan(), classifier, test, train)
    assert result.frechet_distance_real > 0 and result.precision_real is not None
    assert sum(share * len(test.images) for share in result.class_shares_real) == pytest.approx(len(test.images))
    every_image = float((classifier(as_float(train.images)).argmax(dim=1) == train.labels).double().mean())
    assert result.classifier_accuracy == pytest.approx(every_image)


# ---------------------------------------------------------------- what is missing

NEED_NO_CLASSIFIER = {
    "ms_ssim",
    "ms_ssim_real",
    "ms_ssim_in_slots",
    "nearest_training_distance",
    "nearest_training_distance_real",
    "nearer_to_training",
    "slots_in_use",
    "new_fakes_rejected",
    "real_rejected",
}


def there(result):
    return {name for name, score in result.scores.items() if score is not None}


def test_without_a_classifier_there_is_what_needs_none(digits):
    train, test = digits
    result = evaluate(digits_gan(), None, train, test)
    assert there(result) == NEED_NO_CLASSIFIER
    assert "distance to nearest training image" in str(result)
    json.dumps(result.to_dict(), allow_nan=False)
    evaluation_figure(result)


def test_without_test_images_there_are_no_scores_of_real_images(classifier, digits):
    train, _ = digits
    nothing = ImageData(train.images[:0], train.labels[:0])
    result = evaluate(digits_gan(), classifier, train, nothing)
    assert {"inception_score", "frechet_distance", "ms_ssim", "nearest_training_distance"} <= there(result)
    assert not [name for name in there(result) if name.startswith("real") or name.endswith("_real")]
    assert result.classifier_accuracy is None and result.frechet_distance_test is None
    json.dumps(result.to_dict(), allow_nan=False)
    evaluation_figure(result)


@pytest.mark.parametrize("number", [1, 2, 3, 10])
def test_so_few_images_are_evaluated_too(classifier, digits, number):
    train, test = digits
    few = ImageData(train.images[:number], train.labels[:number])
    one = ImageData(test.images[:1], test.labels[:1])
    result = evaluate(digits_gan(), classifier, few, one)
    assert 1 <= result.inception_score <= 10 and result.nearest_training_distance > 0
    assert (result.ms_ssim is None) == (number < 2)
    json.dumps(result.to_dict(), allow_nan=False)
    evaluation_figure(result)


def test_a_model_without_slots_has_no_scores_of_slots(classifier, digits):
    settings = tiny_settings(networks={"image_size": 16, "channels": 1, "stages": 2})
    result = evaluate(build_model(as_model(settings, "dcgan")).eval(), classifier, *digits)
    assert result.slots_in_use is None and result.slot_purity is None and result.ms_ssim_in_slots is None
    assert "slot" not in str(result)


# ---------------------------------------------------------------- bounds


def test_no_score_and_no_interval_is_beyond_what_is_possible(result):
    """Real images and their copies: every score at its bound, where rounding and moving an interval would cross it."""
    images = torch.eye(10, 16).view(10, 1, 4, 4).repeat(20, 1, 1, 1)
    data = ImageData(images, torch.arange(10).repeat(20))
    for found in (
        evaluate(gan_of_copies(images), FirstPixels(), data, data),
        evaluate(gan_of_copies(images[:1].repeat(2, 1, 1, 1)), FirstPixels(), data, data),
        result,
    ):
        for metric in METRICS:
            most = 1 if metric.scale == "share" else math.inf
            if metric.name in ("inception_score", "classes_covered"):
                most = 10
            for name in (metric.name, metric.real):
                score = found.scores.get(name)
                if score is None:
                    continue
                low = score.value if score.low is None else score.low
                high = score.value if score.high is None else score.high
                assert 0 <= low <= score.value <= high <= most, name
        assert found.scores["inception_score"].low >= 1
        assert "-0.0" not in str(found)


def test_a_caveat_stands_where_the_classifier_is_unsure_of_most_images(result):
    unsure = {**result.scores, "in_between": Interval(0.9)}
    sure = {**result.scores, "in_between": Interval(0.1)}
    two_classes = replace(result, class_shares=[0.5, 0.5])
    assert "90% are in between" in str(replace(two_classes, scores=unsure))
    assert "are in between" not in str(replace(two_classes, scores=sure))


def digits_gan():
    """An untrained model of the digits' size."""
    return tiny_gan(networks={"image_size": 16, "channels": 1, "stages": 2})


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_leaves_the_model_and_the_global_random_state_as_they_were(classifier, digits, training):
    gan = digits_gan().train(training)
    before, random_state = state_of(gan), torch.get_rng_state()
    evaluate(gan, classifier, *digits)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training == training for module in gan.modules())
    assert same_state(gan, before)
    assert all(parameter.grad is None for parameter in gan.parameters())


def test_evaluating_twice_gives_the_same_and_another_seed_not(classifier, digits):
    gan = digits_gan()
    torch.manual_seed(1)
    one = evaluate(gan, classifier, *digits, seed=3)
    torch.manual_seed(2)
    assert evaluate(gan, classifier, *digits, seed=3) == one
    other = evaluate(gan, classifier, *digits, seed=4, metrics=only("nearest_training_distance"))
    assert other.nearest_training_distance != one.nearest_training_distance


def test_images_are_drawn_in_evaluation_mode(digits):
    """A model whose running statistics are turned upside down: training mode would not see it."""
    gan = digits_gan()
    other = copy.deepcopy(gan)
    for module in other.generator.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.fill_(5.0)
    distance = only("nearest_training_distance")
    one, another = (evaluate(model.train(), None, *digits, metrics=distance) for model in (gan, other))
    assert one.nearest_training_distance != another.nearest_training_distance


# ---------------------------------------------------------------- variety, copies and coverage


def ten_classes(copies=20):
    """One image of each of ten classes, `copies` times."""
    return ImageData(torch.eye(10, 16).view(10, 1, 4, 4).repeat(copies, 1, 1, 1), torch.arange(10).repeat(copies))


def spread_out(number, seed=0):
    """Ten classes that `FirstPixels` tells apart, no two images alike."""
    data = ten_classes(number // 10)
    noise = torch.rand(data.images.shape, generator=torch.Generator().manual_seed(seed))
    return ImageData(data.images * 0.5 + 0.02 * noise, data.labels)


def test_a_generator_of_training_images_has_precision_and_recall_of_real_ones():
    train, test = spread_out(200), spread_out(200, seed=1)
    result = evaluate(gan_of_copies(train.images), FirstPixels(), train, test)
    assert result.precision == 1
    assert result.recall > 0.85  # 200 draws of 200 images leave out a third, which lie near the others
    precise, recalled = precision_recall(test.images.flatten(1), train.images.flatten(1))
    assert result.precision_real == pytest.approx(float(precise.double().mean()))
    assert result.recall_real == pytest.approx(float(recalled.double().mean()))


def test_a_generator_of_three_classes_is_precise_and_recalls_three_tenths():
    train = spread_out(200)
    result = evaluate(gan_of_copies(train.images[train.labels < 3]), FirstPixels(), train, spread_out(200, seed=1))
    assert result.precision == 1 and result.recall == pytest.approx(0.3, abs=0.05)
    assert result.classes_covered == 3
    assert sum(result.class_shares[:3]) == pytest.approx(1)
    assert result.class_shares_real == pytest.approx([0.1] * 10)


def test_a_generator_of_noise_is_neither_precise_nor_recalls(digits, classifier):
    noise = torch.rand(41, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    result = evaluate(gan_of_copies(noise), classifier, *digits, metrics=only("precision", "recall"))
    assert result.precision < 0.1 and result.recall < 0.1
    assert result.precision_real > 0.5 and result.recall_real > 0.5


def test_one_image_is_all_alike_and_real_ones_are_as_alike_as_their_pairs(digits):
    train, test = digits
    alike = only("ms_ssim", "ms_ssim_in_slots")
    result = evaluate(gan_of_copies(train.images[:1].repeat(3, 1, 1, 1)), None, train, test, metrics=alike)
    assert result.ms_ssim == result.ms_ssim_in_slots == pytest.approx(1)
    one, other = torch.triu_indices(37, 37, offset=1)
    everyone = float(ms_ssim(test.images[one], test.images[other]).mean())
    assert result.ms_ssim_real == pytest.approx(everyone, abs=0.15)  # 18 pairs of 666
    various = evaluate(gan_of_copies(train.images), None, train, test, metrics=alike)
    assert various.ms_ssim == pytest.approx(everyone, abs=0.15)
    assert various.ms_ssim_in_slots == pytest.approx(1)  # the noise does nothing


class ByNoise(Copies):
    """The noise says which image; the key, nothing."""

    def forward(self, keys, noise):
        return self.images[((noise[:, 0] + 1) / 2 * len(self.images)).long().clamp(max=len(self.images) - 1)]


def test_where_the_noise_does_everything_images_of_a_slot_are_as_unlike_as_any(classifier, digits):
    train, test = digits
    gan = gan_of_copies(train.images)
    gan.generator = ByNoise(train.images)
    gan.conditional = False
    result = evaluate(gan, classifier, train, test, metrics=only("ms_ssim_in_slots", "in_between_slot"))
    everyone = ms_ssim(train.images.repeat_interleave(64, dim=0), train.images.repeat(64, 1, 1, 1))
    assert result.ms_ssim_in_slots == pytest.approx(float(everyone.mean()), abs=0.05)  # 1,024 pairs
    assert result.in_between_slot is None


def test_the_closest_images_are_shown_over_what_they_are_close_to(digits):
    train, test = digits
    distance = only("nearest_training_distance")
    result = evaluate(gan_of_copies(train.images[5:8] + 0.01), None, train, test, metrics=distance)
    generated, real = result.closest
    assert len(generated) == 10
    for image, original in zip(generated, real, strict=True):
        torch.testing.assert_close(image, original + 0.01)
    assert result.nearest_quantiles[0] == pytest.approx(0.01 * 16, rel=1e-3) == result.nearest_quantiles[-1]
    assert result.nearest_quantiles_real == sorted(result.nearest_quantiles_real)


# ---------------------------------------------------------------- walks


@pytest.mark.thorough
def test_walks_are_those_that_the_laboratory_takes(classifier, digits):
    train, test = digits
    gan = gan_of_copies(train.images).eval()
    classifier = train_classifier(some_digits(1000), epochs=3)
    walks = only("in_between_noise", "in_between_slot", "in_between_switch", "in_between_keys")
    result = evaluate(gan, classifier, train, test, seed=2, metrics=walks)
    assert result.in_between_noise is None
    for kind in ("slot", "switch", "keys"):
        assert getattr(result, f"in_between_{kind}") == pytest.approx(in_between(walk(gan, classifier, kind, seed=2)))
    assert result.in_between_slot == result.in_between_switch == 0  # sure at both ends, and nothing between


def test_an_unsure_classifier_has_no_walks_and_says_so(digits):
    flat = FirstPixels()
    with torch.no_grad():
        flat.head.weight.zero_()
    train, test = ten_classes(), ten_classes(10)
    result = evaluate(gan_of_copies(train.images), flat, train, test)
    assert (result.in_between_slot, result.in_between_switch, result.in_between_keys) == (None, None, None)
    assert result.in_between == result.in_between_real == 1
    assert "inside a slot" not in str(result).replace("of one slot", "")


# ---------------------------------------------------------------- baselines


@pytest.mark.thorough
@pytest.mark.parametrize("model", ["dcgan", "infogan", "kaiser", "no-mcgn"])
def test_baselines_are_evaluated_too(model, classifier, digits):
    settings = tiny_settings(networks={"image_size": 16, "channels": 1, "stages": 2})
    gan = build_model(as_model(settings, model)).eval()
    before = state_of(gan)
    result = evaluate(gan, classifier, *digits)
    assert same_state(gan, before)
    assert 1 <= result.inception_score <= 10
    assert (result.slots_in_use is None) == (model == "dcgan")
    assert result.in_between_slot is None or gan.conditional
    json.dumps(result.to_dict(), allow_nan=False)
    evaluation_figure(result)


# ---------------------------------------------------------------- forgetting


class Brightness(nn.Module):
    """A memory and an inference network in one: D(x) is the mean pixel, from 0 to 1."""

    def __init__(self, memory):
        super().__init__()
        self.keys = memory.keys
        self.values = memory.values
        self.histogram = memory.histogram
        self.sample = memory.sample
        self.slots_in_use = memory.slots_in_use

    def read(self, images):
        return (images.mean(dim=(1, 2, 3)) + 1) / 2


def test_old_fakes_rejected_are_counted_moment_by_moment(digits):
    train, test = ten_classes(), ten_classes(10)
    gan = gan_of_copies(train.images)
    gan.memory, gan.inference = Brightness(gan.memory), nn.Identity()
    dark, bright = torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.full((4, 1, 4, 4), 255, dtype=torch.uint8)
    fakes = OldFakes(torch.stack([dark, torch.cat([dark[:1], bright[1:]]), bright]), torch.tensor([10, 20, 30]))
    result = evaluate(gan, FirstPixels(), train, test, old_fakes=fakes)
    assert [moment["step"] for moment in result.old_fakes] == [10, 20, 30]
    assert [moment["value"] for moment in result.old_fakes] == [1, 0.25, 0]
    assert result.old_fakes_rejected == pytest.approx(5 / 12)
    assert result.new_fakes_rejected == result.real_rejected == 0  # means above 0, all of them
    assert evaluate(gan, FirstPixels(), train, test).old_fakes_rejected is None


def test_old_fakes_are_read_from_a_run_and_what_is_no_such_file_is_named(tmp_path):
    gan = tiny_gan()
    assert old_fakes_of(tmp_path, gan) is None
    content = {"images": torch.zeros(2, 5, 3, 4, 4, dtype=torch.uint8), "steps": torch.tensor([1, 2])}
    torch.save(content, tmp_path / "old_fakes.pt")
    assert torch.equal(old_fakes_of(tmp_path, gan).steps, content["steps"])
    for images in (content["images"].float(), content["images"][:1], content["images"][..., :3]):
        torch.save({**content, "images": images}, tmp_path / "old_fakes.pt")
        with pytest.raises(ValueError, match="old_fakes.pt.*expected"):
            old_fakes_of(tmp_path, gan)
    (tmp_path / "old_fakes.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="old_fakes.pt cannot be read"):
        old_fakes_of(tmp_path, gan)


def test_a_single_changed_byte_of_the_old_fakes_is_seen(tmp_path):
    gan = tiny_gan()
    images = torch.randint(0, 256, (2, 5, 3, 4, 4), dtype=torch.uint8)
    torch.save({"images": images, "steps": torch.tensor([1, 2])}, tmp_path / "old_fakes.pt")
    change_a_byte(tmp_path / "old_fakes.pt", of=images)
    with pytest.raises(ValueError, match="old_fakes.pt cannot be read"):
        old_fakes_of(tmp_path, gan)


# ---------------------------------------------------------------- report


@pytest.fixture(scope="module")
def result(classifier, digits):
    train, test = digits
    images = torch.stack([train.images[:5].mul(-1), train.images[:5]]).add(1).mul(127.5).byte()
    return evaluate(digits_gan(), classifier, train, test, old_fakes=OldFakes(images, torch.tensor([10, 20])))


def test_report_has_the_value_the_interval_and_the_real_counterpart_of_every_score(result):
    lines = str(result).splitlines()
    for metric in METRICS:
        score = result.scores[metric.name]
        if "report" not in metric.shown or score is None:
            continue
        (line,) = [line for line in lines if line.startswith(metric.label + "  ")]
        others = [score.low, score.high, getattr(result, metric.real) if metric.real else None]
        for number in [score.value, *others]:
            assert number is None or f"{number:.{metric.decimals}f}" in line.removeprefix(metric.label).split()


def test_report_says_when_one_class_is_all_there_is(result):
    warning = "sees one class in all generated images"
    assert warning not in str(replace(result, class_shares=[0.5, 0.5]))
    assert warning in str(replace(result, class_shares=[0.999, 0.001])).splitlines()[-1]
    assert warning not in str(replace(result, class_shares=[1.0]))  # there is no other


def test_json_holds_every_number_and_every_interval_with_its_value_inside(result):
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    for metric in METRICS:
        assert content[metric.name] == getattr(result, metric.name)
        assert not metric.real or content[metric.real] == getattr(result, metric.real)
    assert len(content["intervals"]) >= 15
    for name, interval in content["intervals"].items():
        assert set(interval) == {"value", "low", "high"} and interval["value"] == content[name]
        assert interval["low"] <= interval["value"] + 1e-6 and interval["value"] <= interval["high"] + 1e-6


def test_keys_are_those_of_the_committed_results(result):
    """Notebooks and pages read them by these names."""
    runs = json.loads((RESULTS / "study-ablation-mnist-5k.json").read_text(encoding="utf-8"))["runs"]
    about_the_run = {"configuration", "changes", "seed", "commit", "candidate", "steps", "seconds", "parameters"}
    assert set(runs[0]) - about_the_run <= set(result.to_dict())


def test_a_score_that_there_is_not_is_no_attribute(result):
    with pytest.raises(AttributeError, match="no score 'inception_scroe'"):
        _ = result.inception_scroe
    assert copy.deepcopy(result) == result and pickle.loads(pickle.dumps(replace(result, metrics=()))) == result


# ---------------------------------------------------------------- a new metric


def brightness(material):
    return bootstrap_mean(as_float(material.measured.images).mean(dim=(1, 2, 3)))


BRIGHTNESS = Metric(
    "brightness",
    brightness,
    "mean brightness",
    decimals=4,
    better="as real",
    real="brightness_real",
    shown=("report", "panel", "study"),
)


def test_a_metric_of_one_entry_is_in_the_table_the_json_the_figures_and_the_comparison(classifier, digits, monkeypatch):
    metrics = (*METRICS, BRIGHTNESS)
    train, test = digits
    gan = gan_of_copies(train.images[:1].repeat(2, 1, 1, 1))
    result = evaluate(gan, classifier, train, test, metrics=metrics)
    value = float(train.images[0].double().mean())
    real = float(test.images.double().mean())
    assert result.brightness == pytest.approx(value) and result.brightness_real == pytest.approx(real)
    (line,) = [line for line in str(result).splitlines() if line.startswith("mean brightness")]
    assert f"{value:.4f}" in line and f"{real:.4f}" in line
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["brightness"] == pytest.approx(value) and content["intervals"]["brightness_real"]["low"] < real
    assert "mean brightness" in words_of(evaluation_figure(result))
    monkeypatch.setitem(STUDIES, "kappa", replace(STUDIES["kappa"], metrics=("brightness",)))
    runs = [{"configuration": "only one", "seed": 0, **content}]
    study = {"study": "kappa", "preset": "digits", "question": "Which?", "tuning": [], "runs": runs}
    for written in (comparison.table(study, metrics), comparison.markdown(study, metrics)):
        head, *_, real_images = written.splitlines()
        assert "mean brightness" in head and f"{real:.2f}" in real_images
    (panel,) = comparison.figure(study, metrics).axes
    assert "mean brightness" in panel.get_xlabel()
    assert panel.lines[0].get_xdata() == pytest.approx([value])


def test_only_the_metrics_that_are_asked_for_are_measured(classifier, digits):
    result = evaluate(digits_gan(), classifier, *digits, metrics=(BRIGHTNESS,))
    assert set(result.scores) == {"brightness", "brightness_real"}
    assert "mean brightness" in str(result)
    assert "mean brightness" in words_of(evaluation_figure(result))


def words_of(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_a_model_that_makes_nan_is_refused(classifier, digits):
    gan = digits_gan()
    gan.generator.layers[0].weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        evaluate(gan, classifier, *digits)


def test_figure_shows_every_number_that_has_an_axis(result):
    figure = evaluation_figure(result)
    words = words_of(figure)
    for value in (result.inception_score, result.frechet_distance, result.precision, result.ms_ssim):
        assert f"{value:.3g}" in words
    for axes in figure.findobj(lambda artist: hasattr(artist, "get_xlabel")):
        assert axes.get_title() or axes.get_xlabel()


def test_figure_shows_classes_of_any_name(result):
    names = ["$", "x$^$", "$\\nothing$", "caf\udce9", *"456789"]
    figure = evaluation_figure(replace(result, class_names=tuple(names)))
    figure.draw_without_rendering()
    (axes,) = [axes for axes in figure.findobj(Axes) if axes.get_title() == "Are all classes there?"]
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == ["$", "x$^$", "$\\nothing$", "caf?", *"456789"]


def test_a_class_whose_name_cannot_be_drawn_has_its_number(result):
    """matplotlib's own font has no Chinese; drawing it would warn of each character."""
    names = ["狗", "chat", "狗 b", *"3456789"]
    figure = evaluation_figure(replace(result, class_names=tuple(names)))
    figure.draw_without_rendering()
    (axes,) = [axes for axes in figure.findobj(Axes) if axes.get_title() == "Are all classes there?"]
    assert [label.get_text() for label in axes.get_xticklabels()][:3] == ["0", "chat", "2"]


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the classifiers of these tests are kept, each trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, monkeypatch, cache):
    """A run of an untrained model, and a classifier that is there in a moment."""
    monkeypatch.setenv("MEMGAN_CACHE", str(cache))
    monkeypatch.setattr(
        "memgan.lab.evaluation.classifier.train_classifier",
        lambda data, **options: train_classifier(data, epochs=1, **options),
    )
    settings = tiny_settings(networks={"image_size": 16, "channels": 1, "stages": 2})
    save_run(tmp_path / "run", digits_gan(), settings, {})
    return tmp_path / "run"


def folder_of_images(path, number, classes):
    from PIL import Image

    for index in range(number):
        place = path / (f"class {index % 2}" if classes else ".") / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        grey = np.random.default_rng(index).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(grey).save(place)
    return f"folder:{path}"


@pytest.mark.thorough
@pytest.mark.parametrize("classes", [True, False])
def test_a_run_is_held_against_a_folder_by_its_own_classes_or_by_the_runs(run, tmp_path, capsys, classes):
    real = folder_of_images(tmp_path / "images", 150, classes)
    assert main(["evaluate", str(run), "--against", real, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["classes"] == (2 if classes else 10)
    assert content["classifier_accuracy"] > (0.3 if classes else 0.5)  # noise of two classes; digits
    assert content == json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert (run / "evaluation.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.thorough
def test_another_data_sets_classifier_may_be_named(run, tmp_path, capsys):
    real = folder_of_images(tmp_path / "images", 150, True)
    assert main(["evaluate", str(run), "--against", real, "--classifier", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 10


def test_images_without_classes_need_another_classifier(run, tmp_path, capsys):
    real = folder_of_images(tmp_path / "images", 50, False)
    assert main(["evaluate", str(run), "--against", real, "--classifier", real]) == 1
    assert "two classes or more" in capsys.readouterr().err
    assert not (run / "evaluation.json").exists()


# ---------------------------------------------------------------- Inception-v3


class FakeExtractor(nn.Module):
    """In the place of torch-fidelity's network, which takes bytes: the mean of each channel, over and over."""

    def __init__(self, name, features_list, weights):
        super().__init__()
        assert features_list == ["2048"] and weights.endswith("pth")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, images):
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        return (images.double().mean(dim=(2, 3)).float().repeat(1, 683)[:, :2048],)


@pytest.fixture
def torch_fidelity(monkeypatch, tmp_path):
    """A package of that name, and the folder that PyTorch keeps downloads in."""
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.URL_INCEPTION_V3, module.FeatureExtractorInceptionV3 = "https://example.org/weights", FakeExtractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints" / WEIGHTS


def test_inception_is_refused_where_it_is_not_installed_and_nothing_is_fetched(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'memgan\[inception\]'"):
        InceptionV3()


def test_inception_without_weights_says_where_they_belong(torch_fidelity, run, capsys):
    assert main(["evaluate", str(run), "--features", "inception"]) == 1
    error = capsys.readouterr().err
    assert str(torch_fidelity) in error and "https://example.org/weights" in error


def test_inception_sees_bytes_in_three_channels(torch_fidelity):
    torch_fidelity.parent.mkdir(parents=True)
    torch_fidelity.touch()
    extractor = InceptionV3()
    grey = torch.tensor([-1.0, 0.2, 1.0]).view(3, 1, 1, 1).expand(3, 1, 5, 5)
    assert extractor.features(grey)[:, :4].tolist() == [[0] * 4, [153] * 4, [255] * 4]
    colours = torch.tensor([-1.0, 0.2, 1.0]).view(1, 3, 1, 1).expand(1, 3, 5, 5)
    features = extractor.features(colours)
    assert features[0, :4].tolist() == [0, 153, 255, 0]
    weight = extractor._network.fc.weight
    torch.testing.assert_close(extractor.head(features), features @ weight.T)


def test_inceptions_scores_stand_beside_the_classifiers(classifier, digits):
    """The classifier itself in Inception's place: the same numbers once more."""
    result = evaluate(digits_gan(), classifier, *digits, inception=classifier)
    assert result.inception_v3["frechet_distance"].value == result.frechet_distance
    assert result.inception_v3["precision"] == result.intervals["precision"]
    (line,) = (line for line in str(result).splitlines() if line.startswith("Inception-v3: precision"))
    assert f"{result.precision:.3f}" in line and f"{result.precision_real:.3f}" in line
    assert result.to_dict()["inception_v3"]["recall"]["value"] == result.recall


def test_what_is_no_data_and_a_classifier_of_other_images_are_refused_in_words():
    digits = load_dataset("digits")
    gan = build(PRESETS["digits"])
    with pytest.raises(TypeError, match=r"train must be ImageData\(images, labels\), got Tensor"):
        evaluate(gan, None, digits.images, digits)
    with pytest.raises(ValueError, match=r"the classifier is none of images \[1, 16, 16\]"):
        evaluate(gan, Classifier(1, (28, 28), 10), digits, digits)


def test_images_of_other_values_are_refused_and_probable_mistakes_warned_of(digits):
    train, test = digits
    gan = build(PRESETS["digits"])
    for images, message in (
        (train.images * 127.5 + 127.5, r"must lie in \[-1, 1\], got values from 0 to 255"),
        (train.images * torch.nan, "got values from nan"),
    ):
        for data in ((train._replace(images=images), test), (train, test._replace(images=images))):
            with pytest.raises(ValueError, match=message):
                evaluate(gan, None, *data, metrics=())
    with pytest.raises(TypeError, match="got torch.int64"):
        evaluate(gan, None, train._replace(images=train.images.long()), test)
    with pytest.raises(TypeError, match="got ndarray: use torch.from_numpy"):
        evaluate(gan, None, train._replace(images=train.images.numpy()), test)
    with pytest.raises(ValueError, match=r"a label for each of the .* images of classifier_test, got \[3\]"):
        evaluate(gan, None, train, test, classifier_test=test._replace(labels=test.labels[:3]))
    with pytest.raises(ValueError, match="labels of test count the classes from 0, got -1"):
        evaluate(gan, None, train, test._replace(labels=test.labels - 1))
    half = [data._replace(images=(data.images + 1) / 2) for data in digits]
    with pytest.warns(UserWarning, match=r"give 2 \* images - 1"):
        evaluate(gan, None, *half, metrics=())


def test_images_of_another_shape_than_the_models_are_refused(digits):
    train, test = digits
    gan = build(PRESETS["digits"])
    small = test._replace(images=test.images[:, :, :8, :8])
    with pytest.raises(ValueError, match=r"the training images are \[1, 16, 16\], the test images \[1, 8, 8\]"):
        evaluate(gan, None, train, small)
    gan.image_shape = None  # as that of networks of one's own may be
    with pytest.raises(ValueError, match=r"the model makes images \[1, 16, 16\], the training images are \[1, 8, 8\]"):
        evaluate(gan, None, small, small)
    with pytest.raises(ValueError, match="expected training images to compare with, got none"):
        evaluate(gan, None, train._replace(images=train.images[:0], labels=train.labels[:0]), test)


def test_a_model_in_float64_has_the_scores_of_the_same_one_in_float32(classifier, digits):
    gan = digits_gan()
    expected = evaluate(gan, classifier, *digits)
    doubled = [data._replace(images=data.images.double()) for data in digits]
    found = evaluate(copy.deepcopy(gan).double(), classifier, *doubled)
    for name in ("slots_in_use", "classes_covered", "ms_ssim_real", "real_rejected"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4)
    assert math.isfinite(found.frechet_distance)


class DoubleInside(nn.Module):
    """An encoder of images in float32 that computes in float64."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(256, 7).double()

    def forward(self, images):
        return self.layer(images.flatten(1).double()).float()


def test_a_model_that_computes_in_float64_inside_is_evaluated(digits):
    gan = digits_gan()
    gan.inference = DoubleInside()
    assert evaluate(gan, None, *digits).new_fakes_rejected is not None


def test_a_model_whose_weights_are_made_by_hooks_is_evaluated_and_stays_as_it_is(digits):
    """The hooks of `torch.nn.utils` keep a tensor with a history, which `copy.deepcopy` refuses to copy."""
    gan = digits_gan()
    for module in gan.generator.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.utils.spectral_norm(module)
    gan.train()
    gan.generate(8)
    before = state_of(gan)
    assert evaluate(gan, None, *digits).ms_ssim is not None
    assert gan.training and same_state(gan, before)


class Decoder(nn.Module):
    """Keys and noise to data of any shape."""

    noise_dim = 4

    def __init__(self, shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(36, math.prod(shape)), nn.Tanh(), nn.Unflatten(1, shape))

    def forward(self, keys, noise):
        return self.layers(torch.cat([keys, noise], dim=1))


@pytest.mark.parametrize("shape", [(16,), (2, 5), (1, 1, 1), (1, 3, 3), (1, 8, 12), (3, 12, 8)])
def test_data_of_any_shape_are_measured_by_what_there_is_of_them(shape):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.BatchNorm1d(32, affine=False))
    gan = MemoryGAN(VMFMemory(64, 32, 8), encoder, Decoder(shape))
    data = ImageData(torch.rand(60, *shape) * 2 - 1, torch.arange(60) % 3)
    are_images = len(shape) == 3 and min(shape[1:]) >= 4
    result = evaluate(gan, train_classifier(data, epochs=1) if are_images else None, data, data)
    assert result.nearest_training_distance > 0 and result.slots_in_use > 1
    assert (result.ms_ssim is not None) == (result.recall is not None) == are_images
    print(result)
    json.dumps(result.to_dict(), allow_nan=False)
    evaluation_figure(result).draw_without_rendering()


class Coordinates(nn.Module):
    """Features of vectors: the vectors themselves; their classes: which coordinate is the largest."""

    def features(self, images):
        return images

    def head(self, features):
        return 10 * features


def test_features_of_ones_own_give_scores_of_data_that_are_no_images():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32, affine=False))
    gan = MemoryGAN(VMFMemory(64, 32, 8), encoder, Decoder((6,)))
    train, test = (ImageData(torch.rand(200, 6) * 2 - 1, torch.zeros(200, dtype=torch.int64)) for _ in range(2))
    scores = evaluate(gan, None, train, test, inception=Coordinates()).inception_v3
    expected = frechet_distance(test.images, train.images)  # features are the data themselves
    assert scores["frechet_distance_real"].value == pytest.approx(expected)
    assert scores["frechet_distance"].value > 2 * expected
