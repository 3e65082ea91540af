"""What a new gallery begins with: scenes of the picture world that no model was trained on."""

from palm_demo import world
from palm_demo.gallery.adding import Encoder, as_row
from palm_demo.gallery.pictures import Pixels, as_png, decode
from palm_demo.gallery.table import Gallery

SIDE = 192


def fill(gallery: Gallery, encoder: Encoder) -> None:
    """Writes the start gallery, all in one commit."""
    scenes = world.start_gallery()
    pixels = [_drawn(place, scene, encoder) for place, (scene, _) in enumerate(scenes, 1)]
    latents = encoder.embed_images([each.image for each in pixels])
    gallery.add(
        [
            as_row(each, latent, caption)
            for each, latent, (_, caption) in zip(pixels, latents, scenes, strict=True)
        ]
    )
    gallery.tidy()


def _drawn(place: int, scene: world.Scene, encoder: Encoder) -> Pixels:
    return decode(as_png(world.render(scene, SIDE)), f"scene {place}.png", encoder.media_limits)
