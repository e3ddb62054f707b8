"""The napari plugin: views over the stages; the only package that imports Qt or napari."""

import os

# Before torch is loaded: its threads wait asleep. Spinning, they take from the window the time to draw, and a busy
# machine of two cores was seen to compute twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
