# Query2Label (arXiv 2107.10834): a learnt query a class
model = dict(head=dict(_delete_=True, type='Q2LHead', num_classes=None, in_channels=None))
