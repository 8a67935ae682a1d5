"""The reviewer's page as a Jinja2 template.  A string, so that a stage's declared imports cover it."""

from __future__ import annotations

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>cytoline: images kept back (private)</title>
<style>{{ style }}
.private{border:3px solid #b01030;border-radius:8px;background:#fdecef;color:#8f0d27;padding:.8rem 1.1rem;margin:1rem 0;
font-weight:600}
.private p{max-width:none;margin:.1rem 0}
section svg{display:block;width:100%;height:auto;margin:.6rem 0}
.halo{fill:none;stroke:#fff;stroke-opacity:.85}.region{fill:none;stroke:#d4002a}
.number{fill:#d4002a;font-weight:700;stroke:#fff;stroke-width:.25em;paint-order:stroke}
.ruler{fill:var(--soft)}.tick{stroke:var(--soft)}
.nothing{border:2px dashed var(--line);border-radius:8px;color:var(--soft);padding:3.5rem 1rem;text-align:center;
margin:.6rem 0}
pre{font:.86rem/1.45 ui-monospace,"DejaVu Sans Mono",Menlo,monospace;background:var(--tint);border-radius:6px;
padding:.55rem .8rem;margin:.25rem 0 .7rem;white-space:pre-wrap;overflow-wrap:anywhere;word-break:keep-all}
.ways p{margin:.6rem 0 0}.ways b{margin-right:.6rem}
.decided{background:var(--tint);border-left:4px solid var(--accent);border-radius:4px;padding:.5rem .9rem;
margin:.6rem 0}
h2 code{font-size:.92em}
@media print{section{break-inside:avoid}section svg{max-height:150mm}pre{border:1px solid #bbb}
.private{background:#fff}footer{display:none}}
</style>
</head>
<body>
<a class="skip" href="#images">Skip to the images</a>
<main>
<header class="top">
<h1>Images kept back</h1>
<p class="lead">{{ cards|length }} image{{ "" if cards|length == 1 else "s" }} in quarantine,
{{ cards|selectattr("decision")|list|length }} with a decision that the next <code>dvc repro</code> carries out.</p>
<div class="private" role="alert"><p>Private. This page shows original images that may identify people.</p>
<p>It must not leave this machine: do not mail, copy, commit or upload it, and delete it when you are done.</p></div>
<p>Look at all of each picture, also outside of the outlines: they show where the program became suspicious, not where
it is right. Numbers along the edges are pixels. Type the line of your choice in the repository, with your handle for
<code>HANDLE</code> (not your name: it is published with the decision), commit <code>data/review/decisions.jsonl</code>,
then run <code>dvc repro</code>. A later decision takes the place of an earlier one.</p>
</header>
<div id="images">
{% for card in cards %}
<section><h2>{{ loop.index }}. <code>{{ card.held.image_id }}</code></h2>
<p><b>{{ card.words }}</b>
{% if card.size %}
<span class="soft">{{ card.size[0] }} × {{ card.size[1] }} pixels,
{{ card.held.regions|length or "no" }} place{{ "" if card.held.regions|length == 1 else "s" }} outlined.</span>
{% endif %}</p>
{% if card.decision %}
<p class="decided">Decided: <b>{{ card.decision.decision }}</b> ({{ card.decision.reason.replace("_", " ") }}), by
{{ card.decision.reviewer }}, {{ card.decision.time }}.
{% for box in card.decision.regions %}{{ "Boxes: " if loop.first }}{{ box|join(",") }}{{ "." if loop.last else ";" }}
{% endfor %}
It is still here: run <code>dvc repro</code>, or, if you have, it was not enough.</p>
{% endif %}
{% if card.picture %}
{{ card.picture }}
{% else %}
<p class="nothing">This file cannot be shown as a picture.</p>
{% endif %}
<div class="ways">
{% if card.held.releasable %}
<p><b>Release</b><span class="soft">nothing here names anybody</span></p>
<pre>{{ card.command }} release --reason no_identifier --by HANDLE</pre>
<p><b>Redact</b><span class="soft">paint these boxes over (x,y,width,height)</span></p>
<pre>{{ card.command }} redact --reason identifier_painted --by HANDLE {{ card.box_options }}</pre>
{% endif %}
<p><b>Reject</b><span class="soft">use it nowhere</span></p>
<pre>{{ card.command }} reject --reason {{ card.rejection }} --by HANDLE</pre>
</div>
</section>
{% else %}
<section><p>Nothing is in quarantine.</p></section>
{% endfor %}
</div>
<footer>Written by cytoline for the eyes of a reviewer. Reasons for a rejection: identifier_remains, not_usable,
wrong_image.</footer>
</main>
</body>
</html>
"""
