"""Colours, type and spacing, for light and dark screens. Fonts come with Gradio, none from the web."""

import gradio as gr

CSS = """
.gradio-container { max-width: 1240px !important; width: 100% !important; margin: 0 auto !important; }
.dark { --color-accent: var(--primary-300); }
#header h1 { font-size: 2rem; font-weight: 700; letter-spacing: -0.02em; margin: 0.4rem 0 0.2rem; }
#header p, .paper, .card .size, .heading { color: var(--body-text-color-subdued); }
#header p { margin: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 0.8rem; }
.card { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
        padding: 0.7rem 1rem; background: var(--background-fill-primary); }
.card h2 { margin: 0; font-size: 1rem; font-weight: 600; }
.card p { margin: 0.25rem 0; font-size: 0.9rem; }
.card .size { font-size: 0.85rem; }
.paper { font-size: 0.9rem; margin: 0; }
.paper a { padding: 0; color: var(--link-text-color); }
.line { font-size: 0.9rem; font-weight: 600; color: var(--link-text-color); }
.strange { font-size: 0.9rem; font-weight: 600; }
.hint { font-size: 0.9rem; }
.hint .prose { color: var(--body-text-color-subdued); }
.hint .html-container, .tight .html-container { padding: 0; }
.said { font-weight: 600; min-height: 1.5em; }
.heading { font-size: 0.9rem; font-weight: 600; margin: 0.4rem 0 0; }

/* gradio puts a dot behind the last of its links too */
footer .divider:last-child { display: none; }

/* captions below their pictures instead of over them */
.captioned .grid-wrap { min-height: 0; max-height: none; }
.captioned .thumbnail-lg { aspect-ratio: auto; height: auto; display: flex; flex-direction: column; }
.captioned .thumbnail-lg > img { aspect-ratio: 1; height: auto; width: 100%; }
.captioned .caption-label { position: static; max-width: none; width: 100%; border: none;
                            padding: 0.3rem 0.4rem; border-radius: 0; background: transparent;
                            font-size: 0.8rem; line-height: 1.25; text-align: left;
                            white-space: normal; overflow: visible; }
.captioned .thumbnail-lg.selected > img { opacity: 1; }

/* what Flamingo looked at: pictures side by side, a video's frames in a row of their own */
.strips { display: flex; flex-wrap: wrap; gap: 0.8rem 1.2rem; }
.strip { width: 176px; }
.strip h3 { margin: 0 0 0.3rem; font-size: 0.9rem; font-weight: 600; }
.strip div { display: grid; grid-template-columns: 1fr; gap: 0.4rem; }
.strip.film { width: 100%; }
.strip.film div { grid-template-columns: repeat(8, minmax(0, 1fr)); }
.strip figure { margin: 0; }
.strip img { width: 100%; height: auto; border-radius: var(--radius-sm); }
.strip figcaption { font-size: 0.8rem; color: var(--body-text-color-subdued); }
.bars { overflow-x: auto; }
.bars table { border: none !important; border-collapse: collapse; font-size: 0.9rem; }
.bars tr { border: none !important; }
.bars :is(th, td) { border: none; border-bottom: 1px solid var(--border-color-primary);
                    padding: 0.25rem 1rem 0.25rem 0; text-align: left; white-space: nowrap; }
.bars .bar { display: inline-block; height: 0.7em; margin-right: 0.4em; border-radius: 2px;
             background: var(--slider-color); }
.sets { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 0.4rem; }
.moves { gap: 0.3rem; align-self: center; }
@media (max-width: 700px) {
  .strip { width: calc(50% - 0.6rem); }
  .strip.film div { grid-template-columns: repeat(4, minmax(0, 1fr)); }
  .captioned .grid-container { grid-template-columns: repeat(3, minmax(0, 1fr)); }
}
/* some of Gradio's colours of labels are too light for their white text */
.marked .token .label { background: var(--primary-700) !important; }
/* tokens run on like the text they are, without the spaces between their tags */
#palm-tokens-view .textfield { display: block; line-height: 1.8; word-break: normal; }
#palm-tokens-view .token-container { font-size: 0; }
#palm-tokens-view .token { display: inline-flex; margin: 0; padding: 0; font-size: var(--text-lg); }
#palm-tokens-view .token:focus { outline: 2px solid var(--link-text-color); }
.banner { border-left: 4px solid var(--primary-600); border-radius: var(--radius-sm); padding: 0.6rem 0.9rem;
          background: var(--block-background-fill); color: var(--body-text-color);
          overflow-wrap: anywhere; white-space: pre-line; }
.banner p { margin: 0; }
.note { font-size: 0.9rem; margin: 0; color: var(--body-text-color-subdued); }
.matrix { overflow-x: auto; }
.matrix :is(table, tr, th, td) { border: none !important; }
.matrix table { border-collapse: separate; border-spacing: 2px; font-size: 0.85rem; }
.matrix caption { caption-side: bottom; text-align: left; color: var(--body-text-color-subdued); }
.matrix th { font-weight: 400; text-align: left; padding: 0.2rem 0.5rem 0.2rem 0;
             min-width: 7rem; }
.matrix thead th { padding: 0; min-width: 3.5rem; }
.matrix thead img { width: 72px; height: 72px; object-fit: cover; margin: 0;
                    border-radius: var(--radius-sm); }
.matrix tbody td { text-align: center; border-radius: var(--radius-sm); padding: 0.4rem;
                   background: color-mix(in srgb, var(--primary-500) var(--fit), transparent); }

#flamingo-chat img, #flamingo-chat video { max-height: 132px; width: auto; }
/* sharing would post to another site */
#flamingo-chat .message-buttons { display: none; }
"""


def theme() -> gr.themes.Base:
    """Teal on slate; the darker shades keep white button text readable."""
    look = gr.themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=[gr.themes.LocalFont("IBM Plex Sans", (400, 700)), "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", (400,)), "ui-monospace", "monospace"],
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
