"""Media that visitors ask about: for whom they are kept, how many, and until when."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from palm_demo.errors import MediaError
from palm_demo.media import open_image
from palm_demo.ui.flamingo import asked_media
from palm_demo.ui.flamingo.asked_media import AskedMedia

PATIENCE_SECONDS = 60


class Decoding:
    """A session that decodes pictures, and notes which."""

    def __init__(self):
        self.files: list[str] = []

    def opened(self, media: list) -> list[Image.Image]:
        self.files += media
        return [open_image(medium) for medium in media]


@pytest.fixture
def decoding() -> Decoding:
    return Decoding()


@pytest.fixture
def media(decoding) -> AskedMedia:
    return AskedMedia(decoding)


@pytest.fixture
def path(tmp_path) -> str:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_a_file_is_decoded_once_for_a_visitor_and_again_for_another(media, decoding, path):
    first, twin = media.of("ann", [path, path])
    assert first is twin and media.of("ann", [path]) == [first]
    (others,) = media.of("bob", [path])
    assert others is not first and decoding.files == [path, path]


def test_what_a_visitor_asked_about_goes_when_they_leave(media, decoding, path):
    media.of("ann", [path])
    (kept,) = media.of("bob", [path])
    media.leave("ann")
    assert len(media._kept) == 1 and media.of("bob", [path]) == [kept]
    media.leave("bob")
    assert len(media._kept) == 0 and media._kept.size_bytes == 0
    media.of("ann", [path])
    assert decoding.files == [path] * 3


def test_a_file_that_has_changed_or_gone_is_opened_again(media, decoding, path, tmp_path):
    media.of("ann", [path])
    Image.new("RGB", (50, 30), "blue").save(path)
    assert media.of("ann", [path])[0].decoded.size == (50, 30)
    (tmp_path / "a.png").unlink()
    with pytest.raises(MediaError, match="there is no file"):
        media.of("ann", [path])
    with pytest.raises(MediaError, match="cannot be used"):
        media.of("ann", ["a\0.png"])


def test_media_take_no_more_memory_than_there_is_for_them(decoding, tmp_path, monkeypatch):
    monkeypatch.setattr(asked_media, "KEPT_BYTES", 3 * asked_media.ENTRY_BYTES)
    media = AskedMedia(decoding)
    for place in range(9):
        Image.new("RGB", (4, 4), (place, 0, 0)).save(tmp_path / f"{place}.png")
        media.of(f"visitor {place}", [tmp_path / f"{place}.png"])
    assert len(media._kept) == 2 and media._kept.size_bytes <= 3 * asked_media.ENTRY_BYTES


def test_a_question_waits_for_what_is_being_decoded_already(media, decoding, path):
    begun, asked, go_on, decode, lock_of = (
        *(threading.Event() for _ in range(3)),
        decoding.opened,
        media._lock_of,
    )

    def slow(files: list) -> list:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return decode(files)

    def noted(visitor: str) -> threading.Lock:
        if begun.is_set():
            asked.set()
        return lock_of(visitor)

    decoding.opened, media._lock_of = slow, noted
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(media.of, "ann", [path])
        assert begun.wait(PATIENCE_SECONDS)
        second = threads.submit(media.of, "ann", [path])
        assert asked.wait(PATIENCE_SECONDS)
        go_on.set()
        assert first.result(PATIENCE_SECONDS) == second.result(PATIENCE_SECONDS)
    assert decoding.files == [path]


def test_a_medium_is_made_ready_once_and_named_by_its_place(media, path, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    converted, as_shown = [], asked_media.as_shown
    monkeypatch.setattr(
        asked_media, "as_shown", lambda *given, **more: (converted.append(1), as_shown(*given, **more))[1]
    )
    (medium,) = media.of("ann", [path])
    one, two = medium.shown("picture 1"), medium.shown("picture 2")
    assert len(converted) == 1 and one.value == two.value
    for part, name in ((one, "picture 1"), (two, "picture 2")):
        assert part.props["label"] == part.constructor_args["alt_text"] == name
    for made in (tmp_path / "gradio").rglob("*.png"):
        made.unlink()
    medium.shown("picture 1")
    assert len(converted) == 2
