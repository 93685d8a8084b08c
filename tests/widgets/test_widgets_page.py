"""`memgan explore`: one file with all widgets of a run, opened straight from the disk."""

import json
import re

import pytest
import torch

from memgan.lab.commands.cli import main
from memgan.lab.evaluation.classifier import Classifier
from memgan.presets import PRESETS
from memgan.runs import build, save_run
from memgan.widgets import Interpolation, LatentExplorer, SlotExplorer
from memgan.widgets.page import page
from tests.browser import chromium, opened


@pytest.fixture(scope="module")
def gan():
    torch.manual_seed(0)
    gan = build(PRESETS["digits"].changed(["memory.num_slots=64"])).eval()
    gan.generator.layers[-2].weight.data *= 50  # as born, all its images are grey
    return gan


def test_what_two_widgets_share_stands_in_the_page_once(gan):
    text = page("t", "", {name: LatentExplorer(gan) for name in "ab"})
    weights = max(re.findall(r'"data": "([^"]*)"', text), key=len)
    assert len(weights) > 100_000
    assert text.count(weights) == 1


def test_a_page_holds_its_own_widgets_only(gan):
    other = LatentExplorer(gan, slot=13)
    text = page("t", "", {"mine": LatentExplorer(gan, slot=7)})
    assert [int(slot) for slot in re.findall(r'"slot": (\d+)', text)] == [7]
    assert other.slot == 13


def test_text_of_the_page_is_text(gan):
    text = page("<b>&", "a < b", {"</script>": LatentExplorer(gan)})
    assert "<h1>&lt;b&gt;&amp;</h1>" in text
    assert "a &lt; b" in text
    assert "<h2>&lt;/script&gt;</h2>" in text


def test_no_name_of_a_class_ends_or_hides_a_script(gan):
    """ "</script" would end it, and after "<!--<script" a browser would pass over its end."""
    text = page("t", "l", {"h": SlotExplorer(gan, classifier=Always(), class_names=["<!--<script>", "</script>"])})
    states = text.split('type="application/vnd.jupyter.widget-state+json">')[1].split("</script>")[0]
    assert "<" not in states and "\\u003c!--\\u003cscript>" in states
    assert json.loads(states)["state"]


class Always(torch.nn.Module):
    """A classifier to which all is of the first of two classes."""

    def forward(self, images):
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)


def test_names_that_are_not_utf_8_can_be_stored(gan):
    """Python holds a byte that it cannot decode as a lone surrogate."""
    name = b"caf\xe9 $".decode("utf-8", "surrogateescape")
    widgets = {
        name: LatentExplorer(gan),
        "slots": SlotExplorer(gan, classifier=Classifier(1, (16, 16), 2).eval(), class_names=[name, "other"]),
        "walks": Interpolation(gan, class_names=[name, "other"]),
    }
    text = page(name, name, widgets).encode().decode()
    for part in ("<h1>caf? $</h1>", "<h2>caf? $</h2>"):
        assert part in text
    assert text.count('["caf? $", "other"]') == 2  # as the widgets' state


def test_explore_says_what_is_wrong(tmp_path, capsys, gan):
    assert main(["explore", str(tmp_path / "nothing")]) == 1
    assert "is not a run" in capsys.readouterr().err
    save_run(tmp_path, gan, PRESETS["digits"].changed(["memory.num_slots=64"]), {})
    assert main(["explore", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "--out must name a page such as explore.html" in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.parametrize("dataset", ["digits", "affine-mnist"])  # the second is not at hand: no real images, no classes
def test_explore_writes_a_page_whose_widgets_move(tmp_path, capsys, gan, dataset):
    settings = PRESETS["digits"].changed(["memory.num_slots=64"])
    save_run(tmp_path / "run", gan, type(settings)(dataset, settings.memory, settings.networks, settings.training), {})
    assert main(["explore", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert "explore.html" in said.out
    assert ("without real images and classes" in said.err) == (dataset == "affine-mnist")
    text = (tmp_path / "run" / "explore.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<noscript>[^<]+<img src="data:image/png;base64,[^"]+" alt="">', text)) == 3
    assert re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?https?:", text) == []
    with chromium() as browser, opened(browser, tmp_path / "run" / "explore.html") as tab:
        tab.wait_for_function("() => memgan.length === 3")
        for number in range(3):
            picker = tab.get_by_role("spinbutton", name="slot").nth(number)
            picker.fill("7")
            picker.press("Enter")
            assert tab.evaluate(f"() => (memgan[{number}].get('slots') ?? [memgan[{number}].get('slot')])[0]") == 7
