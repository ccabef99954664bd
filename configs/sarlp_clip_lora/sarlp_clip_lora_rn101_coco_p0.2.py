_base_ = './sarlp_clip_lora_rn101_coco_p0.1.py'
train_dataloader = dict(dataset=dict(label_mask=dict(known_ratio=0.2)))
