"""A gallery in a bucket, on an S3 server of this machine."""

import boto3
import pytest
from moto.server import ThreadedMotoServer

from palm_demo.errors import GalleryError
from palm_demo.gallery import ingest_pictures, open_gallery
from palm_demo.gallery.sources import find_files, pictures_of


@pytest.fixture
def bucket(monkeypatch):
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT"], region_name="us-east-1").create_bucket(
        Bucket="pictures"
    )
    yield "s3://pictures/gallery"
    server.stop()


def test_a_gallery_lives_in_a_bucket(bucket, new_gallery, eye, folder):
    ingest_pictures(new_gallery(bucket), eye, pictures_of(find_files(folder)))
    gallery = new_gallery(bucket)
    assert len(gallery) == 12
    item = gallery.sample(1, seed=0)[0]
    hit = gallery.nearest(eye.embed_images([item.image])[0], 1)[0]
    assert hit.id == item.id
    assert gallery.find(eye.embed_images([item.image])[0], 3, words="seen")
    assert gallery.remove([item.id]) == 1
    assert len(new_gallery(bucket)) == 11
    with pytest.raises(GalleryError, match="other weights"):
        open_gallery(bucket, "other", 8)


def test_a_bucket_that_is_not_there_is_an_error_with_a_remedy(bucket, new_gallery):
    with pytest.raises(GalleryError, match="cannot be read or written"):
        new_gallery("s3://nowhere/gallery")
