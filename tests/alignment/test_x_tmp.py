import numpy as np, torch, pytest
from napari_dipmtv.alignment import estimate
from napari_dipmtv.alignment.most_likely import MostLikely
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import run
def test_x(plant,sirt,residual):
    L=MostLikely(torch.device("cpu"))
    for seed in (4,5,6):
      for ang in (-8.,2.5):
        p=plant(np.random.default_rng(seed).uniform(-2,2,(9,2)),ang,0.0,relative_noise=.15,seed=seed)
        for r in (3,6):
            f=run(estimate(p.maps,AlignSettings(rounds=r,max_axis_angle_deg=12),reconstruct=L)).value
            print(seed,ang,r,"err %.3f sigma %.3f"%(f.axis_angle_deg-ang,f.axis_angle_error_deg),residual(displacements(f),p))
    p=plant(np.zeros((9,2)),0.,-8.,relative_noise=.2,seed=13)
    for nm,rec in (("sirt",sirt),("ml",L)):
        for r in (4,6,12):
            f=run(estimate(p.maps,AlignSettings(rounds=r,find_axis_angle=False),reconstruct=rec)).value
            print(nm,r,f.axis_offset_px,residual(displacements(f),p))
