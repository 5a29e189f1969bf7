"""Configs: strict settings of optimizers and trainings, from and to JSON and TOML files."""

from __future__ import annotations

from nadam_suite.config.average_callbacks import (
    AverageCheckpointConfig,
    AverageSnapshotsConfig,
    EMAFinalizationConfig,
    EvaluateAverageConfig,
)
from nadam_suite.config.averaging_config import AveragingConfig
from nadam_suite.config.base import Config
from nadam_suite.config.callback_base import CallbackConfig
from nadam_suite.config.callback_config import (
    CALLBACKS,
    EarlyStoppingConfig,
    PlateauScaleConfig,
    ReducePlateauConfig,
    TerminateOnNaNConfig,
)
from nadam_suite.config.compare import ABSENT, Change, diff, fingerprint
from nadam_suite.config.distribution_config import DistributionConfig
from nadam_suite.config.files import load_config, read_table, save_config
from nadam_suite.config.logging_config import LoggingConfig
from nadam_suite.config.loss_scale_config import LossScaleConfig
from nadam_suite.config.nadam_config import NadamConfig, ParameterRuleConfig
from nadam_suite.config.overrides import apply_overrides
from nadam_suite.config.presets import PresetRow, list_presets
from nadam_suite.config.schedule_config import ScheduleConfig
from nadam_suite.config.train_config import TrainConfig
from nadam_suite.config.tuner_config import TunerConfig

__all__ = [
    "ABSENT",
    "CALLBACKS",
    "AverageCheckpointConfig",
    "AverageSnapshotsConfig",
    "AveragingConfig",
    "CallbackConfig",
    "Change",
    "Config",
    "DistributionConfig",
    "EMAFinalizationConfig",
    "EarlyStoppingConfig",
    "EvaluateAverageConfig",
    "LoggingConfig",
    "LossScaleConfig",
    "NadamConfig",
    "ParameterRuleConfig",
    "PlateauScaleConfig",
    "PresetRow",
    "ReducePlateauConfig",
    "ScheduleConfig",
    "TerminateOnNaNConfig",
    "TrainConfig",
    "TunerConfig",
    "apply_overrides",
    "diff",
    "fingerprint",
    "list_presets",
    "load_config",
    "read_table",
    "save_config",
]
