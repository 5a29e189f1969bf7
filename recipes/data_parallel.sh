#!/usr/bin/env bash
# Trains the digits on two devices of this machine. More arguments go to `train`, for instance
# --backend jax, or distribution.devices=4.
set -euo pipefail
exec nadam-suite train "$(dirname "${BASH_SOURCE[0]}")/data_parallel.toml" "$@"
