# What every detector shares: how fields are read and shaken, and how weights are moved.
# `input_size` (width, height in pixels) is replaced by `detector.input_size`.
input_size = (512, 384)

train_pipeline = [
    dict(type="LoadField"),
    dict(type="LoadBoxes"),
    dict(type="RandomResize", scale=input_size, ratio_range=(0.7, 1.4), keep_ratio=True),
    dict(
        type="RandomCrop",
        crop_size=input_size,
        allow_negative_crop=False,
        bbox_clip_border=False,
    ),
    dict(type="DropCutCells", min_visible=0.35),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(
        type="PhotoMetricDistortion",
        brightness_delta=20,
        contrast_range=(0.8, 1.2),
        saturation_range=(0.7, 1.3),
        hue_delta=10,
    ),
    # A light grey like the empty glass of a slide.
    dict(type="Pad", size=input_size, pad_val=dict(img=(235, 235, 235))),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadField"),
    dict(type="LoadBoxes"),
    dict(type="Resize", scale=input_size, keep_ratio=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.05)
# share_conv makes one parameter appear under several names, hence bypass_duplicate.
paramwise_cfg = dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True)
clip_grad = dict(max_norm=35, norm_type=2)
