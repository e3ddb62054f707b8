"""Volumes to tilt series and back: parallel-beam geometry and the projector pair."""
