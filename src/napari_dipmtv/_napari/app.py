"""``napari-dipmtv gui`` to a napari window with the plugin docked, and the demo loading where that is wanted."""

from __future__ import annotations


def launch(demo: bool = False) -> None:
    """Open napari with the dock "DIPm-TV" and run until it is closed.

    Parameters
    ----------
    demo : bool
        Also simulate the demo data at once, so that the next step can be pressed.
    """
    import napari

    from napari_dipmtv._napari.demo_settings import demo_settings
    from napari_dipmtv._napari.main_widget import MainWidget

    viewer = napari.Viewer(title="DIPm-TV", show_welcome_screen=False)
    dock = MainWidget(viewer)
    viewer.window.add_dock_widget(dock, name="DIPm-TV", area="right")
    if demo:
        dock.bench.load_demo(demo_settings())
    napari.run()
