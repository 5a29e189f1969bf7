"""Config files: written whole or not at all, read as what they are."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from nadam_suite.config import (
    NadamConfig,
    TrainConfig,
    files,
    load_config,
    read_table,
    save_config,
)
from nadam_suite.errors import ConfigError, DataFileError

pytestmark = pytest.mark.once


def test_an_existing_file_is_left_as_it_is(tmp_path):
    """Without `overwrite` an existing file is refused, with it replaced."""
    path = tmp_path / "a.json"
    path.write_text("mine")
    with pytest.raises(DataFileError, match=r"a\.json' exists.*overwrite=True"):
        save_config(NadamConfig(), path)
    assert path.read_text() == "mine"
    save_config(NadamConfig(beta_1=0.5), path, overwrite=True)
    assert load_config(path) == NadamConfig(beta_1=0.5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_file_made_in_between_is_left_as_it_is(tmp_path, monkeypatch):
    """Two processes that write the same name: the first one's file stays, whole."""
    path = tmp_path / "a.json"
    monkeypatch.setattr(Path, "exists", lambda self: False)
    path.write_text("theirs")
    with pytest.raises(DataFileError, match="exists"):
        save_config(NadamConfig(), path)
    monkeypatch.undo()
    assert path.read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_file_system_without_links_works_too(tmp_path, monkeypatch):
    """Where hard links fail, the file is renamed, and an existing one still refused."""

    def fail(*args, **options):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", fail)
    path = tmp_path / "a.toml"
    save_config(NadamConfig(), path)
    assert load_config(path) == NadamConfig()
    with pytest.raises(DataFileError, match="exists"):
        save_config(NadamConfig(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.toml"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    """A full disk: the old file stays, and no scrap is left."""
    path = tmp_path / "a.json"
    save_config(NadamConfig(), path)

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(DataFileError, match="No space left"):
        save_config(NadamConfig(beta_1=0.5), path, overwrite=True)
    assert load_config(path) == NadamConfig()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_missing_folder_is_not_made(tmp_path):
    """Writing into a folder that does not exist says so."""
    with pytest.raises(DataFileError, match=r"cannot be written.*folder exists"):
        save_config(NadamConfig(), tmp_path / "nowhere" / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_is_checked_before_anything_is_written(tmp_path):
    """A name of another kind is refused with a name that works."""
    with pytest.raises(DataFileError, match=r"a\.yaml.*'a\.toml'"):
        save_config(NadamConfig(), tmp_path / "a.yaml")
    assert list(tmp_path.iterdir()) == []


def test_the_keys_tell_a_training_from_an_optimizer(tmp_path):
    """A file with keys of a training is one; any other is an optimizer's."""
    path = tmp_path / "a.toml"
    path.write_text('model = "digits"\ndata = "digits"\n')
    assert isinstance(load_config(path), TrainConfig)
    assert isinstance(load_config(path, ["epochs=2"]), TrainConfig)
    path.write_text("beta_1 = 0.5\n")
    assert isinstance(load_config(path), NadamConfig)
    with pytest.raises(ConfigError, match="`model` is missing"):
        load_config(path, kind=TrainConfig)
    path.write_text("")
    assert load_config(path) == NadamConfig()


def test_overrides_are_applied_before_the_check(tmp_path):
    """An override can mend a file, and its faults are listed with the file's."""
    path = tmp_path / "a.toml"
    path.write_text("beta_1 = 7\nbeta_2 = 7\n")
    assert load_config(path, ["beta_1=0.5", "~beta_2"]) == NadamConfig(beta_1=0.5)
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["epsilon=0"])
    assert len(caught.value.faults) == 3


def test_toml_leaves_none_out_but_for_the_word_where_it_is_no_default(tmp_path):
    """weight_decay=None is the default and left out; momentum_decay=None is written "none"."""
    path = tmp_path / "a.toml"
    save_config(NadamConfig(momentum_decay=None), path)
    table = tomllib.loads(path.read_text())
    assert table["momentum_decay"] == "none"
    assert "weight_decay" not in table
    path.write_text('weight_decay = "none"\nmomentum_decay = "none"\n')
    assert load_config(path) == NadamConfig(momentum_decay=None)


def test_none_is_no_word_in_keys_that_cannot_be_none(tmp_path):
    """A name may be "none"; a beta may not."""
    assert NadamConfig.from_dict({"name": "none"}).name == "none"
    with pytest.raises(ConfigError, match="beta_1='none'"):
        NadamConfig.from_dict({"beta_1": "none"})


def test_a_byte_order_mark_and_any_case_of_suffix_are_accepted(tmp_path):
    """Files as Windows editors write them load."""
    path = tmp_path / "A.TOML"
    path.write_bytes(b"\xef\xbb\xbfbeta_1 = 0.5\r\n")
    assert load_config(path) == NadamConfig(beta_1=0.5)
    assert read_table(str(path)) == {"beta_1": 0.5}


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_files_are_text_that_people_can_read(tmp_path, suffix):
    """UTF-8 letters stand as they are, one key a line, and the file ends in a newline."""
    path = tmp_path / f"a{suffix}"
    save_config(NadamConfig(name="né"), path)
    text = path.read_text(encoding="utf-8")
    assert "né" in text
    assert text.endswith("\n")
    assert len(text.splitlines()) > 10
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
