"""What diffusion is compared with: three other systems, small and of today, trained as all others are."""
