"""Media as browsers can show them."""

from pathlib import Path

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media import as_shown, open_image, open_medium
from palm_demo.media.kinds import DEFAULT_LIMITS
from palm_demo.media.videos import seconds_of
from tests.media_files import RED, red_over_blue, shades, video


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.avif"])
def test_a_picture_that_browsers_show_is_shown_as_it_is(name, tmp_path):
    red_over_blue().save(tmp_path / name)
    assert as_shown(tmp_path / name, tmp_path / "copies") == tmp_path / name
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.webm", "libvpx-vp9")]
)
def test_a_video_that_browsers_play_is_shown_as_it_is(name, codec, tmp_path):
    path = video(tmp_path / name, 8, side=64, codec=codec)
    assert as_shown(path, tmp_path / "copies") == path


@pytest.mark.parametrize("kind", ["HEIF", "TIFF"])
def test_another_picture_is_shown_as_webp(kind, tmp_path):
    large = red_over_blue().resize((800, 1200), Image.Resampling.NEAREST)
    if kind == "HEIF":
        pillow_heif.from_pillow(large).save(tmp_path / "a")
    else:
        large.save(tmp_path / "a", kind)
    copy = as_shown(tmp_path / "a", tmp_path / "copies")
    assert copy.parent == tmp_path / "copies" and copy.suffix == ".webp"
    image = open_image(copy)
    assert image.size == (320, 480) and np.allclose(image.getpixel((100, 100)), RED, atol=12)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "a.avi", "a.ts", "a.flv"])
def test_a_video_in_another_container_is_packed_anew_and_not_decoded(name, tmp_path, monkeypatch):
    path = video(tmp_path / name, 16, side=64, codec="libx264")
    before = shades(open_medium(path, 16, DEFAULT_LIMITS))
    monkeypatch.setattr("palm_demo.media.showing._moving_picture", lambda *_: pytest.fail("decoded"))
    copy = as_shown(path, tmp_path)
    assert copy.suffix == ".mp4" and copy != path
    with av.open(str(copy)) as file:
        assert file.format.name.startswith("mov") and file.streams.video[0].codec_context.name == "h264"
    assert np.allclose(shades(open_medium(copy, 16, DEFAULT_LIMITS)), before, atol=1)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "mpeg4"), ("a.mov", "libx265"), ("a.mpg", "mpeg2video")]
)
def test_a_video_in_another_codec_becomes_a_moving_picture_as_long(name, codec, tmp_path):
    path = video(tmp_path / name, 50, rate=25, side=64, codec=codec)
    copy = as_shown(path, tmp_path / "copies")
    assert copy.suffix == ".webp"
    with Image.open(copy) as moving:
        assert 20 <= moving.n_frames <= 24
        seconds = 0.0
        for frame in range(moving.n_frames):
            moving.seek(frame)
            moving.load()
            seconds += moving.info["duration"] / 1000
    assert 1.8 < seconds < 2.2
    found = shades(open_medium(copy, 3, DEFAULT_LIMITS))
    assert found[0] < 20 and 110 < found[1] < 145 and found[2] > 235


def test_the_length_of_a_video_is_told_whatever_may_be_decoded(tmp_path):
    """A Spacefile may allow larger frames than the default limits."""
    path = video(tmp_path / "a.avi", 2, rate=1, side=5008)
    with pytest.raises(MediaError, match=r"25\.1 megapixels"):
        open_medium(path, 1, DEFAULT_LIMITS)
    assert seconds_of(path) == 2


@pytest.mark.parametrize("content", [b"", b"no medium" * 99])
def test_what_is_no_medium_is_told(content, tmp_path):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=r"a.mp4 is not a picture"):
        as_shown(tmp_path / "a.mp4", tmp_path / "copies")
    with pytest.raises(MediaError, match="there is no file"):
        as_shown(Path("gone.mp4"), tmp_path / "copies")


def test_what_was_made_to_be_shown_is_made_once_and_whole(tmp_path, monkeypatch):
    """A visitor may ask about one file again and again."""
    red_over_blue().save(tmp_path / "a.tiff")
    copy = as_shown(tmp_path / "a.tiff", tmp_path / "copies")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", lambda *told, **settings: pytest.fail("it was made again"))
        assert as_shown(tmp_path / "a.tiff", tmp_path / "copies") == copy

    def half(image, path, *told, **settings) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="no space"):
        as_shown(tmp_path / "a.tiff", tmp_path / "others")
    assert [*(tmp_path / "others").iterdir()] == []
