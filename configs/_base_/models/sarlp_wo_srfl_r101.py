# SARLP without label recovery, the label embeddings themselves as class vectors
_base_ = './sarlp_wo_jls_r101.py'

model = dict(head=dict(srfl=None))
