_base_ = './baseline_r101.py'

model = dict(
    head=dict(
        type='SARLPHead',
        # `file` is set by the data set's config; None learns the embeddings
        label_embedding=dict(type='LabelEmbedding', dim=768, file=None),
        encoder=dict(type='TokenEncoder', num_layers=1, num_heads=8, feedforward_dim=2048, dropout=0.1),
        srfl=dict(type='SRFL'),
        sgfe=dict(type='SGFE', attention_dim=1024, dropout=0.5),
        recovery=dict(type='LabelRecovery'),
    ),
    method=dict(
        type='SARLP',
        # the loss on the known labels is a sum, this one a mean over all labels, as in the authors' code
        recovery_loss=dict(type='AsymmetricLoss', gamma_neg=2, gamma_pos=0, clip=0, reduction='mean', loss_weight=0.8),
    ),
)
