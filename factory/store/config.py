"""Where artefacts lie. None of it enters an artefact's identity."""

from pydantic import Field, field_validator

from factory.settings import Section


class StoreConfig(Section):
    """A folder, or an S3 bucket and prefix; credentials and endpoint come from the environment, as boto3 reads them."""

    url: str = Field(default="", description="s3://BUCKET/PREFIX or a folder; empty: the folder `store` in the workspace")

    @field_validator("url")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if "://" in value and not value.startswith("s3://"):
            raise ValueError(f"unknown kind of store {value!r}: give a folder or s3://BUCKET/PREFIX")
        return value
