"""The demo that the window offers: minutes on a laptop, with a dose at which core, shell, skin and void show well."""

from __future__ import annotations

from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings


def demo_settings() -> SimulationSettings:
    """A cube of 27 nm with a void of 6 nm in a field of 40 voxels of 1 nm, nine tilts."""
    particle = PhantomSettings(
        field_voxels=40, size_nm=27, shell_nm=4, void_radius_nm=3, void_x_nm=1, void_y_nm=-0.5, void_z_nm=-1
    )
    return SimulationSettings(phantom=particle, dose_e_per_a2=1e5)
