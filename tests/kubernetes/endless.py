"""Stages for the cluster's tests: endless, telling what they were given, failing in one rank."""

import os
import time

from factory.context import Context
from factory.errors import SeedmillError


def wait(context: Context) -> None:
    context.log("waits")
    time.sleep(600)


def tell(context: Context) -> None:
    context.metrics["key"] = os.environ["OPENAI_API_KEY"]
    context.write_json("told.json", {})


def fail_in_the_second_rank(context: Context) -> None:
    if os.environ["RANK"] == "1":
        raise SeedmillError("rank 1 finds no table; bring one")
    time.sleep(600)
