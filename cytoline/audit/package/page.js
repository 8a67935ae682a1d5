
"use strict";
// Arrow keys walk along the lines; the details follow the focus.  Without this script Tab, Enter and the style sheet do.
(() => {
  const graph = document.querySelector(".graph");
  const nodes = [...graph.querySelectorAll(".node")];
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const names = (node, side) => node.dataset[side].split(" ").filter(Boolean);
  const reach = (node, side, seen = new Set()) => {
    for (const name of names(node, side)) if (!seen.has(name)) { seen.add(name); reach(byId.get(name), side, seen); }
    return seen;
  };
  const light = (node) => {
    const up = reach(node, "up").add(node.id), down = reach(node, "down").add(node.id);
    graph.classList.add("lit");
    for (const one of nodes) one.classList.toggle("on", up.has(one.id) || down.has(one.id));
    for (const line of graph.querySelectorAll(".line")) {
      const { from, to } = line.dataset;
      line.classList.toggle("on", (up.has(from) && up.has(to)) || (down.has(from) && down.has(to)));
    }
  };
  const step = (node, key) => {
    const at = nodes.indexOf(node);
    if (key === "ArrowUp") return byId.get(names(node, "up")[0]);
    if (key === "ArrowDown") return byId.get(names(node, "down")[0]);
    if (key === "ArrowLeft") return nodes[at - 1];
    if (key === "ArrowRight") return nodes[at + 1];
    return key === "Home" ? nodes[0] : key === "End" ? nodes[nodes.length - 1] : undefined;
  };
  for (const node of nodes) {
    node.addEventListener("focus", () => light(node));
    node.addEventListener("blur", () => graph.classList.remove("lit"));
    node.addEventListener("click", (event) => { event.preventDefault(); node.focus(); });
    node.addEventListener("keydown", (event) => {
      if (!/^(Arrow|Home$|End$)/.test(event.key)) return;
      event.preventDefault();
      const next = step(node, event.key);
      if (next) next.focus();
    });
  }
  const asked = byId.get(location.hash.slice(1));
  if (asked) asked.focus();
})();
