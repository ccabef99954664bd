# ML-Decoder (WACV 2023): a hundred fixed random queries
model = dict(head=dict(_delete_=True, type='MLDecoderHead', num_classes=None, in_channels=None))
