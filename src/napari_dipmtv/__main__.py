"""``python -m napari_dipmtv`` is the command ``napari-dipmtv``."""

from napari_dipmtv.cli import main

if __name__ == "__main__":
    main()
