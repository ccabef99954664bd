"""What a run writes of itself, and goes on from: checkpoints, their record, and what they were trained on."""
