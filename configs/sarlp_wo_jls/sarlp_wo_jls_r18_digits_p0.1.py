_base_ = '../sarlp/sarlp_r18_digits_p0.1.py'
model = dict(head=dict(recovery=None), method=dict(recovery_loss=None))
