"use strict";
// The page works without scripts. This only copies the typed label into the YAML line, and that line to the clipboard.
(function () {
  const label = document.getElementById("label");
  const yaml = document.getElementById("yaml");
  const copy = document.getElementById("copy");
  if (!label || !yaml || !copy) return;
  function update() {
    // a JSON string is a YAML string
    yaml.value = yaml.dataset.before + JSON.stringify(label.value) + yaml.dataset.after;
  }
  label.addEventListener("input", update);
  copy.addEventListener("click", () => {
    yaml.select();
    document.execCommand("copy");
  });
  copy.hidden = false;
  update(); // the browser may have restored a typed label
})();
