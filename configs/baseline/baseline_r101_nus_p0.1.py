_base_ = ['../_base_/models/baseline_r101.py', '../_base_/recipes/nuswide.py']
