"""What the widgets share: one JavaScript file each, a picture for viewers without JavaScript, and a model to follow."""

import base64
import copy
import io
import re
from pathlib import Path
from typing import Any, TypeVar

import anywidget
import matplotlib.image
import numpy as np
import traitlets
from IPython import get_ipython
from torch import Tensor, nn

from memgan.gan import MemoryGAN
from memgan.plots import tile
from memgan.widgets.export import export_gan

__all__ = ["ExplorerWidget", "PictureWidget", "checked_noises", "script", "sheet", "still"]

FOLDER = Path(__file__).parent
Network = TypeVar("Network", bound=nn.Module)
_IMPORT = re.compile(r'^import .* from "(\.\.?/.*)";\n', re.MULTILINE)


def script(name: str | Path) -> str:
    """The module `name`, a path from this folder, and before it those that it imports: a widget is one file."""
    parts: dict[Path, str] = {}

    def collect(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for imported in _IMPORT.findall(text):
            if (path.parent / imported).resolve() not in parts:
                collect((path.parent / imported).resolve())
        parts[path] = _IMPORT.sub("", text)

    collect(FOLDER / name)
    *imported, own = parts.values()
    return "".join(re.sub(r"^export ", "", part, flags=re.MULTILINE) for part in imported) + own


def sheet(images: Tensor, columns: int, scale: int = 4) -> bytes:
    """`images` [n, C, H, W] in [-1, 1] as a PNG file, each pixel `scale` pixels wide."""
    buffer = io.BytesIO()
    enlarged = np.ascontiguousarray(tile(images, columns).repeat(scale, axis=0).repeat(scale, axis=1))
    matplotlib.image.imsave(buffer, enlarged, cmap="gray", vmin=0, vmax=1, format="png")
    return buffer.getvalue()


class PictureWidget(anywidget.AnyWidget):
    """A widget that viewers without JavaScript see as a picture, `picture()`, and a line of text, its `repr`."""

    _css = FOLDER / "widgets.css"

    def __init__(self, **state: Any) -> None:
        unknown = set(state) - set(self.trait_names())
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        super().__init__(**state)

    def __setattr__(self, name: str, value: Any) -> None:  # a page is sent plain numbers: no tensors, arrays, NaN
        value = value.tolist() if self.has_trait(name) and hasattr(value, "tolist") else value
        if isinstance(value, float) and value != value:
            raise traitlets.TraitError(f"{name} must be a number, got {value}")
        super().__setattr__(name, value)

    def picture(self) -> bytes:
        """A PNG file of what the widget shows."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        metadata["image/png"] = {"alt": repr(self)}
        return data | {"text/plain": repr(self), "image/png": base64.b64encode(self.picture()).decode()}, metadata


class ExplorerWidget(PictureWidget):
    """A widget on a `MemoryGAN`: the page gets the generator and the memory, and runs them itself.

    While it is in view it follows the model: what a cell changes by training shows when the cell is done. `refresh()`
    does the same at once. Raises ValueError for a model without a memory, TraitError for a slot that is not there.
    """

    gan = traitlets.Dict().tag(sync=True)  # `export_gan` of the model
    slot = traitlets.Int(0).tag(sync=True)

    _views: frozenset[str] = frozenset()

    def __init__(self, gan: MemoryGAN, **state: Any) -> None:
        state = {"gan": export_gan(gan), "slot": gan.memory.slot_probabilities().argmax()} | state
        self._live, self._seen = gan, _version(gan)
        super().__init__(**state)
        self.on_msg(self._viewed)

    def images(self, noise: Tensor) -> Tensor:
        """G(K_c, z) [n, C, H, W] of the slot c, for `noise` [n, Z], as PyTorch computes it in evaluation mode."""
        gan = still(self._live)
        return gan.generator(gan.memory.keys[self.slot].expand(len(noise), -1), noise)

    def refresh(self) -> None:
        """Show the model as it is now."""
        self._seen = _version(self._live)
        self.gan = export_gan(self._live)

    def close(self) -> None:
        self._keep(frozenset())
        super().close()

    def _viewed(self, widget: Any, content: dict[str, str], buffers: Any) -> None:
        """The page says that a view came, to which the model may have changed already, or that one went."""
        self._keep((self._views | {content.get("shown", "")}) - {content.get("gone", ""), ""})
        if "shown" in content:
            self._follow(None)

    def _keep(self, views: frozenset[str]) -> None:
        """The shell calls back after each cell exactly as long as there is a view."""
        change, self._views = bool(views) - bool(self._views), views
        shell = get_ipython() if change else None
        if shell is not None:
            (shell.events.register if change > 0 else shell.events.unregister)("post_run_cell", self._follow)

    def _follow(self, result: Any) -> None:
        if _version(self._live) != self._seen:
            self.refresh()

    @traitlets.validate("slot")
    def _slot_exists(self, proposal: Any) -> int:
        number = len(self.gan["values"])
        if not 0 <= proposal["value"] < number:
            raise traitlets.TraitError(f"slot must be in 0..{number - 1}, got {proposal['value']}")
        return int(proposal["value"])  # True is 1


def still(model: Network) -> Network:
    """A copy on the CPU, in evaluation mode and without gradients: to draw from, while `model` stays as it is."""
    return copy.deepcopy(model).cpu().eval().requires_grad_(False)


def checked_noises(name: str, noises: list[list[float]], number: int, length: int) -> list[list[float]]:
    """`noises`, if they are `number` of [-1, 1]^length; else TraitError."""
    if len(noises) != number or any(len(z) != length or any(not -1 <= part <= 1 for part in z) for z in noises):
        what, got = (str(length), noises[0]) if number == 1 else (f"{number} lists of {length}", noises)
        raise traitlets.TraitError(f"{name} must be {what} numbers in [-1, 1], got {got}")
    return noises


def _version(gan: MemoryGAN) -> int:
    """Grows with every change in place of a weight or of the memory."""
    return sum(tensor._version for tensor in gan.state_dict().values())
