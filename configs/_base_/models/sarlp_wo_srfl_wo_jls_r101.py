# SARLP without label recovery, the class vectors learnt from the label embeddings alone
_base_ = './sarlp_wo_jls_r101.py'

model = dict(head=dict(srfl=dict(use_image=False)))
