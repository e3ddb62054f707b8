"""Aligned tilt series to volumes: SIRT, CS-TV, DIP-TV and DIPm-TV as iterators of states."""
