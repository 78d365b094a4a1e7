"""Names of the fields of TRL's and transformers' configuration classes, as JSON, with the versions they are of."""

import dataclasses
import json

import transformers
import trl
from trl.scripts.grpo import GRPOScriptArguments
from trl.scripts.utils import DatasetMixtureConfig, ScriptArguments

CLASSES = (
    transformers.TrainingArguments,
    trl.SFTConfig,
    trl.GRPOConfig,
    trl.DPOConfig,
    trl.ModelConfig,
    ScriptArguments,
    DatasetMixtureConfig,
    GRPOScriptArguments,
)

print(
    json.dumps(
        {
            "versions": {"trl": trl.__version__, "transformers": transformers.__version__},
            "classes": {c.__name__: sorted(field.name for field in dataclasses.fields(c)) for c in CLASSES},
        }
    )
)
