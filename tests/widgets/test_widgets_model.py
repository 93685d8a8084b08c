"""Widgets and the model behind them: where it is, in which precision, when it changed; and the JavaScript they send."""

import copy
from pathlib import Path

import pytest
import torch

from memgan.presets import PRESETS
from memgan.runs import build
from memgan.widgets import Interpolation, LatentExplorer, SlotExplorer
from memgan.widgets.base import script

SLOTS = 40


@pytest.fixture
def gan():
    torch.manual_seed(0)
    gan = build(PRESETS["digits"].changed([f"memory.num_slots={SLOTS}", "memory.top_k=4"]))
    gan.memory.histogram.copy_(torch.rand(SLOTS) + 0.1)
    return gan.eval()


def shown(gan):
    """All that three widgets show of `gan`."""
    generator = torch.Generator(device="cpu").manual_seed(2)
    images = torch.rand(37, 1, 16, 16, generator=generator, dtype=torch.float32, device="cpu") * 2 - 1
    walk = Interpolation(gan)
    return {
        "latent": LatentExplorer(gan, noise=[0.5, -0.5, 0.0, 1.0]).picture(),
        "samples": SlotExplorer(gan, images).picture(),
        "table": SlotExplorer(gan, images).table,
        "slots of the walk": walk.slots,
        "walks": [Interpolation(gan, kind=kind).picture() for kind in ("slot", "switch", "keys")],
    }


def test_a_default_device_or_type_changes_nothing(gan):
    expected = shown(gan)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")  # a tensor there has no values to draw
        found = shown(gan)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found == expected


def test_a_model_in_float64_is_shown_as_in_float32(gan):
    assert shown(copy.deepcopy(gan).double()) == shown(gan)


@pytest.mark.gpu
def test_a_model_on_a_gpu_is_shown_as_on_the_cpu(gan):
    assert shown(copy.deepcopy(gan).cuda()) == shown(gan)


@pytest.mark.parametrize("normalise", [torch.nn.utils.spectral_norm, torch.nn.utils.parametrizations.spectral_norm])
def test_a_generator_under_spectral_normalisation_is_shown_right_after_a_training_step(gan, normalise):
    for layer in gan.generator.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.ConvTranspose2d):
            normalise(layer)
    gan.train().generate(8).images.sum().backward()
    LatentExplorer(gan).picture()
    assert gan.generate(2).images.requires_grad  # the model is as it was


CHANGES = {
    "a weight in place": lambda gan: torch.nn.init.zeros_(next(gan.generator.parameters())),
    "the memory in place": lambda gan: gan.memory.histogram.mul_(2),
    "weights loaded": lambda gan: gan.load_state_dict(copy.deepcopy(gan.state_dict())),
    "weights replaced": lambda gan: gan.load_state_dict(copy.deepcopy(gan.state_dict()), assign=True),
    "another layer": lambda gan: setattr(gan, "inference", copy.deepcopy(gan.inference)),
    "counted by the trainer": lambda gan: torch.autograd.graph.increment_version(list(gan.parameters())),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_view_shows_the_model_anew_whatever_changed_it(gan, change):
    explorer = LatentExplorer(gan)
    sent = explorer.gan
    explorer._handle_custom_msg({"shown": "a"}, [])
    assert explorer.gan is sent
    change(gan)
    explorer._handle_custom_msg({"shown": "b"}, [])
    assert explorer.gan is not sent


def test_a_model_that_was_made_in_inference_mode_is_shown(gan):
    """Its tensors have no counter of changes."""
    with torch.inference_mode():
        made_so = copy.deepcopy(gan)
    assert LatentExplorer(made_so).picture() == LatentExplorer(gan).picture()


@pytest.mark.parametrize("explorer", [LatentExplorer, SlotExplorer, Interpolation])
def test_a_slot_that_a_smaller_memory_lacks_is_left(gan, explorer):
    state = {"slots": [SLOTS - 2, SLOTS - 1]} if explorer is Interpolation else {"slot": SLOTS - 1}
    widget = explorer(gan, **state)
    smaller = build(PRESETS["digits"].changed([f"memory.num_slots={SLOTS // 2}", "memory.top_k=4"]))
    gan.memory = smaller.memory
    widget.refresh()
    assert widget.slot < SLOTS // 2
    assert widget.picture() == explorer(gan, slot=widget.slot).picture()


def test_a_script_holds_each_file_that_it_imports_once_and_before_itself(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "shared.js").write_text("export const shared = 1;\n")
    (tmp_path / "below" / "part.js").write_text('import { shared } from "../shared.js";\nexport const part = shared;\n')
    imports = 'import { part } from "./below/part.js";\nimport { shared } from "./shared.js";\n'
    (tmp_path / "widget.js").write_text(imports + "export default part + shared;\n")
    expected = "const shared = 1;\nconst part = shared;\nexport default part + shared;\n"
    assert script(tmp_path / "widget.js") == expected


def test_a_file_anywhere_imports_what_the_widgets_share_by_the_packages_name(tmp_path):
    (tmp_path / "widget.js").write_text('import { root } from "memgan/controls.js";\nexport default root;\n')
    text = script(tmp_path / "widget.js")
    assert "function root(" in text and text.endswith("export default root;\n")
    assert not text.startswith("import ") and "\nimport " not in text


def test_no_script_of_the_lesson_names_where_the_package_lies():
    folder = Path(__file__).parents[2] / "notebooks" / "walkthrough" / "widgets"
    for path in folder.glob("*.js"):
        script(path)  # a file that is not found is an error
        assert "../" not in path.read_text(encoding="utf-8"), path
