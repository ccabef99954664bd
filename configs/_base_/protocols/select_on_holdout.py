# The best epoch is selected on a held-out share of the training images instead of on the test set (docs/protocols.md).
# A base can not change the keys of another one, so the config that names this file hands the two parts out itself:
# configs/sarlp/sarlp_r101_voc_p0.1_holdout.py does it in two lines that go for every data set.
training_part = dict(part='train', share=0.1, seed=0)
held_out_part = dict(part='holdout', share=0.1, seed=0)
