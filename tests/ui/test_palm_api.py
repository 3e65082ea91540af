"""PaLM's named endpoints beyond `generate`, called as a program would."""

import pytest
from gradio_client.exceptions import AppError

TEXT = "It was a dark night, and the old man went down to the sea."


def test_bits_per_byte_is_that_of_the_session(client, session):
    scope = session.scopes[0]
    assert client.predict(TEXT, api_name="/bits_per_byte") == pytest.approx(session.bits_per_byte(TEXT))
    scoped = client.predict(TEXT, scope, api_name="/bits_per_byte")
    assert scoped == pytest.approx(session.bits_per_byte(TEXT, scope))


def test_who_wrote_gives_probabilities_of_all_scopes(client, session):
    given = client.predict(TEXT, api_name="/who_wrote")
    assert given == pytest.approx(session.who_wrote(TEXT))


def test_tokens_come_with_five_alternatives_each(client):
    tokens = client.predict(TEXT, api_name="/token_probabilities")
    assert "".join(token["text"] for token in tokens) == TEXT
    assert all(0 < token["probability"] <= 1 for token in tokens)
    for token in tokens:
        chances = [chance for _, chance in token["alternatives"]]
        assert len(chances) == 5 and chances == sorted(chances, reverse=True)


@pytest.mark.parametrize("endpoint", ["/bits_per_byte", "/who_wrote", "/token_probabilities"])
@pytest.mark.parametrize(("text", "said"), [("", "no prompt"), ("x" * 100_000, "100,000 bytes")])
def test_bad_texts_are_explained(client, endpoint, text, said):
    with pytest.raises(AppError, match=said):
        client.predict(text, api_name=endpoint)


def test_an_unknown_scope_and_too_long_a_view_are_explained(client):
    with pytest.raises(AppError, match="no scope 'nobody'"):
        client.predict(TEXT, "nobody", api_name="/bits_per_byte")
    with pytest.raises(AppError, match="at most 4,000 can be looked at"):
        client.predict("x" * 4001, api_name="/token_probabilities")


def test_a_visitors_own_scope_cannot_be_named_from_outside(client):
    with pytest.raises(AppError, match="no scope 'own/mine'"):
        client.predict(TEXT, "own/mine", api_name="/bits_per_byte")


def test_scopes_are_mixed_from_outside(client, session):
    one, other = session.scopes[:2]
    mix = {one: 0.7, other: -0.5}
    assert client.predict(TEXT, mix, api_name="/bits_per_byte") == pytest.approx(
        session.bits_per_byte(TEXT, mix)
    )
    written = client.predict("The night", mix, 8, 0.0, api_name="/generate")
    assert written == session.generate("The night", mix, max_new_tokens=8, temperature=0.0)
    with pytest.raises(AppError, match="it can be a number from -4 to 4"):
        client.predict(TEXT, {one: 40}, api_name="/bits_per_byte")
