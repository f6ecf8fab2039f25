"""How a probe's page looks: colors for light and dark, and a layout that fits a telephone."""

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "page": "#ffffff",
    "text": "#1b1f24",
    "muted": "#57606a",
    "edge": "#d0d7de",
    "panel": "#f6f8fa",
    "first": "#0b5cad",
    "second": "#b3470b",
    "cut": "#ffdcd7",
    "cut-text": "#7d1208",
    "put": "#d3f2d9",
    "put-text": "#0b4a1c",
    "sign": "#fff1b8",
    "sign-text": "#4d3b00",
    "heat0": "#eef3f9",
    "heat0-text": "#1b1f24",
    "heat1": "#cfe0f3",
    "heat1-text": "#1b1f24",
    "heat2": "#9cc2e8",
    "heat2-text": "#10161d",
    "heat3": "#2c6aad",
    "heat3-text": "#ffffff",
    "heat4": "#0b3d75",
    "heat4-text": "#ffffff",
}
DARK: Mapping[str, str] = {
    "page": "#14181d",
    "text": "#e6e9ec",
    "muted": "#a9b1ba",
    "edge": "#3a424c",
    "panel": "#1c2229",
    "first": "#7ab7ff",
    "second": "#ffa657",
    "cut": "#5c1f19",
    "cut-text": "#ffd9d4",
    "put": "#17472a",
    "put-text": "#d2f7dc",
    "sign": "#4a3d0c",
    "sign-text": "#ffe9a0",
    "heat0": "#1c2733",
    "heat0-text": "#e6e9ec",
    "heat1": "#1f3f61",
    "heat1-text": "#ffffff",
    "heat2": "#2a5f96",
    "heat2-text": "#ffffff",
    "heat3": "#6aaef2",
    "heat3-text": "#0b1118",
    "heat4": "#b9dcff",
    "heat4-text": "#0b1118",
}
READ_ON: tuple[tuple[str, str], ...] = (
    ("text", "page"),
    ("text", "panel"),
    ("muted", "page"),
    ("muted", "panel"),
    ("cut-text", "cut"),
    ("put-text", "put"),
    ("sign-text", "sign"),
    *((f"heat{n}-text", f"heat{n}") for n in range(5)),
)
"""Which color is read on which; each pair has a contrast of 4.5 or more (WCAG 2, level AA)."""

_RULES = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--page);color:var(--text);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--edge)}
h3{font-size:1rem;margin:1rem 0 .25rem}
p{margin:.5rem 0;max-width:46rem}
.lead{font-size:1.15rem}
.muted,.note,caption{color:var(--muted)}
.note{font-size:.9rem}
.wide{overflow-x:auto;margin:.5rem 0}
.wide:focus-visible{outline:2px solid var(--first)}
table{border-collapse:collapse;font-size:.875rem;line-height:1.3;overflow-wrap:normal}
caption{text-align:start;padding:.25rem 0}
th,td{border:1px solid var(--edge);padding:.25rem .5rem;text-align:start;vertical-align:top}
th{font-weight:600;background:var(--panel)}
th[scope=row]{position:sticky;inset-inline-start:0}
td.number{text-align:end;font-variant-numeric:tabular-nums;white-space:nowrap}
.long{min-width:16rem}
.heat td{text-align:center;white-space:nowrap;min-width:5rem}
.heat small{display:block;font-size:.75rem}
.heat .none{color:var(--muted);background:var(--page)}
.small{border-style:dashed}
.pairs{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem}
.pairs>*{min-width:0}
figure{margin:0}
figcaption{font-weight:600}
svg{width:100%;max-width:32rem;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--text)}
.axis{stroke:var(--muted);fill:none}
.grid{stroke:var(--edge);fill:none}
.line{fill:none;stroke-width:2.5}
.line.a{stroke:var(--first)}
.line.b{stroke:var(--second);stroke-dasharray:6 4}
.band{opacity:.2}
.band.a,.bar{fill:var(--first)}
.band.b{fill:var(--second)}
.example{border:1px solid var(--edge);border-radius:.4rem;padding:.5rem .75rem;margin:.75rem 0}
.example h3{margin:0}
.text{font-size:1.1rem;line-height:1.9;background:var(--panel);padding:.25rem .5rem;margin:.25rem 0;
white-space:pre-wrap;overflow:hidden;max-width:none;contain:paint;flex:1 1 16rem;min-width:0}
.text>bdi{display:block}
.row{display:flex;flex-wrap:wrap;gap:0 .5rem;align-items:baseline}
.row>.note{flex:0 0 4.5rem}
.together{white-space:nowrap}
del{background:var(--cut);color:var(--cut-text);text-decoration-thickness:1px}
ins{background:var(--put);color:var(--put-text);text-underline-offset:.2em}
.sign{background:var(--sign);color:var(--sign-text);font:.75em ui-monospace,monospace;
border-radius:.2rem;padding:.1em .25em;margin:0 .1em;unicode-bidi:isolate;white-space:nowrap}
.left-out{color:var(--muted);font-size:.85em;unicode-bidi:isolate;white-space:nowrap}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.5rem 0}
dt{color:var(--muted)}
dd{margin:0}
ul{padding-inline-start:1.25rem;max-width:46rem}
.changes{font-size:.9rem;max-width:none}
summary{cursor:pointer;color:var(--first)}
@media print{details>*{display:block}.wide{overflow:visible}}
"""


def style_sheet() -> str:
    """Write the style sheet: all that the page needs, no font and no picture from outside."""
    dark = "@media (prefers-color-scheme:dark){:root{" + _variables(DARK) + "}}"
    return f":root{{color-scheme:light dark;{_variables(LIGHT)}}}{dark}{_RULES}"


def heat_class(share: float) -> str:
    """Name the class of a cell for a share from 0 to 1."""
    return f"h{min(4, int(max(0.0, share) * 5))}"


def _variables(colors: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{color}" for name, color in colors.items())


_RULES += "".join(f".h{n}{{background:var(--heat{n});color:var(--heat{n}-text)}}" for n in range(5))
