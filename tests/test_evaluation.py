"""The scores against known values, scipy and plain loops, and what evaluating leaves alone."""

import copy
import math

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from gan_builders import same_state, state_of, tiny_gan, tiny_settings
from torch import nn

import memgan_lab.classifier
from memgan import MemoryGAN
from memgan.data import ImageData, load_dataset
from memgan_lab.classifier import Classifier, accuracy, classifier_for, train_classifier
from memgan_lab.evaluation import evaluate
from memgan_lab.metrics import frechet_distance, inception_score, nearest_distances, slot_purity

# ---------------------------------------------------------------- Inception Score


@pytest.mark.parametrize("classes", [2, 7, 10])
def test_inception_score_of_sure_and_evenly_spread_answers_is_the_number_of_classes(classes):
    logits = torch.eye(classes).repeat(3, 1) * 100
    assert inception_score(logits) == pytest.approx(classes, rel=1e-5)


def test_inception_score_of_one_answer_for_all_is_one():
    assert inception_score(torch.tensor([[3.0, -1.0, 0.5]]).repeat(11, 1)) == pytest.approx(1, abs=1e-6)
    assert inception_score(torch.tensor([[100.0, 0.0, 0.0]]).repeat(11, 1)) == pytest.approx(1, abs=1e-6)


def test_inception_score_of_classes_at_unequal_shares_is_the_exponential_of_their_entropy():
    counts = [1, 2, 5]
    logits = torch.cat([F.one_hot(torch.full((n,), c), 3) for c, n in enumerate(counts)]).float() * 100
    entropy = -sum(n / 8 * math.log(n / 8) for n in counts)
    assert inception_score(logits) == pytest.approx(math.exp(entropy), rel=1e-5)


def test_inception_score_by_hand():
    """p(y|x) = (3/4, 1/4) and (1/4, 3/4): KL to (1/2, 1/2) is log 2 + 3/4 log 3/4 + 1/4 log 1/4 for both."""
    logits = torch.log(torch.tensor([[3.0, 1.0], [1.0, 3.0]]))
    kl = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert inception_score(logits) == pytest.approx(math.exp(kl), rel=1e-5)


def test_inception_score_by_a_plain_loop():
    logits = torch.randn(53, 7, generator=torch.Generator().manual_seed(0)) * 2
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    kl = sum(a * math.log(a / b) for row in p for a, b in zip(row, marginal, strict=True)) / 53
    assert inception_score(logits) == pytest.approx(math.exp(kl), rel=1e-5)


# ---------------------------------------------------------------- Frechet distance


def with_moments(number, mean, deviations):
    """Samples whose mean and (unbiased) covariance are exactly `mean` and diag(deviations^2)."""
    dimension = len(mean)
    centred = np.random.default_rng(number).standard_normal((number, dimension))
    centred -= centred.mean(axis=0)
    orthonormal, _ = np.linalg.qr(centred)
    return torch.as_tensor(orthonormal * math.sqrt(number - 1) * np.array(deviations) + np.array(mean))


def test_frechet_distance_of_a_set_to_itself_is_zero():
    features = torch.randn(53, 5, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_a_shifted_set_is_the_squared_shift():
    features = torch.randn(53, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0], dtype=torch.double)
    assert frechet_distance(features, features + shift) == pytest.approx(1 + 4 + 0.25 + 9, rel=1e-6)


def test_frechet_distance_of_scaled_gaussians():
    """Diagonal covariances: |m - m'|^2 + sum (s - s')^2."""
    mean, other_mean = [0.0, 1.0, -1.0], [2.0, 1.0, 0.5]
    s, t = [1.0, 2.0, 0.5], [3.0, 2.0, 0.25]
    expected = 4 + 2.25 + 4 + 0.0625
    distance = frechet_distance(with_moments(31, mean, s), with_moments(47, other_mean, t))
    assert distance == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_correlated_features_by_scipy():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((97, 5)) @ rng.standard_normal((5, 5)) + rng.standard_normal(5)
    other = rng.standard_normal((61, 5)) @ rng.standard_normal((5, 5))
    c, d = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(c @ d).real
    expected = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2) + np.trace(c + d - 2 * root)
    assert frechet_distance(torch.as_tensor(one), torch.as_tensor(other)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(torch.as_tensor(other), torch.as_tensor(one)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_with_features_that_are_always_zero():
    """As after a ReLU: a singular covariance adds nothing and breaks nothing."""
    features = F.pad(with_moments(31, [0.0, 1.0], [1.0, 2.0]), (0, 3))
    others = F.pad(with_moments(31, [1.0, 1.0], [2.0, 2.0]), (0, 3))
    assert frechet_distance(features, others) == pytest.approx(1 + 1, rel=1e-5)


# ---------------------------------------------------------------- copies and slots


def test_nearest_distances_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    images, others = (torch.rand(n, 3, 5, 7, generator=generator) * 2 - 1 for n in (31, 53))
    result = nearest_distances(images, others)
    assert result.shape == (31,)
    for image, distance in zip(images.double().numpy(), result.tolist(), strict=True):
        expected = min(math.sqrt(((image - other) ** 2).sum()) for other in others.double().numpy())
        assert distance == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("number", [3, 101])
def test_copies_are_at_distance_zero(number):
    """Also where |a|^2 + |b|^2 - 2ab, the fast way to a distance, cancels badly: 16x16 arbitrary pixels."""
    others = torch.rand(number, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert float(nearest_distances(others.flip(0), others).max()) == pytest.approx(0, abs=1e-4)


def test_slot_purity_by_hand():
    assert slot_purity(torch.tensor([[1, 1, 1], [7, 7, 7]])) == 1
    assert slot_purity(torch.tensor([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])) == pytest.approx(1 / 5)
    assert slot_purity(torch.tensor([[5, 5, 5, 0], [0, 1, 1, 2], [3, 3, 2, 2]])) == pytest.approx((3 + 2 + 2) / 12)


def test_slot_purity_is_of_the_slots_and_not_of_all_images():
    """Every slot pure, all classes equal in number: pure all the same."""
    assert slot_purity(torch.arange(7).unsqueeze(1).expand(7, 5)) == 1


# ---------------------------------------------------------------- the judge


class Remembered(nn.Module):
    """A classifier that reads the class off an image's first pixels: 10 logits, far apart."""

    def __init__(self):
        super().__init__()
        self.features = nn.Flatten()
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(10, 16) * 100)
            self.head.bias.zero_()

    def forward(self, images):
        return self.head(self.features(images))


def test_accuracy_is_the_share_of_right_answers():
    images = torch.eye(10, 16)[[3, 1, 4, 1, 5]].view(5, 1, 4, 4)
    labels = torch.tensor([3, 1, 4, 0, 0])
    assert accuracy(Remembered(), ImageData(images, labels)) == pytest.approx(3 / 5)


def some_digits(number=256):
    data = load_dataset("digits")
    return ImageData(data.images[:number], data.labels[:number])


def test_training_a_classifier_is_deterministic_and_leaves_the_global_random_state_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = train_classifier(some_digits(), seed=3, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert same_state(train_classifier(some_digits(), seed=3, epochs=1), state_of(one))
    assert not same_state(train_classifier(some_digits(), seed=4, epochs=1), state_of(one))
    assert not one.training


@pytest.fixture
def quick_judge(monkeypatch):
    """Trains in a moment; counts how often."""
    calls = []

    def quick(data, *arguments, **settings):
        calls.append(data)
        return train_classifier(ImageData(data.images[:64], data.labels[:64]), epochs=1)

    monkeypatch.setattr(memgan_lab.classifier, "train_classifier", quick)
    return calls


def test_classifier_is_trained_once_and_then_read_from_its_folder(quick_judge, tmp_path):
    folder = tmp_path / "new" / "cache"
    first = classifier_for("digits", folder)
    again = classifier_for("digits", folder)
    assert len(quick_judge) == 1
    assert same_state(again, state_of(first)) and not again.training and not first.training
    (file,) = folder.iterdir()
    assert "digits" in file.name
    file.unlink()
    classifier_for("digits", folder)
    assert len(quick_judge) == 2


def test_classifier_is_trained_on_the_training_split(quick_judge, tmp_path):
    classifier_for("digits", tmp_path)
    assert torch.equal(quick_judge[0].images, load_dataset("digits").images)


def test_the_environment_says_where_classifiers_are_kept(quick_judge, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMGAN_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    classifier_for("digits")
    assert len(list((tmp_path / "here").iterdir())) == 1
    monkeypatch.delenv("MEMGAN_CACHE")
    classifier_for("digits")
    assert len(list((tmp_path / "home" / ".cache" / "memgan").iterdir())) == 1


def test_a_classifier_whose_writing_failed_is_not_taken_for_one(quick_judge, tmp_path, monkeypatch):
    def breaks(state, path, *_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(torch, "save", breaks)
        classifier_for("digits", tmp_path)
    classifier_for("digits", tmp_path)
    assert len(quick_judge) == 2


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04"])
def test_a_damaged_classifier_is_trained_anew_or_named(quick_judge, tmp_path, content):
    classifier_for("digits", tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    try:
        classifier_for("digits", tmp_path)
        assert len(quick_judge) == 2
    except ValueError as error:
        assert file.name in str(error)


@pytest.mark.thorough
def test_the_judge_of_the_digits_is_right_on_unseen_writers(tmp_path):
    assert accuracy(classifier_for("digits", tmp_path), load_dataset("digits", split="test")) >= 0.97


# ---------------------------------------------------------------- all of it


class Copies(nn.Module):
    """A generator that hands out training images: the key says which, the noise nothing."""

    noise_dim = 2

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, keys, noise):
        return self.images[keys.argmax(dim=1)]


@pytest.fixture(scope="module")
def judge():
    return train_classifier(some_digits(), epochs=1)


@pytest.fixture(scope="module")
def digits():
    data = some_digits(101)
    return ImageData(data.images[:64], data.labels[:64]), ImageData(data.images[64:], data.labels[64:])


def gan_of_copies(images):
    """A MemoryGAN with one slot, one unit key and one image each."""
    number = len(images)
    settings = tiny_settings(memory={"num_slots": number, "key_dim": number, "top_k": 1})
    gan = MemoryGAN(settings.memory, settings.networks)
    gan.memory.keys.copy_(torch.eye(number))
    gan.memory.values.fill_(1)
    gan.memory.histogram.fill_(0.5)
    gan.generator = Copies(images)
    return gan


def test_copies_of_the_training_images_are_found_out(judge, digits):
    train, test = digits
    result = evaluate(gan_of_copies(train.images), judge, train, test)
    assert result.nearest_training_distance == pytest.approx(0, abs=1e-6)
    assert result.slot_purity == 1
    assert result.slots_in_use == pytest.approx(64, rel=1e-6)


def test_a_generator_of_real_images_scores_like_real_images(digits):
    """Ten classes, drawn evenly and recognised surely: Inception Score and coverage at their best."""
    images = torch.eye(10, 16).view(10, 1, 4, 4).repeat(20, 1, 1, 1)
    data = ImageData(images, torch.arange(10).repeat(20))
    result = evaluate(gan_of_copies(images), Remembered(), data, data)
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
    result = evaluate(gan, Remembered(), data, data)
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
    result = evaluate(gan, Remembered(), train, test)

    def distance(one, other):
        one, other = (images.flatten(1).double().numpy() for images in (one, other))
        c, d = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
        between = np.sqrt(np.linalg.eigvals(c @ d).astype(complex)).real.sum()
        return np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2) + np.trace(c) + np.trace(d) - 2 * between

    parts = [distance(drawn[0][start : start + 19], train.images) for start in (0, 19, 38)]  # and 7 left over
    assert result.frechet_distance == pytest.approx(np.mean(parts), rel=1e-4)
    assert result.frechet_distance_test == pytest.approx(distance(drawn[0], test.images), rel=1e-4)
    assert result.frechet_distance_real == pytest.approx(distance(test.images, train.images), rel=1e-4)


def test_more_test_images_than_training_images_are_refused(judge, digits):
    train, test = digits
    with pytest.raises(ValueError, match="at most 37 test images, one per training image, got 64"):
        evaluate(digits_gan(), judge, test, train)


def digits_gan():
    """An untrained model of the digits' size."""
    return tiny_gan(networks={"image_size": 16, "channels": 1, "stages": 2})


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_leaves_the_model_as_it_was(judge, digits, training):
    gan = digits_gan().train(training)
    before = state_of(gan)
    evaluate(gan, judge, *digits)
    assert all(module.training == training for module in gan.modules())
    assert same_state(gan, before)
    assert all(parameter.grad is None for parameter in gan.parameters())


def test_evaluating_leaves_the_global_random_state_alone(judge, digits):
    gan, state = digits_gan(), torch.get_rng_state()
    evaluate(gan, judge, *digits)
    assert torch.equal(torch.get_rng_state(), state)


def test_scoring_leaves_the_global_random_state_alone():
    state = torch.get_rng_state()
    inception_score(torch.randn(13, 5, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluating_twice_gives_the_same_and_another_seed_not(judge, digits):
    gan = digits_gan()
    torch.manual_seed(1)
    one = evaluate(gan, judge, *digits, seed=3)
    torch.manual_seed(2)
    assert evaluate(gan, judge, *digits, seed=3) == one
    assert evaluate(gan, judge, *digits, seed=4).nearest_training_distance != one.nearest_training_distance


def test_evaluation_judges_images_of_evaluation_mode(judge, digits):
    """A model whose running statistics are turned upside down: training mode would not see it."""
    gan = digits_gan()
    other = copy.deepcopy(gan)
    for module in other.generator.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.fill_(5.0)
    one, another = (evaluate(model.train(), judge, *digits) for model in (gan, other))
    assert one.nearest_training_distance != another.nearest_training_distance


def test_report_names_every_score_with_its_value(judge, digits):
    result = evaluate(digits_gan(), judge, *digits)
    report = str(result)
    assert len(report.splitlines()) >= 7
    for number in (f"{result.inception_score:.2f}", f"{result.slot_purity:.3f}", f"{result.frechet_distance:.1f}"):
        assert number in report
    assert set(result.to_dict()) == set(type(result).__dataclass_fields__)
    assert all(isinstance(value, float | int) for value in result.to_dict().values())


def test_classifier_features_are_what_its_head_sees():
    model = Classifier(channels=3, image_size=8, num_classes=7).eval()
    images = torch.rand(5, 3, 8, 8)
    assert model.features(images).shape == (5, 64) and model(images).shape == (5, 7)
    torch.testing.assert_close(model.head(model.features(images)), model(images))
