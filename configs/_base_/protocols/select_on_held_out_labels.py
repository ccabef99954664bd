# The best epoch is selected on a fifth of the known labels of the training images, which are left out of the loss, and
# the test set is measured beside it (docs/protocols.md). A base can not change the keys of another one, so the config
# that names this file hands the two parts out itself: configs/sarlp/sarlp_r18_digits_held_out_labels_p0.1.py does it in
# two lines that go for every data set.
training_labels = dict(part='train')
held_out_labels = dict(part='heldout')
custom_hooks = [dict(type='SelectionHook')]
