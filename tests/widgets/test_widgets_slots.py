"""The slot explorer: its table against plain loops, its errors, and what the page shows, however a slot is picked."""

import copy

import numpy as np
import pytest
import torch
import traitlets

from memgan.lab.baselines.models import build_model
from memgan.lab.evaluation.classifier import Classifier
from memgan.presets import PRESETS
from memgan.runs import build
from memgan.widgets import SlotExplorer
from tests.browser import chromium, opened, pixels, write_page

SLOTS, NUM_CLASSES = 60, 3


def make_gan(channels=1):
    torch.manual_seed(0)
    gan = build(
        PRESETS["digits"].changed([f"memory.num_slots={SLOTS}", "memory.top_k=4", f"networks.channels={channels}"])
    )
    gan.memory.histogram.copy_(torch.rand(SLOTS) + 0.1)
    gan.memory.histogram[3] = 0  # of a real slot in which nothing was ever written
    gan.memory.ages.copy_(torch.randint(0, 50, (SLOTS,)))
    with torch.no_grad():  # as born, a generator's images are all grey: so that they are black and white
        gan.generator.layers[-2].weight /= gan.eval().generator.layers[:-1](torch.randn(64, 68) / 4).std()
    return gan


def make_classifier(channels=1):
    torch.manual_seed(1)
    classifier = Classifier(channels, (16, 16), NUM_CLASSES)
    with torch.no_grad():  # so that its answers differ
        logits = classifier.eval()(torch.rand(64, channels, 16, 16) * 2 - 1)
        classifier.head.bias -= logits.mean(dim=0)
    return classifier


@pytest.fixture
def gan():
    return make_gan()


@pytest.fixture
def classifier():
    return make_classifier()


@pytest.fixture
def images():
    return torch.rand(37, 1, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1


def drawable(gan):
    """Slots that the generator is given, most used first, by plain sorting."""
    memory = gan.memory
    real = [c for c in range(SLOTS) if memory.values[c] == 1 and memory.histogram[c] > 0]
    return sorted(real, key=lambda c: -float(memory.histogram[c]))


# ------------------------------------------------------------------ the table


def test_table_has_the_slots_that_can_be_drawn_most_used_first(gan):
    assert SlotExplorer(gan).table["slots"] == drawable(gan)
    assert 3 not in drawable(gan)


def test_nearest_images_are_those_of_the_largest_cosine_by_a_plain_loop(gan, images):
    table = SlotExplorer(gan, images).table
    with torch.no_grad():
        queries = gan.inference(images)
    for slot, nearest, cosines in zip(table["slots"], table["nearest"], table["cosines"], strict=True):
        key = gan.memory.keys[slot]
        by_cosine = sorted(
            ((float(torch.dot(key, query)), number) for number, query in enumerate(queries)), reverse=True
        )
        assert nearest == [number for _, number in by_cosine[:4]]
        assert cosines == pytest.approx([cosine for cosine, _ in by_cosine[:4]], abs=0.006)


def test_only_images_that_are_nearest_to_a_slot_travel_as_bytes(gan, images):
    table = SlotExplorer(gan, images).table
    assert table["kept"] == sorted({number for row in table["nearest"] for number in row})
    stored = np.frombuffer(table["images"], dtype=np.uint8).reshape(-1, 1, 16, 16) / 127.5 - 1
    assert np.abs(stored - images[table["kept"]].numpy()).max() <= 0.5 / 127.5 + 1e-6


def test_images_may_be_bytes_as_a_data_set_has_them(gan, images):
    as_bytes = ((images + 1) * 127.5).round().to(torch.uint8)
    expected = SlotExplorer(gan, as_bytes.float() / 127.5 - 1).table
    table = SlotExplorer(gan, as_bytes).table
    assert table == expected
    stored = np.frombuffer(table["images"], dtype=np.uint8).reshape(-1, 1, 16, 16)
    assert np.array_equal(stored, as_bytes[table["kept"]].numpy())
    with pytest.raises(TypeError, match="int64"):
        SlotExplorer(gan, as_bytes.long())


def test_large_images_are_kept_for_the_most_used_slots_only(gan, images, monkeypatch):
    monkeypatch.setattr("memgan.widgets.slots.MOST_BYTES", 10 * 4 * 256)
    table = SlotExplorer(gan, images).table
    assert len(table["nearest"]) == 10 < len(table["slots"])
    assert len(table["images"]) <= 10 * 4 * 256


def test_class_is_what_most_images_of_a_slot_are_taken_for(gan, classifier):
    explorer = SlotExplorer(gan, classifier=classifier)
    seen = set()
    for slot, name, agreed in zip(*(explorer.table[part] for part in ("slots", "classes", "agreed")), strict=True):
        explorer.slot = slot
        noise = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
        noise = torch.tensor([[round(z, 2) for z in row] for row in noise.tolist()])
        answers = classifier(explorer.images(noise)).argmax(dim=1).tolist()
        assert answers.count(name) == agreed == max(answers.count(other) for other in range(NUM_CLASSES))
        seen.add(name)
    assert len(seen) > 1


def test_class_names_can_be_numbers_of_numpy(gan, classifier):
    explorer = SlotExplorer(gan, classifier=classifier, class_names=np.arange(NUM_CLASSES))
    assert explorer.table["class_names"] == ["0", "1", "2"]


def test_map_is_the_same_each_time_and_keeps_neighbours_together(gan):
    """Keys in two far groups stay in two groups on the map."""
    apart = torch.nn.functional.one_hot(torch.arange(SLOTS) % 2, 64).float()
    gan.memory.keys.copy_(torch.nn.functional.normalize(apart + 0.05 * torch.randn(SLOTS, 64), dim=1))
    one, other = SlotExplorer(gan).table, SlotExplorer(gan).table
    assert one["places"] == other["places"]
    places, group = torch.tensor(one["places"]), torch.tensor(one["slots"]) % 2
    assert float(places.min()) == 0 and float(places.max()) == 1
    distances = torch.cdist(places, places).fill_diagonal_(float("inf"))
    assert bool((group[distances.argmin(dim=1)] == group).all())


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_keys_that_are_all_alike_have_places_beside_each_other(gan, noise):
    """As after a training on one picture; t-SNE of equal keys would end the process."""
    keys = gan.memory.keys[:1] + noise * torch.randn(SLOTS, 64)
    gan.memory.keys.copy_(torch.nn.functional.normalize(keys, dim=1))
    places = torch.tensor(SlotExplorer(gan).table["places"])
    assert bool(((places >= 0) & (places <= 1)).all())
    assert len(places.unique(dim=0)) == len(drawable(gan))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
def test_any_number_of_slots_has_a_table(gan, classifier, images, number):
    gan.memory.values[drawable(gan)[number:]] = 0
    table = SlotExplorer(gan, images, classifier).table
    assert len(table["slots"]) == len(table["places"]) == number


def test_modes_and_random_state_are_left_as_they_were(gan, classifier, images):
    gan.train(), classifier.train()
    before, state = copy.deepcopy(gan.state_dict()), torch.get_rng_state()
    SlotExplorer(gan, images, classifier)
    assert gan.training and gan.inference.training and gan.generator.training and classifier.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in gan.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_refresh_computes_all_of_it_again(gan, classifier, images):
    explorer = SlotExplorer(gan, images, classifier)
    with torch.no_grad():
        gan.memory.histogram.copy_(torch.rand(SLOTS) + 0.1)
        gan.memory.keys.copy_(gan.memory.keys.flip(0))
    explorer.refresh()
    assert explorer.table == SlotExplorer(gan, images, classifier).table
    assert explorer.gan["histogram"] == gan.memory.histogram.tolist()


# ------------------------------------------------------------------ its state


def test_state_is_set_from_code_and_read_back(gan, classifier):
    explorer = SlotExplorer(gan, classifier=classifier, slot=5, order="age")
    explorer.order, explorer.noises = "class", [[0.5, -0.5, 0.0, 1.0]] * 16
    assert (explorer.order, explorer.noises[15]) == ("class", [0.5, -0.5, 0.0, 1.0])
    assert repr(explorer) == "SlotExplorer(slot 5 of 60, sheet by class)"


def test_values_that_do_not_fit_are_refused_and_nothing_changes(gan, images):
    explorer = SlotExplorer(gan)
    for name, value, words in [
        ("order", "class", "needs a classifier"),
        ("order", "size", "order"),
        ("slot", SLOTS, "slot must be in"),
        ("noises", [[0.0] * 4] * 15, "noises must be 16 lists of 4 numbers"),
        ("noises", [[0.0] * 3] * 16, "noises must be 16 lists of 4 numbers"),
        ("noises", [[0.0, 0.0, 0.0, 1.1]] * 16, "noises must be 16 lists of 4 numbers"),
    ]:
        before = getattr(explorer, name)
        with pytest.raises(traitlets.TraitError, match=words):
            setattr(explorer, name, value)
        assert getattr(explorer, name) == before
    with pytest.raises(ValueError, match="expected real images"):
        SlotExplorer(gan, images[:, :, :8])
    with pytest.raises(ValueError, match="expected a model with a memory"):
        SlotExplorer(build_model(PRESETS["digits"].changed(["model=dcgan"])))


def test_viewers_without_javascript_get_samples_and_words(gan):
    data, metadata = SlotExplorer(gan)._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"]
    assert len(data["image/png"]) > 1000


# ------------------------------------------------------------------ in the page


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def explorer(request):
    channels = getattr(request, "param", 1)
    images = torch.rand(37, channels, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return SlotExplorer(make_gan(channels), images, make_classifier(channels), slot=5)


@pytest.fixture
def page(browser, explorer, tmp_path):
    with opened(browser, write_page(tmp_path / "page.html", explorer), has_touch=True) as page:
        page.wait_for_selector(".sheet[aria-busy=false]")
        yield page


def shown(page, selector):
    """The pixels [H, W, 3] of the first such canvas."""
    return pixels(page.locator(selector).first)[0]


def bytes_of(images):
    """`images` [n, C, H, W] as a canvas shows them, [n, H, W, 3]."""
    grey = (images.numpy().transpose(0, 2, 3, 1) + 1) * 127.5
    return grey.repeat(3 // grey.shape[-1], axis=-1)


def tile(sheet, row, column):
    return sheet[17 * row : 17 * row + 16, 17 * column : 17 * column + 16]


def slot_of(page):
    return page.evaluate("() => memgan[0].get('slot')")


def assert_shows_the_slot(page, explorer):
    """The large image, the samples, the nearest images and the words are those of the slot that the page names."""
    explorer.slot = slot_of(page)
    assert (
        np.abs(shown(page, "canvas[aria-label*='at z = 0']") - bytes_of(explorer.images(torch.zeros(1, 4)))[0]).max()
        <= 1
    )
    explorer.noises = page.evaluate("() => memgan[0].get('noises')")
    sheet = shown(page, ".samples canvas")
    for number, image in enumerate(bytes_of(explorer.images(torch.tensor(explorer.noises)))):
        assert np.abs(tile(sheet, number // 8, number % 8) - image).max() <= 1
    memory, text = explorer._live.memory, page.locator(".memgan dl").inner_text()
    assert ("real" in text) == (memory.values[explorer.slot] == 1)
    assert f"{memory.ages[explorer.slot]} write" in text
    if explorer.slot in explorer.table["slots"]:
        row = explorer.table["slots"].index(explorer.slot)
        assert f"{explorer.table['classes'][row]} ({explorer.table['agreed'][row]} of 8 images)" in text
        near = explorer._images[explorer.table["nearest"][row][0]]
        assert np.abs(shown(page, ".nearest canvas") - bytes_of(near[None])[0]).max() <= 1


@pytest.mark.thorough
@pytest.mark.parametrize("explorer", [1, 3], ids=["grey", "colour"], indirect=True)
def test_page_shows_the_slot_whichever_way_it_is_picked(page, explorer):
    sheet, places = page.locator(".sheet"), page.locator(".map")
    picks = {
        "nothing yet": lambda: None,
        "the mouse on the sheet": lambda: page.locator(".grid").click(position={"x": 40, "y": 10}),
        "a touch on the sheet": lambda: page.locator(".grid").tap(position={"x": 100, "y": 40}),
        "an arrow key on the sheet": lambda: sheet.press("ArrowRight"),
        "an arrow key down the sheet": lambda: sheet.press("ArrowUp"),
        "the mouse on the map": lambda: places.click(position={"x": 30, "y": 250}),
        "a touch on the map": lambda: places.tap(position={"x": 300, "y": 40}),
        "an arrow key on the map": lambda: places.press("ArrowLeft"),
        "a number": lambda: (page.get_by_role("spinbutton").fill("12"), page.get_by_role("spinbutton").press("Enter")),
        "the next slot": lambda: page.get_by_role("button", name="slot: the next less used").click(),
        "code": lambda: page.evaluate("() => memgan[0].set('slot', 59)"),  # of generated images
    }
    seen = []
    for name, pick in picks.items():
        pick()
        assert seen[-1:] != [slot_of(page)], f"{name} picks nothing"
        seen.append(slot_of(page))
        assert_shows_the_slot(page, explorer)


@pytest.mark.thorough
def test_new_noises_are_the_models_and_show(page, explorer):
    before = page.evaluate("() => memgan[0].get('noises')")
    page.get_by_role("button", name="draw new z").click()
    after = page.evaluate("() => memgan[0].get('noises')")
    assert all(-1 <= part <= 1 for z in after for part in z) and after != before
    assert_shows_the_slot(page, explorer)


@pytest.mark.thorough
@pytest.mark.parametrize("order", ["use", "class", "age"])
def test_sheet_holds_every_slot_in_the_order_asked_for(page, explorer, order):
    page.get_by_role("combobox", name="sorted by").select_option(order)
    page.wait_for_selector(".sheet[aria-busy=false]")
    table, ages = explorer.table, explorer._live.memory.ages
    rank = {
        "use": lambda row: 0,
        "class": lambda row: table["classes"][row],
        "age": lambda row: int(ages[table["slots"][row]]),
    }
    rows = sorted(range(len(table["slots"])), key=rank[order])
    sheet, line, column = shown(page, ".sheet canvas"), 0, 0
    for place, row in enumerate(rows):
        new_class = order == "class" and place and table["classes"][row] != table["classes"][rows[place - 1]]
        if place and (column == 11 or new_class):
            line, column = line + 1, 0
        elif place:
            column += 1
        explorer.slot = table["slots"][row]
        assert np.abs(tile(sheet, line, column) - bytes_of(explorer.images(torch.zeros(1, 4)))[0]).max() <= 1, place
    labels = page.locator(".grid span").all_inner_texts()
    assert labels == ([str(name) for name in sorted(set(table["classes"]))] if order == "class" else [])


@pytest.mark.thorough
def test_map_has_a_dot_for_every_slot_with_its_class_on_it(page, explorer):
    assert page.locator(".map text").all_text_contents() == [str(name) for name in explorer.table["classes"]]
    radii = [
        float(r) for r in page.locator(".map g circle").evaluate_all("(dots) => dots.map((d) => d.getAttribute('r'))")
    ]
    assert radii == sorted(radii, reverse=True) and radii[0] > 1.5 * radii[-1]


@pytest.mark.thorough
def test_page_survives_a_model_without_a_slot_to_draw_and_without_table(browser, tmp_path, gan):
    gan.memory.values.zero_()
    with opened(browser, write_page(tmp_path / "page.html", SlotExplorer(gan))) as page:
        page.locator(".sheet").press("ArrowRight")
        page.locator(".map").press("ArrowRight")
        page.evaluate("() => memgan[0].set('table', {})")
        assert page.locator(".near").is_hidden()
        assert page.get_by_role("combobox").locator("option").all_inner_texts() == [
            "use, most first",
            "age, youngest first",
        ]


@pytest.mark.thorough
def test_five_hundred_slots_leave_the_page_at_hand(browser, tmp_path):
    """While the sheet fills, no task lasts long enough to be felt."""
    gan = build(PRESETS["fashion-mnist-slim"]).eval()
    path = write_page(tmp_path / "page.html", SlotExplorer(gan))
    with opened(browser, path) as page:
        page.wait_for_selector(".sheet[aria-busy=false]", timeout=30_000)
        longest = page.evaluate(
            """async () => {
              let [last, longest] = [performance.now(), 0];
              memgan[0].set('gan', { ...memgan[0].get('gan') });
              memgan[0].set('order', 'age');
              last = performance.now();
              while (document.querySelector('.sheet').getAttribute('aria-busy') === 'true') {
                await new Promise((done) => setTimeout(done));
                longest = Math.max(longest, performance.now() - last);
                last = performance.now();
              }
              return longest;
            }"""
        )
        assert longest < 250


@pytest.mark.thorough
def test_phone_needs_no_scrolling_sideways(browser, explorer, tmp_path):
    with opened(browser, write_page(tmp_path / "page.html", explorer), viewport={"width": 360, "height": 640}) as page:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
