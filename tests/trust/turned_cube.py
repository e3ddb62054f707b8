"""A cube of core, shell and skin with a void off its centre, turned about two axes; 26 voxels wide."""

from napari_dipmtv.settings.phantom import PhantomSettings

CUBE = PhantomSettings(
    field_voxels=26,
    size_nm=15.6,
    skin_nm=1.6,
    shell_nm=2.4,
    void_radius_nm=2.3,
    void_x_nm=0.4,
    void_y_nm=0,
    void_z_nm=-0.3,
    rotation_y_deg=11,
    rotation_z_deg=6,
)
