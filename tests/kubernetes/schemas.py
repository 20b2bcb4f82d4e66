"""The API's own schemas, closed: an unknown field is an error, as the cluster answers with `fieldValidation=Strict`.

Those of JobSet, TrainJob and TrainingRuntime are the OpenAPI of Kubeflow Trainer as its package `kubeflow-trainer-api` carries it
(Apache-2.0); those of the core kinds come from `kubernetes-validate`. Enumerations of JobSet are in neither: see `ACTIONS`.
"""

import functools
import importlib
from typing import Any

import jsonschema
import kubernetes_validate

MODELS = {
    "JobSet": ("jobset_v1alpha2_job_set", "JobsetV1alpha2JobSet"),
    "TrainJob": ("trainer_v1alpha1_train_job", "TrainerV1alpha1TrainJob"),
    "TrainingRuntime": ("trainer_v1alpha1_training_runtime", "TrainerV1alpha1TrainingRuntime"),
}
KUBERNETES = "1.34"
ACTIONS = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}


@functools.cache
def schema(kind: str) -> jsonschema.protocols.Validator:
    module, model = MODELS[kind]
    found = getattr(importlib.import_module(f"kubeflow_trainer_api.models.{module}"), model).model_json_schema(by_alias=True)
    for definition in (found, *found["$defs"].values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    quantity = found["$defs"]["IoK8sApimachineryPkgApiResourceQuantity"]
    quantity.clear()
    quantity["pattern"] = r"^[0-9.]+([kMGTPE]i?|m|e[0-9]+)?$"
    return jsonschema.Draft202012Validator(found)


def validate(item: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError for a wrong or unknown field, in the object or in the Job within it."""
    schema(item["kind"]).validate(item)
    spec = item["spec"] if item["kind"] == "JobSet" else item["spec"].get("template", {}).get("spec", {})
    for rule in spec.get("failurePolicy", {}).get("rules", []):
        if rule["action"] not in ACTIONS:
            raise jsonschema.ValidationError(f"no such action: {rule['action']}")
    for job in spec.get("replicatedJobs", []):
        core = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}, "spec": job["template"]["spec"]}
        kubernetes_validate.validate(core, KUBERNETES, strict=True)
