# Swin-T (Liu et al. 2021): 27.5 M weights, for a GPU; likes `classifier.learning_rate: 0.0003`.
_base_ = ["_base_/training.py", "_base_/imagenet.py"]

model = dict(
    # img_size only matters for absolute positions, which are off; pad_small_map lets inputs below 224 px in.
    backbone=dict(type="SwinTransformer", arch="tiny", img_size=224, drop_path_rate=0.1, pad_small_map=True),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(in_channels=768),
)
