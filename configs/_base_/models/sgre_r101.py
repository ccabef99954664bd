_base_ = './baseline_r101.py'

model = dict(
    head=dict(
        type='SGREHead',
        # `file` is set by the data set's config; None learns the embeddings
        label_embedding=dict(type='LabelEmbedding', dim=768, file=None),
        encoder=dict(type='TokenEncoder', num_layers=1, num_heads=8, feedforward_dim=2048, dropout=0.1),
        attention_dim=1024,
        temperature=1.0,
        dropout=0.5,
    ),
    method=dict(
        type='SGRE',
        # both divided by the number of all labels: the authors' mean where every label is known
        loss=dict(reduction='mean'),
        class_feature_loss=dict(
            type='AsymmetricLoss', gamma_neg=2, gamma_pos=0, clip=0, reduction='mean', loss_weight=0.1
        ),
    ),
)
