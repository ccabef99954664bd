"""Figures of matplotlib as SVG that stands inside a page and takes its colours and its fonts from there."""

import io
import re
import warnings

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

# the page gives each variable a value for light and one for dark reading
COLOURS = {
    'blue': '#0072b2',
    'orange': '#e69f00',
    'green': '#009e73',
    'red': '#d55e00',
    'grey': '#8a8a8a',
    'faint': '#d9d9d9',
}
_ON_PICTURE = '#000001'  # black that stays black: text on the cells of a picture


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of a size in inches, with panels side by side."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in panels:
        axes.spines[['top', 'right']].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, panels


def to_svg(figure: Figure, name: str, alt: str) -> Markup:
    """A figure as an ``<svg>`` element.

    Args:
        figure: drawn in black, white and :data:`COLOURS`; it is changed.
        name: letters and digits, of its own for each figure of a page: the ids in the element begin with it.
        alt: says in words what is to be seen.
    """
    for axes in figure.axes:
        axes.patch.set_visible(False)
        if axes.images:
            for text in axes.findobj(Text):
                if text in axes.texts and text.get_color() == 'black':
                    text.set_color(_ON_PICTURE)
    figure.patch.set_visible(False)
    stream = io.StringIO()
    nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}), warnings.catch_warnings():
        warnings.filterwarnings('ignore', r'Glyph .* missing from font')  # the browser has fonts of its own
        figure.savefig(stream, format='svg', metadata=nothing)
    svg = stream.getvalue()
    svg = svg[svg.index('<svg') :]
    head, body = svg.split('>', 1)
    (sides,) = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    width, height = map(float, sides)
    # markup only, no text: what is escaped in a text holds neither a quote nor a bracket
    body = re.sub(r'(<[^<>]*\b)id="', rf'\1id="{name}-', body)
    body = re.sub(r'(<[^<>]*)url\(#', rf'\1url(#{name}-', body)
    body = re.sub(r'(<[^<>]*)xlink:href="#', rf'\1href="#{name}-', body)
    body = body.replace('xlink:href="data:', 'href="data:')
    body = re.sub(r'\b(fill|stroke): #000000', r'\1: currentColor', body)
    for variable, colour in COLOURS.items():
        body = re.sub(rf'\b(fill|stroke): {colour}', rf'\1: var(--{variable})', body, flags=re.IGNORECASE)
    opening = (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width:g} {height:g}" style="width: {width:g}pt">'
    )
    return Markup(opening + body)
