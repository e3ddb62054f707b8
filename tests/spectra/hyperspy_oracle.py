"""HyperSpy's fit of the same linear model, as an oracle for abundances and their errors."""

from __future__ import annotations

import numpy as np


def hyperspy_fit(counts, energy_ev, basis, variance, *, optimizer="lstsq", lowest=None, **options):
    """Fit basis spectra (k, e) to counts (y, x, e) of known variance; give weights and errors (y, x, k)."""
    import hyperspy.api as hs

    signal = _signal(hs, counts, energy_ev)
    signal.set_noise_variance(_signal(hs, variance, energy_ev))
    model = signal.create_model()
    for i, spectrum in enumerate(basis):
        component = hs.model.components1D.ScalableFixedPattern(_signal(hs, spectrum, energy_ev))
        component.name = f"part {i}"
        component.shift.free = component.xscale.free = False
        component.yscale.bmin = None if lowest is None else lowest[i]
        model.append(component)
    model.assign_current_values_to_all()  # else a pixel starts from its neighbour, and stays where a bound held that
    model.multifit(optimizer=optimizer, show_progressbar=False, **options)
    return tuple(
        np.stack([component.yscale.map[field] for component in model], axis=-1) for field in ("values", "std")
    )


def _signal(hs, data, energy_ev):
    signal = hs.signals.Signal1D(np.array(data, dtype=float))
    axis = signal.axes_manager[-1]
    axis.offset, axis.scale = float(energy_ev[0]), float(energy_ev[1] - energy_ev[0])
    return signal
