"""Colours, fonts and spacing of the page, in a light and a dark theme. Only fonts of the system are used."""

from pathlib import Path

import gradio as gr

STYLES = Path(__file__).with_name("page.css")


def css() -> str:
    """The page's CSS: its layout, and the styles of components that Gradio does not have."""
    return STYLES.read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """The page's theme: teal on slate, with shades dark enough for white text on buttons."""
    look = gr.themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
    )
    return look.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="0 1px 2px rgb(15 23 42 / 0.05)",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        color_accent="*primary_700",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_800",
        input_border_color_focus="*primary_500",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        slider_color="*primary_600",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
