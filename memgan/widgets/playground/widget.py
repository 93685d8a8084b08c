"""The playground: a widget in which an ordinary GAN and a MemoryGAN learn side by side, in the page itself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from memgan.widgets.base import ViewedWidget, script
from memgan.widgets.playground.settings import checked_state, default_state, for_page, is_whole

__all__ = ["Playground"]

STILL = Path(__file__).with_name("still.png")  # drawn by scripts/measure_playground.py
WORKER = f"const WORKER = {json.dumps(script('playground/worker.js'))};\n"


class Playground(ViewedWidget):
    """An ordinary GAN and a MemoryGAN that learn the same points of the plane, with every part of the method to change.

    Both are trained in the page, in plain JavaScript: no kernel is needed. With one, Python can drive the widget and
    read it back:

        playground = Playground({"distribution": "moons", "seed": 3})
        playground.playing = False
        playground.advance(100)     # a hundred steps
        playground.progress         # the step, and for each model the numbers under its picture
        playground.state            # what was changed in the page, to be given to another Playground

    `state` has a `seed`, a `distribution` ("ring", "grid", "rings", "unequal", "moons" or "painted"), the cells that
    were `painted`, a `speed` ("slow", "medium" or "fast") and `settings`, whose names are those of memgan's settings.
    What a given state leaves out has its default. Raises TraitError for a state that cannot be.

    What Python asks for before the playground is shown is done when it is. A playground that is shown twice is two
    experiments: they have one `state`, both do what Python asks for, and `progress` is that of the one shown last.
    """

    _esm = WORKER + script("playground/playground.js")

    given = traitlets.Dict().tag(sync=True)  # what can be changed, and its defaults
    state = traitlets.Dict().tag(sync=True)
    playing = traitlets.Bool(True).tag(sync=True)  # a page whose reader wants little motion pauses it
    progress = traitlets.Dict().tag(sync=True)  # written by the page, of the view that came last

    def __init__(self, state: Mapping[str, Any] | None = None, **traits: Any) -> None:
        self._pending: list[dict[str, Any]] = []  # messages for the next view that comes
        wanted = default_state() if state is None else state
        if isinstance(wanted, Mapping):
            wanted = dict(wanted)
        super().__init__(**({"given": for_page(), "state": wanted} | traits))

    def advance(self, steps: int = 1) -> None:
        """Pause, and do a number of steps. The page does them; `progress` says when they are done."""
        if not is_whole(steps) or steps < 1:
            raise ValueError(f"steps must be a whole number from 1 on, got {steps!r}")
        self.playing = False
        self._ask({"advance": int(steps)})

    def reset(self) -> None:
        """Begin again from new networks, with the same seed."""
        self._ask({"reset": True})

    def _ask(self, message: dict[str, Any]) -> None:
        """Send `message` to the views, or keep it until there is one: what is sent to none is lost."""
        if self._views:
            self.send(message)
        else:
            self._pending.append(message)

    def _viewed(self, widget: Any, content: dict[str, str], buffers: Any) -> None:
        super()._viewed(widget, content, buffers)
        if not self._views:
            return
        self.send({"reports": self._views[-1]})
        for message in self._pending:
            self.send(message)
        self._pending.clear()

    @traitlets.validate("state")
    def _state_is_one(self, proposal: Any) -> dict[str, Any]:
        try:
            return checked_state(proposal["value"])
        except (ValueError, OverflowError) as error:
            raise traitlets.TraitError(str(error)) from None

    def picture(self) -> bytes:
        """Both models at the start, in the middle and at the end of a run with the default settings."""
        return STILL.read_bytes()

    def __repr__(self) -> str:
        state = self.state
        return (
            f"Playground({state['distribution']}, seed {state['seed']}): an ordinary GAN and a MemoryGAN side by side"
        )
