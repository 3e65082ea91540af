"""What the page keeps of a visitor, and that little of it is left."""

import gradio as gr
from gradio import blocks, route_utils, state_holder

from palm_demo.ui.boundary import gradio_insides


def small_page() -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as page:
        kept = gr.State([])
        text = gr.Textbox()
        text.submit(lambda kept, text: ([*kept, text], text.upper()), [kept, text], [kept, text])
    return page


def test_gradio_makes_sessions_of_the_class_that_its_modules_name():
    gradio_insides.keep_little_of_a_session()
    for module in (state_holder, blocks, route_utils):
        assert module.SessionState is gradio_insides.SmallSessionState
    page = small_page()
    page.state_session_capacity = 10
    holder = state_holder.StateHolder()
    holder.set_blocks(page)
    assert type(holder["visitor"]) is gradio_insides.SmallSessionState


def test_a_session_holds_no_configuration_and_still_its_state():
    page = small_page()
    state = gradio_insides.SmallSessionState(page)
    (kept,) = (block for block in page.blocks.values() if isinstance(block, gr.State))
    (text,) = (block for block in page.blocks.values() if isinstance(block, gr.Textbox))
    state[kept._id] = ["a cat"]
    state[text._id] = gr.Textbox("A CAT")
    state._update_config(text._id)
    state._update_value_in_config(text._id, "A CAT")
    assert state[kept._id] == ["a cat"] and state[text._id].value == "A CAT"
    assert list(state.components) == []
    assert gradio_insides.SmallSessionState(page)[kept._id] == []
