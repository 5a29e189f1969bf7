#!/usr/bin/env bash
# Trains the digits with two workers, each a process of its own (WORKERS=4 starts four). More
# arguments go to `train`, for instance --backend jax, or --resume after a worker was lost.
set -euo pipefail
exec nadam-suite launch --workers "${WORKERS:-2}" -- \
    train "$(dirname "${BASH_SOURCE[0]}")/multi_worker.toml" "$@"
