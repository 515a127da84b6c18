"use strict";
// Reading needs no script: this only filters and orders the cards that are already there.
(function () {
  const byId = (id) => document.getElementById(id);
  const form = byId("controls");
  const list = byId("list");
  if (!form || !list) return;
  const fields = ["category", "severity", "set"];
  const shortcuts = Array.from(document.querySelectorAll("button[data-pick]"));
  const cards = Array.from(list.children).map((element) => ({
    element,
    alerts: Array.from(element.querySelectorAll(".alert")),
    text: null,
  }));
  const orders = {
    ratio: (a, b) => Number(b.element.dataset.ratio) - Number(a.element.dataset.ratio),
    time: (a, b) => b.element.dataset.time.localeCompare(a.element.dataset.time),
  };

  function contains(card, words) {
    card.text = card.text || card.element.textContent.toLowerCase();
    return words.every((word) => card.text.includes(word));
  }

  function update() {
    const wanted = fields.map((name) => [name, byId(name).value]).filter(([, value]) => value);
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const order = orders[byId("order").value];
    const sorted = order ? cards.slice().sort(order) : cards;
    let events = 0;
    let alerts = 0;
    for (const card of sorted) {
      const matching = card.alerts.filter((alert) => wanted.every(([name, value]) => alert.dataset[name] === value));
      const fits = matching.length > 0 && contains(card, words);
      card.element.hidden = !fits;
      if (!fits) continue;
      events += 1;
      alerts += matching.length;
      // What the filter asked for is open; what it did not ask for stays as the reader left it.
      if (wanted.length) for (const alert of matching) if (alert.tagName === "DETAILS") alert.open = true;
    }
    list.append(...sorted.map((card) => card.element));
    byId("shown").firstElementChild.textContent =
      "Showing " + events + " of " + cards.length + (cards.length === 1 ? " event" : " events") +
      ", " + alerts + (alerts === 1 ? " alert" : " alerts");
    byId("none").hidden = events > 0;
    for (const button of shortcuts) button.setAttribute("aria-pressed", String(isPicked(button)));
  }

  function isPicked(button) {
    const asked = fields.filter((name) => name in button.dataset);
    return asked.every((name) => byId(name).value === button.dataset[name]) &&
      fields.every((name) => asked.includes(name) || !byId(name).value);
  }

  function pick(button) {
    const clear = isPicked(button);
    for (const name of fields) byId(name).value = clear ? "" : button.dataset[name] || "";
    update();
  }

  function step(direction) {
    const visible = cards.map((card) => card.element).filter((element) => !element.hidden);
    visible.sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
    const current = document.activeElement.closest ? visible.indexOf(document.activeElement.closest(".card")) : -1;
    const next = visible[Math.max(0, current + direction)];
    if (next) next.focus();
  }

  function onKey(event) {
    const typing = event.target.matches && event.target.matches("input, select");
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape" && event.target.id === "search") {
      byId("search").value = "";
      update();
    } else if (typing) {
      return;
    } else if (event.key === "/") {
      event.preventDefault();
      byId("search").focus();
    } else if (event.key === "j") {
      step(1);
    } else if (event.key === "k") {
      step(-1);
    }
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  for (const button of shortcuts) button.addEventListener("click", () => pick(button));
  document.addEventListener("keydown", onKey);
  form.hidden = false;
  update();
})();
