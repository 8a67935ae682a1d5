# RTMDet-m: 24.7 M weights, for a GPU.
_base_ = ["_base_/training.py", "_base_/rtmdet.py"]

model = dict(
    backbone=dict(deepen_factor=0.67, widen_factor=0.75),
    neck=dict(in_channels=[192, 384, 768], out_channels=192, num_csp_blocks=2),
    bbox_head=dict(in_channels=192, feat_channels=192, exp_on_reg=True),
)
