"""Backups in a bucket of a store that speaks S3."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.scheduler.backups.stores import Writer, failing

#: Parts of an upload. A store takes 10,000 parts, so a backup may have 640 GB.
PART_BYTES = 64 * 1024 * 1024
_CONFIG = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 5})


class S3Store:
    """Credentials, region and endpoint come from the environment, as for every tool of AWS."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        with failing("open", BotoCoreError):
            self._client: Any = boto3.client("s3", config=_CONFIG)

    def names(self) -> Sequence[str]:
        with failing("list", BotoCoreError, ClientError):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return sorted(key.removeprefix(self._prefix) for key in keys)

    @contextmanager
    def create(self, name: str) -> Iterator[Writer]:
        target = {"Bucket": self._bucket, "Key": self._prefix + name}
        with failing("write", BotoCoreError, ClientError):
            upload = _Upload(self._client, target)
            try:
                yield upload
                upload.complete()
            except BaseException:
                upload.abort()
                raise

    @contextmanager
    def read(self, name: str) -> Iterator[IO[bytes]]:
        with failing("read", BotoCoreError, ClientError):
            found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            yield found["Body"]

    def delete(self, name: str) -> None:
        with failing("delete", BotoCoreError, ClientError):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)


class _Upload:
    """An upload in parts: the object exists once it is complete. It holds one part in memory."""

    def __init__(self, client: Any, target: dict[str, str]) -> None:
        self._client = client
        self._target = target
        started = client.create_multipart_upload(**target)
        self._upload = target | {"UploadId": started["UploadId"]}
        self._parts: list[dict[str, Any]] = []
        self._waiting = bytearray()

    def write(self, data: bytes, /) -> int:
        self._waiting += data
        if len(self._waiting) >= PART_BYTES:
            self._send()
        return len(data)

    def complete(self) -> None:
        if self._waiting or not self._parts:
            self._send()
        self._client.complete_multipart_upload(
            **self._upload, MultipartUpload={"Parts": self._parts}
        )

    def abort(self) -> None:
        self._client.abort_multipart_upload(**self._upload)

    def _send(self) -> None:
        number = len(self._parts) + 1
        sent = self._client.upload_part(
            **self._upload, PartNumber=number, Body=bytes(self._waiting)
        )
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._waiting.clear()
