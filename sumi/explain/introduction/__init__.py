"""What introductions to diffusion models say, each sentence as an experiment with a verdict."""
