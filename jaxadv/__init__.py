"""Adversarial robustness of sound classifiers, in JAX."""

__version__ = "0.1.0"
