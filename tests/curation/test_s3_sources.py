import curation_stages as stages
import pytest

from factory.curation.config import SourceConfig
from factory.curation.files import S3Prefix
from factory.curation.sources import observe
from factory.errors import SeedmillError


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="corpus")
    client.put_object(Bucket="corpus", Key="web/b.txt", Body=b"second document")
    client.put_object(Bucket="corpus", Key="web/a/page.html", Body=b"<p>first document</p>")
    client.put_object(Bucket="corpus", Key="webby/c.txt", Body=b"a neighbour that only shares the first letters")
    return client


def test_a_prefix_is_read_in_order_and_without_its_neighbours(bucket, tmp_path):
    context = stages.run(tmp_path, "raw_documents/bucket", "sources", {"path": "s3://corpus/web"})
    assert [(row["locator"], row["media"]) for row in stages.rows(context)] == [("a/page.html", "html"), ("b.txt", "text")]
    assert context.metrics["source_version"] == observe(SourceConfig(path="s3://corpus/web/"))


def test_a_changed_object_changes_the_version(bucket):
    source = SourceConfig(path="s3://corpus/web")
    before = observe(source)
    assert observe(source) == before
    bucket.put_object(Bucket="corpus", Key="web/b.txt", Body=b"another document")
    assert observe(source) != before


def test_an_object_that_changes_after_it_was_listed_is_an_error(bucket):
    files = S3Prefix("corpus", "web")
    entry = files.list()[1]
    bucket.put_object(Bucket="corpus", Key="web/b.txt", Body=b"changed meanwhile")
    with pytest.raises(SeedmillError, match=r"s3://corpus/web/b\.txt: the object changed"), files.reading(entry) as stream:
        stream.read()


def test_a_bucket_that_does_not_exist_is_one_clear_error(bucket):
    with pytest.raises(SeedmillError, match="s3://nowhere/x/: the bucket does not exist"):
        observe(SourceConfig(path="s3://nowhere/x"))


def test_an_endpoint_that_does_not_answer_is_one_clear_error(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SeedmillError, match="check AWS_ENDPOINT_URL"):
        observe(SourceConfig(path="s3://corpus/web"))


def test_a_bucket_name_that_cannot_be_one_is_one_line(bucket):
    with pytest.raises(SeedmillError, match=r"^cannot read source s3://no bucket/: [^\n]*$"):
        observe(SourceConfig(path="s3://no bucket"))
