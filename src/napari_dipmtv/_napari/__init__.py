"""The napari plugin: views over the stages; the only package that imports Qt or napari."""
