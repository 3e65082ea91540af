"""What is open_clip's and no picture encoder: blocks that are read token by token, a tokenizer, CoCa."""

from palm_demo.clip.blocks import ResidualAttentionBlock, keys_values, look, normed, think
from palm_demo.clip.coca import new_coca
from palm_demo.clip.tokenizer import ClipTokenizer

__all__ = ["ClipTokenizer", "ResidualAttentionBlock", "keys_values", "look", "new_coca", "normed", "think"]
