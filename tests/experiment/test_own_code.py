"""Faults in the user's own modules are told with the line in which they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nadam_suite.config import TrainConfig
from nadam_suite.errors import ConfigError
from nadam_suite.experiment import find_part

pytestmark = pytest.mark.once


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a module of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        monkeypatch.delitem(sys.modules, name, raising=False)
        Path(f"{name}.py").write_text(text)

    return write


def refused(reference, **options):
    """The text with which a model is refused."""
    with pytest.raises(ConfigError) as caught:
        find_part("model", reference, options)()
    return str(caught.value)


def test_a_function_that_raises_is_told_with_its_line(write):
    """The line is the innermost one of the user's, below whatever called it."""
    write(
        "own_a", "def inner():\n    raise RuntimeError('my own bug')\ndef model():\n    inner()\n"
    )
    text = refused("own_a:model")
    assert "raised RuntimeError: my own bug (own_a.py:2). Correct it, or `model_options`" in text
    assert "`--debug` shows the whole traceback" in text


def test_an_error_of_a_library_is_told_with_the_line_that_called_it(write):
    """No file of Keras or of Python's library is named."""
    code = (
        "import json, keras\ndef f():\n    keras.layers.Dense(-1)\ndef g():\n    json.loads('{')\n"
    )
    write("own_b", code)
    assert "(own_b.py:3)" in refused("own_b:f")
    assert "(own_b.py:5)" in refused("own_b:g")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef model(:\n", "raised SyntaxError: invalid syntax (own_c.py:2). Correct the"),
        ("from os import nope\n", "(own_c.py:1). Correct the module"),
        ("\n1 / 0\n", "raised ZeroDivisionError: division by zero (own_c.py:2). Correct the"),
        ("\nraise KeyError\n", "raised KeyError (own_c.py:2). Correct the module"),
        ("import no_such_library\n", "(own_c.py:1). Install 'no_such_library', or correct"),
    ],
)
def test_a_module_with_a_fault_is_told_with_its_line(write, text, said):
    """The remedy is not to look for a module that is there."""
    write("own_c", text)
    told = refused("own_c:model")
    assert said in told
    assert "Start the command in the folder" not in told


@pytest.mark.parametrize("reference", ["own_d:model", "own_d.inner:model"])
def test_a_module_that_is_not_there_may_be_in_another_folder(reference):
    """Or its package may be."""
    assert "No module named 'own_d'. Start the command in the folder" in refused(reference)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mymodel.py:reg_model", "mymodel:reg_model"),
        ("./mymodel.py:reg_model", "mymodel:reg_model"),
        ("models/mymodel.py:reg_model", "models.mymodel:reg_model"),
        ("models\\mymodel:reg_model", "models.mymodel:reg_model"),
    ],
)
def test_a_file_in_place_of_its_module_is_understood(given, meant):
    """The config says what was meant, before anything is imported."""
    with pytest.raises(ConfigError) as caught:
        TrainConfig(model=given, data="digits")
    assert f"Received: model={given!r}. Did you mean {meant!r}?" in str(caught.value)
