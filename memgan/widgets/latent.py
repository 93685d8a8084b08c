"""Latent explorer: a slot's image under a pad for the noise."""

from typing import Any

import traitlets

from memgan.widgets.base import ExplorerWidget, checked_noises, noise_tensor, script, sheet

__all__ = ["LatentExplorer"]

_TILES = 5  # images along each side of the pad, as in latent.js


class LatentExplorer(ExplorerWidget):
    """G(K_c, z) for a `slot` c and a `noise` z in [-1, 1]^Z that one moves over a pad; z = 0 at the start.

    Both can be set from code, whole, and read back. Raises TraitError for a z of the wrong length or beyond [-1, 1].
    """

    _esm = script("latent.js")

    noise = traitlets.List(traitlets.Float()).tag(sync=True)

    @traitlets.default("noise")
    def _middle(self) -> list[float]:
        return [0.0] * self.gan["noise_dim"]

    @traitlets.validate("noise")
    def _noise_fits(self, proposal: Any) -> list[float]:
        return checked_noises("noise", [proposal["value"]], 1, self.gan["noise_dim"])[0]

    def picture(self) -> bytes:
        """The images under the pad: z_1 grows from left to right and z_2 upward, and the rest of z is `noise`."""
        places = [(2 * tile + 1) / _TILES - 1 for tile in range(_TILES)]
        columns = [[z_1] for z_1 in places] if len(self.noise) > 0 else [[]]
        rows = [[z_2] for z_2 in reversed(places)] if len(self.noise) > 1 else [[]]
        noises = [[*z_1, *z_2, *self.noise[2:]] for z_2 in rows for z_1 in columns]
        return sheet(self.images(noise_tensor(noises)), len(columns))

    def __repr__(self) -> str:
        return f"LatentExplorer(slot {self.slot}, noise {[round(z, 2) for z in self.noise]})"
