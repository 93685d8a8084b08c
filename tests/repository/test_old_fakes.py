"""The measurement of old fakes asks D in the two ways that it says, and scores as other programs do."""

import copy

import pytest
import torch
from gan_builders import random_images, same_state, state_of, tiny_gan
from scipy.stats import mannwhitneyu

from memgan.data import load_dataset
from memgan.lab.evaluation import evaluate, old_fakes_of
from memgan.lab.sessions import load_model, resume
from memgan.presets import PRESETS
from scripts.measure_old_fakes import BATCH, answers, auc, features, of_study


@pytest.fixture
def gan():
    """A model whose running averages are not those of any batch, in evaluation mode."""
    torch.manual_seed(0)
    gan = tiny_gan(networks={"stages": 2})
    for _ in range(3):
        gan.inference(random_images(20) * 0.3 + 0.4)
    return gan.eval()


def test_d_is_asked_as_in_evaluation_and_as_in_training(gan):
    images = random_images(BATCH + 9, seed=1)
    with torch.no_grad():
        in_evaluation = gan.discriminate(images)
        in_training = copy.deepcopy(gan)
        in_training.inference.train()
        parts = [in_training.discriminate(part) for part in (images[:BATCH], images[BATCH:])]
    torch.testing.assert_close(answers(gan, images, of_the_batch=False), in_evaluation)
    torch.testing.assert_close(answers(gan, images, of_the_batch=True), torch.cat(parts))
    assert not torch.allclose(in_evaluation, torch.cat(parts))


def test_asking_changes_nothing_but_the_count_of_batches(gan):
    before = state_of(gan)
    answers(gan, random_images(BATCH), of_the_batch=True)
    for name in before:
        if name.endswith("num_batches_tracked"):
            before[name] = gan.state_dict()[name]
    assert same_state(gan, before)
    assert not any(module.training for module in gan.modules())


def test_auc_is_the_statistic_of_mann_and_whitney():
    generator = torch.Generator().manual_seed(0)
    real, fakes = (torch.randint(0, 9, (number,), generator=generator).double() for number in (40, 70))
    assert auc(real, fakes) == pytest.approx(mannwhitneyu(real, fakes).statistic / (40 * 70), abs=1e-4)


def test_features_are_what_d_is_read_from(gan):
    images = random_images(6)
    queries = features(gan, images)
    torch.testing.assert_close(queries.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(gan.memory.read(queries), gan.discriminate(images).detach())


@pytest.mark.thorough
def test_the_runs_of_a_study_are_asked_about_the_fakes_before_their_end(tmp_path, capsys):
    run = tmp_path / "memoryGAN" / "seed-3"
    settings = PRESETS["digits"].changed(["training.steps=20"])
    resume(run, settings, load_dataset("digits"), seed=3).run()
    (row,) = of_study(tmp_path)
    assert (row["model"], row["seed"], row["steps"]) == ("memorygan", 3, 20)
    gan = load_model(run).gan
    fakes = old_fakes_of(run, gan)
    test = load_dataset("digits", split="test")
    before_the_end = evaluate(gan, None, test, test, old_fakes=fakes).to_dict()["old_fakes"][:-1]
    assert row["running"]["old_rejected"] == pytest.approx(
        sum(moment["value"] for moment in before_the_end) / len(before_the_end), abs=1e-4
    )
    assert row["batch"] != row["running"]


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        of_study(tmp_path)
