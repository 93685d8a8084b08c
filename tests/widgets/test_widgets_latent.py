"""The latent explorer: its state, its errors, what the page draws, and that it follows the model that it shows."""

import base64
import copy
import io

import numpy as np
import pytest
import torch
import traitlets
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from memgan.lab.baselines.models import build_model
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.widgets import LatentExplorer, SlotExplorer
from memgan.widgets.base import script
from tests.browser import chromium, opened, pixels, write_page


@pytest.fixture
def gan():
    torch.manual_seed(0)
    gan = build(PRESETS["digits"].changed(["memory.num_slots=40", "memory.top_k=4"]))
    gan.memory.histogram.copy_(torch.rand(40) + 0.1)
    return with_contrast(gan.eval())


@torch.no_grad()
def with_contrast(gan):
    """As born, a generator's images are all grey; so that they are black and white, its last weights are enlarged."""
    gan.generator.layers[-2].weight /= gan.generator.layers[:-1](torch.randn(64, 68) / 4).std()
    return gan


def test_state_is_set_from_code_and_read_back(gan):
    explorer = LatentExplorer(gan, slot=3)
    explorer.slot, explorer.noise = 12, [0.5, -0.5, 0.0, 1.0]
    assert (explorer.slot, explorer.noise) == (12, [0.5, -0.5, 0.0, 1.0])
    assert repr(explorer) == "LatentExplorer(slot 12, noise [0.5, -0.5, 0.0, 1.0])"


def test_it_opens_on_the_slot_that_is_drawn_most(gan):
    share = gan.memory.histogram * gan.memory.values
    assert LatentExplorer(gan).slot == int(share.argmax())


@pytest.mark.parametrize("slot", [-1, 40])
def test_a_slot_that_is_not_there_is_refused_and_nothing_changes(gan, slot):
    explorer = LatentExplorer(gan, slot=3)
    with pytest.raises(traitlets.TraitError, match=rf"slot must be in 0\.\.39, got {slot}"):
        explorer.slot = slot
    assert explorer.slot == 3


@pytest.mark.parametrize("noise", [[0.0], [0.0] * 5, [0.0, 0.0, 0.0, 1.5], [0.0, 0.0, 0.0, float("nan")]])
def test_a_noise_that_does_not_fit_is_refused_and_nothing_changes(gan, noise):
    explorer = LatentExplorer(gan)
    with pytest.raises(traitlets.TraitError, match=r"noise must be 4 numbers in \[-1, 1\], got"):
        explorer.noise = noise
    assert explorer.noise == [0.0] * 4


@pytest.mark.parametrize(
    "model", [build_model(PRESETS["digits"].changed(["model=dcgan"])), torch.nn.Linear(1, 1), None, "runs/digits"]
)
def test_a_model_without_a_memory_is_refused(model):
    with pytest.raises(ValueError, match="expected a model with a memory"):
        LatentExplorer(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_memory_that_cannot_be_drawn_from_is_refused(gan, value):
    gan.memory.histogram[3] = value
    with pytest.raises(ValueError, match="histogram must be finite and not negative"):
        LatentExplorer(gan)


def test_a_misspelt_trait_is_refused(gan):
    with pytest.raises(TypeError, match="LatentExplorer has no nosie, slots"):
        LatentExplorer(gan, slots=3, nosie=[0.0] * 4)


@pytest.mark.parametrize("make", [torch.tensor, np.array, lambda numbers: [np.float64(number) for number in numbers]])
def test_tensors_and_arrays_are_taken_for_what_they_hold(gan, make):
    explorer = LatentExplorer(gan, slot=torch.tensor(5), noise=make([0.5, 0.0, -0.25, 1.0]))
    assert (explorer.slot, explorer.noise) == (5, [0.5, 0.0, -0.25, 1.0])
    explorer.slot, explorer.noise = np.int64(7), make([0.0, 0.5, 0.0, 0.0])
    assert (explorer.slot, explorer.noise) == (7, [0.0, 0.5, 0.0, 0.0])


def test_viewers_without_javascript_get_the_images_under_the_pad_and_words(gan):
    explorer = LatentExplorer(gan, slot=5, noise=[0.1, 0.2, 0.3, 0.4])
    data, metadata = explorer._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == "LatentExplorer(slot 5, noise [0.1, 0.2, 0.3, 0.4])"
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as picture:
        shown = np.asarray(picture.convert("L")) / 127.5 - 1
    keys = gan.memory.keys[5].unsqueeze(0)
    for column, row, z_1, z_2 in [(0, 0, -0.8, 0.8), (4, 0, 0.8, 0.8), (2, 2, 0.0, 0.0), (1, 4, -0.4, -0.8)]:
        image = gan.generator(keys, torch.tensor([[z_1, z_2, 0.3, 0.4]])).detach()[0, 0].numpy()
        left, top = (4 * 17 * place for place in (column, row))  # 16 pixels and a gap of 1, each 4 wide
        tile = shown[top : top + 64, left : left + 64]
        assert np.allclose(tile[::4, ::4], image.clip(-1, 1), atol=0.02)  # two of 255 grey levels


def test_the_pad_of_a_single_noise_is_a_row():
    small = ["memory.num_slots=40", "memory.top_k=4", "networks.noise_dim=1"]
    with Image.open(io.BytesIO(LatentExplorer(build(PRESETS["digits"].changed(small))).picture())) as picture:
        assert picture.height < picture.width / 4


def test_the_model_stays_as_it_was(gan):
    gan.train()
    before = copy.deepcopy(gan.state_dict())
    explorer = LatentExplorer(gan)
    explorer.picture()
    assert gan.generator.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in gan.state_dict().items())


def test_it_fits_into_a_notebook(gan):
    """1.5 MB is what a widget may add to a notebook; base64 takes a third more than the bytes."""
    state = LatentExplorer(build(PRESETS["digits"])).get_state()
    size = sum(len(value) * 4 / 3 if isinstance(value, bytes) else len(str(value)) for value in state["gan"].values())
    assert size + len(state["_esm"]) + len(state["_css"]) < 0.3e6


# ------------------------------------------------------------------ with a kernel


@pytest.fixture
def shell(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr("memgan.widgets.base.get_ipython", lambda: shell)
    return shell


def callbacks(shell):
    return list(shell.events.callbacks["post_run_cell"])


def test_it_follows_the_model_while_it_is_in_view(gan, shell):
    explorer = LatentExplorer(gan)
    idle = callbacks(shell)
    explorer._handle_custom_msg({"shown": "a"}, [])
    gan.memory.histogram[7] = 99.0
    shell.events.trigger("post_run_cell", None)
    assert explorer.gan["histogram"][7] == 99.0
    explorer._handle_custom_msg({"gone": "a"}, [])
    assert callbacks(shell) == idle


def test_a_view_that_comes_late_shows_the_model_as_it_is_by_then(gan, shell):
    explorer = LatentExplorer(gan)
    gan.memory.histogram[7] = 99.0
    explorer._handle_custom_msg({"shown": "a"}, [])
    assert explorer.gan["histogram"][7] == 99.0
    explorer.close()


def test_it_follows_as_long_as_one_of_several_views_is_left(gan, shell):
    explorer = LatentExplorer(gan)
    idle = callbacks(shell)
    for message in [{"shown": "a"}, {"shown": "b"}, {"gone": "a"}]:
        explorer._handle_custom_msg(message, [])
    assert len(callbacks(shell)) == len(idle) + 1
    explorer.close()
    assert callbacks(shell) == idle


def test_a_cell_that_changes_nothing_sends_nothing(gan, shell):
    explorer = LatentExplorer(gan)
    explorer._handle_custom_msg({"shown": "a"}, [])
    sent = explorer.gan
    shell.events.trigger("post_run_cell", None)
    assert explorer.gan is sent
    explorer.close()


# ------------------------------------------------------------------ in the page


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


# A view whose messages to Python are kept where they outlive the page.
ANNOUNCED = """async (controls) => {
  const { announce } = await import(URL.createObjectURL(new Blob([controls], { type: "text/javascript" })));
  const send = (message) => (localStorage.told = JSON.stringify([...JSON.parse(localStorage.told ?? "[]"), message]));
  window.end = announce({ send }, "a");
}"""
TOLD = "() => JSON.parse(localStorage.told)"


@pytest.mark.thorough
def test_a_view_says_that_it_goes_with_its_page_and_when_it_is_taken_away(browser, tmp_path):
    (tmp_path / "empty.html").write_text("<!doctype html><title>empty</title>", encoding="utf-8")
    tab = browser.new_page()
    tab.goto((tmp_path / "empty.html").as_uri())
    tab.evaluate(ANNOUNCED, script("controls.js"))
    assert tab.evaluate(TOLD) == [{"shown": "a"}]
    tab.reload()
    assert tab.evaluate(TOLD) == [{"shown": "a"}, {"gone": "a"}]
    tab.evaluate("() => localStorage.clear()")
    tab.evaluate(ANNOUNCED, script("controls.js"))
    tab.evaluate("() => window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert tab.evaluate(TOLD) == [{"shown": "a"}, {"shown": "a"}]
    tab.evaluate("() => window.end()")
    tab.reload()
    assert tab.evaluate(TOLD) == [{"shown": "a"}, {"shown": "a"}, {"gone": "a"}]
    tab.close()


@pytest.fixture
def explorer(gan):
    return LatentExplorer(gan, slot=3)


@pytest.fixture
def page(browser, explorer, tmp_path):
    with opened(browser, write_page(tmp_path / "page.html", explorer), has_touch=True) as page:
        yield page


def state(page):
    model = page.evaluate("() => ({ slot: memgan[0].get('slot'), noise: memgan[0].get('noise') })")
    return model["slot"], model["noise"]


def assert_image_is_pytorchs(page, explorer):
    """The canvas shows G(K_slot, z) of the slot and z that the page says it shows."""
    explorer.slot, explorer.noise = state(page)
    expected = (explorer.images(torch.tensor([explorer.noise]))[0, 0].numpy() + 1) * 127.5
    shown = pixels(page.locator(".memgan canvas").first)[0][..., 0]
    assert expected.std() > 20
    assert np.abs(shown - expected).max() <= 1  # of 255: 2e-3 of the range and rounding


@pytest.mark.thorough
def test_page_shows_pytorchs_image_whatever_moves_it(page, explorer):
    pad, number = page.locator(".pad"), page.get_by_role("spinbutton", name="slot")
    moves = {
        "nothing yet": lambda: None,
        "the mouse on the pad": lambda: pad.click(position={"x": 30, "y": 40}),
        "a touch on the pad": lambda: pad.tap(position={"x": 200, "y": 100}),
        "an arrow key on the pad": lambda: pad.press("ArrowUp"),
        "a slider": lambda: page.get_by_role("slider").nth(2).fill("0.5"),
        "an arrow key on a slider": lambda: page.get_by_role("slider").nth(3).press("ArrowLeft"),
        "a number": lambda: (number.fill("17"), number.press("Enter")),
        "the next slot": lambda: page.get_by_role("button", name="slot: the next less used").click(),
    }
    seen = []
    for name, move in moves.items():
        move()
        assert state(page) not in seen, f"{name} moves nothing"
        seen.append(state(page))
        assert_image_is_pytorchs(page, explorer)


@pytest.mark.thorough
def test_pad_moves_the_coordinates_that_it_names(page):
    page.locator(".pad").click(position={"x": 72, "y": 216})  # of 288: a quarter across, a quarter upward
    assert state(page)[1] == pytest.approx([-0.5, -0.5, 0, 0], abs=0.01)
    page.get_by_role("combobox", name="across").select_option("z3")
    page.locator(".pad").press("Shift+ArrowRight")
    assert state(page)[1] == pytest.approx([-0.5, -0.5, 0.25, 0], abs=0.01)


@pytest.mark.thorough
def test_pad_is_tiled_with_the_slots_images(page, explorer):
    page.wait_for_timeout(300)
    tiles = pixels(page.locator(".pad canvas").first)[0][..., 0]
    noise = torch.tensor([[-0.8, 0.8, 0.0, 0.0], [0.8, -0.8, 0.0, 0.0]])  # middles of the first and the last tile
    first, last = ((explorer.images(noise)[:, 0].numpy() + 1) * 127.5).round()
    assert np.abs(tiles[:16, :16] - first).max() <= 1
    assert np.abs(tiles[-16:, -16:] - last).max() <= 1


@pytest.mark.thorough
def test_drawn_slots_follow_the_histogram(page, gan):
    page.evaluate("() => { window.drawn = []; memgan[0].on('change:slot', () => drawn.push(memgan[0].get('slot'))); }")
    page.evaluate(
        "() => { const b = document.querySelector('[aria-label*=draw]'); for (let i = 0; i < 2000; i++) b.click(); }"
    )
    slots = torch.tensor(page.evaluate("() => drawn"))
    share = gan.memory.histogram * gan.memory.values
    expected = share / share.sum()
    drawn = torch.bincount(slots, minlength=40) / len(slots)
    assert drawn[gan.memory.values == 0].sum() == 0
    assert (drawn - expected).abs().max() < 4.5 * (0.12 / 2000) ** 0.5


@pytest.mark.thorough
def test_a_new_image_is_there_within_a_frame_of_a_move(page):
    """16 ms is a frame of a screen; the slot changes the pad's ground too, in pieces that wait for the next frames."""
    times = page.evaluate("""() => {
      const [pad, canvas] = [document.querySelector(".pad"), document.querySelector(".memgan canvas")];
      return Array.from({ length: 21 }, (_, i) => {
        const [before, start] = [canvas.toDataURL(), performance.now()];
        pad.dispatchEvent(new KeyboardEvent("keydown", { key: i % 2 ? "ArrowRight" : "ArrowLeft" }));
        const time = performance.now() - start;
        return canvas.toDataURL() === before ? Infinity : time;
      });
    }""")
    assert sorted(times)[10] < 16, times


@pytest.mark.thorough
def test_a_memory_without_real_slots_says_so(browser, gan, tmp_path):
    gan.memory.values.zero_()
    with opened(browser, write_page(tmp_path / "page.html", LatentExplorer(gan, slot=3), SlotExplorer(gan))) as page:
        assert page.get_by_text("no slot can be drawn").count() == 2
        assert all(
            page.get_by_role("button", name=name).first.is_disabled() for name in ("draw", "more used", "less used")
        )
        assert state(page)[0] == 3


@pytest.mark.thorough
def test_a_slot_that_is_not_there_leaves_the_page_as_it_was(page):
    number = page.get_by_role("spinbutton", name="slot")
    number.fill("400")
    number.press("Enter")
    assert state(page)[0] == 3
    assert number.input_value() == "3"


@pytest.mark.thorough
@pytest.mark.parametrize("noise_dim", [0, 1, 2])
def test_any_number_of_coordinates_has_its_controls(browser, tmp_path, noise_dim):
    gan = build(PRESETS["digits"].changed([f"networks.noise_dim={noise_dim}"])).eval()
    with opened(browser, write_page(tmp_path / "page.html", LatentExplorer(gan))) as page:
        assert page.get_by_role("slider").count() == noise_dim
        assert page.locator(".pad").count() == (noise_dim == 2)


@pytest.mark.thorough
def test_phone_needs_no_scrolling_sideways(browser, explorer, tmp_path):
    size = {"width": 360, "height": 640}
    with opened(browser, write_page(tmp_path / "page.html", explorer), viewport=size) as page:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
