# What every classifier shares.  `input_size` (pixels, square) is replaced by `classifier.input_size`.
input_size = 112

train_pipeline = [
    dict(type="LoadPatch"),
    dict(type="RandomResizedCrop", scale=input_size, crop_ratio_range=(0.7, 1.0), aspect_ratio_range=(0.85, 1.18)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="QuarterTurn"),
    dict(type="ColorJitter", brightness=0.15, contrast=0.15, saturation=0.2, hue=0.03, backend="cv2"),
    dict(type="PackInputs", meta_keys=()),
]
test_pipeline = [
    dict(type="LoadPatch"),
    dict(type="Resize", scale=(input_size, input_size), interpolation="area"),
    dict(type="PackInputs", meta_keys=()),
]
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.05)
paramwise_cfg = dict(norm_decay_mult=0, bias_decay_mult=0)
clip_grad = dict(max_norm=5, norm_type=2)
