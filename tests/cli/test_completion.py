"""Shell completion, as bash, zsh and fish ask for it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli import words
from tests.processes import _BOOTSTRAP, COMMAND, environment, run_python

pytestmark = pytest.mark.once

KINDS = ["schedule.kind=cosine", "schedule.kind=constant", "schedule.kind=cosine_restarts"]
# A line as it is typed, with the words that must be offered, and some that must not.
LINES = {
    "nadam-suite ": (["train", "ls", "doctor"], ["digits"]),
    "nadam-suite va": (["validate"], ["train"]),
    "nadam-suite train ": (["digits", "text_lm", "my.toml"], ["vit", "notes.txt"]),
    "nadam-suite show v": (["vit"], ["digits"]),
    "nadam-suite tune di": (["digits"], ["vit"]),
    "nadam-suite train digits ep": (["epochs=", "epochs=1"], ["seed="]),
    "nadam-suite train digits op": (["optimizer.beta_1=", "optimizer.beta_1."], ["epochs="]),
    "nadam-suite train digits schedule.kind=co": (KINDS, ["schedule.kind=linear"]),
    "nadam-suite train digits optimizer.weight_decay.ki": (
        ["optimizer.weight_decay.kind=cosine"],
        ["schedule.kind=cosine"],
    ),
    "nadam-suite show vit bet": (["beta_1=", "beta_2="], ["optimizer.beta_1="]),
    "nadam-suite plot optimizer.toml bet": (["beta_1=", "beta_2="], []),
    "nadam-suite plot my.toml ep": (["epochs="], []),
    "nadam-suite cp digits new.toml epochs=3 se": (["seed=", "seed=0"], []),
    "nadam-suite validate m": (["my.toml"], ["digits"]),
    "nadam-suite validate my.toml use": (["use_averages=true", "use_averages=false"], []),
    "nadam-suite train my.toml ~": (["~model", "~schedule.warmup"], ["~epochs"]),
    "nadam-suite train digits --backend ": (["tensorflow", "jax", "torch"], ["digits"]),
    "nadam-suite tune digits --tuner h": (["hyperband"], ["grid"]),
    "nadam-suite tune digits --preset ": (["algoperf", "wide", "finetune"], []),
    "nadam-suite train digits --res": (["--resume"], ["--output"]),
    "nadam-suite average ": (["runs/a"], ["runs/none", "searches/b"]),
    "nadam-suite report ": (["runs/a", "searches/b"], ["runs/none"]),
    "nadam-suite average runs/a --mode m": (["min", "max"], ["auto"]),
    "nadam-suite train digits --output r": (["runs/a"], ["runs/none"]),
    "nadam-suite train --cooldown-from runs/a": (["runs/a", "runs/a/checkpoints/20"], []),
    "nadam-suite doctor K3": (["K3", "K33"], ["K6"]),
    "nadam-suite launch --workers 2 -- ": (["train"], []),
    "nadam-suite launch --workers 2 -- train ": (["digits"], ["vit"]),
    "nadam-suite launch --workers 2 -- train digits ep": (["epochs=1"], []),
}
COMMENT = re.compile(r'^"((?:[^"]|"")*)"(?::".*")?$')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with configs, a run and a search."""
    folder = tmp_path_factory.mktemp("completed")
    (folder / "my.toml").write_text('model = "digits"\ndata = "digits"\n[schedule]\nwarmup = 3\n')
    (folder / "optimizer.toml").write_text("learning_rate = 0.1\n")
    (folder / "notes.txt").write_text("notes")
    (folder / "runs/a/checkpoints/20").mkdir(parents=True)
    (folder / "runs/a/environment.json").write_text("{}")
    (folder / "runs/none").mkdir()
    (folder / "searches/b").mkdir(parents=True)
    (folder / "searches/b/oracle.json").write_text("{}")
    return folder


# One process answers many questions, each as the shell would ask a process of its own.
ANSWERING = """
import contextlib, io, json, os, sys
sys.argv = ["nadam-suite"]
from nadam_suite.cli import main
answers = []
for variables in json.loads(sys.stdin.read()):
    os.environ |= variables
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    answers.append(out.getvalue())
print(json.dumps(answers))
"""


def asked(folder: Path, shell: str, questions: Sequence[dict[str, str]]) -> list[str]:
    """What the command answers a shell."""
    variables = {"_NADAM_SUITE_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", _BOOTSTRAP + ANSWERING],
        cwd=folder,
        env=environment(),
        input=json.dumps([question | variables for question in questions]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def bash(folder: Path, lines: Sequence[Sequence[str]]) -> list[list[str]]:
    """The words for lines that bash has split."""
    questions = [
        {"COMP_WORDS": "\n".join(given), "COMP_CWORD": str(len(given) - 1)} for given in lines
    ]
    return [answer.splitlines() for answer in asked(folder, "bash", questions)]


def zsh(folder: Path, lines: Sequence[str]) -> list[list[str]]:
    """The words for lines, out of the code that zsh runs."""
    answers = asked(folder, "zsh", [{"_TYPER_COMPLETE_ARGS": line} for line in lines])
    found = []
    for answer in answers:
        code = re.fullmatch(r"_arguments '\*: :\(\((.*)\)\)'", answer.strip(), re.DOTALL)
        assert code, answer
        rows = [COMMENT.fullmatch(row) for row in code[1].split("\n")]
        assert all(rows), answer
        found.append([row[1].replace(r"\\:", ":") for row in rows])
    return found


def fish(folder: Path, lines: Sequence[str]) -> list[list[str]]:
    """The words for lines, each before what it means."""
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    answers = asked(folder, "fish", [{"_TYPER_COMPLETE_ARGS": line, **action} for line in lines])
    return [[row.partition("\t")[0] for row in answer.splitlines()] for answer in answers]


@pytest.fixture(scope="module")
def offered(folder):
    """What bash is offered for each line."""
    return dict(zip(LINES, bash(folder, [line.split(" ") for line in LINES]), strict=True))


@pytest.mark.parametrize("line", LINES)
def test_words_are_offered(offered, line):
    """Those that fit, and no others."""
    wanted, unwanted = LINES[line]
    assert set(wanted) <= set(offered[line])
    assert not set(unwanted) & set(offered[line])


@pytest.mark.parametrize("shell", [zsh, fish])
def test_zsh_and_fish(folder, offered, shell):
    """The same words as in bash, one to a line, with what they mean."""
    assert dict(zip(LINES, shell(folder, list(LINES)), strict=True)) == offered


def test_bash_takes_an_equals_sign_for_a_word(folder):
    """Then only the value is offered, as bash puts it behind the sign."""
    typed = {
        "linear": ["schedule.kind", "="],
        "constant": ["schedule.kind", "=", "co"],
        "true": ["epochs=3", "optimizer.use_ema", "=", "t"],
    }
    lines = [["nadam-suite", "train", "digits", *given] for given in typed.values()]
    for wanted, found in zip(typed, bash(folder, lines), strict=True):
        assert wanted in found
        assert not [word for word in found if "=" in word]


def test_in_a_bash(folder):
    """The script that --show-completion prints completes in the shell itself."""
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("there is no bash")
    detection = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = subprocess.run(
        [*COMMAND, "--show-completion", "bash"],
        env=environment(**detection),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = folder / "nadam-suite"
    command.write_text(f"#!{sys.executable}\n{COMMAND[-1]}\n")
    command.chmod(0o755)
    lines = (
        script,
        "COMP_WORDS=(nadam-suite train digits ep); COMP_CWORD=3",
        f"_nadam_suite_completion {command}",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    )
    done = subprocess.run(
        [shell, "--norc", "-c", "\n".join(lines)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["epochs=", "epochs=1"]


def test_it_can_be_installed(tmp_path):
    """Into the start-up files of the shell that asks."""
    done = subprocess.run(
        [*COMMAND, "--install-completion", "bash"],
        env=environment(HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "completion installed" in done.stdout
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert script.name == "nadam-suite.sh"
    assert "complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def test_nothing_heavy_is_imported(folder):
    """A completion comes at once: no framework, no models of the config."""
    code = (
        "import os, sys\n"
        "os.environ |= {'_NADAM_SUITE_COMPLETE': 'complete_fish',\n"
        "    '_TYPER_COMPLETE_FISH_ACTION': 'get-args',\n"
        "    '_TYPER_COMPLETE_ARGS': 'nadam-suite train digits schedule.kind=co'}\n"
        "sys.argv = ['nadam-suite']\n"
        "from nadam_suite.cli import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    heavy = {'keras', 'tensorflow', 'jax', 'torch', 'numpy', 'nadam_suite.config'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = run_python(code, cwd=folder)
    assert "schedule.kind=cosine\t" in done.stdout
    assert "HEAVY []" in done.stdout


def test_the_words_are_those_of_the_config():
    """Names, keys, choices and defaults; `python -m tests.cli.words` writes them anew."""
    assert words.path().read_text("utf-8") == words.text(), "run python -m tests.cli.words"


def test_every_key_and_default_is_one():
    """What is offered for a training is accepted by its config."""
    from nadam_suite.config import TrainConfig

    tables = json.loads(words.path().read_text("utf-8"))["tables"]
    own = TrainConfig(model="digits", data="digits")
    for key, entry in tables["train"].items():
        if "default" in entry and key not in ("output",):
            assert words.shown(getattr(own, key)) == entry["default"]
    assert set(tables["train"]) == set(TrainConfig.model_fields) - {"schema_version"}
