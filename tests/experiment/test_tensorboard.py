"""TensorBoard itself, started on the folder of a run, serves its curves and hyperparameters."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import urllib.parse

import matplotlib.pyplot as plt
import pytest

from tests.browser import NEEDS_BROWSER, browse
from tests.experiment.small_runs import no_pictures, train
from tests.processes import environment

__all__ = ["no_pictures"]  # a fixture that every test of this file uses

pytestmark = [pytest.mark.slow, pytest.mark.once]

WAIT = 240


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs in half precision with averages; its result."""
    options = {"optimizer": {"use_ema": False, "averaging": "ema"}, "precision": "mixed_float16"}
    return train(tmp_path_factory.mktemp("run") / "run", 2, **options)


@pytest.fixture(scope="module")
def address(run):
    """Host and port of a TensorBoard of the run; it has chosen a free port itself."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run.folder.parent)]
    options = ["--port", "0", "--load_fast", "false", "--reload_interval", "0"]
    process = subprocess.Popen(
        [*command, *options],
        env=environment(PYTHONUNBUFFERED="1"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    killer = threading.Timer(WAIT, process.kill)  # reading below then ends
    killer.start()
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://([^/ ]+:\d+)/", line):
                break
        else:
            pytest.fail("TensorBoard did not start:\n" + "".join(lines))
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        killer.cancel()
        yield found.group(1)
    finally:
        killer.cancel()
        process.terminate()
        process.wait(60)
        process.stderr.close()


@pytest.fixture(scope="module")
def ask(address):
    """A function that asks TensorBoard for JSON."""

    def ask(path, data=None, **query):
        connection = http.client.HTTPConnection(address, timeout=60)
        target = f"/{path}?{urllib.parse.urlencode(query)}"
        body = None if data is None else json.dumps(data)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("GET" if body is None else "POST", target, body, headers)
            answer = connection.getresponse()
            assert answer.status == 200, target
            return json.loads(answer.read())
        finally:
            connection.close()

    return ask


@NEEDS_BROWSER
def test_it_shows_them_in_a_browser(address, tmp_path):
    """A card for each curve, averages and raw weights as runs of their own, and lines drawn."""
    page, size = f"http://{address}/#timeseries", "--window-size=1400,1000"
    shown, _ = browse(page, tmp_path / "dom", size, "--dump-dom", milliseconds=20_000)
    for text in ("epoch_loss", "epoch_learning_rate", "validation_raw", "validation"):
        assert text in shown, text
    picture = tmp_path / "page.png"
    browse(page, tmp_path / "png", size, f"--screenshot={picture}", milliseconds=20_000)
    pixels = plt.imread(picture)[..., :3]
    assert pixels.shape == (1000, 1400, 3)
    strong = pixels.max(axis=-1) - pixels.min(axis=-1) > 0.5
    assert strong[200:].sum() > 500  # marks of the runs and their lines, below the orange bar


def test_it_serves_the_scalars(run, ask):
    """Every curve of the history, and one for each layer, with the history's numbers."""
    tags = ask("data/plugin/scalars/tags")
    train_tags = set(tags["run/tensorboard/train"])
    names = ("learning_rate", "weight_decay", "beta_1", "loss_scale", "skipped_steps")
    norms = ("gradient_norm", "update_norm", "update_ratio")
    assert {f"epoch_{name}" for name in (*names, *norms, "loss")} <= train_tags
    for norm in norms:
        assert sum(tag.startswith(f"{norm}/") for tag in train_tags) == 2
    for split, name in (
        ("train", "learning_rate"),
        ("train", "update_ratio"),
        ("validation", "val_loss"),
        ("validation_raw", "val_raw_loss"),
    ):
        tag = "epoch_" + re.sub("^val_(raw_)?", "", name)
        points = ask("data/plugin/scalars/scalars", run=f"run/tensorboard/{split}", tag=tag)
        expected = [[row["epoch"], pytest.approx(row[name], rel=1e-6)] for row in run.history]
        assert [point[1:] for point in points] == expected


def test_it_serves_the_hyperparameters(ask):
    """The table has the run, with the config's values and its metrics."""
    experiment = ask("data/plugin/hparams/experiment", data={"experimentName": ""})
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert {"optimizer.learning_rate", "schedule.kind", "seed"} <= names
    groups = ask(
        "data/plugin/hparams/session_groups",
        data={
            "experimentName": "",
            "allowedStatuses": ["STATUS_SUCCESS"],
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 10,
        },
    )
    (group,) = groups["sessionGroups"]
    assert group["hparams"]["optimizer.learning_rate"] == 0.05
    assert group["hparams"]["precision"] == "mixed_float16"
