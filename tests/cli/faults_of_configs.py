"""Faults of names, config files, changes and options: rows of the table in docs/faults.md."""

from __future__ import annotations

from tests.cli.faults import Fault, full, own_modules, sealed, uninstalled, variable

FAULTS = {
    "recipe misspelt": Fault(["train", "digts"], ["NAME", "'digts'", "Did you mean 'digits'?"]),
    "recipe unknown": Fault(["train", "imagenet"], ["NAME", "'imagenet'", "nadam-suite ls"]),
    "preset trained": Fault(["train", "algoperf-v05"], ["'algoperf-v05'", "optimizer.preset="]),
    "file missing": Fault(
        ["train", "missing.toml"], ["missing.toml", "Did you mean 'misspelt.toml'?"]
    ),
    "file of another kind": Fault(["train", "./notes.txt"], ["notes.txt", ".toml"]),
    "file not UTF-8": Fault(["train", "latin.toml"], ["latin.toml", "UTF-8"]),
    "TOML broken": Fault(["train", "broken.toml"], ["broken.toml", "TOML", "line 2", "Correct it"]),
    "JSON broken": Fault(["train", "broken.json"], ["broken.json", "JSON", "line 1", "Correct it"]),
    "JSON no table": Fault(["validate", "list.json"], ["list.json", "table", "braces"]),
    "key misspelt": Fault(["train", "misspelt.toml"], ["epoch", "Did you mean", "epochs"]),
    "nested key misspelt": Fault(
        ["train", "digits", "optimizer.learning_rte=1"],
        ["optimizer.learning_rte", "Did you mean", "learning_rate"],
    ),
    "schema newer": Fault(
        ["train", "newer.toml"], ["schema_version", "99", "pip install --upgrade"]
    ),
    "model missing": Fault(["train", "optimizer.toml"], ["model", "data", "optimizer.toml"]),
    "override without a value": Fault(["train", "digits", "epochs"], ["'epochs'", "key=value"]),
    "override in two words": Fault(
        ["train", "digits", "epochs:", "3"], ["'epochs:' '3'", "one word", "Write epochs=3."]
    ),
    "override with two signs": Fault(["train", "digits", "epochs==3"], ["Write epochs=3."]),
    "override as an option": Fault(
        ["train", "digits", "--epochs", "3"], ["--epochs", "without dashes: epochs=3"]
    ),
    "override of nothing": Fault(
        ["train", "digits", "~optimizer.betas"], ["optimizer.betas", "not set", "Keys there"]
    ),
    "override of a value": Fault(["train", "digits", "epochs.x=1"], ["epochs", "no table"]),
    "no epochs": Fault(["train", "digits", "epochs=0"], ["epochs", ">= 1", "epochs=0", "Raise it"]),
    "half an epoch": Fault(["train", "digits", "epochs=1.5"], ["epochs", "an integer", "1.5"]),
    "batches in brackets": Fault(
        ["train", "digits", "batch_size=[32]"], ["batch_size=[32]", "without brackets"]
    ),
    "decay as a switch": Fault(
        ["train", "digits", "optimizer.weight_decay=true"], ["weight_decay=True", "not true"]
    ),
    "no batch": Fault(["train", "digits", "batch_size=0"], ["batch_size", ">= 1", "batch_size=0"]),
    "rate negative": Fault(
        ["train", "digits", "optimizer.learning_rate=-1"], ["optimizer.learning_rate", ">= 0", "-1"]
    ),
    "rate as text": Fault(
        ["train", "digits", "optimizer.learning_rate=fast"],
        ["optimizer.learning_rate", "number", "'fast'"],
    ),
    "beta of one": Fault(["train", "digits", "optimizer.beta_1=1"], ["optimizer.beta_1", "< 1"]),
    "seed negative": Fault(["train", "digits", "seed=-3"], ["seed", ">= 0", "-3"]),
    "precision unknown": Fault(
        ["train", "digits", "precision=float8"], ["precision", "mixed_bfloat16", "float8"]
    ),
    "two faults": Fault(["train", "digits", "epochs=0", "seed=-1"], ["2 faults", "epochs", "seed"]),
    "callback unknown": Fault(
        ["train", "digits", 'callbacks=[{kind="stop"}]'],
        ["callbacks.0", "early_stopping", "'stop'"],
    ),
    "warm-up too long": Fault(
        ["train", "digits", "schedule.warmup=200%"], ["schedule.warmup", "200%"]
    ),
    "model unknown": Fault(
        ["train", "digits", "model=digit"], ["`model`", "'digit'", "Did you mean"]
    ),
    "data unknown": Fault(
        ["train", "digits", "data=cifar"], ["`data`", "'cifar'", "module:function"]
    ),
    "module missing": Fault(
        ["train", "digits", "model=no_such_module:build"],
        ["`model`", "no_such_module:build", "Start the command in the folder"],
    ),
    "file in place of a module": Fault(
        ["train", "digits", "model=mymodel.py:build"],
        ["`model`", "'mymodel.py:build'", "Did you mean 'mymodel:build'?"],
    ),
    "module with a fault": Fault(
        ["train", "digits", "model=own_unfinished:model"],
        ["`model`", "SyntaxError", "(own_unfinished.py:1)", "Correct the module"],
        own_modules,
    ),
    "function that raises": Fault(
        ["train", "digits", "data=own_failing:data"],
        ["`data`", "no such file", "(own_failing.py:2)", "--debug"],
        own_modules,
    ),
    "function missing": Fault(
        ["train", "digits", "model=json:load_al"], ["`model`", "'json:load_al'", "Did you mean"]
    ),
    "function of another kind": Fault(
        ["train", "digits", "model=platform:node"], ["`model`", "platform:node", "Task"]
    ),
    "option unknown": Fault(
        ["train", "digits", "model_options.widht=8"],
        ["`model_options`", "widht", "Did you mean 'width'?"],
    ),
    "option refused": Fault(
        ["train", "text_lm", "model_options.width=10"],
        ["`width`", "multiple of heads=4", "width=10", "Choose"],
    ),
    "folder exists": Fault(
        ["train", "digits", "--output", "taken"],
        ["output='taken'", "must not exist", "--resume", "--output"],
    ),
    "folder of no run": Fault(
        ["train", "digits", "--output", "taken", "--resume"],
        ["output='taken'", "config.toml", "Check the path"],
    ),
    "folder below a file": Fault(
        ["train", "digits", "--output", "notes.txt/run"],
        ["notes.txt", "no folder", "Choose another one"],
    ),
    "backend unknown": Fault(
        ["train", "digits", "--backend", "tensorflw"],
        ["--backend", "'tensorflw'", "Did you mean 'tensorflow'?"],
    ),
    "doctor's row unknown": Fault(["doctor", "K999"], ["K999"]),
    "show unknown": Fault(["show", "kers"], ["NAME", "'kers'", "Did you mean 'keras'?"]),
    "cp over a file": Fault(["cp", "digits", "good.toml"], ["good.toml", "Choose another name"]),
    "cp without a folder": Fault(["cp", "digits", "no/such/a.toml"], ["no/such/a.toml", "Choose"]),
    "cp to another kind": Fault(["cp", "digits", "my.yaml"], ["my.yaml", ".toml"]),
    "validate several": Fault(
        ["validate", "good.toml", "newer.toml", "misspelt.toml"],
        ["newer.toml", "schema_version", "misspelt.toml", "epochs"],
    ),
    "validate functions of one's own": Fault(
        ["validate", "good.toml", "model=own_failing:modl", "data_options.lines=3"],
        ["good.toml", "2 faults", "Did you mean 'model'?", "data_options={'lines': 3}"],
        own_modules,
    ),
    "validate options": Fault(["validate", "options.toml"], ["options.toml", "widht", "'width'"]),
    "changes alone": Fault(["validate", "epochs=3"], ["`FILE`", "'epochs=3'", "validate my.toml"]),
    "a fault by a change": Fault(
        ["validate", "good.toml", "epochs=0"], ["good.toml", "epochs=0", "Raise it"]
    ),
    "folder in place of a file": Fault(
        ["validate", "taken"], ["NAME='taken'", "is a folder", "Name a file in it"]
    ),
    "folder of a run in place of its config": Fault(
        ["show", "run"], ["NAME='run'", "is a folder", "Did you mean 'run/config.toml'?"], run=True
    ),
    "key twice in JSON": Fault(["validate", "twice.json"], ["`epochs`", "twice", "Remove one"]),
    "key of a preset misspelt": Fault(["show", "vit", "epsilo=1"], ["`epsilo`", "`epsilon`?"]),
    "change of a copy": Fault(["cp", "digits", "my.toml", "epochs=0"], ["epochs", "Raise it"]),
    "command unknown": Fault(["trian", "digits"], ["'trian'", "--help"]),
    "argument missing": Fault(["cp", "digits"], ["DEST", "nadam-suite cp --help"]),
    "option misspelt": Fault(["train", "digits", "--resum"], ["--resum", "--resume"]),
    "option of another type": Fault(
        ["explain", "vit", "--steps", "many"], ["--steps", "integer", "'many'"]
    ),
    "option without a value": Fault(["plot", "digits", "--csv"], ["--csv", "argument"]),
    "backend not installed": Fault(
        ["train", "digits", "--backend", "jax"],
        ["backend='jax'", "folder of nadam_suite's README run: pip install '.[jax]'"],
        uninstalled,
    ),
    "backend of the environment misspelt": Fault(
        ["ls"], ["KERAS_BACKEND='pytorch'", "'torch'?"], variable("KERAS_BACKEND", "pytorch")
    ),
    "picture exists": Fault(["plot", "digits", "-o", "mine.png"], ["mine.png", "--force"]),
    "picture of another kind": Fault(["plot", "digits", "-o", "a.jpg"], ["'a.jpg'", "'a.png'"]),
    "picture where nothing may be written": Fault(
        ["plot", "digits"], ["may not be written to", "--output"], sealed
    ),
    "table on a full disk": Fault(
        ["plot", "vit", "--steps", "9", "--csv", "a.csv"],
        ["--csv='a.csv'", "No space left on device"],
        full,
    ),
    "length unknown": Fault(["plot", "vit"], ["--steps 10000"]),
    "length known already": Fault(["explain", "digits", "--steps", "9"], ["`steps`", "Pass"]),
    "half a length": Fault(["explain", "vit", "--examples", "9"], ["examples=9", "--batch-size"]),
}
