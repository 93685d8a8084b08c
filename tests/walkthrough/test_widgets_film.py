"""The memory film: what it says of a write against plain loops, its errors, and what the page draws."""

import math
import re

import numpy as np
import pytest
import torch
import traitlets

from memgan import VMFMemory
from memgan.reference import turn
from tests.browser import chromium, opened, write_page
from walkthrough import circle
from walkthrough.circle import ring
from walkthrough.widgets import MemoryFilm

SETTINGS = [{}, {"replace_within_label": False}, {"touch": "all", "em_steps": 2}, {"correct_in_top": 3}]
PLACES = """() => [...document.querySelectorAll("[data-slot]")].map((node) => {
  const { e, f } = node.transform.baseVal.consolidate().matrix;
  return [Number(node.dataset.slot), e, -f, node.classList.contains("real"), Number(node.style.opacity)];
})"""
WORDS = ".memgan .words"


def memory_of(**settings):
    generator = torch.Generator().manual_seed(0)
    start = (torch.rand(10, generator=generator, dtype=torch.float64) * 360).tolist()
    settings = {"top_k": 3, "kappa": 20.0, "alpha": 0.8} | settings
    return ring(start, [1] * 5 + [0] * 5, [1e-5] * 10, **settings)


def batches_of(number=8):
    """Two clusters of real queries that stay, one of generated ones that wanders."""
    generator = torch.Generator().manual_seed(1)
    for step in range(number):
        centres = (60, 170, 330 - 30 * step)
        yield torch.cat([circle.cluster(at, 60, 2, generator) for at in centres]), torch.tensor([1, 1, 1, 1, 0, 0])


@pytest.fixture(scope="module")
def film():
    return MemoryFilm.record(memory_of(), batches_of())


# ------------------------------------------------------------------ what it says of a write


def told_by_loops(loops, queries, labels):
    """What a write of `ReferenceMemory` does, in the words of a film: it is applied, and slots are compared."""
    samples = range(len(queries))
    looked_at = [loops.nearest(queries[b])[: loops.correct_in_top] for b in samples]
    wrong = [b for b in samples if not any(loops.values[slot] == labels[b] for slot in looked_at[b])]
    taken = []
    for b in sorted(wrong, key=lambda b: turn(queries[b])):
        taken.append(next(slot for slot in loops.oldest_first(labels[b]) if slot not in taken))
    keys, histogram = loops.keys.copy(), list(loops.histogram)
    loops.write_batch(queries, labels)
    turned = [math.degrees(math.acos(min(1.0, float(keys[i] @ loops.keys[i])))) for i in loops.slots]
    return {
        "replaced": sorted(taken),
        "moved": [i for i in loops.slots if turned[i] > 0.1 and i not in taken],
        "decayed": [i for i in loops.slots if loops.histogram[i] < histogram[i] and i not in taken],
        "born": [i for i in loops.slots if histogram[i] < 1e-3 <= loops.histogram[i]],
    }


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_events_and_states_are_those_of_plain_loops(settings):
    memory = memory_of(**settings)
    loops, seen = circle.reference_of(memory), set()
    film = MemoryFilm.record(memory, batches_of())
    for frame, (queries, labels) in zip(film.frames[1:], batches_of(), strict=True):
        told = told_by_loops(loops, queries.numpy(), labels.tolist())
        assert {name: frame[name] for name in told} == told
        seen |= {name for name, slots in told.items() if slots}
        np.testing.assert_allclose(frame["keys"], loops.keys, atol=1e-6)
        np.testing.assert_allclose(frame["histogram"], loops.histogram, atol=1e-6)
        assert (frame["values"], frame["ages"]) == (loops.values, loops.ages)
        np.testing.assert_allclose(frame["queries"], queries, atol=1e-6)
        assert frame["labels"] == labels.tolist()
    assert seen == {"replaced", "moved", "decayed", "born"}


def test_recording_writes_into_the_memory_and_begins_before_the_first_write():
    memory, expected = memory_of(), memory_of()
    film = MemoryFilm.record(memory, batches_of(3))
    for queries, labels in batches_of(3):
        expected.write(queries, labels)
    assert torch.equal(memory.keys, expected.keys)
    assert len(film.frames) == 4
    assert film.frames[0]["ages"] == [0] * 10
    assert not any(film.frames[0][name] for name in ("queries", "labels", "replaced", "moved", "decayed", "born"))


def test_events_are_the_same_in_single_precision():
    double = MemoryFilm.record(memory_of(), batches_of())
    single = MemoryFilm.record(memory_of().float(), ((q.float(), labels) for q, labels in batches_of()))
    for one, other in zip(double.frames, single.frames, strict=True):
        assert [one[name] for name in ("replaced", "moved", "born")] == [
            other[name] for name in ("replaced", "moved", "born")
        ]


# ------------------------------------------------------------------ its state


def test_state_is_set_from_code_and_read_back(film):
    film.write = 3
    assert film.write == 3
    assert repr(film) == "MemoryFilm(8 writes of 10 slots, now after 3)"
    data, metadata = film._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == repr(film)


def test_a_write_that_is_taken_away_is_left_for_the_last_one():
    film = MemoryFilm.record(memory_of(), batches_of(4), write=4)
    film.frames = film.frames[:3]
    assert film.write == 2
    assert film.picture()


@pytest.mark.parametrize("write", [-1, 9])
def test_a_write_that_is_not_there_is_refused_and_nothing_changes(film, write):
    film.write = 2
    with pytest.raises(traitlets.TraitError, match=rf"write must be in 0\.\.8, got {write}"):
        film.write = write
    assert film.write == 2


def test_a_memory_that_is_not_on_a_circle_is_refused_and_not_written():
    memory = VMFMemory(4, 3, 2)
    with pytest.raises(ValueError, match="on a circle, key_dim 2, got key_dim 3"):
        MemoryFilm.record(memory, [(torch.eye(3), torch.ones(3))])
    assert memory.ages.tolist() == [0] * 4


def test_a_batch_that_cannot_be_written_is_reported_as_the_memory_reports_it():
    with pytest.raises(ValueError, match=r"queries must have shape \[B, 2\]"):
        MemoryFilm.record(memory_of(), [(torch.eye(3), torch.ones(3))])


def test_it_fits_into_a_notebook(film):
    assert sum(len(str(value)) for value in film.get_state().values()) < 0.1e6


# ------------------------------------------------------------------ in the page


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, film, tmp_path):
    film.write = 0
    path = write_page(tmp_path / "page.html", film)
    with opened(browser, path, has_touch=True, reduced_motion="reduce") as page:
        yield page


def write_of(page):
    return page.evaluate("() => memgan[0].get('write')")


def assert_shows(page, film, write):
    """Each slot stands at its recorded key, with its label's shape and its age's opacity."""
    frame = film.frames[write]
    places = page.evaluate(PLACES)
    assert [place[0] for place in places] == list(range(10))
    for slot, x, y, real, opacity in places:
        assert (x, y) == pytest.approx(frame["keys"][slot], abs=1e-4)
        assert real == (frame["values"][slot] == 1)
        assert opacity == pytest.approx(max(0.25, 1 - frame["ages"][slot] / 12), abs=1e-5)
    assert page.locator(".ring").count() == len(frame["replaced"])
    assert page.locator("svg .tick").count() == len(frame["queries"])
    assert page.locator("svg path.arc").count() == len(frame["moved"])


@pytest.mark.thorough
def test_every_control_steps_and_the_drawing_is_what_was_recorded(page, film):
    slider, drawing = page.get_by_role("slider", name="write"), page.locator("svg.circle")
    moves = [
        (1, lambda: page.get_by_role("button", name="write: forth").click()),
        (2, lambda: drawing.press("ArrowRight")),
        (3, lambda: slider.press("ArrowRight")),
        (7, lambda: slider.fill("7")),
        (6, lambda: page.get_by_role("button", name="write: back").tap()),
        (5, lambda: drawing.press("ArrowLeft")),
        (8, lambda: page.evaluate("() => memgan[0].set('write', 8)")),
    ]
    assert_shows(page, film, 0)
    for write, move in moves:
        move()
        assert write_of(page) == write
        assert_shows(page, film, write)
    drawing.press("ArrowRight")
    assert write_of(page) == 8  # the last


@pytest.mark.thorough
def test_it_plays_to_the_end_when_asked_and_stops_when_asked(page):
    page.clock.install()
    play = page.get_by_role("button", name="write: play or pause")
    page.clock.run_for(5000)
    assert write_of(page) == 0  # nothing moves by itself
    page.evaluate("() => memgan[0].set('write', 5)")
    play.click()
    page.clock.run_for(1500)
    assert write_of(page) == 6
    play.click()
    page.clock.run_for(5000)
    assert write_of(page) == 6
    play.click()
    page.clock.run_for(5000)
    assert write_of(page) == 8
    assert play.inner_text() == "play"


@pytest.mark.thorough
def test_words_say_what_was_recorded(page, film):
    for write, frame in enumerate(film.frames):
        page.evaluate("(write) => memgan[0].set('write', write)", write)
        words = page.locator(WORDS).inner_text()
        rows = page.locator(".bars tbody tr").all_inner_texts()
        for event in ("replaced", "moved", "decayed", "born"):
            assert [slot for slot, row in enumerate(rows) if event in row] == frame[event]
        told = re.findall(r"slots? ([\d, and]+) (?:was|were) replaced by (?:a )?(real|generated)", words)
        replaced = {int(slot): kind == "real" for slots, kind in told for slot in re.findall(r"\d+", slots)}
        assert replaced == {slot: frame["values"][slot] == 1 for slot in frame["replaced"]}
        assert ("EM moved" in words) == bool(frame["moved"])
        assert ("lost count" in words) == bool(frame["decayed"])
        assert ("came into use" in words) == bool(frame["born"])


@pytest.mark.thorough
def test_keys_turn_to_their_places_unless_less_motion_is_wanted(browser, film, tmp_path):
    film.write = 2
    path = write_page(tmp_path / "page.html", film)
    with opened(browser, path) as page:
        page.locator("svg.circle").press("ArrowRight")
        page.wait_for_timeout(500)
        assert_shows(page, film, 3)


@pytest.mark.thorough
def test_phone_needs_no_scrolling_sideways(browser, film, tmp_path):
    path = write_page(tmp_path / "page.html", film)
    with opened(browser, path, viewport={"width": 360, "height": 640}) as page:
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
