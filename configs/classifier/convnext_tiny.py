# ConvNeXt-T (Liu et al. 2022): 27.8 M weights, for a GPU; likes `classifier.learning_rate: 0.0003`.
_base_ = ["_base_/training.py", "_base_/imagenet.py"]

model = dict(
    # ConvNeXt pools and normalises by itself, so there is no neck.
    backbone=dict(type="ConvNeXt", arch="tiny", drop_path_rate=0.1),
    head=dict(in_channels=768),
)
