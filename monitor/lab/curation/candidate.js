"use strict";
// Reading needs no script: this only writes the label that is typed into the YAML line, and copies it.
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
  update(); // a browser may have kept what was typed
})();
