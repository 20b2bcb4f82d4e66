"""What leaves the factory: a Hugging Face model, a GGUF file, and the model card."""
