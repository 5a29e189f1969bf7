"""What the package relies on inside of Keras, keras-tuner and TensorFlow, listed and tried."""

from __future__ import annotations

from nadam_suite.doctor.private.name import PrivateName, PrivateResult
from nadam_suite.doctor.private.names import PRIVATE
from nadam_suite.doctor.private.trying import changed, keras_as_dict, summary, try_private

__all__ = [
    "PRIVATE",
    "PrivateName",
    "PrivateResult",
    "changed",
    "keras_as_dict",
    "summary",
    "try_private",
]
