"""What we use of libraries beyond what they document: one module per library, and a contract test for each.

An upgrade that takes something of it away is told by tests/internals, in one place. Where a library's parts
are used in one of our modules alone, that module is the place: `palm_demo.models.packed_weights` for torch,
`palm_demo.models.hf_language_models` for the blocks of transformers, `palm_demo.serving.zerogpu` for spaces,
`palm_demo.gallery.lance` for lancedb, `palm_demo.ui.boundary.gradio_insides` for how gradio takes in calls.
"""
