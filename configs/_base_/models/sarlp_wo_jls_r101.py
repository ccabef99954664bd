# SARLP without the joint label recovery: the loss sees the known labels only
_base_ = './sarlp_r101.py'

model = dict(head=dict(recovery=None), method=dict(recovery_loss=None))
