"use strict";
// Reading needs no script: this only filters and orders the cards that are already there.
(function () {
  const controls = document.getElementById("controls");
  const list = document.getElementById("list");
  if (!controls || !list) return;
  const cards = Array.from(list.children);
  const get = (id) => document.getElementById(id);
  const orders = {
    ratio: (a, b) => Number(b.dataset.ratio) - Number(a.dataset.ratio),
    time: (a, b) => b.dataset.time.localeCompare(a.dataset.time),
  };
  function update() {
    const category = get("category").value;
    const severity = get("severity").value;
    const order = orders[get("order").value];
    const sorted = order ? cards.slice().sort(order) : cards;
    let shown = 0;
    for (const card of sorted) {
      const fits =
        (!category || card.dataset.category === category) && (!severity || card.dataset.severity === severity);
      card.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    list.append(...sorted);
    get("shown").textContent = shown + " of " + cards.length;
  }
  controls.addEventListener("change", update);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  update();
})();
