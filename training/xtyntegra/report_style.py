"""What a benchmark's page needs beyond the style of a probe's: tiles, dense maps, marks of tracks.

The three marks differ in shape as well as in color, and the scale of differences runs from orange
to blue, which readers with any usual color vision tell apart.
"""

from collections.abc import Mapping

from app.robustness.style import DARK as PROBE_DARK
from app.robustness.style import LIGHT as PROBE_LIGHT

LIGHT: Mapping[str, str] = {
    "third": "#0f766e",
    "worse1": "#fbd9b5",
    "worse1-text": "#1b1f24",
    "worse2": "#b3470b",
    "worse2-text": "#ffffff",
    "better1": PROBE_LIGHT["heat1"],
    "better1-text": PROBE_LIGHT["heat1-text"],
    "better2": PROBE_LIGHT["heat3"],
    "better2-text": PROBE_LIGHT["heat3-text"],
}
DARK: Mapping[str, str] = {
    "third": "#4fd1b5",
    "worse1": "#5a3412",
    "worse1-text": "#ffffff",
    "worse2": "#ffa657",
    "worse2-text": "#14181d",
    "better1": PROBE_DARK["heat1"],
    "better1-text": PROBE_DARK["heat1-text"],
    "better2": PROBE_DARK["heat3"],
    "better2-text": PROBE_DARK["heat3-text"],
}
READ_ON = tuple((f"{name}-text", name) for name in ("worse1", "worse2", "better1", "better2"))
"""Which color is read on which; each pair has a contrast of 4.5 or more (WCAG 2, level AA)."""

_RULES = """
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,11.5rem),1fr));
gap:.75rem;margin:1rem 0;padding:0;list-style:none;max-width:none}
.tiles+.tiles{margin-top:-.25rem}
th small{font-weight:400}
.tiles li{border:1px solid var(--edge);border-radius:.4rem;padding:.5rem .75rem;
background:var(--panel)}
.tiles b{display:block;font-size:1.7rem;line-height:1.2;font-variant-numeric:tabular-nums}
.tiles b small{font-size:.85rem;font-weight:400;white-space:nowrap}
.tiles .note{display:block}
.dense td,.together{white-space:nowrap}
.dense td{padding:.1rem .3rem;text-align:end;font-variant-numeric:tabular-nums;min-width:2.1rem}
.dense th{padding:.1rem .4rem;white-space:nowrap}
.dense thead th{vertical-align:bottom}
.dense thead th.up{writing-mode:vertical-rl;transform:rotate(180deg);text-align:start;
padding:.4rem .15rem;border-width:0 1px 0 0}
.dense .none{color:var(--muted);text-align:center}
.dense td.plain{background:var(--page)}
.dense .clear td{border-bottom-width:2px}
tr.sum td,tr.sum th{font-weight:600}
tr.part th{font-weight:400;padding-inline-start:1.25rem}
tr.part th{white-space:nowrap}
tr.sum th{min-width:9rem}
tr.start td,tr.start th{border-top:2px solid var(--muted)}
.scale{display:flex;flex-wrap:wrap;gap:.25rem 0;list-style:none;padding:0;margin:.5rem 0;
font-size:.8rem;max-width:none}
.scale li{padding:.1rem .6rem}
.marks{display:flex;flex-wrap:wrap;gap:.1rem 1.25rem;list-style:none;padding:0;margin:.25rem 0;
font-size:.875rem;max-width:none}
.marks svg{display:inline-block;width:14px;height:14px;vertical-align:-2px;margin-inline-end:.3rem}
.meter{display:inline-block;vertical-align:middle;width:4.5rem;height:.6rem;
margin-inline-start:.4rem;border:1px solid var(--edge);background:var(--page)}
.meter rect{fill:var(--first)}
svg .dot{fill-opacity:.55;stroke-width:1.2}
.dot.seen{fill:var(--first);stroke:var(--first)}
.dot.related{fill:var(--third);stroke:var(--third)}
.dot.unseen{fill:var(--second);stroke:var(--second)}
.dot.other{fill:none;stroke:var(--muted)}
.line.thin{stroke:var(--muted);stroke-width:1;opacity:.65}
.line.lead{stroke:var(--edge);stroke-width:1}
.line.even{stroke:var(--muted);stroke-width:1;stroke-dasharray:2 3}
.line.move{stroke:var(--muted);stroke-width:1}
.line.move.better{stroke:var(--first);stroke-width:1.5}
.line.move.worse{stroke:var(--second);stroke-width:1.5}
.end.better{fill:var(--first)}
.end.worse{fill:var(--second)}
.end.same{fill:var(--muted)}
.knot.a{fill:var(--first)}
.knot.b{fill:var(--second)}
.bar.worse{fill:var(--second)}
.bar.better{fill:var(--first)}
.bar.same{fill:var(--muted)}
.whisker{stroke:var(--text);stroke-width:.75;opacity:.55;fill:none}
svg text.faint{fill:var(--muted);font-size:10px}
svg text.tiny{font-size:10px}
svg text.title{font-weight:600}
svg text.halo{paint-order:stroke;stroke:var(--page);stroke-width:3px;stroke-linejoin:round;
font-size:11px}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));
gap:.5rem 1.5rem;align-items:start}
.beside>*{min-width:0}
@media (max-width:40rem){.tiles{grid-template-columns:repeat(auto-fill,minmax(9.6rem,1fr))}
.dense th small{display:none}}
tbody th[scope=row]{min-width:6.5rem}
details{margin:.4rem 0}
dd{min-width:0}
code{font-family:ui-monospace,monospace;font-size:.875em}
pre{background:var(--panel);padding:.5rem .75rem;overflow-x:auto;max-width:none;margin:.5rem 0}
"""


def rules() -> str:
    """Write the style rules on top of those of a probe's page."""
    scale = "".join(
        f".{name}{{background:var(--{name});color:var(--{name}-text)}}"
        for name in ("worse1", "worse2", "better1", "better2")
    )
    heat = "".join(
        f".f{n}{{fill:var(--heat{n})}}svg text.n{n}{{fill:var(--heat{n}-text)}}" for n in range(5)
    )
    dark = "@media (prefers-color-scheme:dark){:root{" + _variables(DARK) + "}}"
    return f":root{{{_variables(LIGHT)}}}{dark}{_RULES}{scale}{heat}"


def _variables(colors: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{color}" for name, color in colors.items())
