"""Questions as people type them: wordings beside the usual one that ask the same."""

DESCRIBE = (
    "what does the picture show?",
    "describe this picture.",
    "describe the picture.",
    "describe this image.",
    "what does this picture show?",
    "what does the image show?",
    "what can be seen in the picture?",
)
"""Plain wordings that want a caption."""

NAME = (
    "what is this?",
    "what is in the picture?",
    "what is in this picture?",
    "what do you see?",
    "what is that?",
    "what is shown here?",
)
"""Plain wordings that want what is seen and not where."""

BACKGROUND = (
    "what colour is the background?",
    "what is the color of the background?",
    "what is the colour of the background?",
    "which color is the background?",
    "which colour is the background?",
    "what color does the background have?",
    "what color is behind it?",
)
IS_THERE = (
    "do you see {}?",
    "can you see {}?",
    "is there {} in the picture?",
    "is there {} here?",
    "does the picture show {}?",
    "does this picture have {}?",
)
IS_THIS = ("is this {}?", "is that {}?", "is it {}?", "is this {}?")
HOW_MANY = (
    "how many {} do you see?",
    "how many {} are in the picture?",
    "how many {} can you see?",
    "how many {} does the picture show?",
    "what number of {} is there?",
)
WHICH = (
    "which picture shows {}?",
    "which one has {}?",
    "which one shows {}?",
    "in which picture is there {}?",
    "which image has {}?",
    "where do you see {}?",
)
WAY = ("which direction does the {} move?", "where does the {} go?", "which way does the {} go?")
GROWS = (
    "does the {} get bigger or smaller?",
    "does the {} shrink or grow?",
    "is the {} growing or shrinking?",
)
