"""medseg: train, evaluate and deploy medical image segmentation, in 2-D and 3-D."""

__version__ = "0.1.0"
