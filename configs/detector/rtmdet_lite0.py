# RTMDet (Lyu et al. 2022, arXiv 2212.07784) on EfficientNet-lite0: the default, made for two cores.
_base_ = ["_base_/training.py"]

# Pre-trained layers that stay as they are (strides 2 to 8).
frozen = [
    "backbone.timm_model.conv_stem",
    "backbone.timm_model.bn1",
    "backbone.timm_model.blocks.0",
    "backbone.timm_model.blocks.1",
    "backbone.timm_model.blocks.2",
]

model = dict(
    type="RTMDet",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=False,
        pad_size_divisor=32,
        # Padding comes after normalisation: (235 - 127.5) / 127.5, the light grey of empty glass.
        pad_value=0.843,
    ),
    backbone=dict(
        type="mmpretrain.TIMMBackbone",
        model_name="tf_efficientnet_lite0",
        features_only=True,
        pretrained=False,
        out_indices=(2, 3, 4),
    ),
    neck=dict(
        type="CSPNeXtPAFPN",
        in_channels=[40, 112, 320],
        out_channels=96,
        num_csp_blocks=1,
        expand_ratio=0.5,
        norm_cfg=dict(type="BN"),
        act_cfg=dict(type="SiLU", inplace=True),
    ),
    bbox_head=dict(
        type="RTMDetSepBNHead",
        num_classes=1,
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        anchor_generator=dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type="DistancePointBBoxCoder"),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=False,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=dict(type="BN"),
        act_cfg=dict(type="SiLU", inplace=True),
    ),
    train_cfg=dict(
        assigner=dict(type="DynamicSoftLabelAssigner", topk=13),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.01,
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=300,
    ),
)
