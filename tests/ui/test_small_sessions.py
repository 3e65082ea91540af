"""What the page keeps of a visitor, and that little of it is left."""

from datetime import timedelta

import gradio as gr
import httpx
from gradio import blocks, route_utils, routes, state_holder

from palm_demo.internals import gradio_sessions
from palm_demo.ui.boundary import gradio_insides
from tests.ui.boundary import running


def small_page() -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as page:
        kept = gr.State([])
        text = gr.Textbox()
        text.submit(lambda kept, text: ([*kept, text], text.upper()), [kept, text], [kept, text])
    return page


def holder_of(page: gr.Blocks) -> gradio_sessions.ForgettingStateHolder:
    page.state_session_capacity = 10
    holder = gradio_sessions.ForgettingStateHolder()
    holder.set_blocks(page)
    return holder


def test_gradio_makes_sessions_of_the_class_that_its_modules_name():
    gradio_sessions.use_small_sessions()
    for module in (state_holder, blocks, route_utils):
        assert module.SessionState is gradio_sessions.SmallSessionState
    assert routes.StateHolder is gradio_sessions.ForgettingStateHolder
    assert type(holder_of(small_page())["visitor"]) is gradio_sessions.SmallSessionState


def test_a_session_holds_no_configuration_and_still_its_state():
    page = small_page()
    state = gradio_sessions.SmallSessionState(page)
    (kept,) = (block for block in page.blocks.values() if isinstance(block, gr.State))
    (text,) = (block for block in page.blocks.values() if isinstance(block, gr.Textbox))
    state[kept._id] = ["a cat"]
    state[text._id] = gr.Textbox("A CAT")
    state._update_config(text._id)
    state._update_value_in_config(text._id, "A CAT")
    assert state[kept._id] == ["a cat"] and state[text._id].value == "A CAT"
    assert list(state.components) == []
    assert gradio_sessions.SmallSessionState(page)[kept._id] == []


def test_a_session_has_no_table_of_all_blocks_and_another_does_not_see_its_own():
    page = small_page()
    (text,) = (block for block in page.blocks.values() if isinstance(block, gr.Textbox))
    one, other = gradio_sessions.SmallSessionState(page), gradio_sessions.SmallSessionState(page)
    one[text._id] = gr.Textbox("A CAT")
    assert one[text._id].value == "A CAT" and other[text._id] is text and page.blocks[text._id] is text
    assert [*one.blocks_config.blocks.maps[0]] == [text._id] and not other.blocks_config.blocks.maps[0]
    assert one.blocks_config.fns is page.default_config.fns and not page.renderables


def test_who_left_is_forgotten_after_an_hour_and_who_stays_is_not():
    page = small_page()
    holder = holder_of(page)
    (kept,) = (block for block in page.blocks.values() if isinstance(block, gr.State))
    for name in ("left", "stays", "asked", "just left"):
        holder[name][kept._id] = [name]
    holder["asked"].state_data.clear()  # a caller of the API's, for whom nothing is kept
    for name in ("left", "just left"):
        holder.session_data[name].is_closed = True
    for name in ("left", "stays", "asked"):
        holder.time_last_used[name] -= timedelta(hours=2)
    holder.delete_all_expired_state()
    assert {*holder.session_data} == {*holder.time_last_used} == {"stays", "just left"}


def test_the_queue_remembers_so_many_sessions_and_no_more(monkeypatch):
    monkeypatch.setattr(gradio_insides, "SESSIONS", 3)
    page = gradio_insides.GuardedBlocks(analytics_enabled=False).queue()
    remembered = page._queue.pending_event_ids_session
    for number in range(5):
        remembered[f"visitor {number}"] = set()
    assert [*remembered] == ["visitor 2", "visitor 3", "visitor 4"]


def test_the_queue_keeps_no_statistics_of_events():
    page = gradio_insides.GuardedBlocks(analytics_enabled=False).queue()
    page._queue.events_recorded = 100
    record = {"time": 1.0, "status": "success", "process_time": 1.0, "function": "search"}
    assert page._queue.compute_analytics_summary([record]) == {"functions": {}}
    assert page._queue.ANALYTICS_MAX_EVENTS == 1


def test_nothing_is_kept_of_a_call_without_a_session_once_it_was_answered(session, settings, tmp_path):
    from palm_demo.ui import page

    blocks = page.build(session, settings, tmp_path)
    with running(page.mount(blocks, settings, "127.0.0.1")) as url, httpx.Client(base_url=url) as client:
        for _ in range(2):
            event = client.post("gradio_api/call/scopes", json={"data": []}).json()["event_id"]
            with client.stream("GET", f"gradio_api/call/scopes/{event}") as answer:
                assert "event: complete" in [*answer.iter_lines()]
    queue = blocks._queue
    kept = (blocks.sessions, blocks.listeners._gone, blocks.state_holder.session_data)
    assert [len(one) for one in kept] == [0, 0, 0]
    assert not queue.pending_event_ids_session and not queue.pending_messages_per_session
