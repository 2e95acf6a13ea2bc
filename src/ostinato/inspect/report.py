"""A page that shows what was found: one HTML file that needs no network."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from ostinato.inspect.flow import GradientFlow
from ostinato.inspect.gates import Traces

Section = tuple[str, str]
"""A heading, and HTML."""
UNITS = 64
"""At most so many units of a gate are shown by the slider."""


def figure(plot: Callable[[Path], object], words: str) -> str:
    """A picture, as a part of the page; ``words`` say what it shows, below it and to a screen reader."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.svg"
        plot(file)
        data = base64.b64encode(file.read_bytes()).decode()
    return (f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(words)}">'
            f"<figcaption>{escape(words)}</figcaption></figure>")


def table(rows: Sequence[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Rows of cells; the first cell of each is its heading."""
    top = "<tr>" + "".join(f'<th scope="col">{escape(h)}</th>' for h in head) + "</tr>" if head else ""
    lines = ["<tr>" + "".join(f"<td>{escape(str(c))}</td>" if i else f'<th scope="row">{escape(str(c))}</th>'
                              for i, c in enumerate(row)) + "</tr>" for row in rows]
    return f"<table>{top}{''.join(lines)}</table>"


def steps(traces: Traces, guesses: Sequence[Sequence[tuple[str, float]]] = (), sequence: int = 0) -> str:
    """A slider over the steps of a sequence: its token, every unit of every trace, and what the model expects next."""
    count = len(next(iter(traces.values.values()))[sequence])
    tokens = list(traces.tokens or [str(t) for t in range(count)])
    data = {"tokens": tokens, "traces": {name: _rounded(v[sequence]) for name, v in traces.values.items()},
            "guesses": [[[word, round(p, 4)] for word, p in row] for row in guesses]}
    text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
    return STEPS.replace("@last", str(len(tokens) - 1)).replace("@data", text)


def _rounded(value: Tensor) -> list[list[float]]:
    return [[round(float(u), 3) for u in step[:UNITS]] for step in value.flatten(1).cpu()]


def advice(flow: GradientFlow, gates: Sequence[tuple[str, Traces]]) -> list[str]:
    """What is unusual, in words, with what can be done about it."""
    out = []
    for name, found in flow.flows.items():
        if found.verdict == "vanishing":
            out.append(f"The gradient of {name} vanishes: a step back in time multiplies it by {found.rate:.3g}. What "
                       "is further back is hardly learned from. Try a gated cell, gates that begin open "
                       "(cells.initialise.chrono), or a skip through time.")
        if found.verdict == "exploding":
            out.append(f"The gradient of {name} explodes: a step back in time multiplies it by {found.rate:.3g}. Clip "
                       "the gradient, lower the learning rate, or begin with a smaller recurrent matrix.")
    for name, traces in gates:
        for gate, units in traces.stuck().items():
            if units:
                many = f"{len(units)} units" if len(units) > 1 else "a unit"
                out.append(f"Gate {gate} of {name} is stuck in {many} on this input ({', '.join(map(str, units[:8]))}"
                           f"{' …' if len(units) > 8 else ''}): always open or always shut. On a longer input that may "
                           "change; if not, a smaller learning rate or fewer units may help.")
    return out


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    parts = [f'<section id="s{i}"><h2>{escape(h)}</h2>{body}</section>' for i, (h, body) in enumerate(sections)]
    links = "".join(f'<a href="#s{i}">{escape(h)}</a>' for i, (h, _) in enumerate(sections))
    return PAGE.replace("@title", escape(title)).replace("@links", links).replace("@body", "\n".join(parts))


def paragraphs(words: Sequence[str], otherwise: str) -> str:
    """A list, or a sentence where there is nothing."""
    if not words:
        return f"<p>{escape(otherwise)}</p>"
    return "<ul class=advice>" + "".join(f"<li>{escape(w)}</li>" for w in words) + "</ul>"


def listing(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"


def describe(pairs: dict[str, Any]) -> str:
    """What something is: names and values."""
    return table(list(pairs.items()))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>@title</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;color:#1f2933;max-width:68rem;margin:0 auto;padding:1rem 1.5rem 4rem}
h1{font-size:1.7rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #dbe3ec}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.9rem}a{color:#0a5a94}
figure{margin:1rem 0;overflow-x:auto}figure img{max-width:100%;height:auto}
figcaption{font-size:.85rem;color:#52606d}
pre{background:#f7f9fb;border:1px solid #dbe3ec;border-radius:6px;padding:.8rem;overflow-x:auto}
table{border-collapse:collapse;font-size:.92rem}th,td{text-align:left;padding:.2rem .9rem .2rem 0;vertical-align:top}
th{font-weight:600;color:#52606d}.advice li{margin:.4rem 0}
.text{font-family:ui-monospace,monospace;line-height:2;overflow-wrap:anywhere}.text span{padding:.1rem 0}
.text .now{background:#0072b2;color:#fff;border-radius:3px;padding:.1rem .15rem}
.bars{display:flex;align-items:flex-end;height:64px;gap:1px;border-bottom:1px solid #94a3b8;margin:0 0 .8rem}
.bars i{flex:1;background:#0072b2;min-width:2px}.bars .minus{background:#d55e00}
.gates{display:grid;grid-template-columns:3rem 1fr;align-items:end}
input[type=range]{width:100%}
@media print{nav,input{display:none}section{break-inside:avoid}body{max-width:none}}
</style></head><body><h1>@title</h1><nav>@links</nav>
@body
</body></html>
"""
STEPS = """<p><label>Step <output id="at">0</output>
<input type="range" id="step" min="0" max="@last" value="0" aria-label="step"></label></p>
<p class="text" id="text"></p><div class="gates" id="gates"></div><div id="guesses"></div>
<script type="application/json" id="data">@data</script>
<script>
const d=JSON.parse(document.getElementById("data").textContent),get=id=>document.getElementById(id);
const spans=d.tokens.map(t=>{const s=document.createElement("span");s.textContent=t==="\\n"?"↵ ":t;
get("text").append(s,t.length>1?" ":"");return s});
const rows=Object.entries(d.traces).map(([name,values])=>{const label=document.createElement("div"),
bars=document.createElement("div");label.textContent=name;bars.className="bars";
values[0].forEach(()=>bars.append(document.createElement("i")));get("gates").append(label,bars);
return[bars,values,Math.max(1,...values.flat().map(Math.abs))]});
function show(){const t=+get("step").value;get("at").textContent=t+1;
spans.forEach((s,i)=>s.className=i===t?"now":"");
rows.forEach(([bars,values,most])=>[...bars.children].forEach((b,i)=>{b.style.height=100*Math.abs(values[t][i])/most+"%";
b.className=values[t][i]<0?"minus":"";
b.title="unit "+i+": "+values[t][i]}));
const g=d.guesses[t];get("guesses").textContent=g?"expects next: "+g.map(([w,p])=>JSON.stringify(w)+" "+
Math.round(100*p)+"%").join(",  "):""}
get("step").addEventListener("input",show);show();
</script>"""
