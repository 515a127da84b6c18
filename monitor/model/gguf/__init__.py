"""GGUF files, converted to safetensors."""
