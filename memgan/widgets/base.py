"""What the widgets share: one JavaScript file each, a picture for viewers without JavaScript, and a model to follow."""

import base64
import io
import math
import re
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.image
import numpy as np
import torch
import traitlets
from torch import Tensor, nn

from memgan.extras import required
from memgan.gan import MemoryGAN
from memgan.networks import detached_copy
from memgan.plots import tile
from memgan.widgets.export import export_gan

with required("notebooks", "memgan.widgets"):
    import anywidget
    from IPython import get_ipython

__all__ = [
    "ExplorerWidget",
    "PictureWidget",
    "ViewedWidget",
    "checked_noises",
    "noise_tensor",
    "script",
    "sheet",
    "still",
]

FOLDER = Path(__file__).parent
SHARED = "memgan/"  # how an import names a file of this folder from anywhere
Network = TypeVar("Network", bound=nn.Module)
_IMPORT = re.compile(r'^import .* from "((?:\.|\.\.|memgan)/.*)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def script(name: str | Path) -> str:
    """The JavaScript of a widget as one module: the file `name` and, before it, those that it imports.

    `name` is a path from this folder, or a whole path. An import from "./FILE" or "../FILE" is relative to the file
    that imports; "memgan/FILE" is a file of this folder, wherever the importing file and the package are.
    """
    texts: dict[Path, str] = {}
    _collect(FOLDER / name, texts)
    own = texts.pop(FOLDER / name)
    imported = [_EXPORT.sub("", text) for text in texts.values()]
    return "".join(imported) + own


def _collect(path: Path, texts: dict[Path, str]) -> None:
    """Add to `texts` the files that `path` imports, and then its own text, both without their import lines."""
    text = path.read_text(encoding="utf-8")
    for name in _IMPORT.findall(text):
        imported = _resolved(name, path.parent)
        if imported not in texts:
            _collect(imported, texts)
    texts[path] = _IMPORT.sub("", text)


def _resolved(name: str, folder: Path) -> Path:
    """The file that an import of `name` means in a file of `folder`."""
    if name.startswith(SHARED):
        return (FOLDER / name.removeprefix(SHARED)).resolve()
    return (folder / name).resolve()


def sheet(images: Tensor, columns: int, scale: int = 4) -> bytes:
    """`images` [n, C, H, W], bytes or in [-1, 1], as a PNG file, each pixel `scale` pixels wide."""
    picture = tile(images, columns)
    enlarged = np.ascontiguousarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, enlarged, cmap="gray", vmin=0, vmax=1, format="png")
    return buffer.getvalue()


class PictureWidget(anywidget.AnyWidget):
    """A widget that viewers without JavaScript see as a picture, `picture()`, and a line of text, its `repr`."""

    # As text: for a path, a thread would watch the file, and the watcher would keep every widget and its model.
    _css = (FOLDER / "widgets.css").read_text(encoding="utf-8")

    def __init__(self, **state: Any) -> None:
        unknown = set(state) - set(self.trait_names())
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        super().__init__(**state)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a trait gets plain numbers, because a page is sent no tensors and no NaN."""
        if self.has_trait(name) and hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, float) and math.isnan(value):
            raise traitlets.TraitError(f"{name} must be a number, got {value}")
        super().__setattr__(name, value)

    def picture(self) -> bytes:
        """A PNG file of what the widget shows."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = ({}, {}) if bundle is None else bundle
        metadata["image/png"] = {"alt": repr(self)}
        picture = base64.b64encode(self.picture()).decode()
        return data | {"text/plain": repr(self), "image/png": picture}, metadata


class ViewedWidget(PictureWidget):
    """A widget whose views say when they come and when they go; `announce` of controls.js is what they say it with."""

    _views: tuple[str, ...] = ()  # those that show the widget now, in the order in which they came

    def __init__(self, **state: Any) -> None:
        super().__init__(**state)
        self.on_msg(self._viewed)

    def close(self) -> None:
        """Take the widget off the page."""
        self._set_views(())
        super().close()

    def _viewed(self, widget: Any, content: dict[str, str], buffers: Any) -> None:
        """The page says that a view came or that one went."""
        if "gone" in content:
            self._set_views(tuple(view for view in self._views if view != content["gone"]))
        if "shown" in content:
            self._set_views((*self._views, content["shown"]))

    def _set_views(self, views: tuple[str, ...]) -> None:
        self._views = views


class ExplorerWidget(ViewedWidget):
    """A widget on a `MemoryGAN`: the page gets the generator and the memory, and runs them itself.

    While it is in view it follows the model: what a cell changes by training shows when the cell is done. `refresh()`
    does the same at once, and is needed where a cell changes weights through `.data` or NumPy, which PyTorch does not
    count. `close()` lets go of the model. Raises ValueError for a model without a memory and for layers that a page
    cannot run, TraitError for a slot that is not there, and RuntimeError where a closed widget is to show its model.
    """

    gan = traitlets.Dict().tag(sync=True)  # `export_gan` of the model
    slot = traitlets.Int(0).tag(sync=True)

    _model: MemoryGAN | None = None  # that is followed; None once the widget is closed
    _shell: Any = None  # IPython's, which calls back after each cell while there is a view

    def __init__(self, gan: MemoryGAN, **state: Any) -> None:
        exported = export_gan(gan)
        most_used = gan.memory.slot_probabilities().argmax()
        self._model = gan
        self._seen = _versions(gan)
        super().__init__(**({"gan": exported, "slot": most_used} | state))

    @property
    def _live(self) -> MemoryGAN:
        """The model that is followed."""
        if self._model is None:
            raise RuntimeError(f"this {type(self).__name__} is closed and has no model any more: make another one")
        return self._model

    def images(self, noise: Tensor) -> Tensor:
        """G(K_c, z) [n, C, H, W] of the slot c, for `noise` [n, Z], as PyTorch computes it in evaluation mode."""
        gan = still(self._live)
        keys = gan.memory.keys[self.slot].expand(len(noise), -1)
        return gan.generator(keys, noise.to(keys))

    def refresh(self) -> None:
        """Show the model as it is now."""
        self._seen = _versions(self._live)
        with self.hold_sync():  # the page is sent the slot together with the memory that has it
            self.gan = export_gan(self._live)
            self._leave_missing_slots()

    def close(self) -> None:
        """Take the widget off the page, and let go of the model, which a notebook's history of outputs would keep."""
        self._model = None
        super().close()

    def _viewed(self, widget: Any, content: dict[str, str], buffers: Any) -> None:
        super()._viewed(widget, content, buffers)
        if "shown" in content:  # the model may have changed before the view came
            self._follow(None)

    def _set_views(self, views: tuple[str, ...]) -> None:
        """Keep `views`, and have the shell call back after each cell exactly as long as there is a view."""
        super()._set_views(views)
        is_in_view = len(views) > 0
        if is_in_view and self._shell is None:
            self._shell = get_ipython()
            if self._shell is not None:
                self._shell.events.register("post_run_cell", self._follow)
        elif not is_in_view and self._shell is not None:
            self._shell.events.unregister("post_run_cell", self._follow)
            self._shell = None

    def _follow(self, result: Any) -> None:
        """Refresh if the model is no longer the one that was shown last."""
        if _versions(self._live) != self._seen:
            self.refresh()

    def _leave_missing_slots(self) -> None:
        """Show the most used slot if the model has got a smaller memory, without the slot that was shown."""
        if self.slot >= len(self.gan["values"]):
            self.slot = int(self._live.memory.slot_probabilities().argmax())

    @traitlets.validate("slot")
    def _slot_exists(self, proposal: Any) -> int:
        slot = int(proposal["value"])  # a bool counts as 0 or 1
        number = len(self.gan["values"])
        if not 0 <= slot < number:
            raise traitlets.TraitError(f"slot must be in 0..{number - 1}, got {proposal['value']}")
        return slot


def still(model: Network) -> Network:
    """A copy on the CPU, in float32, in evaluation mode and without gradients, which leaves `model` as it is.

    Widgets draw from such a copy wherever the model is, so that nothing else of theirs has to follow it to a GPU.
    """
    return detached_copy(model).cpu().float().eval().requires_grad_(False)


def noise_tensor(noises: list[list[float]]) -> Tensor:
    """`noises` as a tensor [n, Z] for the networks of `still`, whatever PyTorch's default device and type are."""
    return torch.tensor(noises, dtype=torch.float32, device="cpu")


def checked_noises(name: str, noises: list[list[float]], number: int, length: int) -> list[list[float]]:
    """`noises`, if they are `number` of [-1, 1]^length; else TraitError."""
    if len(noises) == number and all(_is_noise(noise, length) for noise in noises):
        return noises
    if number == 1:
        raise traitlets.TraitError(f"{name} must be {length} numbers in [-1, 1], got {noises[0]}")
    raise traitlets.TraitError(f"{name} must be {number} lists of {length} numbers in [-1, 1], got {noises}")


def _is_noise(noise: list[float], length: int) -> bool:
    return len(noise) == length and all(-1 <= part <= 1 for part in noise)


def _versions(gan: MemoryGAN) -> list[tuple[int, int]]:
    """Where each weight and each part of the memory lies, and how often it was changed in place.

    PyTorch counts the changes, except those through `.data`; a replay of a CUDA graph changes tensors behind its back,
    so that the trainer counts those itself.
    """
    versions = []
    for tensor in (*gan.parameters(), *gan.buffers()):
        version = 0 if tensor.is_inference() else tensor._version  # made in inference mode, a tensor has none
        versions.append((tensor.data_ptr(), version))
    return versions
