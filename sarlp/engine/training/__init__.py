"""What happens between two checkpoints: the loop, its hooks, the optimizer, schedules and the average."""
