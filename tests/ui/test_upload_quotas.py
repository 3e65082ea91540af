"""Upload quotas: files and bytes by address, and room on the disk."""

import threading
from dataclasses import replace

import pytest

from palm_demo.errors import BusyError, MediaError
from palm_demo.settings import load_settings
from palm_demo.ui.boundary import upload_quotas
from palm_demo.ui.boundary.upload_quotas import CountedUpload, UploadQuotas


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def shares(clock, tmp_path) -> UploadQuotas:
    limits = replace(load_settings().limits, uploads_per_minute=10, upload_mb_per_minute=1, uploads_kept_mb=2)
    return UploadQuotas(limits, tmp_path, clock=lambda: clock[0])


def test_files_and_bytes_are_counted_by_address_for_a_minute(shares, clock):
    shares.spend("a", 10, 100)
    with pytest.raises(BusyError, match="more than 10 uploads in a minute"):
        shares.spend("a", 1, 1)
    shares.spend("b", 1, 999_000)
    clock[0] = 30.0
    with pytest.raises(BusyError, match="more than 1 MB of uploads"):
        shares.spend("b", 0, 2000)
    clock[0] = 61.0
    shares.spend("a", 10, 100)
    shares.spend("b", 0, 2000)


def test_the_page_keeps_so_many_bytes_and_no_more(shares, clock, tmp_path):
    shares.check_room("a")
    (tmp_path / "large").write_bytes(b"x" * 2_100_000)
    clock[0] = 6.0
    with pytest.raises(BusyError, match="2 MB of files and 2 fit"):
        shares.check_room("a")
    (tmp_path / "large").unlink()
    clock[0] = 12.0
    shares.check_room("a")


def test_uploads_go_on_while_the_folder_is_measured(shares, monkeypatch):
    """The event loop counts each piece of an upload, and would answer nobody meanwhile."""

    def measure(folder) -> int:
        uploading = threading.Thread(target=shares.spend, args=("b", 1, 1), daemon=True)
        uploading.start()
        uploading.join(10)
        assert not uploading.is_alive()
        return 3_000_000

    monkeypatch.setattr(upload_quotas, "_size_bytes", measure)
    with pytest.raises(BusyError, match="3 MB of files and 2 fit"):
        shares.check_room("a")


def test_of_what_the_page_keeps_one_address_has_a_share_alone(shares, clock):
    """Uploads, and what is made for it: scenes, archives, copies that browsers show."""
    for _ in range(6):
        shares.keeps("a", 100_000)
        clock[0] += 120
    with pytest.raises(BusyError, match="1 MB of files that came from your address"):
        shares.check_room("a")
    shares.check_room("b")
    clock[0] += 2 * 3600
    shares.check_room("a")


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_files_are_counted_while_they_come(piece):
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nwords -edge\r\n'
    body = part * 5 + b"--edge--\r\n"
    counted = CountedUpload("multipart/form-data; boundary=edge", load_settings().limits)
    ended = [counted.add(body[place : place + piece]) for place in range(0, len(body), piece)]
    assert sum(ended) == 5 and counted.size_bytes == len(body)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
def test_what_is_no_form_is_no_upload(kind):
    with pytest.raises(MediaError, match="multipart/form-data"):
        CountedUpload(kind, load_settings().limits)
