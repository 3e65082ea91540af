"""Pictures and videos from files, bytes and memory. No other package decodes them."""

from palm_demo.media.frames import Medium, is_video, open_medium
from palm_demo.media.kinds import DecodingBudget, Kind, MediaLimits, kind_of
from palm_demo.media.pictures import Picture, decode_image, open_image, to_rgb
from palm_demo.media.showing import as_shown, is_shown
from palm_demo.media.videos import open_video

__all__ = [
    "DecodingBudget",
    "Kind",
    "MediaLimits",
    "Medium",
    "Picture",
    "as_shown",
    "decode_image",
    "is_shown",
    "is_video",
    "kind_of",
    "open_image",
    "open_medium",
    "open_video",
    "to_rgb",
]
