# self-paced loss correction (Zhang et al., arXiv 2112.07368)
model = dict(
    method=dict(
        type='SPLC',
        loss=dict(_delete_=True, type='FocalLoss', margin=1, reduction='sum'),
        unknown_loss=dict(type='FocalLoss', reduction='sum'),
    )
)
