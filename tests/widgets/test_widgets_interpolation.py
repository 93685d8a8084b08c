"""Interpolation: its walks are those of the evaluation, and the page shows PyTorch's images and probabilities."""

import base64

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

from memgan.data import load_dataset
from memgan.lab.baselines.models import build_model
from memgan.lab.evaluation.classifier import Classifier, train_classifier
from memgan.lab.evaluation.walks import IN_BETWEEN, Ends, walk_between
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.widgets import Interpolation
from memgan.widgets.base import script
from memgan.widgets.export import export_network
from tests.browser import chromium, opened, pixels, write_page

END_TO_END = 4e-3  # of a probability: 2e-3 each for a generator and a classifier with weights in float16

PROBABILITIES = """async ([source, exported, images]) => {
  const open = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const { probabilities } = await open(source);
  const { Network } = await open(exported.network);
  const bytes = Uint8Array.from(atob(exported.weights), (letter) => letter.charCodeAt(0));
  const network = new Network({ layers: exported.layers, weights: new DataView(bytes.buffer) });
  return images.map((image) => probabilities(network, Float32Array.from(image)));
}"""


def with_contrast(gan):
    """As born, a generator's images are all grey; so that they are black and white, its last weights are enlarged."""
    gan.eval()
    inputs = gan.generator.layers[0].in_features
    with torch.no_grad():
        gan.generator.layers[-2].weight /= gan.generator.layers[:-1](torch.randn(64, inputs) / inputs**0.5).std()
    return gan


def make(channels=1, **state):
    """A widget whose classifier changes its mind along the walk."""
    torch.manual_seed(0)
    settings = PRESETS["digits"].changed(["memory.num_slots=40", "memory.top_k=4", f"networks.channels={channels}"])
    gan = with_contrast(build(settings))
    gan.memory.histogram.copy_(torch.rand(40) + 0.1)
    baseline = with_contrast(build_model(settings.changed(["model=dcgan", "networks.noise_dim=7"])))
    classifier = Classifier(channels, (16, 16), 5).eval()
    with torch.no_grad():
        logits = classifier(gan.generate(64).images)
        classifier.head.bias -= logits.mean(dim=0)
        classifier.head.weight *= 3 / logits.std()
        classifier.head.bias *= 3 / logits.std()
    widget = Interpolation(
        gan, baseline, classifier, **({"slots": [5, 11], "noises": [[0.9, -0.4, 0.1, 0.2], [-0.7, 0.6, 0, 1]]} | state)
    )
    return widget, gan, baseline, classifier


@pytest.fixture
def made():
    return make()


# ------------------------------------------------------------------ without a page


@pytest.mark.parametrize("kind", ["slot", "switch", "keys"])
def test_walks_are_those_that_the_walkthrough_counts(kind):
    widget, gan, _, classifier = make(kind=kind)
    keys = gan.memory.keys[[5, 5 if kind == "slot" else 11]].unsqueeze(1)
    ends = Ends(keys, torch.tensor(widget.noises).unsqueeze(1))
    expected = walk_between(gan, classifier, ends, kind).images[0]
    torch.testing.assert_close(widget.walk(), expected, rtol=0, atol=1e-5)


def test_baselines_walk_is_straight_in_z(made):
    widget, _, baseline, classifier = made
    ends = Ends(torch.zeros(2, 1, 0), torch.tensor(widget.baseline_noises).unsqueeze(1))
    expected = walk_between(baseline, classifier, ends, "noise").images[0]
    torch.testing.assert_close(widget.baseline_walk(), expected, rtol=0, atol=1e-5)


def test_state_is_set_from_code_and_read_back(made):
    widget = made[0]
    widget.kind, widget.slots, widget.position = "keys", [7, 9], 0.25
    assert (widget.kind, widget.slots, widget.slot, widget.position) == ("keys", [7, 9], 7, 0.25)
    widget.slot = 8
    assert widget.slots == [8, 9]
    assert repr(widget) == "Interpolation(slots 8 and 9, kind keys, a plain GAN below)"


def test_it_opens_between_used_slots_with_far_keys():
    gan = make()[1]
    slots = Interpolation(gan).slots
    share = gan.memory.histogram * gan.memory.values
    used = share.topk(20).indices.tolist()
    cosines = {slot: float(gan.memory.keys[slot] @ gan.memory.keys[used[0]]) for slot in used}
    assert slots == [used[0], min(cosines, key=cosines.get)]


def test_values_that_do_not_fit_are_refused_and_nothing_changes(made):
    widget, gan, baseline, _ = made
    for name, value, words in [
        ("slots", [5], "slots must be two of 0..39"),
        ("slots", [5, 40], "slots must be two of 0..39"),
        ("slots", [-1, 5], "slots must be two of 0..39"),
        ("noises", [[0.0] * 4], "noises must be 2 lists of 4 numbers"),
        ("noises", [[0.0] * 4, [2.0] * 4], "noises must be 2 lists of 4 numbers"),
        ("baseline_noises", [[0.0] * 4] * 2, "baseline_noises must be 2 lists of 7 numbers"),
        ("kind", "key", "kind"),
        ("position", 1.2, "position"),
    ]:
        before = getattr(widget, name)
        with pytest.raises(traitlets.TraitError, match=words):
            setattr(widget, name, value)
        assert getattr(widget, name) == before
    with pytest.raises(ValueError, match="expected a model with a memory"):
        Interpolation(baseline)
    with pytest.raises(ValueError, match="expected a baseline without keys"):
        Interpolation(gan, baseline=gan)
    with pytest.raises(traitlets.TraitError, match="baseline_noises must be 0 lists"):
        Interpolation(gan, baseline_noises=[[0.0] * 7] * 2)


def test_refresh_shows_both_models_as_they_are_now(made):
    widget, gan, baseline, _ = made
    with torch.no_grad():
        gan.generator.layers[0].weight.mul_(0.5)
        baseline.generator.layers[0].weight.mul_(0.5)
    before = widget.gan["weights"], widget.baseline["weights"]
    widget.refresh()
    assert widget.gan["weights"] != before[0] and widget.baseline["weights"] != before[1]


def test_viewers_without_javascript_get_both_rows_and_words(made):
    data, metadata = made[0]._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == repr(made[0])


# ------------------------------------------------------------------ in the page


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, made, tmp_path):
    with opened(browser, write_page(tmp_path / "page.html", made[0]), has_touch=True) as page:
        yield page


def settled(page):
    page.wait_for_function("() => !document.querySelector('.steps[aria-busy=true]')")


def bytes_of(images):
    """`images` [n, C, H, W] as a canvas shows them, [n, H, W, 3]."""
    grey = (images.numpy().transpose(0, 2, 3, 1) + 1) * 127.5
    return grey.repeat(3 // grey.shape[-1], axis=-1)


def take_state(page, widget):
    for name in ("kind", "slots", "noises", "position", "baseline_noises"):
        setattr(widget, name, page.evaluate(f"() => memgan[0].get('{name}')"))


def assert_shows_the_walks(page, widget, classifier):
    """Images, bars, classes and labels of both rows are PyTorch's, for the state that the page says it is in."""
    settled(page)
    take_state(page, widget)
    for row, images in enumerate((widget.walk(), widget.baseline_walk())):
        with torch.no_grad():
            confidence, classes = classifier(images).softmax(dim=1).max(dim=1)
        cells = page.locator(".walk").nth(row).locator(".steps > div")
        shown = np.stack(pixels(cells.locator("canvas")))
        assert np.abs(shown - bytes_of(images)).max() <= 1, row
        heights = cells.locator("i").evaluate_all("(bars) => bars.map((bar) => parseFloat(bar.style.height) / 100)")
        assert np.abs(np.array(heights) - confidence.numpy()).max() <= END_TO_END
        assert cells.locator("span").all_inner_texts() == [str(int(name)) for name in classes]
        unsure = cells.locator("i").evaluate_all("(bars) => bars.map((bar) => bar.classList.contains('unsure'))")
        clear = (confidence - IN_BETWEEN).abs() > END_TO_END
        assert [u for u, c in zip(unsure, clear, strict=True) if c] == (confidence < IN_BETWEEN)[clear].tolist()


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "channels"), [("slot", 1), ("switch", 1), ("keys", 1), ("keys", 3)])
def test_rows_are_pytorchs_images_and_probabilities(browser, tmp_path, kind, channels):
    widget, _, _, classifier = make(channels, kind=kind)
    with opened(browser, write_page(tmp_path / "page.html", widget)) as page:
        assert_shows_the_walks(page, widget, classifier)


@pytest.mark.thorough
def test_probabilities_of_the_same_image_are_pytorchs(browser):
    """Of a trained classifier, and of digits that it has not seen."""
    classifier = train_classifier(load_dataset("digits"), epochs=3)
    images = load_dataset("digits", split="test").images[:100]
    network = export_network(nn.Sequential(classifier.features, classifier.head), images[:1])
    exported = network | {"weights": base64.b64encode(network["weights"]).decode(), "network": script("network.js")}
    page = browser.new_page()
    found = page.evaluate(PROBABILITIES, [script("interpolation.js"), exported, images.flatten(1).tolist()])
    page.close()
    expected = classifier(images).softmax(dim=1).detach()
    assert expected.amax(dim=1).min() < 0.9 < expected.amax()
    assert (torch.tensor(found) - expected).abs().max() < 2e-3


@pytest.mark.thorough
def test_every_probability_of_the_large_image_is_pytorchs(page, made):
    widget, _, _, classifier = made
    for place in (0, 3, 10):
        page.evaluate("(t) => memgan[0].set('position', t)", place / 10)
        with torch.no_grad():
            expected = classifier(widget.walk()[place : place + 1]).softmax(dim=1)[0]
        bars = page.locator(".classes").first.locator("i")
        heights = bars.evaluate_all("(bars) => bars.map((bar) => parseFloat(bar.style.height) / 100)")
        assert np.abs(np.array(heights) - expected.numpy()).max() <= END_TO_END
        assert np.abs(pixels(page.locator(".large canvas").first)[0] - bytes_of(widget.walk())[place]).max() <= 1


@pytest.mark.thorough
def test_page_shows_the_walks_whatever_moves_them(page, made):
    widget, _, _, classifier = made
    first, second = page.get_by_role("group", name="first end"), page.get_by_role("group", name="second end")
    page.evaluate("() => document.querySelectorAll('details').forEach((fold) => (fold.open = true))")
    moves = {
        "the menu": lambda: page.get_by_role("combobox", name="walk").select_option("keys"),
        "the first slot": lambda: first.get_by_role("button", name="slot: the next less used").click(),
        "a number": lambda: (
            second.get_by_role("spinbutton").fill("17"),
            second.get_by_role("spinbutton").press("Enter"),
        ),
        "a slider": lambda: first.get_by_role("slider").nth(2).fill("-0.5"),
        "an arrow key on a slider": lambda: second.get_by_role("slider").nth(3).press("ArrowLeft"),
        "a draw of z": lambda: second.get_by_role("button", name="draw z").click(),
        "one z for both": lambda: page.get_by_role("button", name="same z at both ends").click(),
        "the plain GAN's draw": lambda: page.get_by_role("button", name="draw the plain GAN").click(),
        "an arrow key on the position": lambda: page.get_by_role("slider", name="position").press("ArrowRight"),
    }
    seen = [page.evaluate("() => JSON.stringify(memgan[0].state, (name, value) => (name[0] === '_' ? 0 : value))")]
    for name, move in moves.items():
        move()
        seen.append(
            page.evaluate("() => JSON.stringify(memgan[0].state, (name, value) => (name[0] === '_' ? 0 : value))")
        )
        assert seen[-1] != seen[-2], f"{name} moves nothing"
        assert_shows_the_walks(page, widget, classifier)
    assert widget.noises[0] == widget.noises[1]


@pytest.mark.thorough
def test_position_follows_a_click_and_a_touch_on_the_row(page):
    row = page.locator(".steps").first
    box = row.bounding_box()
    middles = [box["width"] * (2 * place + 1) / 22 for place in range(11)]
    row.click(position={"x": middles[7], "y": 10})
    assert page.evaluate("() => memgan[0].get('position')") == pytest.approx(0.7, abs=0.011)
    row.tap(position={"x": middles[2], "y": 10})
    assert page.evaluate("() => memgan[0].get('position')") == pytest.approx(0.2, abs=0.011)
    assert page.locator(".steps").first.locator(".now").count() == 1
    assert page.get_by_role("slider", name="position").input_value() == "0.2"


@pytest.mark.thorough
def test_inside_a_slot_there_is_no_second_slot_to_pick(page):
    second = page.get_by_role("group", name="second end").get_by_role("spinbutton")
    assert second.is_visible()
    page.evaluate("() => memgan[0].set('kind', 'slot')")
    assert second.is_hidden()


@pytest.mark.thorough
def test_without_baseline_and_classifier_there_is_one_row_without_bars(browser, made, tmp_path):
    widget = Interpolation(made[1], position=0.5, kind="keys")
    with opened(browser, write_page(tmp_path / "page.html", widget)) as page:
        settled(page)
        assert page.locator(".walk").count() == 1 and page.locator(".bar").count() == 0
        assert np.abs(pixels(page.locator(".large canvas"))[0] - bytes_of(widget.walk())[5]).max() <= 1


@pytest.mark.thorough
def test_phone_needs_no_scrolling_sideways(browser, made, tmp_path):
    with opened(browser, write_page(tmp_path / "page.html", made[0]), viewport={"width": 360, "height": 640}) as page:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
