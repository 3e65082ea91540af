"""Undocumented parts of other libraries that we use, by library, each with a contract test.

If an upgrade removes one, the test of its module says so. If only one of our modules uses a
library, that module is the place: `palm_demo.models.packed_weights` for torch,
`palm_demo.models.hf_language_models` for the blocks of transformers, `palm_demo.serving.zerogpu` for
spaces, `palm_demo.gallery.lance` for lancedb, `palm_demo.ui.boundary.gradio_insides` for how gradio
takes in calls.
"""
