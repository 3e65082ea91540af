"""Undocumented parts of other libraries that we use: one module per library, each with a contract test.

If an upgrade removes one, tests/internals says so in one place. If only one of our modules uses a
library, that module is the place: `palm_demo.models.packed_weights` for torch,
`palm_demo.models.hf_language_models` for the blocks of transformers, `palm_demo.serving.zerogpu` for
spaces, `palm_demo.gallery.lance` for lancedb, `palm_demo.ui.boundary.gradio_insides` for how gradio
takes in calls.
"""
