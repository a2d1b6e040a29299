"""A folder and a store that speaks S3 keep files alike."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from deploy.local.stack.servers import LOOPBACK, free_port
from services.scheduler.backups import s3_store
from services.scheduler.backups.stores import Store, StoreFailed, open_store

MB = 1024 * 1024


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of a bucket's prefix, on a server that speaks S3."""
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=free_port())
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "backup",
        "AWS_SECRET_ACCESS_KEY": "test",  # pragma: allowlist secret
        "AWS_DEFAULT_REGION": "sa-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"backups-{uuid4()}"
    boto3.client("s3").create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "sa-east-1"}
    )
    yield f"s3://{bucket}/porteiro"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "backups"))
    return open_store(request.getfixturevalue("s3"))


def test_a_file_is_there_once_it_is_complete(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 * MB)
    parts = [bytes([number]) * MB for number in range(12)]
    with store.create("a.dump") as writer:
        for part in parts:
            writer.write(part)
        assert store.names() == []
    with store.create("empty") as writer:
        pass
    assert store.names() == ["a.dump", "empty"]
    with store.read("a.dump") as file:
        assert file.read() == b"".join(parts)
    store.delete("a.dump")
    store.delete("a.dump")
    assert store.names() == ["empty"]


def test_a_file_whose_writing_failed_is_not_there(store: Store) -> None:
    with pytest.raises(KeyError), store.create("a.dump") as writer:
        writer.write(b"half")
        raise KeyError
    assert store.names() == []


def test_what_fails_says_so(store: Store) -> None:
    with pytest.raises(StoreFailed, match="could not read"), store.read("nothing"):
        pass


def test_a_bucket_that_is_not_there_is_said(s3: str) -> None:
    with pytest.raises(StoreFailed, match="NoSuchBucket"):
        open_store("s3://elsewhere").names()
