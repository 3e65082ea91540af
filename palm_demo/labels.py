"""Labels as the texts that were learned: "cat" is asked for as "a cat"."""

BEGINNINGS = ("a ", "an ", "the ", "two ", "three ", "four ", "five ")


def label_text(label: str) -> str:
    """The label with an article, unless it has one or a number."""
    label = label.lower()
    if label.startswith(BEGINNINGS):
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"
