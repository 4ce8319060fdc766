"""Residual Denoising Diffusion Models (Liu et al., CVPR 2024): the method, in pure torch."""
