"""Training in half precision: loss scaling that all replicas share and that says what it does."""

from nadam_suite.precision.loss_scale import DynamicLossScaleOptimizer
from nadam_suite.precision.policy import needs_loss_scale, skip_nonfinite, wrap_for_policy
from nadam_suite.precision.skips import loss_scale_report

__all__ = [
    "DynamicLossScaleOptimizer",
    "loss_scale_report",
    "needs_loss_scale",
    "skip_nonfinite",
    "wrap_for_policy",
]
