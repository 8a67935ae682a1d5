"""The look of every page that cytoline writes, and how it is rendered: one file, no script, nothing fetched.

The style is a string here, and not a file beside it, so that a stage's declared imports cover it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

STYLE = """
:root{color-scheme:light dark;
--bg:#f7f7f5;--card:#ffffff;--ink:#1d2329;--soft:#59636e;--line:#dcdfe3;--accent:#175e7a;--tint:#e6f0f4;
--s1:#175e7a;--s2:#c2571a;--s3:#5b7f2b;--s4:#8a3f8f;--s5:#a8871a;--s6:#6b7280;--warn:#9a3412;--warnbg:#fff4ec}
@media(prefers-color-scheme:dark){:root{
--bg:#14181c;--card:#1c2228;--ink:#e7eaed;--soft:#a2adb8;--line:#343c45;--accent:#6cbfdf;--tint:#1f3641;
--s1:#6cbfdf;--s2:#f0975a;--s3:#a5cd6b;--s4:#d596da;--s5:#e3c457;--s6:#a2adb8;--warn:#ffb38a;--warnbg:#33241b}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:3.5rem}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,
"DejaVu Sans",sans-serif}
main,.wide{max-width:1120px;margin:0 auto;padding:0 1.25rem}
header.top{padding:2.2rem 0 1.2rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem;letter-spacing:-.01em}
h2{font-size:1.35rem;margin:0 0 .3rem;letter-spacing:-.005em}
h3{font-size:1rem;margin:1.4rem 0 .5rem}
p{margin:.3rem 0 .8rem;max-width:75ch}
.lead{font-size:1.06rem;color:var(--soft)}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:1rem;background:var(--card);padding:.5rem 1rem;z-index:9}
nav{position:sticky;top:0;z-index:5;background:var(--bg);border-bottom:1px solid var(--line)}
nav ul{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;list-style:none;margin:0 auto;
padding:.6rem 1.25rem;max-width:1120px}
nav a{text-decoration:none;font-size:.92rem}
nav a:hover{text-decoration:underline}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.4rem 1.5rem;margin:1.2rem 0}
.notice{border-left:4px solid var(--warn);background:var(--warnbg);padding:.7rem 1rem;border-radius:4px;margin:.8rem 0}
.notice p{margin:.15rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,280px),1fr));gap:.9rem;margin:1rem 0}
.tile{border:1px solid var(--line);border-radius:8px;padding:.9rem 1rem;background:var(--card)}
.tile b{display:block;font-size:1.9rem;line-height:1.15;font-variant-numeric:tabular-nums;font-weight:650}
.tile .name{font-weight:600}
.tile svg{display:block;width:100%;height:14px;margin:.45rem 0 .2rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums;margin:.4rem 0 .8rem}
caption{text-align:left;padding:.2rem 0 .4rem;caption-side:top}
th,td{padding:.32rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
td.words{text-align:left;white-space:normal}
thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line)}
tbody th{font-weight:500;white-space:normal}
.tight th[scope=row]{min-width:7rem}
tr.total>*{font-weight:650;border-top:2px solid var(--line)}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:1.2rem 1.6rem;
align-items:start}
.three{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:1.2rem 1.6rem;
align-items:start}
figure{margin:.4rem 0}
figure>svg,figure>img{display:block;width:100%;height:auto;border-radius:6px}
.chart{font-size:12px}
.chart text{fill:var(--soft)}
.chart .grid{stroke:var(--line);stroke-width:1}
.chart .axis{stroke:var(--soft);stroke-width:1}
.chart .guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4;fill:none}
.chart .curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em;vertical-align:-.05em}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem;margin:.3rem 0 .6rem;padding:0;list-style:none}
.cells{display:grid;grid-template-columns:repeat(auto-fill,minmax(158px,1fr));gap:.9rem}
.cells figure{border:1px solid var(--line);border-radius:8px;padding:.5rem;margin:0;break-inside:avoid}
.cells img{width:100%;aspect-ratio:1;object-fit:contain;border-radius:4px;background:var(--tint)}
.cells .pair{display:grid;grid-template-columns:1fr 1fr;gap:4px}
.cells figcaption{font-size:.84rem;line-height:1.35;margin-top:.35rem;color:var(--ink)}
.pairs{grid-template-columns:repeat(auto-fill,minmax(230px,1fr))}
.raw{image-rendering:pixelated}
.heat td{text-align:center;min-width:4.2rem;border:1px solid var(--card)}
.chip{display:inline-block;border-radius:4px;padding:0 .4em;font-size:.84em;font-weight:600}
details{border:1px solid var(--line);border-radius:8px;padding:.5rem .9rem;margin:.6rem 0}
summary{cursor:pointer;font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:.6rem 0;font-size:.93rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:.9em ui-monospace,"DejaVu Sans Mono",Menlo,monospace}
footer{color:var(--soft);font-size:.9rem;padding:1rem 0 3rem}
@media print{
@page{margin:13mm}main,.wide{max-width:none;padding:0}
.two,.three{grid-template-columns:1fr 1fr}.tiles{grid-template-columns:1fr 1fr 1fr}
.cells{grid-template-columns:repeat(6,1fr)}.pairs{grid-template-columns:repeat(4,1fr)}
details::details-content{content-visibility:visible;block-size:auto}table{font-size:8.3pt}
:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--tint:#fff;--accent:#000;
--s1:#175e7a;--s2:#c2571a;--s3:#5b7f2b;--s4:#8a3f8f;--s5:#a8871a;--s6:#6b7280;--warn:#9a3412;--warnbg:#fff}
nav,.skip{display:none}body{font-size:10.5pt}section{border:0;padding:0;margin:1.2rem 0}
h2,h3{break-after:avoid}figure,tr,.tile,.notice{break-inside:avoid}.scroll{overflow:visible}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

NOTICE = "For research. Not a medical device: nothing here is a diagnosis or may stand in for one."


def render(template: str, **values: Any) -> str:
    """Fill a Jinja2 template; text is escaped, a missing value is an error, ``style`` and ``notice`` are there."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(style=Markup(STYLE), notice=NOTICE, **values)
    return page if page.endswith("\n") else page + "\n"


def template_of(path: Path) -> str:
    """The text of a template file."""
    return path.read_text(encoding="utf-8")
