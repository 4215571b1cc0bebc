"""A bar chart as one SVG that needs nothing else and can be read on a light page as on a dark one."""

import html

WIDTH, MARGIN, GAP = 880, 16, 28
COLUMNS = 2
PANEL_WIDTH = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
TITLE_HEIGHT, ROW_HEIGHT, BAR_HEIGHT = 46, 24, 14
LABEL_WIDTH, VALUE_WIDTH = 84, 84

STYLE = """
.paper { fill: #ffffff; } text { font: 13px system-ui, sans-serif; fill: #1f2328; } .title { font-weight: 600; }
.unit, .foot { fill: #59636e; font-size: 11px; } .range { stroke: #1f2328; }
.own { fill: #0b6e4f; } .own2 { fill: #4aa37f; } .floor { fill: #8c959f; } .peer { fill: #c58a3d; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117; } text { fill: #e6edf3; } .unit, .foot { fill: #9198a1; } .range { stroke: #e6edf3; }
  .own { fill: #3fb98a; } .own2 { fill: #2a7d5f; } .floor { fill: #6e7781; } .peer { fill: #d29a4e; }
}
"""


class Bar:
    """One bar: its name, its kind (own, own2, floor or peer), and the smallest, middle and largest of its values."""

    def __init__(self, name, kind, low, middle, high):
        self.name, self.kind, self.low, self.middle, self.high = name, kind, low, middle, high


class Panel:
    """Bars of one unit."""

    def __init__(self, title, unit, bars):
        self.title, self.unit, self.bars = title, unit, bars

    def height(self):
        return TITLE_HEIGHT + ROW_HEIGHT * len(self.bars)


def draw(panels, foot, number):
    """The picture. `number` writes a value as people read it."""
    body, top = [], MARGIN
    for start in range(0, len(panels), COLUMNS):
        row = panels[start:start + COLUMNS]
        for column, panel in enumerate(row):
            body += draw_panel(panel, MARGIN + column * (PANEL_WIDTH + GAP), top, number)
        top += max(panel.height() for panel in row) + MARGIN
    for line in foot:
        top += 15
        body.append(text(MARGIN, top, line, "foot"))
    height = top + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
    paper = f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", paper, *body, "</svg>"]) + "\n"


def draw_panel(panel, left, top, number):
    yield text(left, top + 16, panel.title, "title")
    yield text(left, top + 33, panel.unit, "unit")
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / (max(bar.high for bar in panel.bars) or 1)
    for place, bar in enumerate(panel.bars):
        y = top + TITLE_HEIGHT + place * ROW_HEIGHT
        x, middle = left + LABEL_WIDTH, y + BAR_HEIGHT / 2
        width = max(1, bar.middle * scale)
        yield text(left, y + 12, bar.name)
        spread = f"{bar.name}: {number(bar.middle)} ({number(bar.low)} to {number(bar.high)})"
        yield (f'<rect class="{bar.kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2">'
               f"<title>{html.escape(spread)}</title></rect>")
        yield f'<path class="range" d="M{x + max(0, bar.low) * scale:.1f} {middle}H{x + max(0, bar.high) * scale:.1f}"/>'
        yield text(x + max(width, bar.high * scale) + 6, y + 12, number(bar.middle), "value")


def text(x, y, words, kind=""):
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{html.escape(words)}</text>'
