"""TensorBoard's table of trials, read by TensorBoard's own backend (T9)."""

from __future__ import annotations

import json

import keras
import keras_tuner
import pytest
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)

from nadam_suite.tuner.hparams import hparams_session
from nadam_suite.tuner.tuners import QuasiRandomSearch
from tests.processes import run_python
from tests.tuner.searching import Cut, build, search

pytestmark = pytest.mark.once

STATUSES = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]


class Table:
    """What TensorBoard shows of a log folder."""

    def __init__(self, folder) -> None:
        multiplexer = plugin_event_multiplexer.EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        self.data = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
        self.runs = sorted(multiplexer.Runs())
        made = base_plugin.TBContext(data_provider=self.data)
        self._backend = backend_context.Context(made)
        self._request = context.RequestContext()
        metadata = self._backend.hparams_metadata(self._request, "")
        self.experiment = get_experiment.Handler(
            self._request, self._backend, "", api_pb2.GetExperimentRequest(include_metrics=True)
        ).run()
        del metadata

    def groups(self):
        """By trial: its values, its sessions' statuses, and its metrics."""
        request = api_pb2.ListSessionGroupsRequest(
            allowed_statuses=STATUSES,
            start_index=0,
            slice_size=100,
            aggregation_type=api_pb2.AGGREGATION_AVG,
            include_metrics=True,
        )
        response = list_session_groups.Handler(self._request, self._backend, "", request).run()
        return {group.name: group for group in response.session_groups}


def _space():
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 1e-3, 1.0, sampling="log", default=0.05)
    hp.Int("units", 4, 8)
    hp.Choice("kind", ["a", "b"])
    hp.Boolean("decay")
    hp.Fixed("depth", 2)
    with hp.conditional_scope("decay", [True]):
        hp.Float("weight", 0.0, 1.0)
    return hp


def test_tensorboard_reads_the_space_and_the_values(tmp_path):
    """Ranges, choices and flags arrive, and of the values those that are active."""
    hp = _space()
    hp.values["weight"] = 0.5  # as it was when it was active
    with hparams_session(tmp_path / "0" / "execution0", "0", hp, ["val_loss", "loss"]):
        pass
    table = Table(tmp_path)
    infos = {info.name: info for info in table.experiment.hparam_infos}
    assert sorted(infos) == ["decay", "depth", "kind", "rate", "units", "weight"]
    assert infos["rate"].domain_interval.min_value == 1e-3
    assert infos["units"].domain_interval.max_value == 8
    assert [v.string_value for v in infos["kind"].domain_discrete.values] == ["a", "b"]
    assert infos["decay"].type == api_pb2.DATA_TYPE_BOOL
    assert [v.number_value for v in infos["depth"].domain_discrete.values] == [2]
    metrics = [(m.name.group, m.name.tag) for m in table.experiment.metric_infos]
    assert metrics == [("validation", "epoch_loss"), ("train", "epoch_loss")]
    (group,) = table.groups().values()
    values = {name: value for name, value in group.hparams.items() if value.WhichOneof("kind")}
    assert sorted(values) == ["decay", "depth", "kind", "rate", "units"]  # `weight` is inactive
    assert values["rate"].number_value == 0.05
    assert values["decay"].bool_value is False


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, api_pb2.STATUS_SUCCESS),
        (ValueError, api_pb2.STATUS_FAILURE),
        (KeyboardInterrupt, api_pb2.STATUS_UNKNOWN),
    ],
)
def test_how_a_session_ended_is_told(tmp_path, error, status):
    """A failure is one, and an interruption is no end."""

    def run():
        with hparams_session(tmp_path / "0", "0", _space(), ["loss"]):
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    (group,) = Table(tmp_path).groups().values()
    assert [session.status for session in group.sessions] == [status]


def test_an_interrupted_session_ends_when_it_is_gone_on_with(tmp_path):
    """Two event files in one folder are one session."""
    with pytest.raises(KeyboardInterrupt), hparams_session(tmp_path / "0", "0", _space(), []):
        raise KeyboardInterrupt
    with hparams_session(tmp_path / "0", "0", _space(), []):
        pass
    (group,) = Table(tmp_path).groups().values()
    assert [session.status for session in group.sessions] == [api_pb2.STATUS_SUCCESS]


def _searched(kind, folder, **options):
    tuner = kind(
        build, "val_loss", max_trials=2, seed=0, directory=folder, project_name="s", **options
    )
    logs = folder / "logs"
    search(tuner, callbacks=[keras.callbacks.TensorBoard(str(logs)), Cut()], epochs=2)
    return tuner, Table(logs)


def test_stock_mixes_all_trials_in_one_log_folder(tmp_path, backend):
    """Beyond TensorFlow: there it does what it should."""
    _, table = _searched(keras_tuner.RandomSearch, tmp_path)
    trials = {run.split("/")[0] for run in table.runs}
    if backend == "tensorflow":
        assert trials == {"0", "1"}
    else:
        assert trials == {"train", "validation"}
        assert not table.experiment.hparam_infos


def test_each_trial_has_its_folder_its_values_and_its_metric(tmp_path):
    """Executions are sessions of one group, with the validation of their last epoch."""
    tuner, table = _searched(QuasiRandomSearch, tmp_path, executions_per_trial=2)
    groups = table.groups()
    assert sorted(groups) == ["0", "1"]
    for name, group in groups.items():
        trial = tuner.oracle.trials[name]
        assert group.hparams["rate"].number_value == trial.hyperparameters["rate"]
        sessions = {session.name: session for session in group.sessions}
        assert sorted(sessions) == [f"{name}/execution0", f"{name}/execution1"]
        for execution in (0, 1):
            session = sessions[f"{name}/execution{execution}"]
            assert session.status == api_pb2.STATUS_SUCCESS
            place = tmp_path / "s" / f"trial_{name}" / f"execution_{execution}" / "history.csv"
            header, *_, last = place.read_text().splitlines()
            row = dict(zip(header.split(","), last.split(","), strict=True))
            (metric,) = session.metric_values
            assert metric.name.group == "validation"
            assert metric.value == pytest.approx(float(row["val_loss"]), rel=1e-6)


def test_a_log_folder_of_several_callbacks_is_each_divided(tmp_path):
    """And the user's own callbacks keep their folder."""
    tuner = QuasiRandomSearch(build, "val_loss", 1, seed=0, directory=tmp_path)
    logs = [keras.callbacks.TensorBoard(str(tmp_path / name)) for name in "ab"]
    search(tuner, callbacks=logs, epochs=1)
    assert [sorted(Table(tmp_path / name).groups()) for name in "ab"] == [["0"], ["0"]]
    assert [callback.log_dir for callback in logs] == [str(tmp_path / name) for name in "ab"]


@pytest.mark.slow
def test_the_table_is_written_without_tensorflow(tmp_path):
    """A process that cannot import it writes the same."""
    code = """
import json, pathlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError("there is no TensorFlow")
import keras_tuner
from nadam_suite.tuner.hparams import hparams_session
for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
    del sys.modules[name]  # where Keras has looked for it
sys.meta_path.insert(0, Refuse())
hp = keras_tuner.HyperParameters()
hp.Float("rate", 0.0, 1.0)
with hparams_session(pathlib.Path(sys.argv[1]) / "0", "0", hp, ["loss"]):
    pass
print(json.dumps("tensorflow" in sys.modules))
"""
    done = run_python(code, str(tmp_path), backend="torch")
    assert json.loads(done.stdout.splitlines()[-1]) is False
    assert list(Table(tmp_path).groups()) == ["0"]


def test_runs_are_listed(tmp_path):
    """The folder is a run for all other plugins too."""
    with hparams_session(tmp_path / "0", "0", _space(), []):
        pass
    found = Table(tmp_path).data.list_runs(context.RequestContext(), experiment_id="")
    assert [run.run_name for run in found if isinstance(run, provider.Run)] == ["0"]
