"""Parses recipes with the parsers of `trl sft`, `trl grpo` and `trl dpo`, whose --config they are for. Prints one line for each.

    python scripts/oracle/trl_parse.py METHOD:FILE...

Unknown names and values of a wrong type are errors. Exits with 1 if a recipe is refused.
"""

import contextlib
import importlib
import io
import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
failed = 0
for given in sys.argv[1:]:
    method, file = given.split(":", 1)
    script = importlib.import_module(f"trl.scripts.{method}")
    # the machine that parses has no GPU
    argv = ["--config", file, "--use_cpu", "true", "--bf16", "false", "--tf32", "false"]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            script.make_parser().parse_args_and_config(argv, fail_with_unknown_args=True)
        print(f"ok       {method:5} {file}")
    except (Exception, SystemExit) as error:  # noqa: BLE001
        failed += 1
        said = errors.getvalue().strip().splitlines()[-1:] if isinstance(error, SystemExit) else [str(error)]
        print(f"refused  {method:5} {file}: {' '.join(said)}")
sys.exit(1 if failed else 0)
