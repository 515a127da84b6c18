"""What fine-tuning changed in a model: `lab tune` makes tuned models, `lab diff` compares two."""
