"""Small videos that claim to have very many packets."""

import struct
from io import BytesIO

import av
import pytest

from palm_demo.errors import MediaError
from palm_demo.media import as_shown, containers, open_video
from tests.media_files import video


def box(name: bytes, *values: int) -> bytes:
    return struct.pack(">I4s", 8 + 4 * len(values), name) + struct.pack(f">{len(values)}I", *values)


def large_box(name: bytes, *values: int) -> bytes:
    size_bytes = 16 + 4 * len(values)
    return struct.pack(">I4sQ", 1, name, size_bytes) + struct.pack(f">{len(values)}I", *values)


@pytest.fixture
def unopened(monkeypatch):
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("opened"))


@pytest.fixture
def plain(tmp_path) -> bytes:
    return video(tmp_path / "plain.mp4", 5).read_bytes()


def test_a_film_of_eighty_million_packets_in_a_thousand_bytes_is_refused(plain, tmp_path, unopened):
    at = plain.index(b"stsz")
    path = tmp_path / "film.mp4"
    path.write_bytes(plain[: at + 8] + struct.pack(">II", 1, 80_000_000) + plain[at + 16 :])
    for read in (lambda: open_video(path, 8), lambda: as_shown(path, tmp_path / "shown")):
        with pytest.raises(
            MediaError, match=r"film.mp4 claims to have 80,000,000 packets and at most 200,000 are read"
        ):
            read()


@pytest.mark.parametrize(
    "claim",
    [
        box(b"trun", 0, 80_000_000),
        box(b"stsz", 0, 1, 300_000),
        large_box(b"stsz", 0, 1, 80_000_000),
        large_box(b"trun", 0, 80_000_000),
        struct.pack(">I4sII", 0, b"trun", 0, 80_000_000),
        box(b"cmov", 0),
    ],
)
@pytest.mark.parametrize("before", [0, 21])
def test_an_index_is_found_wherever_it_is(plain, claim, before, unopened, monkeypatch):
    monkeypatch.setattr(containers, "PIECE_BYTES", len(plain) + before)
    with pytest.raises(MediaError, match="save it anew"):
        open_video(plain + b"x" * before + claim, 8)
    with pytest.raises(MediaError, match="save it anew"):
        open_video(plain + claim + b"x" * before, 8)


@pytest.mark.parametrize("letters", [b"stsz", b"trun", b"cmov"])
def test_the_name_of_a_box_within_a_picture_is_none(plain, letters, tmp_path):
    data = plain + box(b"free", *[2**32 - 1] * 4, int.from_bytes(letters, "big"), *[2**32 - 1] * 6)
    assert len(open_video(BytesIO(data), 8)) == 5
    (tmp_path / "short.mp4").write_bytes(plain + letters)
    assert len(open_video(tmp_path / "short.mp4", 8)) == 5
