"""Names for latents: what a person needs to give one, and whether it holds up."""
