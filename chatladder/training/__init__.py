"""LoRA adapters: settings, the training loop, checkpoints and folds."""
