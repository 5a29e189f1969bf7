"""Faults of runs, searches and workers: rows of the table in docs/faults.md."""

from __future__ import annotations

from tests.cli import faults
from tests.cli.faults import RESUME, SHOWN, TRAIN, Fault

HOSTS = "10.0.0.1:1234,10.0.0.2:1234"
LAUNCHED = ("--", "train", "digits")

FAULTS = {
    "run where nothing may be written": Fault(
        ["train", "digits", "--output", "runs/a"],
        ["output='runs/a'", "may not be written to"],
        faults.sealed,
    ),
    "disk full when a run begins": Fault(
        [*TRAIN, "--output", "new"],
        ["output='new'", "No space left on device"],
        faults.full_at_the_end,
        shown="train digits --output new",
    ),
    "disk full while a run trains": Fault(
        [*TRAIN, "--output", "new"],
        ["training_state.npz", "No space left on device", "--resume"],
        faults.full_in_training,
        status=1,
        shown="train digits --output new",
    ),
    "Ctrl-C": Fault(
        [*TRAIN, "--output", "new"],
        ["Interrupted", "--resume"],
        faults.interrupted,
        status=130,
        shown="train digits --output new",
    ),
    "loss that is no number": Fault(
        ["train", "lost.toml", "--output", "new"],
        ["The loss of epoch 1 is nan", "No epoch is kept", "skip_nonfinite=true"],
        faults.lost,
        status=1,
    ),
    "Ctrl-C at the beginning": Fault(
        [*TRAIN, "--output", "new"],
        ["Interrupted", "No epoch had begun", "command again"],
        faults.interrupted_at_once,
        status=130,
        shown="train digits --output new",
    ),
    "loss never finite": Fault(
        ["train", "stuck.toml", "--output", "new"],
        ["steps in a row were skipped", "not finite"],
        faults.stuck,
        status=1,
    ),
    "run resumed under another config": Fault(
        [*RESUME, "optimizer.beta_1=0.8"],
        ["1 difference from", "optimizer.beta_1: 0.9 -> 0.8", "Take them back"],
        run=True,
        shown=f"{SHOWN} optimizer.beta_1=0.8",
    ),
    "run of another backend": Fault(
        RESUME,
        ["own backend", "'numpy'"],
        faults.environment(backend="numpy"),
        run=True,
        shown=SHOWN,
    ),
    "run of other data": Fault(
        RESUME, ["digest"], faults.environment(data_sha256="0"), run=True, shown=SHOWN
    ),
    "run of another Keras": Fault(
        RESUME,
        ["Warning", "another packages"],
        faults.environment(packages={"keras": "2.0"}),
        status=0,
        run=True,
        shown=SHOWN,
    ),
    "run of a newer release": Fault(
        RESUME,
        ["schema_version", "99", "pip install --upgrade"],
        faults.newer_run,
        run=True,
        shown=SHOWN,
    ),
    "state of a run cut off": Fault(
        RESUME,
        ["training_state.npz", "Delete it"],
        faults.cut("state/training_state.npz", 100, "result.json"),
        run=True,
        shown=SHOWN,
    ),
    "result of a run cut off": Fault(
        RESUME, ["result.json", "JSON"], faults.cut("result.json", 10), run=True, shown=SHOWN
    ),
    "nothing to extend": Fault(
        ["train", "digits", "--resume", "--extend", "1ep", "-o", "new"], ["--extend", "'new'"]
    ),
    "extension of a new run": Fault(
        ["train", "digits", "--extend", "1ep"], ["--extend='1ep'", "Add --resume"]
    ),
    "cooldown of nothing": Fault(
        ["train", "--cooldown-from", "runs/none"], ["'runs/none'", "config.toml"]
    ),
    "nothing to train": Fault(["train"], ["`NAME`", "none", "nadam-suite train digits"]),
    "averages of no run": Fault(["average", "missing"], ["RUN='missing'", "Check the path"]),
    "averages that were not kept": Fault(
        ["average", "run"], ["average_snapshots", "optimizer.averaging=power_ema"], run=True
    ),
    "widths that are none": Fault(
        ["average", "run", "--sigma", "wide"], ["`sigma`", "'wide'"], run=True
    ),
    "no workers": Fault(
        ["launch", "-n", "0", "--backend", "jax", *LAUNCHED], ["--workers", ">= 1", "--workers=0"]
    ),
    "workers of another command": Fault(
        ["launch", "-n", "2", "--", "doctor"], ["`train`", "'doctor'"]
    ),
    "workers on PyTorch": Fault(
        ["launch", "-n", "2", "--backend", "torch", *LAUNCHED], ["one device", "--backend jax"]
    ),
    "more workers than GPUs": Fault(
        ["launch", "-n", "2", "--backend", "jax", *LAUNCHED],
        ["--workers=2", "1 are visible", "CUDA_VISIBLE_DEVICES=-1"],
        faults.one_gpu,
    ),
    "devices without a GPU": Fault(
        ["launch", "-n", "2", "--backend", "jax", "--devices-per-worker", "2", *LAUNCHED],
        ["--devices-per-worker", "without GPUs"],
        faults.no_gpu,
    ),
    "host without a port": Fault(
        ["launch", "--print-env", "--backend", "jax", "--hosts", "a:1,b", *LAUNCHED],
        ["--hosts", "'b'", "host:port"],
    ),
    "hosts alone": Fault(
        ["launch", "--backend", "jax", "--hosts", HOSTS, *LAUNCHED], ["--print-env"]
    ),
    "worker killed": Fault(
        ["launch", "-n", "2", "--backend", "jax", *LAUNCHED],
        ["Worker 1 (process 4711) was killed by SIGKILL", "--resume"],
        faults.killed,
        status=137,
    ),
    "search of an unknown kind": Fault(
        ["tune", "digits", "--tuner", "halton"], ["`tuner.kind`", "'halton'"]
    ),
    "objective without a direction": Fault(
        ["tune", "digits", "--objective", "val_x"], ["`tuner.mode`", "'val_x'"]
    ),
    "objective misspelt": Fault(
        ["tune", "digits", "--objective", "val_los"],
        ["`tuner.objective`", "'val_los'", "Did you mean 'val_loss'?"],
    ),
    "search where nothing may be written": Fault(
        ["tune", "digits", "--output", "searches/a"],
        ["output='searches/a'", "may not be written to"],
        faults.sealed,
    ),
    "search among workers": Fault(
        ["tune", "digits"], ["TF_CONFIG", "Unset"], faults.variable("TF_CONFIG", "{}")
    ),
    "search where there is something": Fault(["tune", "digits", "--output", "taken"], ["taken"]),
    "chief alone": Fault(["tune", "digits", "--chief", "a:1"], ["--chief", "--print-env"]),
    "report of nothing": Fault(["report", "missing"], ["'missing'", "Check the path"]),
}
