_base_ = ['../_base_/models/baseline_lite0.py', '../_base_/recipes/lite0_voc_sample.py']
