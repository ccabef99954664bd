_base_ = ['../_base_/models/sarlp_lite0.py', '../_base_/recipes/lite0_voc_sample.py']
