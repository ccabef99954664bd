# The recipe of the digits for labels that are incomplete by themselves, such as those of a spreadsheet
# (docs/your_data.md). For photographs take sarlp_r50_custom.py.
_base_ = './sarlp_r18_digits_p0.1.py'

data_root = 'data/digits_spreadsheet'
prepare_data = 'sarlp convert labels --csv FILE --img-root DIR --save-dir DATA_ROOT'

# data_root and data_prefix are filled in when the config is loaded (sarlp/engine/config/custom.py)
train_dataloader = dict(dataset=dict(data_root=None, label_mask=None))
test_dataloader = dict(dataset=dict(data_root=None))
val_dataloader = test_dataloader
recovery_evaluator = None
