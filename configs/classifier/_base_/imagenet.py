# What OpenMMLab's ImageNet models share.  cytoline reads RGB, as these weights expect it.
model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=False),
    head=dict(
        type="LinearClsHead",
        num_classes=4,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.05, mode="original"),
    ),
)
