_base_ = '../sarlp/sarlp_r18_digits_p0.1.py'
model = dict(head=dict(recovery=None, srfl=None), method=dict(recovery_loss=None))
