# ResNet-50 (He et al. 2015): 23.5 M weights.
_base_ = ["_base_/training.py", "_base_/imagenet.py"]

model = dict(
    backbone=dict(type="ResNet", depth=50, num_stages=4, out_indices=(3,), style="pytorch"),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(in_channels=2048),
)
