_base_ = '../sarlp/sarlp_r18_digits_p0.1.py'
model = dict(head=dict(recovery=None, srfl=dict(use_image=False)), method=dict(recovery_loss=None))
