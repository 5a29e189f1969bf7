"""Training in half precision: loss scaling that all replicas agree on."""

from nadam_suite.precision.loss_scale import DynamicLossScaleOptimizer

__all__ = ["DynamicLossScaleOptimizer"]
