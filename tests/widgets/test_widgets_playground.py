"""The playground's widget: its state in Python and in an address, and what a reader does with it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import traitlets

from memgan.lab.commands.cli import main
from memgan.memory import MemorySettings
from memgan.training import TrainingSettings
from memgan.widgets import Playground
from memgan.widgets.page import page
from memgan.widgets.playground.settings import CONTROLS, PRESETS, checked_state, default_state
from tests.browser import chromium, opened, pixels, write_page

ROOT = Path(__file__).resolve().parents[2]

# ---------------------------------------------------------------- in Python


def test_a_state_that_says_little_is_made_whole():
    playground = Playground({"seed": 7, "settings": {"kappa": 30.0}})
    assert playground.state["seed"] == 7
    assert playground.state["distribution"] == "ring"
    expected = default_state()["settings"] | {"kappa": 30.0}
    assert playground.state["settings"] == expected


def test_a_state_goes_through_json_to_another_playground():
    state = {"seed": 3, "distribution": "painted", "painted": "AAD_", "settings": {"memory": False, "alpha": 0.5}}
    first = Playground(state)
    second = Playground(json.loads(json.dumps(first.state)))
    assert second.state == first.state


WRONG = [  # what no state can have, in Python and on the page
    ({"sed": 3}, "state has no sed"),
    ({"toString": 3}, "state has no toString"),
    ({"seed": -1}, "seed must be a whole number from 0"),
    ({"seed": 1.5}, "seed must be a whole number"),
    ({"seed": 10**400}, "seed must be a whole number"),
    ({"distribution": "square"}, "distribution must be one of ring, grid"),
    ({"distribution": "toString"}, "distribution must be one of ring, grid"),
    ({"distribution": ["ring"]}, "distribution must be one of ring, grid"),
    ({"distribution": None}, "distribution must be one of ring, grid"),
    ({"speed": "warp"}, "speed must be one of slow"),
    ({"speed": ["fast"]}, "speed must be one of slow"),
    ({"painted": "ö"}, "painted must be text in base64"),
    ({"painted": "A"}, "painted must be text in base64"),
    ({"painted": "AAAAA", "distribution": "painted"}, "painted must be text in base64"),
    ({"painted": ["AA"]}, "painted must be text in base64"),
    ({"painted": "A" * 268}, "at most 267 letters"),
    ({"settings": {"lambda": 1}}, "settings has no lambda"),
    ({"settings": {"kappa": 0.0}}, "kappa must be a number from 1 to 100, got 0.0"),
    ({"settings": {"kappa": True}}, "kappa must be a number"),
    ({"settings": {"kappa": 10**400}}, "too large"),
    ({"settings": {"top_k": 2.5}}, "top_k must be a whole number"),
    ({"settings": {"memory": 1}}, "memory must be true or false"),
    ({"settings": {"update": "em2"}}, "update must be one of em, average"),
    ({"settings": {"update": ["em"]}}, "update must be one of em, average"),
    ({"settings": 3}, "settings must be a dictionary"),
    ({"settings": None}, "settings must be a dictionary"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_a_state_that_cannot_be_is_refused_and_nothing_changes(wrong, message):
    playground = Playground({"seed": 5})
    with pytest.raises(traitlets.TraitError, match=re.escape(message)):
        playground.state = wrong
    assert playground.state["seed"] == 5
    with pytest.raises(traitlets.TraitError, match=re.escape(message)):
        Playground(wrong)


@pytest.mark.parametrize("wrong", [3, "ring", [1, 2]])
def test_what_is_no_dictionary_is_no_state(wrong):
    with pytest.raises(traitlets.TraitError, match="state"):
        Playground(wrong)


def test_numbers_of_numpy_become_plain_ones_that_a_page_can_hold():
    given = {"seed": np.int64(3), "settings": {"kappa": np.float32(30), "num_slots": np.int64(32)}}
    playground = Playground(given)
    assert json.loads(json.dumps(playground.state)) == playground.state
    assert playground.state["seed"] == 3
    assert playground.state["settings"]["kappa"] == 30.0
    assert playground.state["settings"]["num_slots"] == 32
    assert page("title", "lead", {"playground": playground})


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, "ten"])
def test_a_number_of_steps_that_cannot_be_is_refused(steps):
    with pytest.raises(ValueError, match="steps must be a whole number from 1 on"):
        Playground().advance(steps)


@pytest.fixture
def sent(monkeypatch):
    """What a playground sends its views, in order."""
    messages = []
    monkeypatch.setattr(Playground, "send", lambda playground, message: messages.append(message))
    return messages


def test_what_python_asks_for_before_it_is_shown_is_done_by_the_first_view_and_only_once(sent):
    playground = Playground()
    playground.reset()
    playground.advance(np.int64(100))
    assert sent == []
    playground._handle_custom_msg({"shown": "a"}, [])
    assert json.loads(json.dumps(sent[-2:])) == [{"reset": True}, {"advance": 100}]
    sent.clear()
    playground._handle_custom_msg({"shown": "b"}, [])
    assert not any("advance" in message or "reset" in message for message in sent)


def test_what_python_asks_for_is_done_at_once_while_it_is_shown_and_waits_again_afterwards(sent):
    playground = Playground()
    playground._handle_custom_msg({"shown": "a"}, [])
    playground.advance(3)
    assert sent[-1] == {"advance": 3}
    assert not playground.playing
    playground._handle_custom_msg({"gone": "a"}, [])
    sent.clear()
    playground.advance(5)
    assert sent == []
    playground._handle_custom_msg({"shown": "b"}, [])
    assert sent[-1] == {"advance": 5}


def test_the_view_that_came_last_reports_its_progress(sent):
    playground = Playground()
    reporting = []
    for message in [{"shown": "a"}, {"shown": "b"}, {"shown": "c"}, {"gone": "b"}, {"gone": "c"}]:
        playground._handle_custom_msg(message, [])
        reporting.append(sent[-1]["reports"])
    assert reporting == ["a", "b", "c", "c", "a"]


def test_every_preset_can_be_set_and_settings_bear_the_names_of_memgan():
    for preset in PRESETS.values():
        checked_state({"settings": preset.changes})
    own = {"memory", "update", "mcgn", "ordinary_lr", "blur"}
    known = set(MemorySettings.__dataclass_fields__) | set(TrainingSettings.__dataclass_fields__)
    assert {control.name for control in CONTROLS} - own <= known


def test_every_control_leads_to_a_notebook_that_there_is():
    assert {control.notebook for control in CONTROLS} <= {path.stem for path in (ROOT / "notebooks").glob("*.py")}


def test_viewers_without_javascript_see_a_picture_and_a_text():
    bundle, metadata = Playground()._repr_mimebundle_()
    assert bundle["image/png"].startswith("iVBOR")
    assert "an ordinary GAN and a MemoryGAN" in bundle["text/plain"]
    assert "MemoryGAN" in metadata["image/png"]["alt"]


def test_the_command_writes_one_file_that_loads_nothing(tmp_path, capsys):
    out = tmp_path / "play.html"
    assert main(["playground", "--out", str(out)]) == 0
    assert "play.html" in capsys.readouterr().out
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?https?:", out.read_text(encoding="utf-8")) == []
    assert out.stat().st_size < 500_000
    assert main(["playground", "--out", str(tmp_path)]) == 1
    assert "--out must name a page such as playground.html" in capsys.readouterr().err


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def page_of(tmp_path, **traits):
    return write_page(tmp_path / "play.html", Playground(**traits))


def steps(tab):
    return tab.evaluate("() => memgan[0].get('progress').step ?? 0")


def progress(tab):
    return tab.evaluate("() => memgan[0].get('progress')")


def wait_for_steps(tab, number):
    tab.wait_for_function(f"() => (memgan[0].get('progress').step ?? 0) >= {number}", timeout=60_000)


def state(tab):
    return tab.evaluate("() => memgan[0].get('state')")


@pytest.mark.browser
def test_it_plays_pauses_steps_and_begins_again(browser, tmp_path):
    with opened(browser, page_of(tmp_path, playing=False)) as tab:
        play = tab.get_by_role("button", name="play")
        step = tab.get_by_role("button", name="one step")
        step.click()
        wait_for_steps(tab, 1)
        step.click()
        wait_for_steps(tab, 2)
        assert steps(tab) == 2
        of_two = progress(tab)
        play.click()
        wait_for_steps(tab, 12)
        tab.get_by_role("button", name="pause").click()
        tab.wait_for_timeout(300)
        paused = steps(tab)
        tab.wait_for_timeout(400)
        assert steps(tab) == paused
        tab.get_by_role("button", name="begin again").click()
        tab.wait_for_function("() => memgan[0].get('progress').step === 0")
        step.click()
        wait_for_steps(tab, 1)
        step.click()
        wait_for_steps(tab, 2)
        assert progress(tab) == of_two  # the same seed, the same numbers


@pytest.mark.browser
def test_each_control_changes_the_state_and_training_goes_on(browser, tmp_path):
    with opened(browser, page_of(tmp_path)) as tab:
        tab.get_by_text("Change parts of the method").click()
        for control in CONTROLS:
            part = tab.get_by_label(control.label, exact=True)
            if isinstance(control.default, bool):
                part.click()
            elif control.options:
                part.select_option(control.options[-1])
            else:
                part.focus()
                tab.keyboard.press("ArrowLeft")
            assert state(tab)["settings"][control.name] != control.default
            before = steps(tab)
            tab.wait_for_function(f"() => memgan[0].get('progress').step > {before}", timeout=30_000)
        checked_state(state(tab))


@pytest.mark.browser
def test_presets_set_what_they_say_and_begin_again(browser, tmp_path):
    with opened(browser, page_of(tmp_path, playing=False)) as tab:
        tab.get_by_role("button", name="one step").click()
        wait_for_steps(tab, 1)
        for name, preset in PRESETS.items():
            tab.get_by_label("settings", exact=True).select_option(name)
            assert state(tab)["settings"] == default_state()["settings"] | preset.changes
            assert tab.get_by_text(preset.says).is_visible()
        tab.wait_for_function("() => memgan[0].get('progress').step === 0")


@pytest.mark.browser
def test_a_reader_paints_with_the_mouse_and_with_the_keyboard(browser, tmp_path):
    with opened(browser, page_of(tmp_path)) as tab:
        tab.get_by_label("data", exact=True).select_option("painted")
        assert "Paint something first" in tab.get_by_role("status").first.inner_text()
        pad = tab.get_by_label("painting: arrow keys")
        pad.focus()
        for key in ("ArrowLeft", " ", "ArrowLeft", " "):
            tab.keyboard.press(key)
        by_keyboard = state(tab)["painted"]
        assert by_keyboard
        assert tab.locator(".said").first.text_content() == ""
        box = pad.bounding_box()
        tab.mouse.move(box["x"] + 40, box["y"] + 40)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 90, box["y"] + 60, steps=5)
        tab.mouse.up()
        by_mouse = state(tab)["painted"]
        assert len(by_mouse) > len(by_keyboard)
        tab.wait_for_function("() => memgan[0].get('progress').memory?.of === 2")  # two pieces are two modes
        tab.get_by_role("button", name="clear the painting").click()
        assert state(tab)["painted"] == ""
        tab.wait_for_timeout(300)
        before = progress(tab)
        tab.evaluate("() => memgan[0].listeners['msg:custom'].forEach((call) => call({ advance: 5 }))")
        tab.wait_for_timeout(300)
        assert progress(tab) == before  # nothing is learnt from nothing
        checked_state(state(tab) | {"painted": by_mouse})


@pytest.mark.browser
def test_a_state_is_shared_by_the_address_and_restored_from_it(browser, tmp_path):
    path = page_of(tmp_path, playing=False)
    with opened(browser, path) as tab:
        tab.get_by_label("seed", exact=True).fill("42")
        tab.get_by_label("data", exact=True).select_option("moons")
        tab.get_by_label("settings", exact=True).select_option(list(PRESETS)[-1])
        tab.get_by_text("Share these settings").click()
        tab.get_by_role("button", name="share this state").click()
        wanted, address = state(tab), tab.evaluate("() => location.href")
        assert json.loads(tab.get_by_label("state as JSON").input_value()) == wanted
        again = tab.context.new_page()
        again.goto(address)
        again.wait_for_selector(".memgan")
        assert state(again) == wanted
        again.goto(path.as_uri() + "#playground=%7B%22seed%22%3A-4%7D")
        again.reload()
        again.wait_for_selector(".memgan")
        assert "seed must be a whole number" in again.get_by_role("status").first.inner_text()
        assert state(again) == default_state()
        again.evaluate("() => (location.hash = '#playground=%7B%22seed%22%3A5%7D')")
        again.wait_for_function("() => memgan[0].get('state').seed === 5")
        again.get_by_text("Share these settings").click()
        again.get_by_label("state as JSON").fill(json.dumps({"seed": 8}))
        again.get_by_role("button", name="restore this state").click()
        assert state(again) == default_state() | {"seed": 8}
        again.get_by_label("state as JSON").fill("{nonsense")
        again.get_by_role("button", name="restore this state").click()
        assert "it is not JSON" in again.get_by_role("status").last.inner_text()
        assert Playground(wanted).state == wanted


@pytest.mark.browser
def test_a_page_refuses_what_python_refuses_and_keeps_the_state_that_it_had(browser, tmp_path):
    with opened(browser, page_of(tmp_path, state={"seed": 5}, playing=False)) as tab:
        before = state(tab)
        tab.get_by_text("Share these settings").click()
        for wrong, _ in WRONG:
            tab.get_by_label("state as JSON").fill(json.dumps(wrong))
            tab.get_by_role("button", name="restore this state").click()
            assert state(tab) == before, wrong
            assert "This is no state of a playground" in tab.get_by_role("status").last.inner_text()
        tab.get_by_role("button", name="one step").click()
        wait_for_steps(tab, 1)


@pytest.mark.browser
def test_a_slot_shows_what_it_holds_and_a_point_its_posterior(browser, tmp_path):
    with opened(browser, page_of(tmp_path)) as tab:
        wait_for_steps(tab, 30)
        tab.get_by_role("button", name="pause").click()
        tab.get_by_label("slot", exact=True).fill("3")
        answers = tab.locator(".answers").inner_text()
        assert "1, real" in answers
        assert "histogram h" in answers
        assert len(re.findall(r"-?\d\.\d\d\b", answers.split("key K")[1])) == 16
        tab.locator(".pad canvas").last.click()
        table = tab.locator("table.bars tbody tr")
        table.first.wait_for()
        probabilities = [float(text) for text in table.locator("td:last-child").all_inner_texts()]
        assert len(probabilities) == 8
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1.001
        before = tab.locator(".side .note").inner_text()
        tab.get_by_label("memory: arrow keys").press("ArrowRight")
        tab.wait_for_function(f"() => document.querySelector('.side .note').innerText !== {json.dumps(before)}")


@pytest.mark.browser
def test_a_slot_that_another_setting_takes_away_is_not_looked_at_any_more(browser, tmp_path):
    with opened(browser, page_of(tmp_path, playing=False)) as tab:
        tab.get_by_role("button", name="one step").click()
        wait_for_steps(tab, 1)
        tab.get_by_label("slot", exact=True).fill("100")
        assert "slot\n100" in tab.locator(".answers").inner_text()
        tab.get_by_label("settings", exact=True).select_option("few_slots")
        tab.wait_for_function("() => memgan[0].get('progress').step === 0")
        tab.get_by_role("button", name="one step").click()
        wait_for_steps(tab, 1)
        assert "100" not in tab.locator(".answers").inner_text()
        tab.get_by_label("slot", exact=True).fill("3")
        assert "slot\n3" in tab.locator(".answers").inner_text()


FAILS_ONCE = """() => {
  const { drawImage } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.drawImage = () => {
    CanvasRenderingContext2D.prototype.drawImage = drawImage;
    throw new Error("no picture");
  };
}"""


@pytest.mark.browser
def test_an_error_in_one_picture_does_not_keep_the_next_ones_away(browser, tmp_path):
    tab = browser.new_page()
    tab.goto(page_of(tmp_path).as_uri())
    wait_for_steps(tab, 1)
    with tab.expect_event("pageerror") as error:
        tab.evaluate(FAILS_ONCE)
    assert "no picture" in str(error.value)
    drawn = tab.locator(".count").inner_text()
    tab.wait_for_function(f"() => document.querySelector('.count').innerText !== {json.dumps(drawn)}")
    tab.close()


@pytest.mark.browser
def test_an_error_in_the_worker_is_told_to_the_reader_and_learning_goes_on(browser, tmp_path):
    tab = browser.new_page()
    tab.add_init_script("window.Worker = class extends Worker { constructor(url) { window.worker = super(url); } }")
    tab.goto(page_of(tmp_path).as_uri())
    wait_for_steps(tab, 1)
    tab.evaluate("() => worker.postMessage({ nonsense: 1 })")
    tab.get_by_text("Something went wrong while the models learned").wait_for()
    wait_for_steps(tab, steps(tab) + 1)
    tab.close()


@pytest.mark.browser
def test_a_reader_who_wants_little_motion_begins_paused(browser, tmp_path):
    with opened(browser, page_of(tmp_path), reduced_motion="reduce") as tab:
        assert tab.get_by_role("button", name="play").is_visible()
        tab.wait_for_timeout(500)
        assert steps(tab) == 0


@pytest.mark.browser
def test_python_drives_it_by_traits_and_messages(browser, tmp_path):
    """By what a kernel would send: a trait, and a message."""
    with opened(browser, page_of(tmp_path, playing=False)) as tab:
        tab.evaluate("() => memgan[0].listeners['msg:custom'].forEach((call) => call({ advance: 20 }))")
        wait_for_steps(tab, 20)
        assert steps(tab) == 20
        tab.evaluate("() => memgan[0].listeners['msg:custom'].forEach((call) => call({ reset: true }))")
        tab.wait_for_function("() => memgan[0].get('progress').step === 0")
        tab.evaluate("() => memgan[0].set('state', { ...memgan[0].get('state'), distribution: 'grid' })")
        tab.wait_for_function("() => memgan[0].get('progress').memory.of === 25")


@pytest.mark.browser
@pytest.mark.slow
def test_1500_steps_of_both_models_take_at_most_30_seconds(browser, tmp_path):
    """With their pictures, on a machine that does nothing else."""
    with opened(browser, page_of(tmp_path)) as tab:
        tab.wait_for_function("() => memgan[0].get('progress').step >= 1500", timeout=30_000)


RESPONSE = """() => new Promise((done) => {
  const button = document.querySelector("summary");
  const waits = [];
  const press = () => {
    const start = performance.now();
    button.click();
    requestAnimationFrame(() => setTimeout(() => {
      waits.push(performance.now() - start);
      if (waits.length < 15) setTimeout(press, 50);
      else done(waits.sort((one, other) => one - other)[7]);
    }));
  };
  press();
})"""


@pytest.mark.browser
def test_the_page_answers_within_50_ms_while_it_trains(browser, tmp_path):
    with opened(browser, page_of(tmp_path)) as tab:
        wait_for_steps(tab, 10)
        medians = [tab.evaluate(RESPONSE)]
        while min(medians) >= 50 and len(medians) < 4:  # other processes of the machine delay some of them
            medians.append(tab.evaluate(RESPONSE))
        assert min(medians) < 50, medians


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1000, "light")])
def test_nothing_is_cut_off_on_a_phone_or_in_the_dark(browser, tmp_path, width, scheme):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, page_of(tmp_path), **options) as tab:
        wait_for_steps(tab, 5)
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
        drawn = pixels(tab.locator("canvas.plane:visible"))
        assert len(drawn) == 3
        assert all(picture.std() > 5 for picture in drawn)
