"""One prefix of an S3 bucket: the few operations that the store needs, with errors that a user can act on.

Credentials, region and endpoint come from the environment, as boto3 reads them. Small writes and files up to one gigabyte carry
the SHA-256 that is in the manifest, so the service itself refuses bytes that were damaged on the way.
"""

import base64
import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from factory.errors import SeedmillError

ONE_PIECE = 1 << 30
BATCH = 1000
IN_PARTS = "in parts"
ABSENT = ("404", "NoSuchKey", "NotFound")
EXISTS = ("PreconditionFailed", "412")
REMEDIES = {
    "404": "an object that its manifest names is gone: run the asset again to have it built anew",
    "ConditionalRequestConflict": "another writer committed at the same moment: run again, and what it made is used",
    "NoSuchBucket": "it does not exist: create it, or mend `store.url` in the recipe",
    "AccessDenied": "access is denied: the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on it",
    "403": "access is denied: the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on it",
    "InvalidAccessKeyId": "AWS_ACCESS_KEY_ID is not known to the service",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY is not the access key's",
    "ExpiredToken": "the credentials have expired: get new ones",
    "NoCredentialsError": "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "EndpointConnectionError": "the service cannot be reached: check AWS_ENDPOINT_URL and the network",
}


class Bucket:
    """Objects below `prefix` (empty, or ending in a slash); keys are relative to it."""

    def __init__(self, name: str, prefix: str) -> None:
        self.name = name
        self.prefix = prefix

    @cached_property
    def _client(self) -> Any:
        """The client, made when first needed: a recipe can be read where S3 cannot be reached."""
        import boto3
        from botocore.config import Config

        return boto3.Session().client("s3", config=Config(retries={"mode": "standard", "max_attempts": 5}))

    def url(self, key: str = "") -> str:
        """The address of an object, for people."""
        return f"s3://{self.name}/{self.prefix}{key}"

    def check(self) -> None:
        """Raise SeedmillError unless the bucket exists and may be read."""
        self._call("list_objects_v2", Bucket=self.name, Prefix=self.prefix, MaxKeys=1)

    def read(self, key: str) -> bytes | None:
        """A small object's bytes, or None where there is none."""
        answer = self._call("get_object", **self._at(key), allowed=ABSENT)
        return answer["Body"].read() if answer else None

    def write(self, key: str, data: bytes) -> None:
        """Write a small object, over another if there is one."""
        self._call("put_object", **self._at(key), Body=data, **_checksum(hashlib.sha256(data).hexdigest()))

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object unless there is one already, decided by the service; False when there was.

        A request whose answer was lost is sent again, so False may also mean that the object is our own.
        """
        checksum = _checksum(hashlib.sha256(data).hexdigest())
        return bool(self._call("put_object", **self._at(key), Body=data, IfNoneMatch="*", **checksum, allowed=EXISTS))

    def upload(self, key: str, path: Path, digest: str) -> None:
        """Upload a file; `digest` is its SHA-256 in hex."""
        if path.stat().st_size > ONE_PIECE:
            self._call("upload_file", str(path), self.name, self.prefix + key, ExtraArgs={"ChecksumAlgorithm": "SHA256"})
            return
        with path.open("rb") as stream:
            self._call("put_object", **self._at(key), Body=stream, **_checksum(digest))

    def download(self, key: str, path: Path) -> None:
        """Download an object, in parallel parts where it is large."""
        self._call("download_file", self.name, self.prefix + key, str(path))

    def digest(self, key: str) -> str | None:
        """The SHA-256 in hex that the service took when the object arrived; None where there is no such object.

        `IN_PARTS` when it was uploaded in parts: the service checked each, but has no checksum of the whole. Empty when someone
        else wrote the object without one.
        """
        answer = self._call("head_object", **self._at(key), ChecksumMode="ENABLED", allowed=ABSENT)
        if answer is None:
            return None
        return IN_PARTS if "-" in answer["ETag"] else base64.b64decode(answer.get("ChecksumSHA256", "")).hex()

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys below a prefix, sorted."""
        for page in self._pages(prefix):
            yield from (entry["Key"].removeprefix(self.prefix) for entry in page.get("Contents", []))

    def folders(self, prefix: str) -> list[str]:
        """What follows directly below a prefix that ends in a slash, without the slash at the end."""
        pages = self._pages(prefix, Delimiter="/")
        return [entry["Prefix"].removeprefix(self.prefix).rstrip("/") for page in pages for entry in page.get("CommonPrefixes", [])]

    def delete(self, keys: list[str]) -> None:
        """Delete objects; those that are gone already do not matter."""
        for first in range(0, len(keys), BATCH):
            batch = [{"Key": self.prefix + key} for key in keys[first : first + BATCH]]
            answer = self._call("delete_objects", Bucket=self.name, Delete={"Objects": batch, "Quiet": True})
            if answer and answer.get("Errors"):
                failed = answer["Errors"][0]
                raise SeedmillError(f"{self.url()}: {failed['Key']} cannot be deleted ({failed['Code']})")

    def _pages(self, prefix: str, **options: Any) -> Iterator[dict[str, Any]]:
        token: dict[str, Any] = {}
        while True:
            page = self._call("list_objects_v2", Bucket=self.name, Prefix=self.prefix + prefix, **options, **token)
            assert page is not None
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.name, "Key": self.prefix + key}

    def _call(self, operation: str, *arguments: Any, allowed: tuple[str, ...] = (), **options: Any) -> Any:
        """Call the client; None when the service answers one of the `allowed` codes, a SeedmillError on any other."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(*arguments, **options) or {"done": True}
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            if code in allowed:
                return None
            raise SeedmillError(f"bucket {self.url()}: {REMEDIES.get(code, error)}") from error
        except (BotoCoreError, Boto3Error) as error:
            raise SeedmillError(f"bucket {self.url()}: {REMEDIES.get(type(error).__name__) or ' '.join(str(error).split())}") from error


def _checksum(digest: str) -> dict[str, Any]:
    """The options that make the service check what arrives against a hex digest."""
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64.b64encode(bytes.fromhex(digest)).decode()}
