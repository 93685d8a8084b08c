"""A few pictures and a slider: a parameter swept, or a film."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import traitlets

from memgan.widgets.base import PictureWidget, script

__all__ = ["Frames"]


class Frames(PictureWidget):
    """Pictures under a slider with buttons to play and to step. All that it shows is in its state.

    `pictures` are PNG files, `labels` the text of each (its alternative text, and what the slider says), `name` the
    quantity that changes. `index` is the picture shown; set it from code or read it back.
    Raises ValueError for no pictures, or labels that are not as many; TraitError for an index beyond them.
    """

    _esm = script(Path(__file__).with_name("frames.js"))

    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)  # PNG files in base64
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int().tag(sync=True)  # pixels on the page
    pause = traitlets.Int(600).tag(sync=True)  # milliseconds for each picture while it plays
    index = traitlets.Int(0).tag(sync=True)

    def __init__(
        self, pictures: Sequence[bytes], labels: Sequence[str], name: str, *, index: int = 0, width: int = 720
    ) -> None:
        if not pictures or len(labels) != len(pictures):
            raise ValueError(f"expected a label for each picture, got {len(labels)} for {len(pictures)} pictures")
        encoded = [base64.b64encode(picture).decode() for picture in pictures]
        super().__init__(pictures=encoded, labels=list(labels), name=name, index=index, width=width)

    @traitlets.validate("index")
    def _within(self, proposal: Any) -> int:
        number = len(self.pictures)
        if not 0 <= proposal["value"] < number:
            raise traitlets.TraitError(f"index must be in 0..{number - 1}, got {proposal['value']}")
        return proposal["value"]

    @traitlets.observe("pictures")
    def _leave_missing_picture(self, change: Any) -> None:
        """Show the last picture if there are fewer than before, without the one that was shown."""
        self.index = min(self.index, len(self.pictures) - 1)

    def __repr__(self) -> str:
        return f"Frames({self.name}: {len(self.pictures)} pictures, now {self.labels[self.index]!r})"

    def picture(self) -> bytes:
        return base64.b64decode(self.pictures[self.index])

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        metadata["image/png"]["width"] = self.width
        return data, metadata
