"""The posterior explorer: its state, its errors, and the page's numbers against those of the real memory."""

import base64
import io
import math

import pytest
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image

from memgan import VMFMemory
from memgan.reference import ReferenceMemory
from tests.browser import chromium, opened, write_page
from walkthrough.widgets import PosteriorExplorer

NUMBERS = """() => {
  const of = (nodes, name) => [...nodes].map((node) => Number(node.dataset[name]));
  const rows = [...document.querySelectorAll(".bars tbody tr")];
  const answer = (name) => Number(document.querySelector(`[data-name=${name}]`).dataset.number);
  return {
    posterior: of(rows.map((row) => row.cells[2]), "share"),
    over: of(rows.map((row) => row.cells[3]), "share"),
    widths: rows.map((row) => parseFloat(row.cells[2].querySelector(".fill").style.width) / 100),
    excluded: rows.map((row) => row.cells[3].textContent === "not in S"),
    clip: document.querySelector("[data-name=clip]").textContent,
    ...Object.fromEntries(["exact", "approximate", "error", "outside", "read"].map((name) => [name, answer(name)])),
  };
}"""
PLACES = """(selector) => [...document.querySelectorAll(selector)].map((node) => {
  const { e, f } = node.transform.baseVal.consolidate().matrix;
  return [e, -f];
})"""


def memory_of(dim, slots=5, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    settings = {"top_k": 2, "kappa": 4.0} | settings
    memory = VMFMemory(slots, dim, **settings).double()
    memory.keys.copy_(F.normalize(torch.randn(slots, dim, generator=generator, dtype=torch.float64), dim=1))
    memory.histogram.copy_(torch.rand(slots, generator=generator, dtype=torch.float64) * 3)
    memory.values.copy_((torch.arange(slots) + seed) % 2)
    return memory


def queries_of(dim, number=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(number, dim, generator=generator, dtype=torch.float64), dim=1)


@pytest.fixture
def explorer():
    return PosteriorExplorer(memory_of(2), queries_of(2))


# ------------------------------------------------------------------ its state


def test_state_is_set_from_code_and_read_back(explorer):
    explorer.query, explorer.kappa, explorer.top_k, explorer.slot = [0.6, -0.8], 7.5, 4, 3
    explorer.histogram = [0, 1, 2, 3, 4]
    assert (explorer.query, explorer.kappa, explorer.top_k, explorer.slot) == ([0.6, -0.8], 7.5, 4, 3)
    assert repr(explorer) == "PosteriorExplorer(5 slots, kappa 7.5, top_k 4, query [0.6, -0.8])"


def test_it_shows_the_memory_and_the_first_query_and_changes_neither():
    memory, queries = memory_of(3), queries_of(3)
    explorer = PosteriorExplorer(memory, queries)
    before = memory.histogram.clone()
    explorer.histogram = [9.0] * 5
    assert torch.equal(memory.histogram, before)
    assert explorer.slot_keys == memory.keys.tolist()
    assert explorer.query == queries[0].tolist()
    assert (explorer.values, explorer.top_k, explorer.beta) == (memory.values.tolist(), 2, memory.beta)


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("query", [1.0, 1.0], "a unit vector of M numbers"),
        ("query", [1.0, 0.0, 0.0], "a unit vector of M numbers"),
        ("query", [math.nan, 1.0], "a unit vector of M numbers"),
        ("queries", [], "unit vectors"),
        ("slot_keys", [[1.0, 0.0]], "N unit vectors"),
        ("values", [0, 1, 2, 0, 1], "each 0 or 1"),
        ("histogram", [1.0, 1, 1, 1, -1], "at least 0"),
        ("histogram", [1.0, 1, 1, 1], "N finite counts"),
        ("histogram", [1.0, 1, 1, 1, math.inf], "N finite counts"),
        ("kappa", 0.0, "positive and finite"),
        ("kappa", math.inf, "positive and finite"),
        ("top_k", 0, r"in 1\.\.N"),
        ("top_k", 6, r"in 1\.\.N"),
        ("slot", 5, r"in 0\.\.N - 1"),
        ("view", [1.0], "two angles"),
    ],
)
def test_a_state_that_cannot_be_is_refused_and_nothing_changes(explorer, trait, value, words):
    before = getattr(explorer, trait)
    with pytest.raises(traitlets.TraitError, match=f"{trait} must be .*{words}.* N = 5 and M = 2, got"):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before


@pytest.mark.parametrize(("slots", "dim"), [(5, 4), (25, 2)])
def test_a_memory_that_cannot_be_seen_is_refused(slots, dim):
    with pytest.raises(ValueError, match=f"at most 24 slots with key_dim 2 or 3, got {slots} with {dim}"):
        PosteriorExplorer(memory_of(dim, slots), queries_of(dim))


@pytest.mark.parametrize("queries", [torch.tensor([1.0, 0.0]), torch.eye(3), torch.zeros(0, 2)])
def test_queries_of_another_shape_are_refused(queries):
    with pytest.raises(ValueError, match=r"queries must have shape \[B, 2\] with B >= 1, got"):
        PosteriorExplorer(memory_of(2), queries)


@pytest.mark.parametrize("dim", [2, 3])
def test_viewers_without_javascript_get_a_picture_and_its_words(dim):
    explorer = PosteriorExplorer(memory_of(dim), queries_of(dim))
    data, metadata = explorer._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == repr(explorer)
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as picture:
        assert picture.size == ((720, 340) if dim == 2 else (340, 340))


# ------------------------------------------------------------------ in the page


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tabs(browser, tmp_path_factory):
    """A page for each dimension, in which a test can set any state."""
    folder = tmp_path_factory.mktemp("pages")
    pages = {dim: PosteriorExplorer(memory_of(dim, 7), queries_of(dim)) for dim in (2, 3)}
    paths = {dim: write_page(folder / f"{dim}.html", widget) for dim, widget in pages.items()}
    with opened(browser, paths[2], has_touch=True) as circle, opened(browser, paths[3], has_touch=True) as sphere:
        yield {2: circle, 3: sphere}


def put(tab, memory, query):
    """Show another memory and query, as Python would send them."""
    state = {name: getattr(memory, name) for name in ("kappa", "top_k", "beta", "epsilon")}
    state |= {"slot_keys": memory.keys.tolist(), "values": memory.values.tolist()}
    state |= {"histogram": memory.histogram.tolist(), "query": query.tolist()}
    tab.evaluate("(state) => { for (const [name, value] of Object.entries(state)) memgan[0].set(name, value); }", state)


def assert_numbers_are_the_memorys(numbers, memory, query):
    posterior = memory.posterior(query.unsqueeze(0))[0]
    weights, slots = memory.top_k_posterior(query.unsqueeze(0))
    over = torch.zeros_like(posterior).scatter(0, slots[0], weights[0])
    exact, approximate = float(posterior @ memory.values.double()), float(over @ memory.values.double())
    assert numbers["posterior"] == pytest.approx(posterior.tolist(), abs=1e-5)
    assert numbers["widths"] == pytest.approx(posterior.tolist(), abs=1e-3)
    assert numbers["over"] == pytest.approx(over.tolist(), abs=1e-5)
    assert numbers["excluded"] == [slot not in slots[0] for slot in range(memory.num_slots)]
    assert numbers["exact"] == pytest.approx(exact, abs=1e-5)
    assert numbers["approximate"] == pytest.approx(approximate, abs=1e-5)
    assert numbers["error"] == pytest.approx(abs(exact - approximate), abs=1e-5)
    assert numbers["outside"] == pytest.approx(1 - float(posterior[slots[0]].sum()), abs=1e-5)
    assert numbers["read"] == pytest.approx(float(memory.read(query.unsqueeze(0))), abs=1e-5)
    acts = not memory.epsilon <= approximate <= 1 - memory.epsilon
    assert numbers["clip"].startswith("acts") == acts


@pytest.mark.thorough
@pytest.mark.parametrize("dim", [2, 3])
def test_numbers_of_the_page_are_those_of_the_memory(tabs, dim):
    generator = torch.Generator().manual_seed(2)
    clipped = 0
    for seed in range(25):
        kappa = 10 ** float(torch.rand(1, generator=generator) * 3 - 1)  # 0.1 to 100
        top_k = int(torch.randint(1, 8, (1,), generator=generator))
        memory = memory_of(dim, 7, seed, kappa=kappa, top_k=top_k)
        memory.histogram[seed % 7] = 0.0  # a fresh slot: beta counts
        query = queries_of(dim, 1, seed)[0]
        put(tabs[dim], memory, query)
        numbers = tabs[dim].evaluate(NUMBERS)
        assert_numbers_are_the_memorys(numbers, memory, query)
        clipped += numbers["clip"].startswith("acts")
    assert 0 < clipped < 25


@pytest.mark.thorough
def test_numbers_of_the_page_are_those_of_plain_loops(tabs):
    memory = memory_of(3, 7, seed=5, kappa=3.0, top_k=3)
    loops = ReferenceMemory(
        memory.keys.numpy(), memory.values.tolist(), [0] * 7, memory.histogram.tolist(), top_k=3, kappa=3.0, alpha=1.0
    )
    query = queries_of(3, 1)[0]
    put(tabs[3], memory, query)
    numbers = tabs[3].evaluate(NUMBERS)
    assert numbers["posterior"] == pytest.approx(loops.posterior(query.numpy()), abs=1e-9)
    assert numbers["read"] == pytest.approx(loops.read(query.numpy()), abs=1e-9)


@pytest.mark.thorough
def test_slots_and_query_stand_at_their_places_on_the_circle(tabs):
    memory, query = memory_of(2, 7, seed=3), queries_of(2, 1, seed=4)[0]
    put(tabs[2], memory, query)
    assert tabs[2].evaluate(PLACES, "[data-slot]") == [pytest.approx(key, abs=1e-4) for key in memory.keys.tolist()]
    assert tabs[2].evaluate(PLACES, "[data-query]") == [pytest.approx(query.tolist(), abs=1e-4)]


@pytest.mark.thorough
def test_sphere_is_seen_from_where_its_view_says(tabs):
    """Turn 0 and tilt 0: one looks along -x, with y to the right and z upward. Tilt 90: from above."""
    memory = memory_of(3, 7, seed=3)
    put(tabs[3], memory, queries_of(3, 1)[0])
    for view, columns in {(0, 0): [1, 2], (90, 0): [(0, -1), 2], (0, 90): [1, (0, -1)]}.items():
        tabs[3].evaluate("(view) => memgan[0].set('view', view)", list(view))
        parts = [memory.keys[:, c] if isinstance(c, int) else c[1] * memory.keys[:, c[0]] for c in columns]
        expected = torch.stack(parts, dim=1).tolist()
        places = tabs[3].evaluate(PLACES, "[data-slot]")
        order = tabs[3].evaluate("() => [...document.querySelectorAll('[data-slot]')].map((n) => +n.dataset.slot)")
        assert places == [pytest.approx(expected[slot], abs=1e-4) for slot in order]


def state(tab):
    names = ["query", "kappa", "top_k", "histogram", "slot", "view"]
    return tab.evaluate("(names) => names.map((name) => JSON.stringify(memgan[0].get(name)))", names)


def moves_of(page):
    choose = page.get_by_role("combobox", name="query")
    return {
        "kappa's slider": lambda: page.get_by_role("slider", name="kappa").press("ArrowRight"),
        "k's slider": lambda: page.get_by_role("slider", name="k, slots").press("ArrowRight"),
        "another slot": lambda: page.get_by_role("button", name="slot 4").click(),
        "the slot's histogram": lambda: page.get_by_role("slider", name="histogram of slot 4").fill("5"),
        "one of the queries": lambda: choose.select_option("number 2"),
        "an arrow key on the drawing": lambda: page.locator("svg.circle").press("ArrowLeft"),
        "the mouse": lambda: page.mouse.up(),
    }


@pytest.mark.thorough
@pytest.mark.parametrize("dim", [2, 3])
def test_every_control_moves_what_it_names(browser, tmp_path, dim):
    memory = memory_of(dim, 7)
    path = write_page(tmp_path / "page.html", PosteriorExplorer(memory, queries_of(dim)))
    with opened(browser, path, has_touch=True) as page:
        box = page.locator("svg.circle").bounding_box()
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        moves = moves_of(page)
        moves["the mouse"] = lambda: (
            page.mouse.move(middle[0] - 60, middle[1] + 20),
            page.mouse.down(),
            page.mouse.move(middle[0] - 20, middle[1] + 60),
            page.mouse.up(),
        )
        if dim == 2:
            moves["a touch"] = lambda: page.touchscreen.tap(middle[0], middle[1] - 50)
        else:
            moves["a button"] = lambda: page.get_by_role("button", name="query: up").click()
        seen = [state(page)]
        for name, move in moves.items():
            move()
            assert state(page) not in seen, f"{name} moves nothing"
            seen.append(state(page))
            kappa, top_k, histogram, query = page.evaluate(
                "() => ['kappa', 'top_k', 'histogram', 'query'].map((name) => memgan[0].get(name))"
            )
            memory.settings = memory.settings.changed(kappa=kappa, top_k=top_k)
            memory.histogram.copy_(torch.tensor(histogram))
            query = torch.tensor(query, dtype=torch.float64)
            assert_numbers_are_the_memorys(page.evaluate(NUMBERS), memory, query)
        PosteriorExplorer(memory, query.unsqueeze(0))  # what the page made is a state that Python takes
        if dim == 2:
            assert query.tolist() == pytest.approx([0, 1], abs=1e-6)  # the touch was above the middle


@pytest.mark.thorough
def test_a_large_count_is_dragged_to_where_the_mouse_is(browser, tmp_path):
    """The slider's end is the largest count, which the slider itself moves."""
    memory = memory_of(2)
    memory.histogram[0] = 50.0
    with opened(browser, write_page(tmp_path / "page.html", PosteriorExplorer(memory, queries_of(2)))) as page:
        slider = page.get_by_role("slider", name="histogram of slot 0")
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        right, middle = box["x"] + box["width"] - 8, box["y"] + box["height"] / 2
        page.mouse.move(right, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=10)
        page.mouse.up()
        assert page.evaluate("() => memgan[0].get('histogram')[0]") == pytest.approx(40, abs=3)
        page.get_by_role("button", name="slot 1").click()
        assert float(page.get_by_role("slider", name="histogram of slot 1").get_attribute("max")) < 45


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_menu_names_the_query_that_was_chosen_from_it(browser, tmp_path, dtype):
    queries = queries_of(2, 3).to(dtype)
    queries = torch.cat([queries, queries[:1]])  # the last is equal to the first
    with opened(browser, write_page(tmp_path / "page.html", PosteriorExplorer(memory_of(2), queries))) as page:
        choose = page.get_by_role("combobox", name="query")
        for number in (1, 2, 0, 3):
            choose.select_option(f"number {number}")
            assert choose.input_value() == str(number)
        page.locator("svg.circle").press("ArrowLeft")
        assert choose.input_value() == ""


@pytest.mark.thorough
def test_query_is_dragged_on_the_sphere_and_the_rest_turns_it(tabs):
    put(tabs[3], memory_of(3, 7), torch.tensor([1.0, 0.0, 0.0]))
    tabs[3].evaluate("() => memgan[0].set('view', [0, 0])")
    box = tabs[3].locator("svg.circle").bounding_box()
    middle, radius = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), box["width"] / 2 / 1.26
    mouse = tabs[3].mouse
    mouse.move(*middle)
    mouse.down()
    mouse.move(middle[0] + radius / 2, middle[1] - radius / 2)
    mouse.up()
    query, view = tabs[3].evaluate("() => [memgan[0].get('query'), memgan[0].get('view')]")
    assert query == pytest.approx([math.sqrt(0.5), 0.5, 0.5], abs=0.02)
    assert view == [0, 0]
    mouse.move(middle[0] - radius / 2, middle[1])
    mouse.down()
    mouse.move(middle[0], middle[1])
    mouse.up()
    turned, view = tabs[3].evaluate("() => [memgan[0].get('query'), memgan[0].get('view')]")
    assert turned == query
    assert view[0] == pytest.approx(-30, abs=1)  # half a radius to the right; what lies left comes forth


@pytest.mark.thorough
@pytest.mark.parametrize("dim", [2, 3])
def test_no_valid_state_breaks_the_page(tabs, dim):
    memory, query = memory_of(dim, 7), queries_of(dim, 1)[0]
    for changes in (
        {"histogram": [0.0] * 7},
        {"histogram": [1e6, 0, 1e-30, 2, 0, 0, 0]},
        {"kappa": 1e5},
        {"kappa": 1e-6},
        {"values": [0] * 7},
        {"values": [1] * 7},
        {"epsilon": 0.0},
        {"queries": [query.tolist()]},
        {"query": memory.keys[0].tolist()},
        {"view": [1000.0, 90.0]},
    ):
        put(tabs[dim], memory, query)
        tabs[dim].evaluate("([name, value]) => memgan[0].set(name, value)", list(changes.items())[0])
        assert not tabs[dim].evaluate(
            "() => /NaN|undefined|Infinity/.test(document.querySelector('.memgan').innerHTML)"
        )
        assert sum(tabs[dim].evaluate(NUMBERS)["posterior"]) == pytest.approx(1)


@pytest.mark.thorough
@pytest.mark.parametrize("dim", [2, 3])
def test_phone_needs_no_scrolling_sideways(browser, tmp_path, dim):
    path = write_page(tmp_path / "page.html", PosteriorExplorer(memory_of(dim, 24), queries_of(dim)))
    with opened(browser, path, viewport={"width": 360, "height": 640}) as page:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_it_fits_into_a_notebook(explorer):
    assert sum(len(str(value)) for value in explorer.get_state().values()) < 0.1e6
