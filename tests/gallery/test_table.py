"""The table: what is written is found, by cosine, by words, with filters, and by other processes' handles."""

from datetime import datetime, timedelta, timezone

import lancedb
import numpy as np
import pytest
from PIL import Image

from palm_demo.errors import GalleryError
from palm_demo.gallery import Filters, Gallery, open_gallery, read_since
from palm_demo.gallery.lance import connect
from palm_demo.gallery.opening import NAME
from palm_demo.gallery.pictures import thumbnail as thumbnail_of
from palm_demo.gallery.rows import Row

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
CAPTIONS = ["a red cat", "a blue dog's bowl", "two cats on a mat", "100% wool_x", "a bird"]
DIM = 8


def unit(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return row / np.linalg.norm(row)


def row_of(place: int, caption: str, thumbnail: bytes) -> Row:
    added = NOW + timedelta(days=place)
    return Row(f"{place:064}", f"{place}.png", None, b"file", thumbnail, caption, place, added, unit(place))


@pytest.fixture
def rows(thumbnail) -> list[Row]:
    return [row_of(place, caption, thumbnail) for place, caption in enumerate(CAPTIONS)]


@pytest.fixture
def thumbnail() -> bytes:
    return thumbnail_of(Image.new("RGB", (300, 200), "red"))


@pytest.fixture
def gallery(rows) -> Gallery:
    gallery = open_gallery("memory://", "f", DIM)
    gallery.add(rows)
    return gallery


def captions(hits) -> list[str]:
    return [hit.caption for hit in hits]


def test_what_is_nearest_comes_first_with_its_cosine(gallery):
    query = unit(3)
    hits = gallery.nearest(query, 5)
    cosines = {CAPTIONS[place]: float(unit(place) @ query) for place in range(5)}
    assert captions(hits) == sorted(cosines, key=cosines.get, reverse=True)
    assert [hit.score for hit in hits] == pytest.approx([cosines[hit.caption] for hit in hits], abs=1e-6)


def test_a_hit_says_what_it_is(gallery):
    hit = gallery.nearest(unit(0), 1)[0]
    assert (hit.id, hit.name, hit.caption, hit.added) == (f"{0:064}", "0.png", "a red cat", NOW)
    assert hit.image.size == (192, 128)


def test_more_hits_than_pictures_gives_all_pictures(gallery):
    assert len(gallery.nearest(unit(0), 1000)) == len(gallery) == 5


def test_words_in_captions_lift_a_picture_halfway_to_the_best_score(gallery):
    query = unit(5)
    for words, caption in (("bird", "a bird"), ("some birds", "a bird"), ("dogs", "a blue dog's bowl")):
        hits = gallery.find(query, 5, words=words)
        cosine = float(unit(CAPTIONS.index(caption)) @ query)
        assert {hit.caption: hit.score for hit in hits}[caption] == pytest.approx((1 + cosine) / 2, abs=1e-6)
        assert [hit.score for hit in hits] == sorted([hit.score for hit in hits], reverse=True)


def test_some_of_the_words_lift_less_than_all_of_them(gallery):
    lift = {hit.caption: hit.score for hit in gallery.find(unit(5), 5, words="a red dog")}
    cosine = float(unit(0) @ unit(5))
    assert cosine < lift["a red cat"] == pytest.approx(cosine + (1 - cosine) / 8, abs=1e-6)


def test_a_picture_is_alike_by_its_score_or_by_all_words(gallery):
    def judged(images: np.ndarray) -> np.ndarray:
        return np.where(images @ unit(0) > 0.99, 0.6, 0.2)

    hits = gallery.find(unit(5), 5, words="blue bowl", fit=judged, least=0.5)
    assert {hit.caption for hit in hits if hit.alike} == {"a red cat", "a blue dog's bowl"}
    assert not any(hit.alike for hit in gallery.find(unit(5), 5, words="blue sky", fit=judged, least=0.7))


def test_what_only_captions_tell_is_found_among_many(gallery, monkeypatch):
    monkeypatch.setattr("palm_demo.gallery.store.CANDIDATES", 1)
    assert "a bird" not in captions(gallery.nearest(-unit(4), 2))
    hits = gallery.find(-unit(4), 1, words="birds", fit=lambda images: np.zeros(len(images)))
    assert captions(hits) == ["a bird"]


@pytest.mark.parametrize("words", ["horse", "horses", "the horse"])
def test_captions_are_looked_into_with_whole_words(gallery, thumbnail, monkeypatch, words):
    monkeypatch.setattr("palm_demo.gallery.store.CANDIDATES", 1)
    gallery.add([row_of(5, "a horse", thumbnail)])
    assert "a horse" not in captions(gallery.nearest(-unit(5), 2))
    hits = gallery.find(-unit(5), 1, words=words, fit=lambda images: np.zeros(len(images)))
    assert captions(hits) == ["a horse"]


def test_words_may_be_anything_a_visitor_types(gallery):
    for words in ("'; DROP TABLE", 'cat" OR (1', "*", "cat AND", "\\", "猫", "%"):
        assert len(gallery.find(unit(0), 5, words=words)) == 5


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filters(contains="CAT"), {"a red cat", "two cats on a mat"}),
        (Filters(contains="dog's"), {"a blue dog's bowl"}),
        (Filters(contains="%"), {"100% wool_x"}),
        (Filters(contains="_"), {"100% wool_x"}),
        (Filters(contains="' OR 1=1 --"), set()),
        (Filters(contains="  "), set(CAPTIONS)),
        (Filters(since=NOW + timedelta(days=3)), {"100% wool_x", "a bird"}),
        (Filters(since=(NOW + timedelta(days=4)).replace(tzinfo=None)), {"a bird"}),
        (Filters(contains="a", since=NOW + timedelta(days=2)), {"two cats on a mat", "a bird"}),
    ],
)
def test_filters_keep_what_they_say(gallery, wanted, found):
    assert set(captions(gallery.nearest(unit(0), 5, wanted))) == found
    assert set(captions(gallery.find(unit(0), 5, wanted, words="a cat"))) == found


def test_dates_are_read_as_people_write_them():
    assert read_since("2026-01-31") == datetime(2026, 1, 31, tzinfo=timezone.utc)
    assert read_since("2026-01-31T18:30+02:00") == datetime(2026, 1, 31, 16, 30, tzinfo=timezone.utc)
    assert read_since(" ") is None
    for text in ("yesterday", "0001-01-01T00:00+05:00", "9999-12-31T23:59-05:00", "10000-01-01"):
        with pytest.raises(GalleryError, match="is not a date"):
            read_since(text)
    for year in (1, 9999):
        with pytest.raises(GalleryError, match="1970 to 2200"):
            Filters(since=read_since(f"{year:04}-01-01"))


def test_the_same_file_is_added_once(gallery, rows):
    assert gallery.add(rows) == []
    assert len(gallery) == 5


def test_removed_pictures_are_found_no_more(gallery):
    assert gallery.remove([f"{0:064}", "nobody's"]) == 1
    assert "a red cat" not in captions(gallery.nearest(unit(0), 5))
    with pytest.raises(GalleryError, match="no picture"):
        gallery.original(f"{0:064}")


def test_what_is_too_long_for_an_id_is_not_looked_for(gallery, monkeypatch):
    looked_for, lit = [], lancedb.expr.lit
    monkeypatch.setattr(lancedb.expr, "lit", lambda value: (looked_for.append(value), lit(value))[1])
    assert [item.id for item in gallery.items(["x" * 10_000_000, f"{2:064}"])] == [f"{2:064}"]
    assert gallery.remove(["x" * 10_000_000]) == 0
    with pytest.raises(GalleryError, match=r"no picture 'x+"):
        gallery.original("x" * 65)
    assert looked_for == [f"{2:064}"]


def test_originals_come_back_as_they_went_in(gallery):
    assert gallery.original(f"{2:064}") == b"file"


def test_a_sample_holds_each_picture_once(gallery):
    assert len({item.id for item in gallery.sample(99)}) == 5
    assert [item.id for item in gallery.sample(3, seed=1)] == [item.id for item in gallery.sample(3, seed=1)]


def test_a_folder_keeps_its_pictures(rows, tmp_path):
    open_gallery(tmp_path / "here", "f", DIM).add(rows)
    again = open_gallery(tmp_path / "here", "f", DIM)
    assert len(again) == 5
    assert captions(again.nearest(unit(1), 1)) == ["a blue dog's bowl"]


def test_one_handle_sees_at_once_what_another_writes(rows, tmp_path):
    first, second = (open_gallery(tmp_path, "f", DIM) for _ in range(2))
    first.add(rows[:2])
    assert len(second) == 2
    second.remove([rows[0].id])
    assert captions(first.nearest(unit(0), 5)) == ["a blue dog's bowl"]


def test_a_gallery_of_other_weights_is_refused_with_the_remedy(rows, tmp_path):
    open_gallery(tmp_path, "f", DIM).add(rows)
    with pytest.raises(
        GalleryError, match=r"other weights \(f\) than these \(g\).*gallery rebuild --gallery"
    ):
        open_gallery(tmp_path, "g", DIM)


def test_a_handle_of_a_gallery_that_has_gone_says_so(rows, tmp_path):
    gallery = open_gallery(tmp_path, "f", DIM)
    gallery.add(rows)
    connect(str(tmp_path)).drop_table(NAME + "f")
    with pytest.raises(GalleryError, match="cannot be read or written"):
        gallery.nearest(unit(0), 1)


def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(GalleryError, match=r"cannot be read or written.*PALM_DEMO_GALLERY"):
        open_gallery(tmp_path / "file" / "gallery", "f", DIM)
