# EfficientNet-lite0 (Tan & Le 2019; Liu 2020): the default, made for two cores.
_base_ = ["_base_/training.py"]

# Pre-trained layers that stay as they are (stride 2).
frozen = ["backbone.timm_model.conv_stem", "backbone.timm_model.bn1", "backbone.timm_model.blocks.0"]

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], to_rgb=False),
    backbone=dict(
        type="TIMMBackbone",
        model_name="tf_efficientnet_lite0",
        features_only=False,
        pretrained=False,
        drop_path_rate=0.1,
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=4,
        in_channels=1280,
        loss=dict(type="LabelSmoothLoss", label_smooth_val=0.05, mode="original"),
    ),
)
