"""Triton kernels of the one pass over the voxels; the only modules that import Triton, and `losses/fused.py` alone imports them."""
